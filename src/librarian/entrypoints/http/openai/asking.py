"""What a request says beside its words: who asks, in which conversation, what for, and whether it asked before."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Protocol

from librarian.application.converse import Ask
from librarian.application.replays import Attempt
from librarian.domain.clients import Identified, Said, identify
from librarian.domain.errors import InvalidRequest
from librarian.domain.identity import Purpose, identifier
from librarian.domain.transcript import Message
from librarian.entrypoints.http.admission import Caller

RETRIES = b"x-stainless-retry-count"
IDEMPOTENCY = "Idempotency-Key"


class Request(Protocol):
    """What every dialect says of who asks, in the body."""

    @property
    def user(self) -> str | None: ...
    @property
    def safety_identifier(self) -> str | None: ...
    @property
    def prompt_cache_key(self) -> str | None: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def stream(self) -> bool | None: ...


def identified(request: Request, messages: Sequence[Message], caller: Caller, *, has_tools: bool = False) -> Identified:
    """`messages`: all of them, system messages too. Raises InvalidRequest."""
    said = Said(
        headers=caller.headers,
        place=caller.place,
        user=request.user,
        safety_identifier=request.safety_identifier,
        metadata=request.labels,
        prompt_cache_key=request.prompt_cache_key,
        forwarded=caller.forwarded,
        messages=messages,
        streamed=bool(request.stream),
        has_tools=has_tools,
    )
    return identify(said)


def asked(ask: Ask, who: Identified, attempt: Attempt) -> Ask:
    """`ask`, with all that is known of who asks."""
    return replace(
        ask,
        person=who.person,
        conversation=who.conversation,
        goes_on_from=who.parent,
        reply_name=who.message,
        purpose=who.purpose if ask.purpose is Purpose.CHAT else ask.purpose,
        memory=who.memory,
        attempt=attempt,
    )


def attempt_of(body: bytes, caller: Caller, endpoint: str) -> Attempt:
    """Source of the retry count: openai-python, `_base_client`; its keys for idempotency are not sent by themselves.
    Raises InvalidRequest."""
    key = caller.headers.get(b"idempotency-key")
    return Attempt(
        sha256(body).digest(),
        endpoint,
        retried=caller.headers.get(RETRIES, b"0") not in (b"0", b""),
        idempotency_key=_key(key) if key else None,
    )


def _key(value: bytes) -> str:
    try:
        return identifier(value.decode(), IDEMPOTENCY)
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"Invalid '{IDEMPOTENCY}': it is not UTF-8.", param=IDEMPOTENCY, code="invalid_value"
        ) from error
