"""The server that the live tests stand on is the real one, and behaves as the adapter takes it to."""

import json

import httpx
import pytest

pytestmark = pytest.mark.live

SYSTEM = "You are a librarian."
AGENT = {
    "name": "ada",
    "model": "openai-proxy/gpt-4o-mini",
    "embedding": "openai/text-embedding-3-small",
    "memory_blocks": [{"label": "human", "value": "Name: Ada"}],
    "tags": ["lib"],
    "metadata": {},
    "include_base_tools": False,
    "system": SYSTEM,
}
DOUBLE = '''\
def double(number: int) -> int:
    """Twice a number.

    Args:
        number (int): The number.
    """
    return 2 * number
'''
HELLO = {"messages": [{"role": "user", "content": "hello"}], "stream_tokens": True}


async def make_agent(client: httpx.AsyncClient, **details) -> str:
    reply = await client.post("/v1/agents/", json=AGENT | details)
    assert 200 == reply.status_code, reply.text
    return reply.json()["id"]


async def open_conversation(client: httpx.AsyncClient, agent: str) -> str:
    reply = await client.post("/v1/conversations/", params={"agent_id": agent}, json={})
    assert 200 == reply.status_code, reply.text
    return reply.json()["id"]


async def told(client: httpx.AsyncClient, conversation: str, ask=None) -> list:
    """The events of a turn, as they came; the last is the word DONE."""
    events = []
    async with client.stream("POST", f"/v1/conversations/{conversation}/messages", json=ask or HELLO) as reply:
        assert 200 == reply.status_code
        async for line in reply.aiter_lines():
            if line.startswith("data: "):
                data = line.removeprefix("data: ")
                events.append("DONE" if data == "[DONE]" else json.loads(data))
    return events


def said(events: list) -> str:
    return "".join(event["content"] for event in events if kind(event) == "assistant_message")


def kind(event) -> str:
    return event if isinstance(event, str) else event["message_type"]


async def test_it_is_the_last_letta(letta):
    async with letta.client() as client:
        health = await client.get("/v1/health/")

    assert {"version": "0.16.8", "status": "ok"} == health.json()


async def test_its_models_are_the_scripted_ones(letta):
    async with letta.client() as client:
        models = await client.get("/v1/models/")
        embeddings = await client.get("/v1/models/embedding")

    assert {"openai-proxy/gpt-4o-mini": 128_000}.items() <= {
        model["handle"]: model["context_window"] for model in models.json()
    }.items()
    assert "openai/text-embedding-3-small" in {model["handle"] for model in embeddings.json()}


async def test_an_agent_is_made_and_gone(letta):
    async with letta.client() as client:
        agent = await make_agent(client)
        shown = (await client.get(f"/v1/agents/{agent}")).json()
        deleted = await client.delete(f"/v1/agents/{agent}")
        gone = await client.get(f"/v1/agents/{agent}")

    assert ("letta_v1_agent", []) == (shown["agent_type"], shown["tools"])
    assert ["Name: Ada"] == [block["value"] for block in shown["blocks"]]
    assert (200, 404) == (deleted.status_code, gone.status_code)


async def test_a_streamed_turn(letta):
    letta.model.say("the ", "answer", reasoning="let me see")
    async with letta.client() as client:
        conversation = await open_conversation(client, await make_agent(client))
        events = await told(client, conversation)

    assert [
        "ping",
        "reasoning_message",
        "assistant_message",
        "assistant_message",
        "stop_reason",
        "usage_statistics",
        "DONE",
    ] == [kind(event) for event in events]
    assert events[0]["run_id"].startswith("run-")
    assert "let me see" == events[1]["reasoning"]
    assert "the answer" == said(events)
    assert "end_turn" == events[4]["stop_reason"]
    assert (11, 7) == (events[5]["prompt_tokens"], events[5]["completion_tokens"])

    (asked,) = letta.model.requests
    system, user = asked.messages
    assert "gpt-4o-mini" == asked.body["model"]
    assert asked.streams
    assert system["content"].startswith(SYSTEM)
    assert "Name: Ada" in system["content"]
    assert ("user", "hello") == (user["role"], user["content"])


async def test_a_passage_is_put_by_and_found(letta):
    async with letta.client() as client:
        agent = await make_agent(client)
        passages = f"/v1/agents/{agent}/archival-memory"
        put = await client.post(passages, json={"text": "The cat is called Bertrand.", "tags": ["cat"]})
        found = await client.get(f"{passages}/search", params={"query": "cat"})

    assert 200 == put.status_code
    assert ["The cat is called Bertrand."] == [passage["content"] for passage in found.json()["results"]]


async def test_it_runs_a_tool_of_python(letta):
    letta.model.call("double", {"number": 21})
    letta.model.say("It is 42.")
    async with letta.client() as client:
        tool = (await client.post("/v1/tools/", json={"source_code": DOUBLE})).json()["id"]
        conversation = await open_conversation(client, await make_agent(client, tool_ids=[tool]))
        events = await told(client, conversation)

    (returned,) = [event for event in events if kind(event) == "tool_return_message"]
    assert ("success", "42") == (returned["status"], returned["tool_return"])
    assert "It is 42." == said(events)


@pytest.mark.timeout(240)
async def test_what_it_knows_outlives_it(letta):
    async with letta.client() as client:
        agent = await make_agent(client)
        letta.kill()
        with pytest.raises(httpx.TransportError):
            await client.get("/v1/health/")
        letta.start()

        assert 200 == (await client.get(f"/v1/agents/{agent}")).status_code


@pytest.mark.timeout(240)
async def test_a_second_server_is_secured_and_empty(letta):
    secured = letta.another(password="open sesame", database="secured")
    stranger = httpx.AsyncClient(base_url=secured.base_url)
    async with letta.client() as ours, secured.client() as client, stranger:
        agent = await make_agent(ours)
        health = await stranger.get("/v1/health/")
        refused = await stranger.get("/v1/agents/")
        unknown = await client.get(f"/v1/agents/{agent}")
        events = await told(client, await open_conversation(client, await make_agent(client)))
        secured.stop()
        with pytest.raises(httpx.TransportError):
            await client.get("/v1/health/")

    assert 200 == health.status_code
    assert (401, {"detail": "Unauthorized"}) == (refused.status_code, refused.json())
    assert 404 == unknown.status_code
    assert "echo: hello" == said(events)
