"""One turn for one request, however often it is sent."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from librarian.application.ports.clock import Clock
from librarian.application.ports.conversations import Answered, ConversationStore, Request
from librarian.domain.errors import IdempotencyMismatch
from librarian.domain.identity import Owner
from librarian.domain.transcript import Digest

KEYS_HOLD_S = 86_400.0
"""How long an idempotency key stands for its answer."""
RETRIES_COME_S = 900.0
"""A client that says it retries waits no longer: its own limit for a request is 600 s."""
UNDELIVERED_S = 600.0
MOST_NOTED = 10_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a request came: the SHA-256 of its body, and what shows that it is not the first of its kind.

    `part` keeps apart what one body asks for. `retried`: the client says so itself.
    """

    body: bytes
    endpoint: str
    part: int = 0
    retried: bool = False
    idempotency_key: str | None = None

    def by(self, owner: Owner, conversation: str | None = None) -> Request:
        """Never the same for two principals, subjects or endpoints, nor in two conversations that the client names:
        that it may do beside the body."""
        place = b"%b%b:%d" % (owner.id, self.endpoint.encode(), self.part)
        if conversation is not None:
            place += b" in %b\0" % conversation.encode()
        key = None
        if self.idempotency_key is not None:
            tenant = owner.principal.encode()
            named = self.idempotency_key.encode()
            key = Digest(sha256(b"%d:%b%b:%d" % (len(tenant), tenant, named, self.part)).digest())
        return Request(Digest(sha256(place + self.body).digest()), key, self.retried)


class UnderWay:
    """A turn that is being taken for a request: the same request, coming again, waits for it.

    `left`: nobody waits for its end any more, and it is still being written.
    """

    __slots__ = ("_ended", "_replays", "left", "request", "writing")

    def __init__(self, replays: "Replays", request: Request | None) -> None:
        self._replays = replays
        self._ended: asyncio.Future[None] | None = None
        self.request = request
        self.left = False
        self.writing: asyncio.Future[None] | None = None

    @property
    def settled(self) -> bool:
        """Once it has ended."""
        writing = self.writing
        return writing is not None and not writing.cancelled() and writing.exception() is None

    def __enter__(self) -> Self:
        if self.request is not None:
            self._replays.begin(self.request, self)
        return self

    def __exit__(self, *_: object) -> None:
        if self.writing is None or self.writing.done():
            self._end()
        else:
            self.left = True
            self.writing.add_done_callback(self._end)

    async def ended(self) -> None:
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._ended)

    def _end(self, _: object = None) -> None:
        if self.request is not None:
            self._replays.end(self.request, self)
        if self._ended is not None:
            self._ended.set_result(None)


class Replays:
    """What is known of requests that may come again. The store knows which were answered; the rest is of this process.

    A turn that was cancelled or that failed is no answer: its request runs anew.
    """

    def __init__(self, *, conversations: ConversationStore, clock: Clock) -> None:
        self._conversations = conversations
        self._clock = clock
        self._running: dict[Digest, UnderWay] = {}
        self._undelivered = _Notes()
        self._unanswered = _Notes()

    def comes_again(self, request: Request) -> bool:
        """Whether anything speaks for that: then it is to be asked what was answered."""
        if request.retried or request.idempotency is not None:
            return True
        running = self._running.get(request.digest)
        if running is not None and running.left:
            return True
        return self._undelivered.since(request.digest, self._clock.now_s() - UNDELIVERED_S)

    async def __call__(self, request: Request) -> Answered | None:
        """What is to be said again; None where the request is to be answered. Waits for the same request under way.

        Raises IdempotencyMismatch and StoreUnavailable.
        """
        while True:
            answered = await self._answered(request)
            if answered is not None:
                return answered
            running = self._running.get(request.idempotency or request.digest)
            if running is None or running.request is None:
                return None
            if running.request.digest != request.digest:
                raise IdempotencyMismatch
            await running.ended()

    def under_way(self, request: Request | None) -> UnderWay:
        return UnderWay(self, request)

    def begin(self, request: Request, way: UnderWay) -> None:
        self._running[request.digest] = way
        if request.idempotency is not None:
            self._running[request.idempotency] = way

    def end(self, request: Request, way: UnderWay) -> None:
        """One that was not settled was refused or came to nothing: a retry is of this attempt, not of one before. One
        that was is not delivered yet."""
        for digest in (request.digest, request.idempotency):
            if digest is not None and self._running.get(digest) is way:
                del self._running[digest]
        (self._undelivered if way.settled else self._unanswered).note(request.digest, self._clock.now_s())

    def delivered(self, request: Request) -> None:
        """Whole. From now on it is a new request when it comes again, unless it says otherwise."""
        self._undelivered.forget(request.digest)

    async def _answered(self, request: Request) -> Answered | None:
        kept_s = KEYS_HOLD_S if request.idempotency is not None else RETRIES_COME_S
        answered = await self._conversations.answered(request, self._clock.now_s() - kept_s)
        if answered is None:
            return None
        if answered.request != request.digest:
            raise IdempotencyMismatch
        if request.idempotency is None and self._unanswered.since(request.digest, answered.at_s):
            return None
        return answered


class _Notes:
    """When something last happened to a request; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._at_s: OrderedDict[Digest, float] = OrderedDict()

    def note(self, request: Digest, now_s: float) -> None:
        self._at_s[request] = now_s
        self._at_s.move_to_end(request)
        if len(self._at_s) > MOST_NOTED:
            self._at_s.popitem(last=False)

    def forget(self, request: Digest) -> None:
        self._at_s.pop(request, None)

    def since(self, request: Digest, since_s: float) -> bool:
        return bool(self._at_s) and self._at_s.get(request, 0.0) > since_s
