"""A whole house on loopback: who goes on with what, and who is told the same again."""

import asyncio
import json
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from dependency_injector import providers

from librarian.container import House
from librarian.domain.errors import UpstreamRefused
from librarian.entrypoints.http import attendance
from librarian.settings import Settings
from tests.fakes.deliberate import Deliberate
from tests.fakes.numbered import Numbered
from tests.unit.edge_house import CHAT, COMPLETIONS, hello, serving

pytestmark = pytest.mark.e2e
UNKNOWN = f"conv_{'0' * 32}"


class Living:
    """A served house, the model behind it, and a client."""

    def __init__(self, house, server, client, model):
        self.house = house
        self.server = server
        self.client = client
        self.model = model

    async def ask(self, body, path=CHAT, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["content-type"] = "application/json"
        return await self.client.post(path, content=json.dumps(body), headers=named)

    async def go_away(self, path, body, *, once):
        """A client that asks, and leaves once something has happened and before it was answered."""
        url = urlsplit(self.server.url)
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        content = json.dumps(body).encode()
        writer.write(b"POST %b HTTP/1.1\r\nhost: localhost\r\n" % path.encode())
        writer.write(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content))
        await writer.drain()
        await once.wait()
        writer.close()
        await writer.wait_closed()
        await self.server.alone()


@asynccontextmanager
async def living(data_dir, *, deliberate=False, **settings):
    model = Numbered()
    house = House(settings=Settings(_env_file=None, data_dir=data_dir, **settings))
    house.model.override(providers.Object(model))
    if deliberate:
        house.conversations.override(providers.Object(Deliberate(house.conversations())))
    async with serving(house.front_door()) as server, httpx.AsyncClient(base_url=server.url, timeout=10) as client:
        yield Living(house, server, client, model)


@pytest.fixture
async def here(tmp_path):
    async with living(tmp_path) as living_:
        yield living_


def text_of(reply):
    """What a client hears of an answer, its choices one after the other, whole or in pieces."""
    if reply.headers["content-type"] == "application/json":
        return [choice.get("text") or choice["message"]["content"] for choice in reply.json()["choices"]]
    said = {}
    for chunk in chunks_of(reply):
        for choice in chunk["choices"]:
            piece = choice["text"] if "text" in choice else choice["delta"].get("content") or ""
            said[choice["index"]] = said.get(choice["index"], "") + piece
    return [said[index] for index in sorted(said)]


def chunks_of(reply):
    frames = [frame.removeprefix("data: ") for frame in reply.text.split("\n\n") if frame.startswith("data: ")]
    assert "[DONE]" == frames[-1]
    return [json.loads(frame) for frame in frames[:-1]]


def ids_of(reply):
    """How an answer is called and dated, in all its pieces."""
    pieces = [reply.json()] if reply.headers["content-type"] == "application/json" else chunks_of(reply)
    return {(piece["id"], piece["created"]) for piece in pieces}


COMPLETION = {"model": "librarian", "prompt": "Hello?"}
ANSWERS = {
    "whole": (CHAT, hello(), 1),
    "stream": (CHAT, hello(stream=True), 1),
    "three choices": (CHAT, hello(n=3), 3),
    "three choices, stream": (CHAT, hello(n=3, stream=True), 3),
    "completion": (COMPLETIONS, COMPLETION, 1),
    "completion, stream": (COMPLETIONS, COMPLETION | {"stream": True}, 1),
    "completions": (COMPLETIONS, COMPLETION | {"prompt": ["a", "b"]}, 2),
    "completions, stream": (COMPLETIONS, COMPLETION | {"prompt": ["a", "b"], "stream": True}, 2),
}
answers = pytest.mark.parametrize(("path", "body", "turns"), ANSWERS.values(), ids=ANSWERS.keys())


# The connection broke, and the client asks again


@answers
async def test_a_client_that_had_left_by_the_end_is_told_the_same(here, monkeypatch, path, body, turns):
    """So soon that nobody listened for its leaving yet: then it is looked for before the last frame."""
    monkeypatch.setattr(attendance, "WATCH_AFTER_S", 60)
    gate = here.model.hold()
    await here.go_away(path, body, once=here.model.asked)
    gate.set()
    await here.server.idle()

    again = await here.ask(body, path)

    assert [f"Answer {number}." for number in range(1, turns + 1)] == text_of(again)
    assert turns == len(here.model.prompts)
    assert 1 == len(ids_of(again))


@answers
async def test_a_client_that_leaves_while_its_answer_is_written_down_is_told_the_same(tmp_path, path, body, turns):
    async with living(tmp_path, deliberate=True) as here:
        store = here.house.conversations()
        await here.go_away(path, body, once=store.begun)
        await here.server.idle()
        again = asyncio.ensure_future(here.ask(body, path))
        await asyncio.sleep(0)
        store.may.set()

        assert [f"Answer {number}." for number in range(1, turns + 1)] == text_of(await again)
        assert turns == len(here.model.prompts)


@answers
async def test_a_client_that_leaves_while_the_model_thinks_is_answered_anew(here, path, body, turns):
    gate = here.model.hold()
    await here.go_away(path, body, once=here.model.asked)
    await here.server.idle()
    gate.set()

    again = await here.ask(body, path)

    assert [f"Answer {number}." for number in range(2, turns + 2)] == text_of(again)


@answers
async def test_what_was_answered_whole_is_answered_anew(here, path, body, turns):
    first, second = [await here.ask(body, path) for _ in range(2)]

    assert ids_of(first).isdisjoint(ids_of(second))
    assert 2 * turns == len(here.model.prompts)


AGAIN = {"retry": {"x-stainless-retry-count": "1"}, "key": {"idempotency-key": "key 1"}}


@answers
@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN.keys())
async def test_an_answer_that_is_told_again_is_the_same(here, path, body, turns, again):
    first = await here.ask(body, path, **again)
    second = await here.ask(body, path, **again)

    assert (ids_of(first), text_of(first)) == (ids_of(second), text_of(second))
    assert first.headers.get("x-librarian-conversation") == second.headers.get("x-librarian-conversation")
    assert turns == len(here.model.prompts)


async def test_a_whole_answer_is_told_again_byte_for_byte(here):
    first, second = [await here.ask(hello(n=2), idempotency_key="key 1") for _ in range(2)]

    assert first.content == second.content


async def test_what_was_streamed_is_streamed_again(here):
    body = hello(stream=True, stream_options={"include_usage": True})
    first, second = [await here.ask(body, idempotency_key="key 1") for _ in range(2)]

    assert chunks_of(first)[-1] == chunks_of(second)[-1]


async def test_the_official_clients_own_retry_is_told_the_same(here):
    """Its first try runs into its own limit; by the second, the turn is still under way."""
    gate = here.model.hold()
    client = openai.AsyncOpenAI(base_url=f"{here.server.url}/v1", api_key="none", max_retries=1)
    async with client:
        asking = asyncio.ensure_future(client.with_options(timeout=0.1).chat.completions.create(**hello()))
        await here.model.asked.wait()
        asking.add_done_callback(lambda _: gate.set())
        with pytest.raises(openai.APITimeoutError):
            await asking
        reply = await here.ask(hello(), x_stainless_retry_count="2")

    assert 200 == reply.status_code
    assert len(here.model.prompts) == int(text_of(reply)[0].removeprefix("Answer ").removesuffix("."))


# What is said of every answer


@pytest.mark.parametrize("body", [hello(), hello(stream=True), hello(n=2), hello(n=2, stream=True)])
async def test_every_answer_to_a_chat_names_its_conversation(here, body):
    first = await here.ask(body, idempotency_key="key 1")
    again = await here.ask(body, idempotency_key="key 1")
    named = await here.ask(body, x_librarian_conversation="my chat")
    name = first.headers["x-librarian-conversation"]
    own = await here.ask(body, x_librarian_conversation=name)

    assert name.startswith("conv_")
    assert name == again.headers["x-librarian-conversation"] == own.headers["x-librarian-conversation"]
    assert name != named.headers["x-librarian-conversation"] != "my chat"


@pytest.mark.parametrize("headers", [{"x_openwebui_task": "title_generation"}, {"x_librarian_memory": "off"}])
async def test_what_is_no_chat_has_none(here, headers):
    reply = await here.ask(hello(), **headers)

    assert 200 == reply.status_code
    assert "x-librarian-conversation" not in reply.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_who_debugs_is_told_how_it_was_understood(here, stream):
    quiet = await here.ask(hello(stream=stream))
    said = await here.ask(
        hello(stream=stream, user="ada"), x_librarian_debug="1", x_librarian_conversation="secret", user_agent="me/1"
    )
    task = await here.ask(hello(stream=stream), x_librarian_debug="1", x_librarian_purpose="task", user_agent="me/1")

    assert {"x-librarian-identified", "x-librarian-plan"}.isdisjoint(quiet.headers)
    expected = "client=unknown; conversation=x-librarian-conversation; person=user; purpose=chat; by=default"
    assert (expected, "Start") == (said.headers["x-librarian-identified"], said.headers["x-librarian-plan"])
    expected = "client=unknown; conversation=transcript; person=principal; purpose=task; by=x-librarian-purpose"
    assert (expected, "Task") == (task.headers["x-librarian-identified"], task.headers["x-librarian-plan"])
    assert "secret" not in str(said.headers)


async def test_who_debugs_is_told_of_a_plan(here):
    first = await here.ask(hello(), x_librarian_debug="1")
    chat = [*hello()["messages"], {"role": "assistant", "content": text_of(first)[0]}, said_by_user("Go on.")]
    plans = [(await here.ask(hello(messages=chat), x_librarian_debug="1")).headers["x-librarian-plan"] for _ in "ab"]
    chat[1]["content"] = "Another answer."
    plans.append((await here.ask(hello(messages=chat), x_librarian_debug="1")).headers["x-librarian-plan"])
    plans += [
        (await here.ask(hello(messages=chat), x_librarian_debug="1", x_stainless_retry_count="1")).headers[
            "x-librarian-plan"
        ]
    ]

    assert ["Continue", "Branch", "Rebuild", "Replay"] == plans


def said_by_user(text):
    return {"role": "user", "content": text}


REFUSALS = {
    "no JSON": ("POST", CHAT, b"{", {}, 400),
    "a wrong field": ("POST", CHAT, hello(temperature=9), {}, 400),
    "a call that was never made": (
        "POST",
        CHAT,
        hello(messages=[{"role": "tool", "content": "42", "tool_call_id": "call_1"}]),
        {},
        400,
    ),
    "a strange conversation": ("POST", CHAT, hello(), {"x-librarian-conversation": UNKNOWN}, 404),
    "a placeholder": ("POST", CHAT, hello(), {"x-librarian-conversation": "{{chat_id}}"}, 400),
    "two conversations": ("POST", f"/c/a{CHAT}?conversation=b", hello(), {}, 400),
    "a key used before": ("POST", CHAT, hello(user="ada"), {"idempotency-key": "key 1"}, 409),
    "an unknown model": ("POST", CHAT, hello(model="nobody"), {}, 404),
    "an unknown path": ("POST", "/v1/nothing", hello(), {}, 404),
    "an unknown path of a conversation": ("POST", "/c/a/v1/nothing", hello(), {}, 404),
    "a wrong method": ("GET", CHAT, b"", {}, 405),
    "another media type": ("POST", CHAT, b"{}", {"content-type": "text/plain"}, 415),
    "a large body": ("POST", CHAT, b" " * 2000, {}, 413),
    "another origin": ("POST", CHAT, hello(), {"origin": "https://example.org"}, 403),
    "a model that fails": ("POST", CHAT, hello(), {}, 502),
    "a stream of a model that fails": ("POST", CHAT, hello(stream=True), {}, 502),
    "every seat taken": ("POST", CHAT, hello(), {}, 429),
}


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_every_refusal_says_whether_to_try_again(tmp_path, *, method, path, body, headers, status):
    pool = {"seats": 1, "places": 1, "patience_s": 0.02}
    async with living(tmp_path, http={"body_limit_bytes": 1024}, pool=pool) as here:
        await here.ask(hello(), idempotency_key="key 1")
        here.model.trouble = UpstreamRefused("No.", heard=True) if status == 502 else None
        held = here.house.leases().hold("local", None)
        if status == 429:
            await held.__aenter__()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = await here.client.request(
            method, path, content=content, headers={"content-type": "application/json"} | headers
        )

    assert (status, "true" if status == 429 else "false") == (reply.status_code, reply.headers["x-should-retry"])
    assert {"message", "type", "param", "code"} == reply.json()["error"].keys()


# Where a conversation is named

NAMING = {
    "header": (CHAT, {}, {"x-librarian-conversation": "{}"}, "X-Librarian-Conversation"),
    "a client's header": (CHAT, {}, {"x-openwebui-chat-id": "{}"}, "X-OpenWebUI-Chat-Id"),
    "query": (CHAT + "?conversation={}", {}, {}, "conversation"),
    "address": ("/c/{}" + CHAT, {}, {}, "conversation"),
    "metadata": (CHAT, {"metadata": {"chat_id": "{}"}}, {}, "metadata.chat_id"),
    "completions": ("/c/{}" + COMPLETIONS, {"prompt": "Hello?"}, {}, "conversation"),
}
PERSONS = {
    "user": (CHAT, {"user": "{}"}, {}, "user"),
    "safety_identifier": (CHAT, {"safety_identifier": "{}"}, {}, "safety_identifier"),
    "a client's header for the person": (CHAT, {}, {"x-openwebui-user-id": "{}"}, "X-OpenWebUI-User-Id"),
    "message": (CHAT, {}, {"x-openwebui-message-id": "{}"}, "X-OpenWebUI-Message-Id"),
    "idempotency": (CHAT, {}, {"idempotency-key": "{}"}, "Idempotency-Key"),
}
WRONG = {"placeholder": "{{CHAT_ID}}", "control": "a\x85b", "long": "é" * 129}


def filled(template, value):
    """`value` in the place of `{}`."""
    path, body, headers, _ = template
    quoted = httpx.QueryParams({"c": value})
    body = json.loads(json.dumps(hello(**body), ensure_ascii=False).replace('"{}"', json.dumps(value)))
    if COMPLETIONS in path:
        del body["messages"]
    path = path.replace("{}", str(quoted).removeprefix("c=").replace("+", "%20"))
    return path, body, {name: value.encode() if form == "{}" else form for name, form in headers.items()}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG.keys())
async def test_what_can_be_no_name_is_refused_and_told_where(here, value):
    told = []
    for template in (NAMING | PERSONS).values():
        path, body, headers = filled(template, value)
        reply = await here.client.post(path, json=body, headers=headers)
        told.append((reply.status_code, reply.json()["error"]["param"]))

    assert [(400, template[-1]) for template in (NAMING | PERSONS).values()] == told
    assert [] == here.model.prompts


@pytest.mark.parametrize("value", ["my chat", "é" * 128, "a/b?c=d&e%20f", "日本語"])
async def test_what_can_be_a_name_is_one(here, value):
    statuses = []
    for template in (NAMING | PERSONS).values():
        path, body, headers = filled(template, value)
        statuses.append((await here.client.post(path, json=body, headers=headers)).status_code)

    assert [200] * len(NAMING | PERSONS) == statuses


@pytest.mark.parametrize("value", ["my chat", "a/b?c=d&e%20f", "日本語"])
async def test_a_name_is_the_same_wherever_it_is_said(here, value):
    conversations = set()
    for template in NAMING.values():
        path, body, headers = filled(template, value)
        reply = await here.client.post(path, json=body, headers=headers)
        conversations.add(reply.headers["x-librarian-conversation"])

    assert 1 == len(conversations)


async def test_every_endpoint_is_served_below_a_conversation(here):
    models = await here.client.get("/c/x/v1/models")
    one = await here.client.get("/c/x/v1/models/librarian")
    elsewhere = await here.client.get("/c/x/health")
    sdk = openai.AsyncOpenAI(base_url=f"{here.server.url}/c/my%20chat/v1", api_key="none", max_retries=0)
    async with sdk:
        listed = [model.id async for model in sdk.models.list()]
        reply = await sdk.chat.completions.with_raw_response.create(**hello())
    named = await here.ask(hello(), x_librarian_conversation="my chat")

    assert (200, 200, 404) == (models.status_code, one.status_code, elsewhere.status_code)
    assert "librarian" in listed
    assert named.headers["x-librarian-conversation"] == reply.headers["x-librarian-conversation"]


@pytest.mark.parametrize(
    ("path", "headers", "param"),
    [
        (f"/c/a{CHAT}?conversation=b", {}, "conversation"),
        (f"{CHAT}?conversation=a&conversation=b", {}, "conversation"),
        (f"{CHAT}?conversation=a", {"x-librarian-conversation": "b"}, "X-Librarian-Conversation"),
        (f"/c/%ff{CHAT}", {}, "conversation"),
    ],
)
async def test_two_that_disagree_are_refused(here, path, headers, param):
    reply = await here.client.post(path, json=hello(), headers=headers)

    assert (400, param) == (reply.status_code, reply.json()["error"]["param"])


async def test_two_that_agree_are_one(here):
    reply = await here.ask(hello(), f"/c/a%20b{CHAT}?conversation=a%20b", x_librarian_conversation="a b")

    assert 200 == reply.status_code


# Several answers at once


@pytest.mark.parametrize("key", [None, "my chat"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_official_client_goes_on_from_any_of_several_answers(here, stream, key):
    headers = {"x-librarian-conversation": key} if key else {}
    sdk = openai.AsyncOpenAI(base_url=f"{here.server.url}/v1", api_key="none", max_retries=0, default_headers=headers)
    async with sdk:
        said, usage, first = await (streamed if stream else whole)(sdk, n=3)
        plans = []
        for index in (2, 0, 1):
            chat = [*hello()["messages"], {"role": "assistant", "content": said[index]}, said_by_user(f"On {index}.")]
            reply = await sdk.chat.completions.with_raw_response.create(
                **hello(messages=chat), extra_headers={"x-librarian-debug": "1"}
            )
            plans.append((reply.headers["x-librarian-plan"], reply.headers["x-librarian-conversation"]))
            shown = here.model.prompts[-1].messages
            assert [message["content"] for message in chat] == [message.text for message in shown]

    assert {0: "Answer 1.", 1: "Answer 2.", 2: "Answer 3."} == said
    assert (11, 21, 32) == (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    assert {("Continue", first)} == set(plans)


async def whole(sdk, **more):
    raw = await sdk.chat.completions.with_raw_response.create(**hello(**more))
    reply = raw.parse()
    assert {"stop"} == {choice.finish_reason for choice in reply.choices}
    said = {choice.index: choice.message.content for choice in reply.choices}
    return said, reply.usage, raw.headers["x-librarian-conversation"]


async def streamed(sdk, **more):
    body = hello(stream=True, stream_options={"include_usage": True}, **more)
    raw = await sdk.chat.completions.with_raw_response.create(**body)
    said, usage, finished = {}, None, []
    async for chunk in raw.parse():
        usage = chunk.usage or usage
        for choice in chunk.choices:
            said[choice.index] = said.get(choice.index, "") + (choice.delta.content or "")
            finished += [choice.index] if choice.finish_reason else []
    assert [0, 1, 2] == finished
    return said, usage, raw.headers["x-librarian-conversation"]
