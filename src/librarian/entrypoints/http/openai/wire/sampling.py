"""What requests for chats and for completions have in common."""

from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from librarian.domain.clients import LABELS
from librarian.domain.errors import InvalidRequest
from librarian.domain.prompt import PLAIN_SAMPLING, Sampling
from librarian.entrypoints.http.openai.wire.decoding import Passed, kept

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
MOST_LABELS = 16
LABEL_CHARS = 64
LABELLED_CHARS = 512
"""Source: openai-openapi, Metadata."""
Penalty = Annotated[float, Meta(ge=-2, le=2)]

PASSED = (
    "frequency_penalty",
    "logit_bias",
    "max_tokens",
    "min_p",
    "presence_penalty",
    "prompt_cache_key",
    "repetition_penalty",
    "seed",
    "stop",
    "temperature",
    "top_k",
    "top_p",
)
"""Fields that go to the model as they came."""


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Labelled(msgspec.Struct, kw_only=True):
    """`metadata` is the client's own; some of it is of use here."""

    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        """Raises InvalidRequest for too much of it."""
        if self.metadata:
            _check_metadata(self.metadata)

    @property
    def labels(self) -> Mapping[str, str]:
        """What `metadata` says of the conversation."""
        told = self.metadata or {}
        return {label: told[label] for label in LABELS if label in told}


class Request(Labelled, kw_only=True):
    """Unknown fields are ignored, and null is the same as nothing. `top_k` and the like are local servers' own."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    max_tokens: Count | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, float] | None = None
    prompt_cache_key: str | None = None
    min_p: Passed = UNSET
    top_k: Passed = UNSET
    repetition_penalty: Passed = UNSET
    safety_identifier: str | None = None
    user: str | None = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def sampling(request: Request, passed: Iterable[str], max_tokens: int | None) -> Sampling:
    """Raises InvalidRequest."""
    values: dict[str, bytes] = {}
    for name in passed:
        value = getattr(request, name)
        if value is None or value is UNSET:
            continue
        raw = kept(value, name) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)
        if raw is not None:
            values[name] = raw
    return Sampling(max_tokens, values) if values else PLAIN_SAMPLING


def _check_metadata(told: Mapping[str, str]) -> None:
    if len(told) > MOST_LABELS:
        raise InvalidRequest(
            f"Invalid 'metadata': too many properties. Expected at most {MOST_LABELS}, but got {len(told)} instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for name, value in told.items():
        if len(name) > LABEL_CHARS:
            raise InvalidRequest(
                f"Invalid 'metadata': a key has {len(name)} characters. Expected at most {LABEL_CHARS}.",
                param="metadata",
                code="string_above_max_length",
            )
        if len(value) > LABELLED_CHARS:
            raise InvalidRequest(
                f"Invalid 'metadata.{name}': it has {len(value)} characters. Expected at most {LABELLED_CHARS}.",
                param=f"metadata.{name}",
                code="string_above_max_length",
            )


def require_one(number: int | None, param: str) -> None:
    """Raises InvalidRequest."""
    if number is not None and number > 1:
        raise InvalidRequest(
            f"Unsupported value: '{param}' does not support {number} with this gateway. Only 1 is supported.",
            param=param,
            code="unsupported_value",
        )
