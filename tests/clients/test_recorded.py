"""What real clients send is read, and is taken for what it is."""

import pytest

from librarian.domain.clients import identify
from librarian.domain.identity import LOCAL, Purpose
from librarian.entrypoints.http.openai.wire import chat
from tests.clients.recorded import chats, recorded

CALLED = {
    "ai-sdk": "ai-sdk",
    "aider": "openai-python",
    "autogen-ext": "openai-python",
    "langchain-js": "langchain-js",
    "langchain-openai": "openai-python",
    "litellm": "openai-python",
    "llm": "openai-python",
    "openai-2": "openai-python",
    "openai-3": "openai-python",
    "openai-agents": "openai-agents",
    "openai-node": "openai-node",
    "pydantic-ai": "pydantic-ai",
}
"""What is known of each by its ordinary chats."""

OTHERWISE = {
    ("openai-2", "at-home"): "home-assistant",
    ("openai-3", "at-home"): "home-assistant",
    ("aider", "commit"): "aider",
    ("aider", "summary"): "aider",
}

JOBS = {("aider", "commit"): "template:aider-commit", ("aider", "summary"): "template:aider-summary"}
"""The first request of each scene that a client begins on its own account."""

CHATS = [pytest.param(one, id=f"{one.client}-{one.scene}-{at}") for at, one in enumerate(chats())]
FIRST = {(one.client, one.scene): one for one in reversed(chats())}


def is_job(one):
    return (one.client, one.scene) in JOBS and one == FIRST[one.client, one.scene]


@pytest.mark.parametrize("one", CHATS)
def test_every_request_is_read(one):
    ask = chat.to_domain(chat.decode(one.raw), LOCAL)

    assert one.messages == [*ask.transcript.overlay, *ask.transcript.messages]


@pytest.mark.parametrize("one", CHATS)
def test_every_client_is_known(one):
    expected = CALLED[one.client]
    if (one.client, one.scene) in OTHERWISE and (is_job(one) or (one.client, one.scene) not in JOBS):
        expected = OTHERWISE[one.client, one.scene]

    assert expected == identify(one.said).client


@pytest.mark.parametrize("one", CHATS)
def test_jobs_are_tasks_and_chats_are_not(one):
    found = identify(one.said)

    if is_job(one):
        assert (Purpose.TASK, JOBS[one.client, one.scene]) == (found.purpose, found.purpose_by)
    else:
        assert (Purpose.CHAT, "") == (found.purpose, found.purpose_by)


@pytest.mark.parametrize(
    ("client", "scene", "person", "conversation"),
    [
        ("openai-3", "chat", (None, ""), (None, "")),
        ("openai-3", "named", ("ada-lovelace", "safety_identifier"), ("session-1", "metadata.session_id")),
        ("openai-2", "at-home", (None, ""), ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "user")),
        ("litellm", "named", ("ada-lovelace", "safety_identifier"), (None, "")),
        ("langchain-js", "chat", ("ada", "user"), (None, "")),
        ("ai-sdk", "named", ("ada", "user"), (None, "")),
    ],
)
def test_people_and_conversations_are_found_where_they_are_named(client, scene, person, conversation):
    found = identify(FIRST[client, scene].said)

    assert (person, conversation) == ((found.person, found.person_by), (found.conversation, found.conversation_by))


@pytest.mark.parametrize("client", sorted(recorded()))
def test_a_second_try_is_the_same_body(client):
    tries = [one for one in recorded()[client] if one.scene == "retry"]

    assert 2 == len(tries)
    assert tries[0].body == tries[1].body


@pytest.mark.parametrize("client", sorted(set(recorded()) - {"ai-sdk", "langchain-js"}))
def test_a_second_try_says_that_it_is_one(client):
    tries = [one.headers["x-stainless-retry-count"] for one in recorded()[client] if one.scene == "retry"]

    assert ["0", "1"] == tries


@pytest.mark.parametrize("client", ["ai-sdk", "langchain-js"])
def test_some_try_again_and_do_not_say_so(client):
    tries = [one.headers.get("x-stainless-retry-count") for one in recorded()[client] if one.scene == "retry"]

    assert 1 == len(set(tries))


def test_nobody_makes_up_an_idempotency_key():
    assert {"named"} == {one.scene for one in chats() if "idempotency-key" in one.headers}
