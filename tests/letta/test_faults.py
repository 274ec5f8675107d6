"""What goes wrong with a Letta server, and that no conversation is lost by it.

After each fault the next request shows the model exactly what the client holds.
"""

import asyncio
import json
import re
import sqlite3
from contextlib import closing
from uuid import uuid4

import httpx
import pytest

from librarian.adapters.letta.client import LettaClient
from librarian.domain.errors import AgentUnavailable, LibrarianError, UnknownModel, UpstreamRefused, UpstreamTimedOut
from librarian.domain.prompt import Sampling
from librarian.domain.transcript import assistant, user
from tests.letta.proxy import standing_before
from tests.letta.talk import opened, said, shown, spoken_of
from tests.unit.edge_house import served

pytestmark = [pytest.mark.live, pytest.mark.timeout(90)]
SQL = "(sqlalchemy.dialects.postgresql.asyncpg.Error) [SQL: INSERT INTO messages (id) VALUES ('secret-4711')]"
STATUSES = (401, 404, 409, 422, 429, 500)
LETTAS_OWN = re.compile(r"SQL|sqlalchemy|4711|messages \(")


async def attempt(house, *chat, **more):
    """Whether or not it fails, nothing of Letta's words is told."""
    try:
        return await said(house, *chat, **more)
    except LibrarianError as failed:
        told = str(failed)
    assert not LETTAS_OWN.search(told)
    return None


@pytest.fixture
async def proxy(letta):
    async with standing_before(letta.base_url) as proxy:
        yield proxy


@pytest.fixture
async def house(letta, proxy, tmp_path):
    house = opened(letta, tmp_path, at=proxy.url, first_event_s=5, idle_s=5)
    yield house
    proxy.mend()
    await house.lifetime().aclose()


async def goes_on(house, letta, *chat):
    """The model is shown what the client holds, once."""
    letta.model.forget()
    reply = await said(house, *chat)

    assert f"echo: {chat[-1].text}" == reply.text
    assert [spoken_of(*chat)] == [shown(request) for request in letta.model.requests]
    return reply


async def fails(house, *chat, **more):
    """How; and what is told of it."""
    with pytest.raises(LibrarianError) as failed:
        await said(house, *chat, **more)
    assert not LETTAS_OWN.search(str(failed.value))
    return failed.value


@pytest.mark.parametrize(
    "what",
    [
        "GET /v1/models/$",
        "GET /v1/agents/$",
        "POST /v1/agents/$",
        "GET .*/core-memory/blocks$",
        "POST /v1/conversations/$",
        "POST .*/messages$",
    ],
)
async def test_a_first_turn_that_is_refused(house, letta, proxy, what):
    for status in STATUSES:
        proxy.fail(what, status, json.dumps({"detail": SQL}).encode())
        await fails(house, user("Hello."))
        proxy.mend()

    first = await goes_on(house, letta, user("Hello."))
    await goes_on(house, letta, user("Hello."), first, user("And now?"))


@pytest.mark.parametrize("what", ["GET .*/core-memory/blocks$", "POST .*/messages$"])
async def test_a_later_turn_that_is_refused(house, letta, proxy, what):
    chat = [user("Hello."), await said(house, user("Hello.")), user("And now?")]
    for status in STATUSES:
        proxy.fail(what, status, json.dumps({"detail": SQL}).encode())
        await fails(house, *chat)
        proxy.mend()

    second = await goes_on(house, letta, *chat)
    await goes_on(house, letta, *chat, second, user("And then?"))


async def test_settings_that_are_refused(house, letta, proxy):
    chat = [user("Hello."), await said(house, user("Hello.")), user("And now?")]
    for status in STATUSES:
        proxy.fail("PATCH /v1/conversations/", status, json.dumps({"detail": SQL}).encode())
        await attempt(house, *chat, sampling=Sampling(20, {"temperature": b"0.1"}))
        proxy.mend()

    await goes_on(house, letta, *chat, assistant("Nothing."), user("And then?"))


@pytest.mark.parametrize("what", ["PATCH /v1/agents/", "POST .*/fork$"])
async def test_a_branch_that_is_refused(house, letta, proxy, what):
    first = await said(house, user("Hello."))
    await said(house, user("Hello."), first, user("One way."))
    for status in STATUSES:
        proxy.fail(what, status, json.dumps({"detail": SQL}).encode())
        await attempt(house, user("Hello."), first, user("Another way."))
        proxy.mend()

    await goes_on(house, letta, user("Hello."), first, user("A third way."))


@pytest.mark.parametrize("what", ["GET /v1/conversations/", "DELETE /v1/conversations/"])
async def test_what_fails_after_the_answer_is_no_matter(house, letta, proxy, what):
    chat = [user("Hello.")]
    for status in (404, 409, 500):
        proxy.fail(what, status, json.dumps({"detail": SQL}).encode())
        chat += [await goes_on(house, letta, *chat), user(f"And {status}?")]
        proxy.mend()

    await goes_on(house, letta, *chat)


async def test_a_turn_that_was_taken_and_not_heard_of(house, letta, proxy):
    """Letta keeps the turn, the house never hears of it: the thread is not what it was."""
    first = await said(house, user("Hello."))
    proxy.break_off("POST .*/messages$")
    failed = await fails(house, user("Hello."), first, user("Are you there?"))
    proxy.mend()

    assert failed.heard
    await goes_on(house, letta, user("Hello."), first, user("Are you there?"))


@pytest.mark.parametrize("before", [b'data: {"id"', b'data: {"message_type":"stop_reason"', b"data: [DONE]"])
async def test_a_stream_that_ends_too_soon(house, letta, proxy, before):
    first = await said(house, user("Hello."))
    proxy.cut("POST .*/messages$", before)
    failed = await fails(house, user("Hello."), first, user("Are you there?"))
    proxy.mend()

    assert isinstance(failed, AgentUnavailable)
    await goes_on(house, letta, user("Hello."), first, user("Are you there?"))


async def test_a_model_that_breaks_off_makes_letta_stop_twice(house, letta):
    first = await said(house, user("Hello."))
    letta.model.break_off(after="In")
    failed = await fails(house, user("Hello."), first, user("Is it so?"))

    assert isinstance(failed, UpstreamRefused)
    assert failed.heard
    await goes_on(house, letta, user("Hello."), first, user("Is it so?"))


async def test_pings_for_ever(house, letta, proxy, tmp_path):
    first = await said(house, user("Hello."))
    hasty = opened(letta, tmp_path, at=proxy.url, first_event_s=0.5)
    letta.model.hang()
    proxy.only_pings("POST .*/messages$")
    failed = await fails(hasty, user("Hello."), first, user("Are you there?"))
    proxy.mend()
    await hasty.lifetime().aclose()

    assert isinstance(failed, UpstreamTimedOut)
    assert 1 == len([path for _, path, _ in proxy.passed if path.endswith("/cancel")])
    await goes_on(house, letta, user("Hello."), first, user("Are you there?"))


async def test_a_model_that_is_gone(house, letta, proxy):
    """The catalog still had it."""
    async with letta.client() as client:
        listed = (await client.get("/v1/models/")).json()
    known = next(model for model in listed if model["handle"] == "openai-proxy/gpt-4o-mini")
    gone = known | {"handle": "openai-proxy/gone", "name": "gone"}
    proxy.fail("GET /v1/models/$", 200, json.dumps([known, gone]).encode())
    first = await said(house, user("Hello."))
    failed = await fails(house, user("Hello."), first, user("Are you there?"), model="openai-proxy/gone")
    proxy.mend()

    assert isinstance(failed, UnknownModel)
    await goes_on(house, letta, user("Hello."), first, user("Are you there?"))


async def test_messages_that_are_not_there_any_more(house, letta, tmp_path):
    """As after a database was put back from a copy."""
    first = await said(house, user("Hello."))
    await said(house, user("Hello."), first, user("One way."))
    with closing(sqlite3.connect(tmp_path / "librarian.db")) as database, database:
        database.execute("UPDATE thread_turn SET messages = ?", [json.dumps([f"conv-{uuid4()}", f"message-{uuid4()}"])])

    await goes_on(house, letta, user("Hello."), first, user("Another way."))


async def test_a_branch_of_a_thread_deleted_behind_our_back(house, letta):
    """Letta would make it, and show the model nothing of it."""
    first = await said(house, user("Hello."))
    await said(house, user("Hello."), first, user("One way."))
    async with letta.client() as client:
        for chat in (await client.get("/v1/conversations/")).json():
            await client.delete(f"/v1/conversations/{chat['id']}")

    await goes_on(house, letta, user("Hello."), first, user("Another way."))


async def test_who_changes_their_mind_again_and_again_loses_nothing(house, letta):
    """Some of the threads that were branched from are deleted by then."""
    chat = [user("Hello.")]
    chat.append(await said(house, *chat))
    for number in range(6):
        await goes_on(house, letta, *chat, user(f"Way {number}."))
    await house.letta_agents().aclose()
    second = assistant("echo: Way 0.")

    await goes_on(house, letta, *chat, user("Way 0."), second, user("And on."))
    await goes_on(house, letta, *chat, user("Way 0."), second, user("And back."))


async def test_a_connection_that_broke_is_not_used_again():
    """Letta closes one after a failure that it did not foresee. A turn sent on it would count as heard."""
    connections = []

    async def serve(reader, writer):
        connections.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        failed = b"core-memory" in head
        status = b"500 Internal Server Error" if failed else b"200 OK"
        writer.write(b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]" % status)
        await writer.drain()
        await reader.read(1)
        writer.close()
        ended.release()

    ended = asyncio.Semaphore(0)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = LettaClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(AgentUnavailable):
        await client.memory.blocks("agent-1")
    assert [] == await client.models()
    await client.aclose()
    for _ in connections:
        await ended.acquire()
    server.close()

    assert 2 == len(connections)


@pytest.mark.timeout(180)
async def test_a_server_that_is_down_at_the_start_and_dies_in_the_middle(letta, tmp_path):
    letta.stop()
    house = opened(letta, tmp_path)
    async with served(house.front_door()) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        hello = {"model": "librarian", "user": "Ada", "messages": [{"role": "user", "content": "Hello."}]}
        assert 200 == (await client.get("/health/live")).status_code
        assert 503 == (await client.get("/health/ready")).status_code
        refused = await client.post("/v1/chat/completions", json=hello)
        assert (503, "agent_unavailable") == (refused.status_code, refused.json()["error"]["code"])
        await asyncio.to_thread(letta.start)
        assert (
            "echo: Hello."
            == (await client.post("/v1/chat/completions", json=hello)).json()["choices"][0]["message"]["content"]
        )
        assert 200 == (await client.get("/health/ready")).status_code

        letta.model.hang(after="In")
        frames = []
        async with client.stream("POST", "/v1/chat/completions", json=hello | {"stream": True}) as reply:
            async for line in reply.aiter_lines():
                frames += [line] if line.startswith("data:") else []
                if '"In"' in line:
                    await asyncio.to_thread(letta.kill)
        assert "agent_unavailable" == json.loads(frames[-1][5:])["error"]["code"]

        await asyncio.to_thread(letta.start)
        letta.model.forget()
        chat = [*hello["messages"], {"role": "assistant", "content": "echo: Hello."}, {"role": "user", "content": "b"}]
        again = await client.post("/v1/chat/completions", json=hello | {"messages": chat})
    assert "echo: b" == again.json()["choices"][0]["message"]["content"]
    assert [[(one["role"], one["content"]) for one in chat]] == [shown(request) for request in letta.model.requests]
