"""What a client sends to /v1/embeddings. Source: openai-openapi, CreateEmbeddingRequest."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from librarian.application.embed import Wanted
from librarian.application.ports.embedder import Texts
from librarian.domain.errors import InvalidRequest
from librarian.entrypoints.http.openai.wire.decoding import decoder
from librarian.entrypoints.http.openai.wire.sampling import Count

MOST_TEXTS = 2048
MOST_TOKENS = 8192
"""Of one text. OpenAI's schema says 2,048, its models take as many as this, and clients send them."""

Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[Token], Meta(min_length=1, max_length=MOST_TOKENS)]


class EmbeddingRequest(msgspec.Struct):
    """An array of numbers is one text in tokens. Unknown fields are ignored, and null is the same as nothing."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: str | Annotated[list[str | Token | Tokens], Meta(min_length=1, max_length=MOST_TOKENS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    user: str | None = None


decode = decoder(EmbeddingRequest)


def to_domain(request: EmbeddingRequest) -> Wanted:
    """Raises InvalidRequest."""
    return Wanted(_texts(request.input), request.model, request.dimensions)


def _texts(sent: str | Sequence[str | int | list[int]]) -> Texts:
    if isinstance(sent, str):
        return [_text(sent, "input")]
    if tokens := [one for one in sent if isinstance(one, int)]:
        _require_all(tokens, sent)
        return [tokens]
    if len(sent) > MOST_TEXTS:
        raise InvalidRequest(
            f"Invalid 'input': expected an array of at most {MOST_TEXTS} texts, but got {len(sent)} instead.",
            param="input",
            code="array_above_max_length",
        )
    if lists := [one for one in sent if isinstance(one, list)]:
        _require_all(lists, sent)
        return lists
    return [_text(one, f"input[{at}]") for at, one in enumerate(sent) if isinstance(one, str)]


def _text(sent: str, place: str) -> str:
    if not sent:
        raise InvalidRequest(
            f"Invalid '{place}': input cannot be an empty string.", param=place.replace("[", ".["), code="invalid_value"
        )
    return sent


def _require_all(alike: Sequence[object], sent: Sequence[object]) -> None:
    if len(alike) < len(sent):
        raise InvalidRequest("Invalid 'input': its entries are of different types.", param="input", code="invalid_type")
