"""A gateway that is killed at the worst of times: the next request goes on, and nothing happens twice."""

import sqlite3
import threading
from contextlib import suppress

import httpx
import pytest

from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e
DEBUG = {"x-librarian-debug": "1"}


@pytest.fixture
def gateway(tmp_path, scripted_model):
    gateway = Gateway(tmp_path, UPSTREAM__BASE_URL=scripted_model.base_url)
    yield gateway
    gateway.kill()


def restarted(gateway):
    gateway.kill()
    gateway.start()


def user(text):
    return {"role": "user", "content": text}


def ask(gateway, *messages, headers=None, **more):
    body = {"model": "librarian", "messages": messages} | more
    reply = httpx.post(f"{gateway.base_url}/chat/completions", json=body, headers=DEBUG | (headers or {}), timeout=20)
    assert 200 == reply.status_code
    return reply


def answer(reply):
    message = reply.json()["choices"][0]["message"]
    return {name: message[name] for name in ("role", "content", "tool_calls") if name in message}


def plan(reply):
    return reply.headers["x-librarian-plan"]


def killed_in_the_middle(gateway, scripted_model, *messages, stream):
    """Of a turn: the model was asked, and has said something or nothing."""
    asked_before = len(scripted_model.requests)
    scripted_model.hang(after="In" if stream else None)

    def asking():
        with suppress(httpx.HTTPError):
            ask(gateway, *messages, stream=stream)

    client = threading.Thread(target=asking)
    client.start()
    scripted_model.wait_for(asked_before + 1)
    restarted(gateway)
    client.join(20)


def turns(tmp_path):
    (path,) = tmp_path.glob("*.db")
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT count(*) FROM turn").fetchone()[0]


def shown(scripted_model):
    """What the model was shown last, but for what it was told."""
    return [(message["role"], message["content"]) for message in scripted_model.requests[-1].messages[1:]]


def spoken(*messages):
    return [(message["role"], message["content"]) for message in messages]


@pytest.mark.parametrize("stream", [False, True])
def test_in_the_middle_of_a_first_turn(gateway, scripted_model, tmp_path, stream):
    killed_in_the_middle(gateway, scripted_model, user("Hello."), stream=stream)
    first = ask(gateway, user("Hello."))
    second = ask(gateway, user("Hello."), answer(first), user("Go on."))

    assert ("Start", "Continue", 2) == (plan(first), plan(second), turns(tmp_path))


@pytest.mark.parametrize("stream", [False, True])
def test_in_the_middle_of_a_later_turn(gateway, scripted_model, tmp_path, stream):
    first = ask(gateway, user("Hello."))
    chat = [user("Hello."), answer(first), user("Go on.")]
    killed_in_the_middle(gateway, scripted_model, *chat, stream=stream)
    second = ask(gateway, *chat)

    assert ("Continue", 2) == (plan(second), turns(tmp_path))
    assert first.headers["x-librarian-conversation"] == second.headers["x-librarian-conversation"]
    assert spoken(*chat) == shown(scripted_model)


def test_right_after_a_turn(gateway, scripted_model, tmp_path):
    chat = [user("Hello.")]
    conversations = set()
    for number in range(3):
        reply = ask(gateway, *chat)
        restarted(gateway)
        chat += [answer(reply), user(f"And {number}?")]
        conversations.add(reply.headers["x-librarian-conversation"])
    last = ask(gateway, *chat)

    assert ("Continue", 4, 1) == (plan(last), turns(tmp_path), len(conversations))
    assert spoken(*chat) == shown(scripted_model)


def test_a_retry_after_it(gateway, scripted_model, tmp_path):
    first = ask(gateway, user("Hello."), headers={"idempotency-key": "key 1"})
    restarted(gateway)
    by_key = ask(gateway, user("Hello."), headers={"idempotency-key": "key 1"})
    by_count = ask(gateway, user("Hello."), headers={"x-stainless-retry-count": "1"})

    assert ("Replay", "Replay") == (plan(by_key), plan(by_count))
    assert first.content == by_key.content == by_count.content
    assert (1, 1) == (turns(tmp_path), len(scripted_model.requests))


def test_while_a_call_is_pending(gateway, scripted_model):
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    scripted_model.call("look", {"at": "it"})
    first = ask(gateway, user("Look."), tools=tools)
    restarted(gateway)
    called = answer(first)
    result = {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": "It is green."}
    second = ask(gateway, user("Look."), called, result, tools=tools)

    assert "Resume" == plan(second)
    assert first.headers["x-librarian-conversation"] == second.headers["x-librarian-conversation"]


def test_a_name_that_was_given_before_it_can_be_gone_on_with(gateway, scripted_model):
    """The stream had begun, so the client knows its conversation; nothing of it was recorded."""
    scripted_model.hang(after="In")
    body = {"model": "librarian", "messages": [user("Hello.")], "stream": True}
    with suppress(httpx.HTTPError), httpx.stream("POST", f"{gateway.base_url}/chat/completions", json=body) as reply:
        name = reply.headers["x-librarian-conversation"]
        restarted(gateway)
    again = ask(gateway, user("Hello."), headers={"x-librarian-conversation": name})

    assert ("Start", name) == (plan(again), again.headers["x-librarian-conversation"])
