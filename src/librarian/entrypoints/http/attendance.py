"""Noticing a client that leaves, and a turn that takes too long."""

import asyncio
from typing import Self

from starlette.types import Message, Receive

from librarian.domain.errors import UpstreamTimedOut

WATCH_AFTER_S = 0.25


class Attended:
    """Cancels what it surrounds when the client leaves, or after `limit_s`; that cancellation goes no further.

    Leaving is not an error: see `left`. The limit is one: raises UpstreamTimedOut. Listening costs a task, so it
    begins after `WATCH_AFTER_S`: most turns without a model's thinking are over by then, and the promise is a second.
    """

    __slots__ = ("_expired", "_gone", "_limit_s", "_receive", "_task", "_timer", "left")

    def __init__(self, receive: Receive, limit_s: float) -> None:
        self._receive = receive
        self._limit_s = limit_s
        self._gone: asyncio.Future[Message] | None = None
        self._expired = False
        self.left = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(min(WATCH_AFTER_S, self._limit_s), self._watch)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._timer.cancel()
        if self._gone is not None:
            self._gone.remove_done_callback(self._heard)
            self._gone.cancel()
        if not (self.left or self._expired) or self._task is None:
            return False
        ours_alone = self._task.uncancel() == 0
        if kind is not asyncio.CancelledError or not ours_alone:
            return False
        if self._expired:
            raise UpstreamTimedOut(self._limit_s)
        return True

    def has_left(self) -> bool:
        """As far as the server knows; before anybody listens, it is asked without waiting."""
        if self._gone is not None:
            return self.left
        asking = self._receive().__await__()
        try:
            next(asking)
        except StopIteration as answer:
            self.left = answer.value["type"] == "http.disconnect"
        finally:
            asking.close()
        return self.left

    def _watch(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(self._limit_s - WATCH_AFTER_S, 0), self._expire)
        self._listen()

    def _listen(self) -> None:
        self._gone = asyncio.ensure_future(self._receive())
        self._gone.add_done_callback(self._heard)

    def _heard(self, gone: asyncio.Future[Message]) -> None:
        if gone.cancelled() or gone.exception() is not None:
            return
        if gone.result()["type"] != "http.disconnect":  # something sent after the body
            self._listen()
        elif not self._expired and self._task is not None:
            self.left = True
            self._task.cancel()

    def _expire(self) -> None:
        if not self.left and self._task is not None:
            self._expired = True
            self._task.cancel()
