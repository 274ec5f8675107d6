"""Any OpenAI-compatible model."""

import asyncio
from collections.abc import Mapping, Sequence

import aiohttp
import orjson

from librarian.adapters.upstream import listing, wire
from librarian.adapters.upstream.events import StepReader
from librarian.adapters.upstream.refusals import Refusals
from librarian.adapters.upstream.server import ModelServer, Silence, Sleep, complaint, translated
from librarian.domain.catalog import ModelCard
from librarian.domain.errors import InvalidRequest, UpstreamRefused
from librarian.domain.prompt import Prompt
from librarian.domain.turn import StepStream

SUCCESS = range(200, 300)
NOT_FOUND = 404
NOT_OFFERED = frozenset({404, 405})
LISTING_S = 10.0
SECRET_CHARS = 8
"""A shorter header's value is no secret, and may be part of any word."""
NO_MODEL = "No language model is configured, and the server lists none: set LIBRARIAN_UPSTREAM__MODEL."


class UpstreamModel:
    """A LanguageModel behind HTTP."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None = None,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        connect_s: float = 5.0,
        first_event_s: float = 300.0,
        idle_s: float = 60.0,
        connect_tries: int = 4,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`base_url` ends where `/chat/completions` begins. `model`: the default; None for the first one listed.

        How long the server may be silent: `first_event_s` before the first event, or before a reply in one piece;
        `idle_s` between two events.
        """
        sent = dict(headers or {})
        self._refusals = Refusals((api_key or "", *(value for value in sent.values() if len(value) >= SECRET_CHARS)))
        if api_key:
            sent["authorization"] = f"Bearer {api_key}"
        self._server = ModelServer(base_url, sent, connect_s, connect_tries, sleep)
        self._chat, self._models = self._server.url("chat/completions"), self._server.url("models")
        self._first_event_s, self._idle_s = first_event_s, idle_s
        self._configured = model
        self._found: str | None = None

    async def speak(self, prompt: Prompt) -> StepStream:
        model = prompt.model or self._configured or self._found or await self._first_listed()
        body = _encoded(prompt, model)
        reader = StepReader(self._refusals)
        silence = Silence(self._first_event_s)
        with translated(silence):
            reply = await self._server.post(self._chat, body, silence)
            try:
                if reply.status not in SUCCESS:
                    raise await self._refused(reply, silence)
                if _in_one_piece(reply, whole=prompt.whole):
                    for event in reader.feed_whole(await reply.read()):
                        yield event
                while not reader.done and (read := await _read(reply, reader)):
                    if events := reader.feed(read):
                        silence.becomes(self._idle_s, reply)
                        for event in events:
                            yield event
                for event in reader.close():
                    yield event
            finally:
                self._server.let_go(reply, heard_out=reader.done)

    async def models(self) -> Sequence[ModelCard]:
        silence = Silence(LISTING_S)
        with translated(silence):
            reply = await self._server.get(self._models, silence)
            try:
                if reply.status in NOT_OFFERED:
                    return ()
                if reply.status not in SUCCESS:
                    raise await self._refused(reply, silence)
                cards = listing.to_domain(await reply.read())
            finally:
                reply.close()
        if self._configured is None or not cards:
            return cards
        default = next((card for card in cards if card.name == self._configured), ModelCard(self._configured))
        return default, *(card for card in cards if card.name != self._configured)

    async def aclose(self) -> None:
        await self._server.aclose()

    async def _first_listed(self) -> str:
        cards = await self.models()
        if not cards:
            raise UpstreamRefused(NO_MODEL, heard=False)
        self._found = cards[0].name
        return self._found

    async def _refused(self, reply: aiohttp.ClientResponse, silence: Silence) -> Exception:
        if reply.status == NOT_FOUND:
            self._found = None  # what was listed once may be gone
        return self._refusals.by_status(reply.status, reply.headers, await complaint(reply, silence))


def _encoded(prompt: Prompt, model: str) -> bytes:
    try:
        return wire.from_domain(prompt, model)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"What is to be said to the language model is no JSON: {error}.") from error


def _in_one_piece(reply: aiohttp.ClientResponse, *, whole: bool) -> bool:
    """Some servers stream unasked, and some do not when asked."""
    kind = reply.headers.get("content-type", "")
    return not kind.startswith("text/event-stream") if whole else kind.startswith("application/json")


async def _read(reply: aiohttp.ClientResponse, reader: StepReader) -> bytes:
    """Empty at the end, and where a server that said all there was to say breaks off instead of ending."""
    try:
        return await reply.content.readany()
    except (aiohttp.ClientError, TimeoutError):
        if reader.finished:
            return b""
        raise
