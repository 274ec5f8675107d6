"""Replies at the edge of the house: whole, or frame by frame."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Send

from librarian.domain.clients import Identified
from librarian.domain.turn import TurnBegan
from librarian.entrypoints.http.attendance import Attended
from librarian.entrypoints.http.bodies import drain
from librarian.entrypoints.http.context import Visit
from librarian.entrypoints.http.openai.errors import envelope

Header = tuple[bytes, bytes]
EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
NO_CONTENT = 204
PING = b": ping\n\n"


def _last_words(error: Exception) -> bytes:
    """Of a stream that fails after its first frame."""
    return b"data: " + envelope(error) + b"\n\n"


class Reply:
    """Says `200 OK` only with the first frame: until then an error is an HTTP status.

    `recorded`: a turn was settled already, so a retry would tell the same thing twice.
    """

    __slots__ = (
        "_bodiless",
        "_debugging",
        "_extras",
        "_ignored",
        "_send",
        "attended",
        "begun",
        "last_words",
        "recorded",
        "streaming",
        "visit",
    )

    def __init__(self, send: Send, visit: Visit, *, bodiless: bool = False) -> None:
        """`bodiless`: the answer to a HEAD."""
        self._send = send
        self._bodiless = bodiless
        self._extras = [(b"x-request-id", visit.request_id.encode())]
        self.visit = visit
        self._ignored: list[str] = []
        self._debugging = False
        self.attended: Attended | None = None
        self.begun = False
        self.recorded = False
        self.last_words: Callable[[Exception], bytes] = _last_words
        self.streaming = False

    def identified(self, who: Identified) -> None:
        """For whoever debugs: where what was found; never what it was."""
        found = (
            f"client={who.client}; conversation={who.conversation_by or 'transcript'};"
            f" person={who.person_by or 'principal'}; purpose={who.purpose}; by={who.purpose_by or 'default'}"
        )
        self._extras.append((b"x-librarian-identified", found.encode()))
        self._debugging = True

    def began(self, began: TurnBegan, *, alone: bool = True) -> None:
        """`alone`: one of several turns has no conversation to tell of."""
        if began.conversation is not None and alone:
            self._extras.append((b"x-librarian-conversation", began.conversation.encode()))
        if self._debugging:
            self._extras.append((b"x-librarian-plan", began.plan.encode()))

    def ignored(self, names: Sequence[str]) -> None:
        """In one header, however often it is said."""
        self._ignored += names

    def _named(self) -> list[Header]:
        return [(b"x-librarian-ignored", ", ".join(self._ignored).encode())] if self._ignored else []

    async def say(self, frames: bytes, *, more: bool = True) -> None:
        if not self.begun:
            self.streaming = True
            await self._begin(200, EVENT_STREAM)
        await self._send({"type": "http.response.body", "body": frames, "more_body": more})

    async def at_once(self, status: int, headers: list[Header], body: bytes) -> None:
        length = [(b"content-length", b"%d" % len(body))] if status != NO_CONTENT else []
        await self._begin(status, headers + length)
        await self._send({"type": "http.response.body", "body": b"" if self._bodiless else body})

    async def at_last(self, status: int, headers: list[Header], body: bytes, receive: Receive) -> None:
        """As `at_once`, to a client that is still sending; then the connection is closed."""
        length = (b"content-length", b"%d" % len(body))
        await self._begin(status, [*headers, length, (b"connection", b"close")])
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        await drain(receive)
        await self._send({"type": "http.response.body"})

    async def relay(self, message: Message) -> None:
        """Pass on what another application says."""
        if message["type"] == "http.response.start":
            await self._begin(message["status"], list(message.get("headers", ())))
            return
        if self._bodiless:
            message = {**message, "body": b""}
        await self._send(message)

    def require_company(self) -> None:
        """Before the last frame of an answer. Raises ClientDisconnect where nobody is there any more to have it."""
        if self.attended is not None and self.attended.has_left():
            raise ClientDisconnect

    async def _begin(self, status: int, headers: list[Header]) -> None:
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*headers, *self._extras, *self._named()]}
        )
        self.begun = True
        self.visit.status = status


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a status may be held back, a stream be silent, a turn last."""

    hold_s: float
    ping_s: float
    turn_s: float


class Frames:
    """The frames of one stream, with a comment wherever there would be silence.

    One timer for each stream. A frame only notes when it was sent: the timer looks when it fires, and a comment waits
    for nobody who is slow to read.
    """

    __slots__ = ("_due_s", "_loop", "_ping", "_ping_s", "_reply", "_sending", "_timer")

    def __init__(self, reply: Reply, pace: Pace) -> None:
        self._reply = reply
        self._ping_s = pace.ping_s
        self._loop = asyncio.get_running_loop()
        self._due_s = self._loop.time() + pace.hold_s
        self._ping: asyncio.Task[None] | None = None
        self._sending = False

    async def __aenter__(self) -> Self:
        self._watch()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._ping is None:
            return
        if kind is asyncio.CancelledError:
            self._ping.cancel()
        else:
            await self._ping  # it may be saying the status just now

    async def say(self, frames: bytes, *, more: bool = True) -> None:
        self._sending = True
        if self._ping is not None:
            ping, self._ping = self._ping, None
            await ping
        await self._reply.say(frames, more=more)
        self._sending = False
        self._due_s = self._loop.time() + self._ping_s

    def _watch(self) -> None:
        """The first frame may bring what is due forward, so the timer looks after `ping_s` at the latest."""
        self._timer = self._loop.call_at(min(self._due_s, self._loop.time() + self._ping_s), self._beat)

    def _beat(self) -> None:
        now_s = self._loop.time()
        if self._sending or (self._ping is not None and not self._ping.done()):
            self._due_s = now_s + self._ping_s
        elif now_s >= self._due_s:
            self._ping = self._loop.create_task(self._reply.say(PING))
            self._due_s = now_s + self._ping_s
        self._watch()
