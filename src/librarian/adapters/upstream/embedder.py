"""Any OpenAI-compatible embedding model. Source: openai-openapi, CreateEmbeddingRequest, CreateEmbeddingResponse."""

import asyncio
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from struct import unpack

import msgspec
import orjson

from librarian.adapters.upstream import listing
from librarian.adapters.upstream.chat import LISTING_S, NOT_OFFERED, SECRET_CHARS, SUCCESS
from librarian.adapters.upstream.refusals import Refusals
from librarian.adapters.upstream.server import ModelServer, Silence, Sleep, complaint, translated
from librarian.application.ports.embedder import Embedder, Texts, Vectors
from librarian.domain.catalog import ModelCard
from librarian.domain.errors import InvalidRequest, UnknownModel

FLOAT_BYTES = 4
_NO_MODEL = frozenset({400, 403, 422, 500, 501})
_EMBEDS_NOT = re.compile(
    r"not (?:currently )?support (?:the )?(?:text )?embedding|not allowed to generate embeddings|not an embedding model"
    r"|embeddings? (?:api )?(?:is|are) not (?:supported|enabled)|\bmodel\b.{0,200}(?:not found|not exist|n't exist)"
    r"|no such model|unknown model",
    re.IGNORECASE,
)


class _Embedding(msgspec.Struct):
    """Floats, or little-endian float32 in base64, whatever was asked for."""

    embedding: list[float] | str
    index: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Reply(msgspec.Struct):
    data: list[_Embedding]
    usage: _Usage | None = None


class UpstreamEmbedder:
    """An Embedder behind HTTP."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None = None,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        connect_s: float = 5.0,
        first_event_s: float = 300.0,
        connect_tries: int = 4,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`base_url` ends where `/embeddings` begins. `model`: the default, listed or not."""
        sent = dict(headers or {})
        self._refusals = Refusals((api_key or "", *(value for value in sent.values() if len(value) >= SECRET_CHARS)))
        if api_key:
            sent["authorization"] = f"Bearer {api_key}"
        self._server = ModelServer(base_url, sent, connect_s, connect_tries, sleep)
        self._embeddings, self._models = self._server.url("embeddings"), self._server.url("models")
        self._first_event_s = first_event_s
        self._configured = model

    async def embed(self, texts: Texts, model: str, dimensions: int | None) -> Vectors:
        silence = Silence(self._first_event_s)
        with translated(silence):
            reply = await self._server.post(self._embeddings, _encoded(texts, model, dimensions), silence)
            try:
                if reply.status in SUCCESS:
                    return _decoded(await reply.read(), len(texts))
                said = await complaint(reply, silence)
                if reply.status in NOT_OFFERED or (
                    reply.status in _NO_MODEL and _EMBEDS_NOT.search(said.decode(errors="replace"))
                ):
                    raise UnknownModel(model)
                raise _of_input(self._refusals.by_status(reply.status, reply.headers, said))
            finally:
                self._server.let_go(reply, heard_out=True)

    async def models(self) -> Sequence[ModelCard]:
        silence = Silence(LISTING_S)
        with translated(silence):
            reply = await self._server.get(self._models, silence)
            try:
                if reply.status in NOT_OFFERED:
                    cards: Sequence[ModelCard] = ()
                elif reply.status in SUCCESS:
                    cards = listing.embedders(await reply.read())
                else:
                    raise self._refusals.by_status(reply.status, reply.headers, await complaint(reply, silence))
            finally:
                reply.close()
        if self._configured is None:
            return cards
        default = next((card for card in cards if card.name == self._configured), ModelCard(self._configured))
        return default, *(card for card in cards if card.name != self._configured)

    async def aclose(self) -> None:
        await self._server.aclose()


class ChosenEmbedder:
    """The embedding models of the server that was chosen; the built-in model has none."""

    def __init__(self, *, place: Callable[[], Awaitable[str | None]], at: Callable[..., Embedder]) -> None:
        """`place`: the base URL of the server that the house speaks through, None where there is none."""
        self._place = place
        self._at = at
        self._chosen: Embedder | None = None

    async def embed(self, texts: Texts, model: str, dimensions: int | None) -> Vectors:
        embedder = await self._embedder()
        if embedder is None:
            raise UnknownModel(model)
        return await embedder.embed(texts, model, dimensions)

    async def models(self) -> Sequence[ModelCard]:
        embedder = await self._embedder()
        return await embedder.models() if embedder is not None else ()

    async def aclose(self) -> None:
        if self._chosen is not None:
            await self._chosen.aclose()

    async def _embedder(self) -> Embedder | None:
        if self._chosen is None and (base_url := await self._place()) is not None:
            self._chosen = self._at(base_url=base_url)
        return self._chosen


async def nowhere() -> str | None:
    """The place of a server where there is none."""
    return None


def _encoded(texts: Texts, model: str, dimensions: int | None) -> bytes:
    """Floats, which every server knows."""
    asked: dict[str, object] = {"model": model, "input": texts, "encoding_format": "float"}
    if dimensions is not None:
        asked["dimensions"] = dimensions
    try:
        return orjson.dumps(asked)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"The input is no JSON: {error}.", param="input") from error


def _decoded(body: bytes, texts: int) -> Vectors:
    """Raises ValueError for what does not answer the question."""
    reply = msgspec.json.decode(body, type=_Reply)
    found = dict(enumerate(reply.data))
    if all(one.index is not None for one in reply.data):
        found = {one.index or 0: one for one in reply.data}
    if found.keys() != set(range(texts)):
        raise ValueError("There is not one vector for each text.")
    values = [_floats(found[at].embedding) for at in range(texts)]
    return Vectors(values, reply.usage.prompt_tokens if reply.usage is not None else None)


def _floats(sent: list[float] | str) -> Sequence[float]:
    if isinstance(sent, list):
        return sent
    packed = b64decode(sent)
    if len(packed) % FLOAT_BYTES:
        raise ValueError("These are no float32.")
    return unpack(f"<{len(packed) // FLOAT_BYTES}f", packed)


def _of_input(error: Exception) -> Exception:
    """What is too long, is the input."""
    if isinstance(error, InvalidRequest) and error.param == "messages":
        return InvalidRequest(str(error), param="input", code=error.code)
    return error
