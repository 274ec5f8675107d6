"""POST /v1/embeddings. Source: openai-openapi, CreateEmbeddingResponse."""

import sys
from array import array
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence

import orjson
import structlog

from librarian.application.embed import Wanted
from librarian.application.ports.embedder import Vectors
from librarian.entrypoints.http.admission import Caller
from librarian.entrypoints.http.openai.wire import embeddings as wire
from librarian.entrypoints.http.openai.writing import JSON
from librarian.entrypoints.http.streams import Reply

Embed = Callable[[Wanted], Awaitable[Vectors]]


class EmbeddingsEndpoint:
    """One instance serves every request."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed

    async def __call__(self, body: bytes, caller: Caller, reply: Reply) -> None:
        """Raises InvalidRequest, and what Embed raises."""
        request = wire.decode(body)
        structlog.contextvars.bind_contextvars(principal_id=caller.principal.id, model=request.model)
        vectors = await self._embed(wire.to_domain(request))
        packed = request.encoding_format == "base64"
        await reply.at_once(200, JSON, written(vectors, request.model, packed=packed))


def written(vectors: Vectors, model: str, *, packed: bool) -> bytes:
    """`packed`: in base64."""
    tokens = vectors.tokens or 0
    data = [
        {"object": "embedding", "index": at, "embedding": pack(value) if packed else value}
        for at, value in enumerate(vectors.values)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return orjson.dumps({"object": "list", "data": data, "model": model, "usage": usage})


def pack(value: Sequence[float]) -> str:
    """Little-endian float32, in base64."""
    numbers = array("f", value)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers.tobytes()).decode()
