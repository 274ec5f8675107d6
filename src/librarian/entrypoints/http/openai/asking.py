"""What a request says beside its words: who asks, in which conversation, what for, and whether it asked before."""

from dataclasses import replace
from hashlib import sha256

from librarian.application.converse import Ask
from librarian.application.replays import Attempt
from librarian.domain.clients import Identified, Said, identify
from librarian.domain.errors import InvalidRequest
from librarian.domain.identity import Purpose, identifier
from librarian.domain.transcript import Transcript
from librarian.entrypoints.http.admission import Caller
from librarian.entrypoints.http.openai.wire.sampling import Request

RETRIES = b"x-stainless-retry-count"
IDEMPOTENCY = "Idempotency-Key"


def identified(request: Request, transcript: Transcript, caller: Caller, *, has_tools: bool = False) -> Identified:
    """Raises InvalidRequest."""
    said = Said(
        headers=caller.headers,
        place=caller.place,
        user=request.user,
        safety_identifier=request.safety_identifier,
        metadata=request.labels,
        prompt_cache_key=request.prompt_cache_key,
        forwarded=caller.forwarded,
        messages=(*transcript.overlay, *transcript.messages),
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
