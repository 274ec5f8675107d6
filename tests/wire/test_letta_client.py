"""How a Letta server is asked, and every kind of trouble there is with one."""

import asyncio
import json
from contextlib import aclosing

import httpx
import pytest

from librarian.adapters.letta import wire
from librarian.adapters.letta.client import LettaClient
from librarian.adapters.letta.errors import AlreadyThere, Engaged, Gone, Missing, NothingRuns, NotPending, Pending
from librarian.adapters.letta.refusals import Refusals
from librarian.domain.errors import (
    AgentUnavailable,
    InvalidRequest,
    LibrarianError,
    TurnFailed,
    UpstreamBusy,
    UpstreamRefused,
    UpstreamTimedOut,
)
from librarian.domain.transcript import user
from librarian.domain.turn import StepEnded, StopReason, TextSpoken
from tests.wire.test_letta_events import DONE, PING, counted, failed, models_error, spoken, stopped

KEY = "sekret-key-0123456789"
AGENT = "agent-1"
CONVERSATION = "conv-1"
HELLO = wire.turn(wire.said([user("Hello.")]))
END = (stopped("end_turn"), counted(), DONE)
LEAKS = ("sqlalchemy", "asyncpg", "select ", "Traceback", "'loc'", "created_at", "Error code", KEY)


class Letta(httpx.AsyncBaseTransport):
    """Answers by method and path what was laid down for them, in order, and the last of it for ever."""

    def __init__(self):
        self.asked = []
        self._answers = {}

    def on(self, method, path, *answers):
        self._answers[method, path] = list(answers)

    async def handle_async_request(self, request):
        body = await request.aread()
        self.asked.append((request.method, request.url.path, json.loads(body) if body else None))
        self.last = request
        answers = self._answers.get((request.method, request.url.path), [httpx.Response(404, json={"detail": "?"})])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return await answer(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def asked_for(self, path):
        return [method for method, at, _ in self.asked if at == path]


class Stream(httpx.AsyncByteStream):
    """Reads, and events that are waited for in between."""

    def __init__(self, *parts):
        self._parts = parts
        self.closed = asyncio.Event()

    async def __aiter__(self):
        for part in self._parts:
            if isinstance(part, asyncio.Event):
                await part.wait()
            elif isinstance(part, Exception):
                raise part
            else:
                yield part

    async def aclose(self):
        self.closed.set()


def streaming(*parts):
    stream = Stream(*parts)

    async def answer(_):
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)

    answer.stream = stream
    return answer


async def at_once(_):
    return None


def ok(body=None):
    return httpx.Response(200, json=body)


TURNS = f"/v1/conversations/{CONVERSATION}/messages"
CANCEL = f"/v1/conversations/{CONVERSATION}/cancel"
NOTHING_RUNS = httpx.Response(409, json={"detail": "CONFLICT: No active runs to cancel for conversation conv-1"})


@pytest.fixture
def letta():
    letta = Letta()
    letta.on("POST", CANCEL, ok({"run-1": "cancelled"}))
    return letta


@pytest.fixture
async def client(letta):
    client = LettaClient("http://letta", KEY, first_event_s=5, idle_s=5, transport=letta, sleep=at_once)
    yield client
    await client.aclose()


async def heard(client, body=HELLO, reader=None):
    async with asyncio.timeout(10), aclosing(client.send(CONVERSATION, body, reader)) as events:
        return [event async for event in events]


async def refused(work):
    with pytest.raises(LibrarianError) as error:
        await work
    assert not [leak for leak in LEAKS if leak in str(error.value)]
    return error.value


async def test_how_it_is_asked(client, letta):
    letta.on("GET", "/v1/health/", ok({"version": "0.16.8", "status": "ok"}))

    assert "0.16.8" == (await client.health()).version

    assert f"Bearer {KEY}" == letta.last.headers["authorization"]
    assert "identity" == letta.last.headers["accept-encoding"]
    assert "http://letta/v1/health/" == letta.last.url


async def test_without_a_key_none_is_sent(letta):
    client = LettaClient("http://letta/below/", transport=letta)
    letta.on("GET", "/below/v1/health/", ok({}))

    await client.health()

    assert "authorization" not in letta.last.headers
    await client.aclose()


async def test_an_agent_is_made_without_lettas_own_tools(client, letta):
    letta.on("POST", "/v1/agents/", ok({"id": AGENT, "message_ids": ["message-0"], "unknown": 1}))

    agent = await client.agents.create(
        name="ada", model="p/m", embedding="p/e", system="Be.", tags=["a"], window_tokens=8000, more={"timezone": "UTC"}
    )

    assert AGENT == agent.id
    ((_, _, sent),) = letta.asked
    assert {
        "include_base_tools": False,
        "compaction_settings": {"model": "p/m"},
        "context_window_limit": 8000,
        "timezone": "UTC",
    }.items() <= sent.items()


async def test_agents_are_found_by_all_their_tags(client, letta):
    letta.on("GET", "/v1/agents/", ok([{"id": AGENT}]))

    assert [AGENT] == [agent.id for agent in await client.agents.find(["a", "b"])]

    assert "tags=a&tags=b&match_all_tags=true&limit=50" == letta.last.url.query.decode()


SQL = (
    "(sqlalchemy.dialects.postgresql.asyncpg.IntegrityError) <class 'asyncpg.exceptions.UniqueViolationError'> select "
)
FOREIGN = "A foreign key constraint was violated: (sqlalchemy) <class 'asyncpg.exceptions.ForeignKeyViolationError'>"
NO_CONVERSATION = "Conversation not found with id='['conv-1']', access level in ['read'] for actor='id=... created_at="
REPR = "[{'type': 'literal_error', 'loc': ('body', 'messages', 0, 'role'), 'msg': 'Input should be ...'}]"


def model_failed(kind, detail="", status=500):
    return httpx.Response(status, json={"error": {"type": kind, "message": "It failed.", "detail": detail}})


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(401, json={"detail": "Unauthorized"}), UpstreamRefused),
        (httpx.Response(403, text="<html>"), UpstreamRefused),
        (model_failed("llm_authentication", models_error(401), 401), UpstreamRefused),
        (model_failed("llm_rate_limit", models_error(429), 429), UpstreamBusy),
        (model_failed("llm_insufficient_credits", status=402), UpstreamBusy),
        (httpx.Response(429, json={"detail": "slow"}), UpstreamBusy),
        (model_failed("llm_bad_request", models_error(400), 400), InvalidRequest),
        (model_failed("llm_bad_request", "no code", 400), InvalidRequest),
        (model_failed("llm_error", models_error(500)), UpstreamRefused),
        (model_failed("llm_timeout", status=504), UpstreamTimedOut),
        (httpx.Response(504, text="gateway"), UpstreamTimedOut),
        (httpx.Response(502, json={"detail": f"Failed to process LLM response: {models_error(429)}"}), UpstreamBusy),
        (httpx.Response(502, json={"detail": "LLM provider error: Traceback"}), UpstreamRefused),
        (httpx.Response(502, text="Bad Gateway"), AgentUnavailable),
        (httpx.Response(503, json={"detail": "The database is temporarily unavailable."}), AgentUnavailable),
        (httpx.Response(500, json={"detail": SQL}), AgentUnavailable),
        (httpx.Response(500, text="Internal Server Error"), AgentUnavailable),
        (httpx.Response(307, headers={"location": "/x"}), AgentUnavailable),
        (httpx.Response(422, json={"trace_id": "", "detail": REPR}), TurnFailed),
        (httpx.Response(400, json={"detail": "Message content is empty or invalid"}), TurnFailed),
        (httpx.Response(409, json={"detail": SQL}), AlreadyThere),
        (httpx.Response(409, json={"detail": FOREIGN}), Gone),
        (httpx.Response(409, json={"detail": "CONFLICT: The agent is waiting for approval on a tool call."}), Pending),
        (
            httpx.Response(400, json={"detail": "Invalid tool call IDs. Expected '['c1']', but received '[]'."}),
            NotPending,
        ),
        (httpx.Response(409, json={"detail": "CONFLICT: Cannot send", "run_id": "run-7"}), Engaged),
        (httpx.Response(409, json={"detail": "A database deadlock was detected."}), Engaged),
        (httpx.Response(404, json={"detail": "Not Found"}), AgentUnavailable),
        (httpx.Response(404, json={"detail": NO_CONVERSATION}), Gone),
        (httpx.Response(400, json={"detail": ["an", "odd", {"shape": SQL}]}), TurnFailed),
    ],
)
async def test_refusals(client, letta, answer, kind):
    letta.on("POST", "/v1/agents/agent-1/generate", answer)
    letta.on("POST", TURNS, answer)

    assert kind is type(await refused(client.agents.generate(AGENT, "Hi.")))
    error = await refused(heard(client))

    assert kind is type(error)
    assert not getattr(error, "heard", False)
    assert [] == letta.asked_for(CANCEL)  # whoever runs there is somebody else


@pytest.mark.parametrize(
    ("path", "detail", "what", "name"),
    [
        ("/v1/agents/agent-1", "Agent with ID agent-1 not found", Missing.AGENT, "agent-1"),
        ("/v1/conversations/", "Agent not found", Missing.AGENT, ""),
        ("/v1/conversations/conv-1", NO_CONVERSATION, Missing.CONVERSATION, "conv-1"),
        ("/v1/conversations/conv-1/messages", NO_CONVERSATION, Missing.CONVERSATION, "conv-1"),
        ("/v1/conversations/conv-1/messages", "NOT_FOUND: Handle p/m not found, must be one of []", "handle", "p/m"),
        ("/v1/agents/agent-1/generate", "Model 'p/m' not found or not accessible", Missing.HANDLE, "p/m"),
        ("/v1/agents/agent-1/core-memory/blocks/x", "No block with label 'x' found for agent", Missing.OTHER, ""),
        ("/v1/conversations/conv-1", "", Missing.CONVERSATION, "conv-1"),
    ],
)
def test_what_is_gone(path, detail, what, name):
    error = Refusals([], 30).by_status(404, {}, json.dumps({"detail": detail}).encode(), path)

    assert isinstance(error, Gone)
    assert (what, name) == (error.what, error.name)


def test_a_window_that_overflows_before_the_stream():
    body = json.dumps({"detail": f"CONTEXT_WINDOW_EXCEEDED: {models_error(400)}"}).encode()

    error = Refusals([], 30).by_status(400, {}, body, TURNS)

    assert isinstance(error, InvalidRequest)
    assert "context_length_exceeded" == error.code


def test_how_long_to_wait():
    def wait(after):
        return Refusals([], 30).by_status(429, {"retry-after": after}, b"", TURNS).retry_after_s

    assert [2.0, 120.0, None] == [wait("2"), wait("100000"), wait("tomorrow")]


def test_what_the_model_said_goes_out_without_secrets():
    detail = models_error(400, message=f"Bearer {KEY} and {KEY}\nwere\x00 sent")
    body = json.dumps({"error": {"type": "llm_bad_request", "message": "", "detail": detail}}).encode()

    assert "*** and *** were sent" == str(Refusals([KEY], 30).by_status(400, {}, body, TURNS))


async def test_a_server_that_is_not_there(client, letta):
    letta.on("POST", TURNS, httpx.ConnectError("refused"))

    error = await refused(heard(client))

    assert isinstance(error, AgentUnavailable)
    assert not error.heard
    assert ["POST"] * 3 == letta.asked_for(TURNS)


async def test_connecting_is_tried_again(client, letta):
    letta.on("POST", TURNS, httpx.ConnectError("refused"), streaming(PING, spoken("Hi."), *END))

    assert StopReason.END_OF_TURN is (await heard(client))[-1].reason


@pytest.mark.parametrize("broken", [httpx.ReadError("gone"), httpx.RemoteProtocolError("gone")])
async def test_only_what_may_be_asked_twice_is_asked_again(client, letta, broken):
    letta.on("GET", "/v1/agents/agent-1", broken, ok({"id": AGENT}))
    letta.on("PATCH", "/v1/agents/agent-1", broken, ok({"id": AGENT}))
    letta.on("POST", "/v1/agents/agent-1/generate", broken, ok({}))

    assert AGENT == (await client.agents.get(AGENT)).id
    assert AGENT == (await client.agents.patch(AGENT, tags=[])).id
    error = await refused(client.agents.generate(AGENT, "Hi."))

    assert isinstance(error, AgentUnavailable)
    assert error.heard


async def test_a_server_that_is_late(client, letta):
    letta.on("GET", "/v1/agents/agent-1", httpx.ReadTimeout("late"))

    assert isinstance(await refused(client.agents.get(AGENT)), UpstreamTimedOut)
    assert ["GET"] == letta.asked_for("/v1/agents/agent-1")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"id": 5}', b""])
async def test_an_answer_that_cannot_be_read(client, letta, body):
    letta.on("GET", "/v1/agents/agent-1", httpx.Response(200, content=body))

    assert isinstance(await refused(client.agents.get(AGENT)), AgentUnavailable)


@pytest.mark.parametrize("url", ["letta.example", "http://", "ftp://letta"])
async def test_an_address_that_is_none(url):
    client = LettaClient(url)

    assert isinstance(await refused(client.health()), AgentUnavailable)


async def test_what_is_no_text(client):
    assert isinstance(await refused(heard(client, wire.turn(wire.said([user("\ud800")])))), InvalidRequest)


def test_one_client_in_many_loops(letta):
    client = LettaClient("http://letta", transport=letta)
    letta.on("GET", "/v1/health/", ok({}))

    async def ask():
        await client.health()
        return client

    asyncio.run(ask())
    asyncio.run(ask())


async def test_a_turn_is_always_streamed(client, letta):
    letta.on("POST", TURNS, streaming(PING, spoken("the ") + spoken("answer"), *END))
    reader = client.conversations.reader(most_tokens=7)

    events = await heard(client, reader=reader)

    assert TextSpoken(["the ", "answer"]) == events[0]
    assert StopReason.LENGTH is events[-1].reason
    assert HELLO | {"streaming": True, "stream_tokens": True, "include_pings": True} == letta.asked[0][2]
    assert reader.run_id.startswith("run-")
    await client.conversations.settled(CONVERSATION)
    assert [] == letta.asked_for(CANCEL)


async def test_the_end_is_told_before_the_stream_ends(client, letta):
    ended = asyncio.Event()
    answer = streaming(PING, *END, ended)
    letta.on("POST", TURNS, answer)

    assert isinstance((await heard(client))[-1], StepEnded)
    assert not answer.stream.closed.is_set()

    ended.set()
    await client.conversations.settled(CONVERSATION)
    assert answer.stream.closed.is_set()
    assert [] == letta.asked_for(CANCEL)


async def test_the_next_turn_waits_for_the_end_of_the_last(client, letta):
    ended = asyncio.Event()
    letta.on("POST", TURNS, streaming(PING, *END, ended), streaming(PING, *END))
    await heard(client)

    second = asyncio.ensure_future(heard(client))
    await asyncio.sleep(0.01)
    assert ["POST"] == letta.asked_for(TURNS)
    ended.set()

    assert isinstance((await second)[-1], StepEnded)


async def test_a_turn_closed_early_is_cancelled(client, letta):
    answer = streaming(PING, spoken("Half"), asyncio.Event())
    letta.on("POST", TURNS, answer)

    async with aclosing(client.send(CONVERSATION, HELLO)) as events:
        await anext(events)
    await asyncio.wait_for(answer.stream.closed.wait(), 10)

    assert ["POST"] == letta.asked_for(CANCEL)


async def test_a_turn_whose_task_is_cancelled_is_cancelled(client, letta):
    spoke = asyncio.Event()
    letta.on("POST", TURNS, streaming(PING, spoken("Half"), asyncio.Event()))

    async def listen():
        async with aclosing(client.send(CONVERSATION, HELLO)) as events:
            async for _ in events:
                spoke.set()

    task = asyncio.ensure_future(listen())
    await spoke.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.conversations.settled(CONVERSATION)

    assert ["POST"] == letta.asked_for(CANCEL)


async def test_that_nothing_ran_any_more_is_no_trouble(client, letta):
    letta.on("POST", CANCEL, NOTHING_RUNS)
    letta.on("POST", TURNS, streaming(PING, spoken("Half")))

    assert isinstance(await refused(heard(client)), AgentUnavailable)
    await client.conversations.settled(CONVERSATION)

    assert ["POST"] == letta.asked_for(CANCEL)


async def test_a_turn_that_cannot_be_cancelled_is_left(client, letta):
    letta.on("POST", CANCEL, httpx.ConnectError("gone"))
    letta.on("POST", TURNS, streaming(PING, httpx.ReadError("gone")))

    error = await refused(heard(client))
    await client.conversations.settled(CONVERSATION)

    assert isinstance(error, AgentUnavailable)
    assert error.heard


async def test_pings_are_no_sign_of_life(letta):
    client = LettaClient("http://letta", first_event_s=0.2, idle_s=5, transport=letta)

    async def ping_for_ever():
        while True:
            await asyncio.sleep(0.02)
            yield PING

    async def answer(_):
        return httpx.Response(200, content=ping_for_ever())

    letta.on("POST", TURNS, answer)

    error = await refused(heard(client))
    assert isinstance(error, UpstreamTimedOut)
    assert 0.2 == error.waited_s
    await client.conversations.settled(CONVERSATION)
    assert ["POST"] == letta.asked_for(CANCEL)
    await client.aclose()


async def test_silence_in_the_middle(letta):
    client = LettaClient("http://letta", first_event_s=5, idle_s=0.1, transport=letta)
    letta.on("POST", TURNS, streaming(PING, spoken("Half"), asyncio.Event()))

    error = await refused(heard(client))

    assert (UpstreamTimedOut, 0.1) == (type(error), error.waited_s)
    await client.aclose()


async def test_silence_before_the_stream(letta):
    client = LettaClient("http://letta", first_event_s=0.1, transport=letta)

    async def never(_):
        await asyncio.Event().wait()

    letta.on("POST", TURNS, never)

    assert isinstance(await refused(heard(client)), UpstreamTimedOut)
    await client.conversations.settled(CONVERSATION)
    assert ["POST"] == letta.asked_for(CANCEL)
    await client.aclose()


async def test_a_slow_reader_is_no_silence(letta):
    client = LettaClient("http://letta", first_event_s=5, idle_s=0.1, transport=letta)
    letta.on("POST", TURNS, streaming(PING, spoken("the "), spoken("answer"), *END))

    async with aclosing(client.send(CONVERSATION, HELLO)) as events:
        async for _ in events:
            await asyncio.sleep(0.15)

    await client.aclose()


async def test_a_failure_in_the_stream_is_not_cancelled(client, letta):
    letta.on("POST", TURNS, streaming(PING, stopped("llm_api_error"), failed("llm_rate_limit"), DONE))

    assert isinstance(await refused(heard(client)), UpstreamBusy)
    await client.conversations.settled(CONVERSATION)

    assert [] == letta.asked_for(CANCEL)


async def test_whether_anything_was_cancelled(client, letta):
    letta.on("POST", CANCEL, ok({"run-1": "cancelled"}), NOTHING_RUNS)

    assert await client.conversations.cancel(CONVERSATION)
    assert not await client.conversations.cancel(CONVERSATION)


def test_nothing_runs_is_told_by_its_words():
    assert isinstance(Refusals([], 30).by_status(409, {}, NOTHING_RUNS.content, CANCEL), NothingRuns)


class Branching:
    """An agent whose own history can be set, and forked."""

    def __init__(self, letta, *, others=0):
        self.history = ["message-0", "message-own"]
        self.most_at_once = self.at_once = 0
        self.fork = None
        self._others = others
        letta.on("GET", "/v1/agents/agent-1", self.agent)
        letta.on("PATCH", "/v1/agents/agent-1", self.set)
        letta.on("POST", "/v1/conversations/default/fork", self.forked)
        letta.on("GET", "/v1/conversations/conv-2", self.conversation)
        letta.on("DELETE", "/v1/conversations/conv-2", ok())

    async def agent(self, _):
        return ok({"id": AGENT, "message_ids": self.history})

    async def set(self, request):
        self.history = json.loads(request.content)["message_ids"]
        return ok({"id": AGENT})

    async def forked(self, _):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        self.fork = ["message-new", *self.history[1:]]
        if self._others:
            self._others -= 1
            self.fork = ["message-new", "message-theirs"]
        return ok({"id": "conv-2", "agent_id": AGENT})

    async def conversation(self, _):
        return ok({"id": "conv-2", "agent_id": AGENT, "in_context_message_ids": self.fork})


async def test_a_branch(client, letta):
    agent = Branching(letta)

    branch = await client.agents.branch(AGENT, ["message-1", "message-2"])

    assert ("conv-2", ["message-new", "message-1", "message-2"]) == (branch.id, branch.in_context_message_ids)
    assert ["message-0", "message-own"] == agent.history
    assert ["message-0", "message-1", "message-2"] == letta.asked[1][2]["message_ids"]


async def test_branches_of_one_agent_take_turns(client, letta):
    agent = Branching(letta)

    async with asyncio.TaskGroup() as group:
        branches = [group.create_task(client.agents.branch(AGENT, [f"message-{n}"])) for n in range(5)]

    assert 1 == agent.most_at_once
    assert [[f"message-{n}"] for n in range(5)] == [one.result().in_context_message_ids[1:] for one in branches]
    assert ["message-0", "message-own"] == agent.history


async def test_a_branch_that_another_process_came_between(client, letta):
    Branching(letta, others=1)

    branch = await client.agents.branch(AGENT, ["message-1"])

    assert ["message-new", "message-1"] == branch.in_context_message_ids
    assert ["GET", "DELETE", "GET"] == letta.asked_for("/v1/conversations/conv-2")


async def test_a_branch_that_others_never_let_through(client, letta):
    agent = Branching(letta, others=99)

    assert isinstance(await refused(client.agents.branch(AGENT, ["message-1"])), Engaged)
    assert ["message-0", "message-own"] == agent.history


async def test_a_branch_at_a_message_that_is_gone(client, letta):
    agent = Branching(letta)
    letta.on("POST", "/v1/conversations/default/fork", httpx.Response(409, json={"detail": FOREIGN}))

    error = await refused(client.agents.branch(AGENT, ["message-gone"]))

    assert (Gone, Missing.MESSAGE) == (type(error), error.what)
    assert ["message-0", "message-own"] == agent.history


async def test_whoever_leaves_a_branch_leaves_nothing_behind(client, letta):
    agent = Branching(letta)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.agents.branch(AGENT, ["message-1"]), 0.005)
    await client.agents.aclose()

    assert ["message-0", "message-own"] == agent.history
    assert "DELETE" in letta.asked_for("/v1/conversations/conv-2")


async def test_a_block_that_cannot_be_attached_is_not_left_lying_about(client, letta):
    letta.on("POST", "/v1/blocks/", ok({"id": "block-1", "label": "notes"}))
    letta.on("PATCH", "/v1/agents/agent-1/core-memory/blocks/attach/block-1", httpx.Response(409, json={"detail": SQL}))
    letta.on("DELETE", "/v1/blocks/block-1", ok())

    error = await refused(client.memory.add_block(AGENT, "notes", "", limit_chars=50))

    assert isinstance(error, AlreadyThere)
    assert ["DELETE"] == letta.asked_for("/v1/blocks/block-1")


async def test_labels_stay_in_their_place(client, letta):
    await refused(client.memory.block(AGENT, "../x?y"))

    assert b"/v1/agents/agent-1/core-memory/blocks/..%2Fx%3Fy" == letta.last.url.raw_path
