"""What happens when, between a real client and a real server."""

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import openai
import pytest

from librarian.adapters.pooling.local import LocalLeases
from librarian.domain.errors import AgentUnavailable
from librarian.domain.identity import LOCAL
from librarian.domain.pool import AgentPool
from librarian.domain.turn import TextSpoken
from librarian.entrypoints.http.attendance import WATCH_AFTER_S
from tests.unit.edge_house import (
    BEGAN,
    CHAT,
    COMPLETIONS,
    ENDED,
    LIMIT_BYTES,
    Fixtures,
    RealClock,
    ScriptedConverse,
    for_ever,
    front_door,
    hello,
    served,
)

pytestmark = pytest.mark.e2e

SPOKEN = TextSpoken(["Indeed."])
STREAM = hello(stream=True)


class SeatedConverse(ScriptedConverse):
    """Holds a real seat while it speaks."""

    def __init__(self, *events, seats=1):
        super().__init__(*events)
        self.pool = AgentPool(seats=seats, places=10, patience_s=60)
        self.leases = LocalLeases(self.pool, clock=RealClock())
        self.queued = asyncio.Event()
        self.gone = asyncio.Event()

    async def __call__(self, ask):
        try:
            if self.pool.taken:
                self.queued.set()
            async with self.leases.hold(LOCAL.id, None):
                async for event in super().__call__(ask):
                    yield event
        finally:
            self.gone.set()


@asynccontextmanager
async def house(converse, **choices):
    fixtures = Fixtures(converse)
    async with served(front_door(fixtures, **choices)) as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client, fixtures


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_while_the_agent_thinks_frees_the_seat(stream):
    converse = SeatedConverse(BEGAN, for_ever)
    async with house(converse) as (client, _):
        leaving = asyncio.create_task(client.post(CHAT, json=hello(stream=stream)))
        await converse.asked.wait()
        leaving.cancel()

        async with asyncio.timeout(1):
            await converse.gone.wait()

    assert 0 == converse.pool.taken


async def test_a_client_that_leaves_while_the_agent_speaks_frees_the_seat():
    converse = SeatedConverse(BEGAN, SPOKEN, for_ever)
    async with house(converse) as (client, fixtures):
        async with client.stream("POST", CHAT, json=STREAM) as reply:
            assert b"Indeed." in await anext(reply.aiter_bytes())

        async with asyncio.timeout(1):
            await converse.gone.wait()

    assert 0 == converse.pool.taken
    assert [[CHAT, 200]] == [facts[:2] for facts in fixtures.meter.of("request_served")]


async def test_a_client_that_leaves_the_queue_gives_up_its_place():
    converse = SeatedConverse(BEGAN, for_ever)
    async with house(converse) as (client, fixtures):
        sitting = asyncio.create_task(client.post(CHAT, json=hello()))
        await converse.asked.wait()
        leaving = asyncio.create_task(client.post(CHAT, json=STREAM))
        await converse.queued.wait()
        leaving.cancel()

        async with asyncio.timeout(1):
            await converse.gone.wait()

        assert (1, 0) == (converse.pool.taken, converse.pool.waiting)
        assert [[CHAT, 499]] == [facts[:2] for facts in fixtures.meter.of("request_served")]
        sitting.cancel()


async def test_a_client_that_leaves_while_it_sends_is_no_trouble():
    async with house(ScriptedConverse()) as (client, fixtures):
        reader, writer = await raw(client)
        writer.write(b"POST %b HTTP/1.1\r\nhost: localhost\r\n" % CHAT.encode())
        writer.write(b'content-type: application/json\r\ncontent-length: 100\r\n\r\n{"model')
        await writer.drain()
        await closed(writer)
        assert b"" == await reader.read()
        assert 200 == (await client.post(CHAT, json=hello())).status_code

    assert {(CHAT, 200), (CHAT, 499)} == {tuple(facts[:2]) for facts in fixtures.meter.of("request_served")}
    assert 1 == len(fixtures.converse.asks)


async def test_a_status_is_held_back_only_for_so_long():
    may_fail = asyncio.Event()
    converse = ScriptedConverse(BEGAN, may_fail.wait, AgentUnavailable("The agent broke off.", heard=True))
    async with house(converse, hold_s=0.05) as (client, _), client.stream("POST", CHAT, json=STREAM) as reply:
        parts = reply.aiter_bytes()
        assert (200, b": ping\n\n") == (reply.status_code, await anext(parts))
        assert "conv_1" == reply.headers["x-librarian-conversation"]

        may_fail.set()
        rest = b"".join([part async for part in parts])

    frame = rest.removeprefix(b": ping\n\n")
    assert "agent_unavailable" == json.loads(frame.removeprefix(b"data: "))["error"]["code"]


async def test_within_that_time_an_error_is_a_status():
    async def a_moment():
        await asyncio.sleep(0.05)

    converse = ScriptedConverse(BEGAN, a_moment, AgentUnavailable("The agent broke off.", heard=True))
    async with house(converse, hold_s=5) as (client, _):
        reply = await client.post(CHAT, json=STREAM)

    assert (503, "false") == (reply.status_code, reply.headers["x-should-retry"])


async def test_a_plain_reply_holds_until_it_is_done():
    async def a_moment():
        await asyncio.sleep(0.1)

    converse = ScriptedConverse(BEGAN, SPOKEN, a_moment, AgentUnavailable("The agent broke off.", heard=True))
    async with house(converse, hold_s=0.01, ping_s=0.01) as (client, _):
        reply = await client.post(CHAT, json=hello())

    assert 503 == reply.status_code


async def test_a_silent_stream_says_that_it_is_still_there():
    may_go_on = asyncio.Event()
    converse = ScriptedConverse(BEGAN, SPOKEN, may_go_on.wait, SPOKEN, ENDED)
    async with house(converse, ping_s=0.03) as (client, _), client.stream("POST", CHAT, json=STREAM) as reply:
        heard = b""
        async for part in reply.aiter_bytes():
            heard += part
            if heard.count(b": ping\n\n") == 3:
                may_go_on.set()

    assert heard.endswith(b"data: [DONE]\n\n")
    assert b"Indeed." in heard.partition(b": ping")[0]
    assert b"Indeed." in heard.rpartition(b": ping")[2]


async def test_a_stream_that_speaks_is_not_interrupted():
    async def a_moment():
        await asyncio.sleep(0.02)

    converse = ScriptedConverse(BEGAN, *[SPOKEN, a_moment] * 10, ENDED)
    async with house(converse, ping_s=0.15) as (client, _):
        reply = await client.post(CHAT, json=STREAM)

    assert b": ping" not in reply.content


MANY = 200
BREATH = TextSpoken(["x" * 100_000])
"""More, all together, than the buffers between us and a reader hold."""


async def test_a_slow_reader_holds_the_agent_back_and_misses_nothing():
    said = []

    async def noted():
        said.append(1)

    async with house(ScriptedConverse(BEGAN, *[BREATH, noted] * MANY, ENDED), ping_s=0.02) as (client, _):
        reader, writer = await raw(client)
        writer.transport.pause_reading()
        await ask_raw(writer, STREAM)
        before = -1
        while before < len(said) or not said:  # until it makes no headway
            before = len(said)
            await asyncio.sleep(0.2)
        assert before < MANY

        writer.transport.resume_reading()
        heard = await reader.read()
        await closed(writer)

    assert MANY == len(said) == heard.count(b"x" * 100_000)
    assert b"data: [DONE]" in heard


async def test_a_reader_who_stops_and_leaves_frees_the_seat():
    async def reading():
        await asyncio.sleep(0)  # as every agent waits for what its model says next

    converse = SeatedConverse(BEGAN, *[BREATH, reading] * MANY, ENDED)
    async with house(converse) as (client, _):
        _, writer = await raw(client)
        writer.transport.pause_reading()
        await ask_raw(writer, STREAM)
        await converse.asked.wait()
        await asyncio.sleep(2 * WATCH_AFTER_S)
        writer.transport.abort()

        async with asyncio.timeout(1):
            await converse.gone.wait()

    assert (0, 0) == (converse.pool.taken, converse.finished)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_takes_only_so_long(stream):
    converse = SeatedConverse(BEGAN, for_ever)
    async with house(converse, turn_s=0.05) as (client, _):
        reply = await client.post(CHAT, json=hello(stream=stream))

    assert (504, "upstream_timeout") == (reply.status_code, reply.json()["error"]["code"])
    assert "false" == reply.headers["x-should-retry"]
    assert 0 == converse.pool.taken


async def test_a_turn_that_speaks_on_and_on_ends_with_an_error():
    converse = ScriptedConverse(BEGAN, SPOKEN, for_ever)
    async with house(converse, turn_s=0.3) as (client, _):
        reply = await client.post(CHAT, json=STREAM)

    *_, last, rest = reply.text.split("\n\n")
    assert (200, "") == (reply.status_code, rest)
    assert "upstream_timeout" == json.loads(last.removeprefix("data: "))["error"]["code"]


@pytest.mark.parametrize("announced", [False, True])
async def test_a_body_that_is_too_large_is_refused_while_it_comes(announced):
    async with house(ScriptedConverse()) as (client, fixtures):
        reader, writer = await raw(client)
        size = 20 * LIMIT_BYTES
        length = b"content-length: %d" % size if announced else b"transfer-encoding: chunked"
        writer.write(b"POST %b HTTP/1.1\r\nhost: localhost\r\n" % CHAT.encode())
        writer.write(b"content-type: application/json\r\n%b\r\n\r\n" % length)
        for _ in range(20):
            part = b" " * LIMIT_BYTES
            writer.write(part if announced else b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"" if announced else b"0\r\n\r\n")
        head, body = await read_raw(reader)

        assert b"413" in head.split(b"\r\n")[0]
        assert "request_too_large" == json.loads(body)["error"]["code"]
        assert b"" == await reader.read()
        await closed(writer)

    assert [] == fixtures.converse.asks


async def test_a_refusal_does_not_cost_the_connection():
    async with house(ScriptedConverse()) as (client, _):
        reader, writer = await raw(client)
        bodies = [b"{", b"[]", json.dumps(hello(n=0)).encode(), b" " * 150_000, json.dumps(hello()).encode()]
        statuses = []
        for method, path, media, body in [
            *((b"POST", CHAT.encode(), b"application/json", body) for body in bodies),
            (b"POST", CHAT.encode(), b"text/plain", bodies[-1]),
            (b"POST", b"/v1/nothing", b"application/json", bodies[-1]),
            (b"GET", CHAT.encode(), b"application/json", bodies[-1]),
            (b"GET", b"/v1/models", b"application/json", b""),
        ]:
            writer.write(b"%b %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: %b\r\n" % (method, path, media))
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
            head, _ = await read_raw(reader)
            statuses.append(int(head.split()[1]))
        await closed(writer)

    assert [400, 400, 400, 400, 200, 415, 404, 405, 200] == statuses


async def test_what_is_no_host_is_refused():
    async with house(ScriptedConverse()) as (client, _):
        reader, writer = await raw(client)
        writer.write(b"GET /v1/models HTTP/1.0\r\n\r\n")
        head, body = await read_raw(reader)
        await closed(writer)

    assert b"403" in head.split(b"\r\n")[0]
    assert "address_refused" == json.loads(body)["error"]["code"]


async def test_the_house_is_opened_and_closed_in_order():
    done = []

    def step(name):
        async def take():
            done.append(name)

        return take

    opening, closing = [step("open 1"), step("open 2")], [step("close 1"), step("close 2")]
    async with house(ScriptedConverse(), opening=opening, closing=closing) as (client, _):
        await client.get("/health/live")

    assert ["open 1", "open 2", "close 2", "close 1"] == done


async def test_the_official_client_is_served():
    async with house(ScriptedConverse(), secret="lib_secret") as (client, _):
        sdk = openai.AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key="lib_secret", max_retries=0)
        async with sdk:
            plain = await sdk.chat.completions.create(**hello())
            async with sdk.chat.completions.stream(**hello()) as stream:
                whole = await stream.get_final_completion()
            older = await sdk.completions.create(model="librarian", prompt="Hello?")
            models = [model.id async for model in sdk.models.list()]
            one = await sdk.models.retrieve("qwen/qwen3:8b")

    said = [plain.choices[0].message.content, whole.choices[0].message.content, older.choices[0].text]
    assert ["Indeed."] * 3 == said
    assert "req_" == plain._request_id[:4]  # noqa: SLF001 - the SDK's documented name
    assert ("librarian", "qwen/qwen3:8b") == (models[0], one.id)


async def test_the_official_client_understands_our_errors():
    broken = ScriptedConverse(BEGAN, SPOKEN, AgentUnavailable("The agent broke off.", heard=True))
    async with house(broken, secret="lib_secret") as (client, fixtures):
        sdk = openai.AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key="lib_secret")
        async with sdk:
            with pytest.raises(openai.BadRequestError) as wrong:
                await sdk.chat.completions.create(**hello(temperature=5))
            with pytest.raises(openai.NotFoundError):
                await sdk.models.retrieve("nobody")
            with pytest.raises(openai.AuthenticationError):
                await sdk.with_options(api_key="no").models.list()
            stream = await sdk.chat.completions.create(**STREAM)
            with pytest.raises(openai.APIError, match="broke off"):
                [chunk async for chunk in stream]
            with pytest.raises(openai.InternalServerError):
                await sdk.chat.completions.create(**hello())

    assert ("temperature", "decimal_above_max_value") == (wrong.value.param, wrong.value.code)
    assert 2 == len(fixtures.converse.asks), "what was heard is not told again"


async def test_completions_are_streamed():
    async with house(ScriptedConverse()) as (client, _):
        reply = await client.post(COMPLETIONS, json={"model": "librarian", "prompt": "Hello?", "stream": True})

    assert reply.text.endswith("data: [DONE]\n\n")


async def raw(client):
    return await asyncio.open_connection(client.base_url.host, client.base_url.port)


async def closed(writer):
    writer.close()
    await writer.wait_closed()


async def ask_raw(writer, body):
    content = json.dumps(body).encode()
    writer.write(b"POST %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n" % CHAT.encode())
    writer.write(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content))
    await writer.drain()


async def read_raw(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head, await reader.readexactly(int(length.partition(b":")[2]))
