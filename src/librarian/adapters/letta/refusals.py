"""What Letta says when it refuses -> the errors of the house.

Its `detail` may hold SQL, a traceback or the repr of something: of its own words none go further. What the language
model's server said is dug out of them, and only that is told, without secrets.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from librarian.adapters.letta.errors import AlreadyThere, Engaged, Gone, Missing, NothingRuns, NotPending, Pending
from librarian.domain.errors import (
    AgentUnavailable,
    InvalidRequest,
    LibrarianError,
    TurnFailed,
    UpstreamBusy,
    UpstreamRefused,
    UpstreamTimedOut,
)

LONGEST_CHARS = 500
LONGEST_READ_CHARS = 20_000
LONGEST_WAIT_S = 120.0
OVERFLOW = "context_length_exceeded"

MODELS_STATUS = re.compile(r"\bError code: (\d{3})(?: - (?P<said>\{.*\}))?", re.DOTALL)
"""How the SDKs that Letta asks models with word their errors; after it comes the body as Python prints it."""
OVERFLOWN = re.compile(
    r"CONTEXT_WINDOW_EXCEEDED|context_window_overflow|context[ _-]?length|exceeds? the context window"
    r"|maximum context|prompt is too long",
    re.IGNORECASE,
)
PENDING = re.compile(r"waiting for approval|PENDING_APPROVAL")
NOT_PENDING = re.compile(r"Invalid tool call IDs|No tool call is currently awaiting|Invalid approval response")
ENGAGED = re.compile(
    r"another (?:request|operation)\b.{0,80} is currently|currently locked|deadlock|was updated by another",
    re.IGNORECASE,
)
NO_RUN = re.compile(r"No active runs to cancel")
MISSING_ROW = re.compile(r"ForeignKeyViolation|foreign key constraint", re.IGNORECASE)
HANDLE = re.compile(r"\bHandle (\S+) not found|\bModel '([^']+)' not found|Embedding model (\S+) not found")
ABSENCE = re.compile(r"^(?:NOT_FOUND: )?(Agent|Conversation)\b.*\bnot found", re.DOTALL)
PLACE = re.compile(r"/v1/(agent|conversation)s/([^/?]+)(?:/messages)?/?$")
MODEL_FAILED = re.compile(r"LLM provider error|Failed to process LLM response")
NO_SUCH_PATH = "Not Found"
RUN = re.compile(r"No active runs to cancel")
MISSING_ROW = re.compile(r"ForeignKeyViolation|foreign key constraint", re.IGNORECASE)
HANDLE = re.compile(r"\bHandle (\S+) not found|\bModel '([^']+)' not found|Embedding model (\S+) not found")
RUN = re.compile(r"\brun_id=(run-[0-9a-f-]{36})\b")
SECRET = re.compile(r"\bBearer\s+\S+|\b(?:sk|pk|rk|gsk|xai|hf|nvapi|AIza|key)[-_][\w*.-]{6,}", re.IGNORECASE)
CONTROL = re.compile(r"[\s\x00-\x1f\x7f]+")

NO_ENTRY = frozenset({401, 403})
NO_CREDIT = 402
NOT_FOUND = 404
CONFLICT = 409
TOO_MANY = 429
CLIENTS_FAULT = frozenset({400, 413, 422})
GATEWAY_TIMED_OUT = 504


class _Error(msgspec.Struct):
    """`error_message` of a stream is shaped like the `error` of a body, with other names."""

    type: str | None = None
    error_type: str | None = None
    message: str | None = None
    detail: Any = None


class _Body(msgspec.Struct):
    detail: Any = None
    error: _Error | None = None
    run_id: str | None = None


_read_body = msgspec.json.Decoder(_Body).decode
_read_error = msgspec.json.Decoder(_Error).decode


@dataclass(frozen=True, slots=True)
class _Said:
    """`kind` is Letta's type of error, if it names one; `words` are all it says, for matching only."""

    kind: str
    words: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Models:
    """What the language model's server answered Letta."""

    status: int
    message: str = ""
    code: str | None = None
    param: str | None = None


class Refusals:
    """Knows the secrets that no message may carry out of the house."""

    def __init__(self, secrets: Iterable[str], patience_s: float) -> None:
        """`patience_s`: what is said to have been waited where Letta gave up on a model."""
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._patience_s = patience_s

    def by_status(self, status: int, headers: Mapping[str, str], body: bytes, path: str) -> LibrarianError:
        """For a request that was refused before anything was said. `path` is what was asked for."""
        said = _of_body(body)
        if status in NO_ENTRY and said.kind != "llm_authentication":
            return UpstreamRefused(f"The Letta server does not let the house in ({status}).", heard=False)
        if status == NOT_FOUND:
            return _missing(said.words, path)
        if status == CONFLICT:
            return _conflict(said)
        retry_after_s = _retry_after_s(headers)
        return self._known(said, retry_after_s) or self._otherwise(status, said, retry_after_s)

    def in_stream(self, event: bytes, *, began: bool) -> LibrarianError:
        """For an `error_message` under a 200. `began`: the model had said, thought or called something by then."""
        said = _of_event(event)
        if not began:
            if (error := self._known(said, None)) is not None:
                return error
            if PENDING.search(said.words):
                return Pending()
            if ENGAGED.search(said.words):
                return Engaged(said.run_id)
        if OVERFLOWN.search(said.words):
            return _overflow()
        if said.kind.startswith("llm_") or began:
            return UpstreamRefused("The language model failed in the middle of its answer.", heard=began)
        return TurnFailed("Letta could not take this turn.")

    def _known(self, said: _Said, retry_after_s: float | None) -> LibrarianError | None:
        """What is told by its words or its kind, whatever the status."""
        if OVERFLOWN.search(said.words):
            return _overflow()
        if NOT_PENDING.search(said.words):
            return NotPending()
        if HANDLE.search(said.words):
            return _missing(said.words, "")
        if (models := _of_model(said.words)) is not None:
            return self._by_model(models, retry_after_s)
        return self._by_kind(said.kind, retry_after_s)

    def _by_kind(self, kind: str, retry_after_s: float | None) -> LibrarianError | None:
        error: LibrarianError | None = None
        match kind:
            case "llm_authentication":
                error = UpstreamRefused("The language model's server does not let Letta in.", heard=False)
            case "llm_rate_limit" | "llm_insufficient_credits":
                error = UpstreamBusy(retry_after_s)
            case "llm_timeout":
                error = UpstreamTimedOut(self._patience_s)
            case "llm_bad_request":
                error = InvalidRequest("The language model does not take this request.")
            case "llm_error" | "llm_empty_response" | "bedrock_permission_denied":
                error = UpstreamRefused("The language model's server failed.", heard=False)
        return error

    def _otherwise(self, status: int, said: _Said, retry_after_s: float | None) -> LibrarianError:
        if status in {NO_CREDIT, TOO_MANY}:
            return UpstreamBusy(retry_after_s)
        if status == GATEWAY_TIMED_OUT:
            return UpstreamTimedOut(self._patience_s)
        if MODEL_FAILED.search(said.words):
            return UpstreamRefused("The language model's server failed.", heard=False)
        if status in CLIENTS_FAULT:
            return TurnFailed(f"Letta does not take what the house asked of it ({status}).")
        return AgentUnavailable(f"The Letta server failed ({status}).", heard=False)

    def _by_model(self, models: _Models, retry_after_s: float | None) -> LibrarianError:
        status = models.status
        if status in NO_ENTRY:  # its words are about Letta's key, and none of the client's business
            return UpstreamRefused(f"The language model's server does not let Letta in ({status}).", heard=False)
        if status in {NO_CREDIT, TOO_MANY}:
            return UpstreamBusy(retry_after_s)
        told = f": {self._clean(models.message)}" if models.message else "."
        if status in CLIENTS_FAULT and models.message:
            return InvalidRequest(self._clean(models.message), param=models.param, code=models.code)
        return UpstreamRefused(f"The language model's server refused ({status}){told}", heard=False)

    def _clean(self, message: str) -> str:
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return CONTROL.sub(" ", SECRET.sub("***", message)).strip()[:LONGEST_CHARS]


def _overflow() -> InvalidRequest:
    return InvalidRequest(
        "What would be shown to the model exceeds its maximum context length."
        " Please reduce the length of the messages.",
        param="messages",
        code=OVERFLOW,
    )


def _missing(words: str, path: str) -> LibrarianError:
    """By Letta's words where they name it, else by the path that was asked for."""
    if words == NO_SUCH_PATH:
        return AgentUnavailable(
            "The Letta server does not know what it was asked for: it is too old, or none.", heard=False
        )
    if (handle := HANDLE.search(words)) is not None:
        return Gone(Missing.HANDLE, next(name for name in handle.groups() if name).rstrip(","))
    place = PLACE.search(path)
    if (absent := ABSENCE.search(words)) is not None:
        what = Missing(absent[1].lower())
        return Gone(what, place[2] if place is not None and place[1] == what else "")
    if place is not None and not words:
        return Gone(Missing(place[1]), place[2])
    return Gone(Missing.OTHER)


def _conflict(said: _Said) -> LibrarianError:
    if PENDING.search(said.words):
        return Pending()
    if NO_RUN.search(said.words):
        return NothingRuns()
    if MISSING_ROW.search(said.words):
        return Gone(Missing.MESSAGE)
    if said.run_id is not None or ENGAGED.search(said.words):
        return Engaged(said.run_id)
    return AlreadyThere()


def _of_body(body: bytes) -> _Said:
    try:
        read = _read_body(body)
    except msgspec.DecodeError:
        return _Said("", "")  # a proxy's page, or nothing
    if read.error is not None:
        return _said(read.error, read.run_id)
    return _said(_Error(detail=read.detail), read.run_id)


def _of_event(event: bytes) -> _Said:
    try:
        return _said(_read_error(event), None)
    except msgspec.DecodeError:
        return _Said("", "")


def _said(error: _Error, run_id: str | None) -> _Said:
    kind = error.error_type or error.type or ""
    words = " ".join(filter(None, (error.message, _text(error.detail), kind)))[:LONGEST_READ_CHARS]
    run = RUN.search(words)
    return _Said(kind, words, run_id or (run[1] if run is not None else None))


def _text(detail: object) -> str:
    """Mostly a string; sometimes an object."""
    if detail is None or isinstance(detail, str):
        return detail or ""
    return msgspec.json.encode(detail).decode()


def _of_model(words: str) -> _Models | None:
    found = MODELS_STATUS.search(words)
    if found is None:
        return None
    status = int(found[1])
    error = _printed(found["said"] or "")
    if isinstance(inner := error.get("error"), dict):
        error = inner
    message, code, param = error.get("message"), error.get("code"), error.get("param")
    return _Models(
        status,
        message if isinstance(message, str) else "",
        code if isinstance(code, str) else None,
        # parts of messages are counted from what Letta sent, not from what the client did
        param if isinstance(param, str) and not param.startswith("messages") else None,
    )


def _printed(said: str) -> dict[str, object]:
    """A dictionary as Python prints it."""
    try:
        read = ast.literal_eval(said)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    after = headers.get("retry-after", "")
    return min(float(after), LONGEST_WAIT_S) if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", after) else None
