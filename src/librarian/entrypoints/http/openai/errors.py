"""Domain errors in OpenAI's words. Source: openai-openapi, schema `ErrorResponse`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

import orjson

from librarian.domain.errors import (
    AddressRefused,
    AgentPaused,
    AgentUnavailable,
    ContextOverflow,
    ConversationEngaged,
    IdempotencyMismatch,
    IdentityRefused,
    InvalidRequest,
    MemoryRefused,
    NotAuthenticated,
    NotPermitted,
    PoolExhausted,
    StoreUnavailable,
    TooLarge,
    TurnFailed,
    UnknownAgent,
    UnknownAnswer,
    UnknownConversation,
    UnknownModel,
    UnknownPassage,
    UnknownTurn,
    UpstreamBusy,
    UpstreamRefused,
    UpstreamTimedOut,
)

INVALID = "invalid_request_error"
Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status and what the envelope says beside the message.

    `retriable` is said aloud: OpenAI's SDKs otherwise retry 408, 409, 429 and 5xx, and an agent that has heard a
    message must not be made to hear it again. Source: openai-python, `_base_client._should_retry`.
    """

    status: int
    type: str
    code: str | None
    param: str | None = None
    retriable: bool = False
    retry_after_s: float | None = None
    more: tuple[Header, ...] = ()

    def headers(self) -> list[Header]:
        said = [
            (b"content-type", b"application/json"),
            (b"x-should-retry", b"true" if self.retriable else b"false"),
            *self.more,
        ]
        if self.retry_after_s is not None:
            said.append((b"retry-after", b"%d" % ceil(self.retry_after_s)))
            said.append((b"retry-after-ms", b"%d" % ceil(self.retry_after_s * 1000)))
        return said


class Refused(Exception):
    """What only HTTP can refuse: a path, a method, a content type."""

    def __init__(self, message: str, refusal: Refusal) -> None:
        super().__init__(message)
        self.refusal = refusal


def not_found(method: str, path: str) -> Refused:
    return Refused(f"Invalid URL ({method} {path[:200]})", Refusal(404, INVALID, "not_found"))


def method_not_allowed(method: str, path: str, allowed: str) -> Refused:
    return Refused(
        f"Not allowed to {method} on {path[:200]}. Allowed: {allowed}.",
        Refusal(405, INVALID, "method_not_allowed", more=((b"allow", allowed.encode()),)),
    )


UNEXPECTED = Refusal(500, "server_error", "internal_error")
UNEXPECTED_MESSAGE = "The gateway had an error while processing the request. Its log has more, under the x-request-id."


ROWS: Mapping[type[Exception], Refusal] = {
    InvalidRequest: Refusal(400, INVALID, None),
    ContextOverflow: Refusal(400, INVALID, "context_length_exceeded"),
    MemoryRefused: Refusal(400, INVALID, None),
    TooLarge: Refusal(413, INVALID, "request_too_large"),
    NotAuthenticated: Refusal(401, INVALID, "invalid_api_key", more=((b"www-authenticate", b"Bearer"),)),
    IdentityRefused: Refusal(401, INVALID, "invalid_user_token", "X-OpenWebUI-User-Jwt"),
    NotPermitted: Refusal(403, "permission_error", "insufficient_scope"),
    AddressRefused: Refusal(403, "permission_error", "address_refused"),
    UnknownModel: Refusal(404, INVALID, "model_not_found", "model"),
    UnknownAgent: Refusal(404, INVALID, "not_found"),
    UnknownConversation: Refusal(404, INVALID, "not_found"),
    UnknownAnswer: Refusal(404, INVALID, "not_found"),
    UnknownPassage: Refusal(404, INVALID, "not_found"),
    UnknownTurn: Refusal(404, INVALID, "not_found"),
    AgentPaused: Refusal(403, "permission_error", "agent_paused"),
    PoolExhausted: Refusal(429, "rate_limit_error", "pool_exhausted", retriable=True),
    ConversationEngaged: Refusal(409, "conflict_error", "conversation_engaged", retriable=True),
    IdempotencyMismatch: Refusal(409, "conflict_error", "idempotency_mismatch"),
    UpstreamRefused: Refusal(502, "server_error", "upstream_refused"),
    UpstreamBusy: Refusal(429, "rate_limit_error", "upstream_busy", retriable=True),
    UpstreamTimedOut: Refusal(504, "server_error", "upstream_timeout"),
    TurnFailed: Refusal(502, "server_error", "turn_failed"),
    AgentUnavailable: Refusal(503, "server_error", "agent_unavailable"),
    StoreUnavailable: Refusal(503, "server_error", "store_unavailable", retriable=True),
}
"""One row for each class in domain/errors.py; to it come the facts that the error carries."""


def refusal(error: Exception) -> Refusal:
    """How an error is refused. One that is in no row is ours, and its words are not for others."""
    row = next((ROWS[kind] for kind in type(error).__mro__ if kind in ROWS), UNEXPECTED)
    match error:
        case Refused():
            return error.refusal
        case InvalidRequest():
            return replace(row, code=error.code or row.code, param=error.param)
        case UnknownAnswer():
            return replace(row, param=error.param)
        case PoolExhausted() | ConversationEngaged() | UpstreamBusy():
            return replace(row, retry_after_s=error.retry_after_s)
        case UpstreamRefused() | AgentUnavailable():
            return replace(row, retriable=not error.heard)
    return row


def envelope(error: Exception) -> bytes:
    """`{"error": {message, type, param, code}}`, all four always present."""
    said = refusal(error)
    message = UNEXPECTED_MESSAGE if said is UNEXPECTED else str(error)
    return orjson.dumps({"error": {"message": message, "type": said.type, "param": said.param, "code": said.code}})
