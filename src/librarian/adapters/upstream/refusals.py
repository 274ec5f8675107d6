"""What a model's server says when it refuses -> the errors of the house."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import orjson

from librarian.domain.errors import InvalidRequest, LibrarianError, UpstreamBusy, UpstreamRefused

LONGEST_CHARS = 500
LONGEST_WAIT_S = 120.0
OVERFLOW = "context_length_exceeded"
OVERFLOWN = re.compile(
    r"context[ _-]?(?:length|size|window)|prompt is too long|too many (?:input )?tokens|context the overflows",
    re.IGNORECASE,
)
NO_MODEL = re.compile(
    r"\bmodel\b.{0,200}(?:not (?:be )?found|not exist|n't exist|not loaded)|no such model|unknown model",
    re.IGNORECASE | re.DOTALL,
)
SECRET = re.compile(r"\bBearer\s+\S+|\b(?:sk|pk|rk|gsk|xai|hf|nvapi|AIza|key)[-_][\w*.-]{6,}", re.IGNORECASE)
CONTROL = re.compile(r"[\s\x00-\x1f\x7f]+")
CLIENTS_FAULT = frozenset({400, 404, 413, 422})
NO_ENTRY = frozenset({401, 403})
NOT_FOUND = 404
TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an error's body says; empty where it says nothing."""

    message: str = ""
    code: str = ""
    param: str | None = None


class Refusals:
    """Knows the secrets that no message may carry out of the house."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def by_status(self, status: int, headers: Mapping[str, str], body: bytes) -> LibrarianError:
        """For a request that was refused before anything was said."""
        if status == TOO_MANY:
            return UpstreamBusy(retry_after_s(headers))
        if status in NO_ENTRY:  # its words are about the house's key, and none of the client's business
            return UpstreamRefused(f"The language model's server does not let the house in ({status}).", heard=False)
        complaint = _complaint(body)
        if _overflows(complaint):
            return self._overflow(complaint)
        missing = status == NOT_FOUND and _lacks_model(complaint)
        if status in CLIENTS_FAULT and complaint.message and not missing:
            return InvalidRequest(self._clean(complaint.message), param=complaint.param, code=complaint.code or None)
        said = f": {self._clean(complaint.message)}" if complaint.message else "."
        return UpstreamRefused(f"The language model's server refused ({status}){said}", heard=False)

    def in_reply(self, error: object, *, began: bool) -> LibrarianError:
        """For an error that came under a 200."""
        complaint = _read(error)
        if not began and _overflows(complaint):
            return self._overflow(complaint)
        said = f": {self._clean(complaint.message)}" if complaint.message else "."
        return UpstreamRefused(f"The language model's server failed{said}", heard=True)

    def _overflow(self, complaint: Complaint) -> InvalidRequest:
        said = self._clean(complaint.message) or "The messages are longer than the language model's window."
        return InvalidRequest(said, param="messages", code=OVERFLOW)

    def _clean(self, message: str) -> str:
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return CONTROL.sub(" ", SECRET.sub("***", message)).strip()[:LONGEST_CHARS]


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """By `retry-after-ms` or `Retry-After`, at most two minutes; a date is read by the server's own clock."""
    waits_s = _number(headers.get("retry-after-ms"))
    if waits_s is not None:
        waits_s /= 1000
    else:
        after = headers.get("retry-after")
        waits_s = _number(after)
        if waits_s is None and after is not None:
            waits_s = _between(headers.get("date"), after)
    return None if waits_s is None else min(max(waits_s, 0.0), LONGEST_WAIT_S)


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", text.strip()) else None


def _between(start: str | None, end: str) -> float | None:
    try:
        return (parsedate_to_datetime(end) - parsedate_to_datetime(start or "")).total_seconds()
    except (ValueError, TypeError):
        return None


def _overflows(complaint: Complaint) -> bool:
    return complaint.code == OVERFLOW or bool(OVERFLOWN.search(complaint.message))


def _lacks_model(complaint: Complaint) -> bool:
    """A 404 of no code is about the model, or about an address that is no model's server."""
    if not complaint.code or complaint.code == "model_not_found" or complaint.param == "model":
        return True
    return bool(NO_MODEL.search(complaint.message))


def _complaint(body: bytes) -> Complaint:
    try:
        return _read(orjson.loads(body))
    except orjson.JSONDecodeError:
        return Complaint()  # a proxy's page, or nothing


def _read(said: object) -> Complaint:
    """OpenAI's `{"error": {...}}`, a sentence alone, Mistral's `{"message": ...}`, or FastAPI's `{"detail": ...}`."""
    if isinstance(said, str):
        return Complaint(said)
    if not isinstance(said, dict):
        return Complaint()
    if error := said.get("error"):
        return _read(error)
    message = said.get("message") or said.get("detail") or ""
    code, param = said.get("code"), said.get("param")
    return Complaint(
        message if isinstance(message, str) else orjson.dumps(message).decode(),
        code if isinstance(code, str) else "",
        param if isinstance(param, str) and not param.startswith("messages") else None,  # counted from ours, not theirs
    )
