"""Which language model's server runs on this machine."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import orjson

from librarian.adapters.upstream import listing
from librarian.domain.catalog import ModelCard

HOST = "127.0.0.1"
SERVICE = "librarian"
PLACES = {"Ollama": 11434, "LM Studio": 1234, "vLLM": 8000, "llama.cpp": 8080}
"""Where such servers listen unless told otherwise; the first one that answers is taken."""


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A server that answered, with at least one model that speaks. `base_url` has its `/v1`."""

    name: str
    base_url: str
    models: Sequence[ModelCard]


async def find_local(
    *, own_port: int | None = None, places: dict[str, int] | None = None, patience_s: float = 0.3
) -> LocalServer | None:
    """Asks all places at once. Neither `own_port` nor another gateway of ours is a language model."""
    asked = {name: port for name, port in (places or PLACES).items() if port != own_port}
    timeout = aiohttp.ClientTimeout(total=patience_s)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        found = await asyncio.gather(*(_ask(session, name, port) for name, port in asked.items()))
    return next((server for server in found if server is not None), None)


async def _ask(session: aiohttp.ClientSession, name: str, port: int) -> LocalServer | None:
    origin = f"http://{HOST}:{port}"
    try:
        async with session.get(f"{origin}/v1/models", allow_redirects=False) as reply:
            if not reply.ok or reply.headers.get("server", "").startswith(SERVICE):
                return None
            cards = listing.to_domain(await reply.read())
        if not cards or await _is_ours(session, origin):
            return None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    return LocalServer(name, f"{origin}/v1", cards)


async def _is_ours(session: aiohttp.ClientSession, origin: str) -> bool:
    try:
        async with session.get(f"{origin}/", allow_redirects=False) as reply:
            said = orjson.loads(await reply.read())
    except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):  # others greet in plain words, or not at all
        return False
    return isinstance(said, dict) and said.get("service") == SERVICE
