"""What real clients send is read, and is taken for what it is."""

import dataclasses

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
    "open-webui": "open-webui",
    "openai-2": "openai-python",
    "openai-3": "openai-python",
    "openai-agents": "openai-agents",
    "openai-node": "openai-node",
    "pydantic-ai": "pydantic-ai",
}
"""What is known of each by its ordinary chats."""

OTHERWISE = {
    ("open-webui", "silent"): "unknown",
    ("openai-2", "at-home"): "home-assistant",
    ("openai-3", "at-home"): "home-assistant",
}

BY_HEADER = "x-openwebui-task"
JOBS = {
    ("aider", "commit"): ["template:aider-commit"],
    ("aider", "summary"): ["template:aider-summary", ""],
    ("open-webui", "chat"): [BY_HEADER, "", BY_HEADER, BY_HEADER],
    ("open-webui", "follow-up"): ["", BY_HEADER, BY_HEADER, BY_HEADER],
    ("open-webui", "edit"): ["", BY_HEADER, BY_HEADER, BY_HEADER],
    ("open-webui", "whole"): ["", BY_HEADER, BY_HEADER, BY_HEADER],
    ("open-webui", "job-queries"): [BY_HEADER],
    ("open-webui", "job-emoji"): [BY_HEADER],
    ("open-webui", "job-auto"): [BY_HEADER],
    ("open-webui", "job-image_prompt"): [BY_HEADER],
    ("open-webui", "job-moa"): [BY_HEADER],
} | {
    ("open-webui", scene): [
        "template:open-webui-title",
        "",
        "template:open-webui-follow-up",
        "template:open-webui-tags",
    ]
    for scene in ("forwarded", "signed", "silent")
}
"""How the jobs that a client begins on its own account are known, in the order in which they came; empty for a chat."""

ID = "00000000-0000-4000-8000-{:012}"
CHATS = [pytest.param(one, id=f"{one.client}-{one.scene}-{at}") for at, one in enumerate(chats())]
FIRST = {(one.client, one.scene): one for one in reversed(chats())}


def job(one):
    """How it is known as one; empty, if it is a chat."""
    together = [other for other in chats() if (other.client, other.scene) == (one.client, one.scene)]
    return JOBS.get((one.client, one.scene), [""] * len(together))[together.index(one)]


@pytest.mark.parametrize("one", CHATS)
def test_every_request_is_read(one):
    ask = chat.to_domain(chat.decode(one.raw), LOCAL)

    assert one.messages == [*ask.transcript.overlay, *ask.transcript.messages]


@pytest.mark.parametrize("one", CHATS)
def test_every_client_is_known(one):
    by_its_words = one.client if job(one).startswith("template:") else None

    assert identify(one.said).client == (by_its_words or OTHERWISE.get((one.client, one.scene), CALLED[one.client]))


@pytest.mark.parametrize("one", CHATS)
def test_jobs_are_tasks_and_chats_are_not(one):
    found = identify(one.said)

    assert (Purpose.TASK if job(one) else Purpose.CHAT, job(one)) == (found.purpose, found.purpose_by)


@pytest.mark.parametrize("scene", ["chat", "job-queries", "job-emoji", "job-auto", "job-image_prompt", "job-moa"])
def test_the_jobs_of_open_webui_are_known_without_their_header(scene):
    one = FIRST["open-webui", scene]
    without = dataclasses.replace(one, headers={"user-agent": one.headers["user-agent"]})

    assert Purpose.TASK is identify(without.said).purpose


def test_open_webui_says_where_an_answer_goes_on_from():
    asked = {scene: identify(FIRST["open-webui", scene].said) for scene in ("follow-up", "edit", "whole")}
    (first,) = (
        identify(one.said) for one in recorded()["open-webui"] if one.scene == "chat" and one.body.get("stream")
    )

    assert (None, True) == (first.parent, first.message is not None)
    assert {first.message} == {found.parent for found in asked.values()}
    assert {first.conversation} == {found.conversation for found in asked.values()}
    assert len(asked) == len({found.message for found in asked.values()})


@pytest.mark.parametrize(
    ("client", "scene", "person", "conversation"),
    [
        ("openai-3", "chat", (None, ""), (None, "")),
        ("openai-3", "named", ("ada-lovelace", "safety_identifier"), ("session-1", "metadata.session_id")),
        ("openai-2", "at-home", (None, ""), ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "user")),
        ("litellm", "named", ("ada-lovelace", "safety_identifier"), (None, "")),
        ("langchain-js", "chat", ("ada", "user"), (None, "")),
        ("ai-sdk", "named", ("ada", "user"), (None, "")),
        ("open-webui", "chat", (ID.format(1), "x-openwebui-user-id"), (ID.format(2), "x-openwebui-chat-id")),
        ("open-webui", "forwarded", (ID.format(13), "x-openwebui-user-id"), (ID.format(14), "x-openwebui-chat-id")),
        ("open-webui", "signed", (None, ""), (ID.format(15), "x-openwebui-chat-id")),
        ("open-webui", "silent", (None, ""), (None, "")),
    ],
)
def test_people_and_conversations_are_found_where_they_are_named(client, scene, person, conversation):
    found = identify(FIRST[client, scene].said)

    assert (person, conversation) == ((found.person, found.person_by), (found.conversation, found.conversation_by))


@pytest.mark.parametrize("client", sorted(set(recorded()) - {"open-webui"}))
def test_a_second_try_is_the_same_body(client):
    tries = [one for one in recorded()[client] if one.scene == "retry"]

    assert 2 == len(tries)
    assert tries[0].body == tries[1].body


@pytest.mark.parametrize("client", sorted(set(recorded()) - {"ai-sdk", "langchain-js", "open-webui"}))
def test_a_second_try_says_that_it_is_one(client):
    tries = [one.headers["x-stainless-retry-count"] for one in recorded()[client] if one.scene == "retry"]

    assert ["0", "1"] == tries


@pytest.mark.parametrize("client", ["ai-sdk", "langchain-js"])
def test_some_try_again_and_do_not_say_so(client):
    tries = [one.headers.get("x-stainless-retry-count") for one in recorded()[client] if one.scene == "retry"]

    assert 1 == len(set(tries))


def test_nobody_makes_up_an_idempotency_key():
    assert {"named"} == {one.scene for one in chats() if "idempotency-key" in one.headers}
