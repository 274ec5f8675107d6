"""What the servers of other models would be sent, of those kinds that none can be run of: Letta says so beforehand."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from librarian.adapters.letta import sampling, wire
from librarian.adapters.letta.client import LettaClient
from librarian.domain.prompt import Sampling
from librarian.domain.tools import ToolSpec
from librarian.domain.transcript import assistant, user

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
CLAUDE, THINKER, LLAMA = "claude-3-haiku-20240307", "claude-sonnet-4-20250514", "llama3.2"
GEMINI, GROK = "gemini-2.0-flash", "grok-3"
TOOL = ToolSpec("get_weather", "Weather.", '{"type":"object","properties":{"place":{"type":"string"}}}')
ASKED = Sampling(50, {"temperature": b"0.25", "reasoning_effort": b'"low"'})


@pytest.fixture
async def listings() -> AsyncIterator[str]:
    """All that Letta asks of the makers of models: which there are."""
    claudes = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}
        for name in (CLAUDE, THINKER)
    ]
    gemini = {
        "name": f"models/{GEMINI}",
        "supportedGenerationMethods": ["generateContent"],
        "inputTokenLimit": 100_000,
    }
    llama = {"capabilities": ["tools"], "model_info": {"general.architecture": "x", "x.context_length": 8192}}
    said = {
        "/v1/models": {"data": claudes, "has_more": False, "first_id": CLAUDE, "last_id": THINKER},
        "/api/tags": {"models": [{"name": LLAMA}]},
        "/api/show": llama,
        "/v1beta/models": {"models": [gemini]},
        f"/v1beta/models/{GEMINI}": gemini,
        "/grok/models": {"data": [{"id": GROK, "context_length": 100_000}]},
    }

    async def answer(request: web.Request) -> web.Response:
        if request.path not in said:
            raise web.HTTPNotFound
        return web.json_response(said[request.path])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def client(letta, listings) -> AsyncIterator[LettaClient]:
    settings = {"ANTHROPIC_API_KEY": "unused", "ANTHROPIC_BASE_URL": listings, "OLLAMA_BASE_URL": listings}
    # in a thread: it asks the listings while it starts
    others = await asyncio.to_thread(letta.another, database="makers", settings=settings)
    async with others.client() as http:
        for name, kind, url in (("google", "google_ai", listings), ("grok", "xai", f"{listings}/grok")):
            body = {"name": name, "provider_type": kind, "api_key": "unused", "base_url": url}
            (await http.post("/v1/providers/", json=body)).raise_for_status()
    client = LettaClient(others.base_url)
    yield client
    await client.conversations.aclose()
    others.stop()


async def sent(client, handle):
    """What the model's server would be."""
    kinds = {model.handle: model.provider_type for model in await client.models()}
    choice = sampling.chosen(handle, kinds[handle], ASKED)
    agent = await client.agents.create(name="Ada", model=handle, embedding=None, system="Unseen.")
    thread = (await client.conversations.create(agent.id, model=handle, model_settings=choice.model_settings)).id
    body = wire.turn(wire.said([user("a"), assistant("b"), user("c")]), system="Be brief.", tools=[TOOL])
    return await client.conversations.preview(thread, body)


def as_openai(payload):
    (tool,) = payload["tools"]
    shown = [(message["role"], message["content"]) for message in payload["messages"]]
    return payload["temperature"], payload["max_completion_tokens"], shown, tool["function"]["name"]


def as_anthropic(payload):
    system = [("system", part["text"]) for part in payload["system"]]
    (tool,) = payload["tools"]
    shown = [
        (one["role"], one["content"] if isinstance(one["content"], str) else one["content"][0]["text"])
        for one in payload["messages"]
    ]
    return payload["temperature"], payload["max_tokens"], system + shown, tool["name"]


def as_google(payload):
    """What is told comes first, as the user's: Letta has no other place for it there."""
    config = payload["config"]
    roles = ("system", "user", "assistant", "user")
    shown = [(role, one["parts"][0]["text"]) for role, one in zip(roles, payload["contents"], strict=True)]
    (tool,) = config["tools"][0]["functionDeclarations"]
    return config["temperature"], config["max_output_tokens"], shown, tool["name"]


async def test_every_kind_is_told_what_was_asked(client):
    shown = [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c")]
    for handle, read in (
        (f"anthropic/{CLAUDE}", as_anthropic),
        (f"ollama/{LLAMA}", as_openai),
        (f"google/{GEMINI}", as_google),
        (f"grok/{GROK}", as_openai),
    ):
        assert (0.25, 50, shown, "get_weather") == read(await sent(client, handle)), handle

    thinker = await sent(client, f"anthropic/{THINKER}")
    thinking = thinker["thinking"]["budget_tokens"]
    assert (1.0, 50 + thinking, shown, "get_weather") == as_anthropic(thinker)
