"""Bodies of requests: read whole, up to a limit."""

import asyncio
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from librarian.domain.errors import TooLarge
from librarian.entrypoints.http.openai.errors import INVALID, Refusal, Refused

LINGER_S = 2.0


def require_json(headers: Mapping[bytes, bytes]) -> None:
    """A web page cannot send this type to another origin without asking first. Raises Refused."""
    media, _, parameters = headers.get(b"content-type", b"").partition(b";")
    charset = parameters.strip().lower().replace(b'"', b"")
    if media.strip().lower() != b"application/json" or charset not in {b"", b"charset=utf-8", b"charset=utf8"}:
        raise Refused(
            "Send the body as JSON, with the header `Content-Type: application/json`.",
            Refusal(415, INVALID, "unsupported_media_type"),
        )


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit_bytes: int) -> bytes:
    """Raises TooLarge, as soon as it is known, and ClientDisconnect."""
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise TooLarge(limit_bytes)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):  # nearly every body
        return _within(bytes(message.get("body", b"")), limit_bytes)
    parts = []
    length = 0
    while message["type"] == "http.request":
        part = message.get("body", b"")
        length += len(part)
        if length > limit_bytes:
            raise TooLarge(limit_bytes)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise ClientDisconnect


def replayed(body: bytes, receive: Receive) -> Receive:
    """For whoever reads it again; then what else comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


async def drain(receive: Receive) -> None:
    """Let a client finish what it is sending, for a while: one that is cut off may never read its answer."""
    try:
        async with asyncio.timeout(LINGER_S):
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass
    except TimeoutError:
        pass


def _within(body: bytes, limit_bytes: int) -> bytes:
    if len(body) > limit_bytes:
        raise TooLarge(limit_bytes)
    return body
