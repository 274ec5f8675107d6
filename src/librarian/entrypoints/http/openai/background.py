"""Responses that are answered while nobody waits: they can be looked at, followed and cancelled."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import structlog

from librarian.domain.errors import LibrarianError, PoolExhausted, UpstreamTimedOut
from librarian.entrypoints.http.openai.responses_encoder import Response
from librarian.entrypoints.http.openai.wire.items import Body

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

MOST_AT_ONCE = 1000
RETRY_AFTER_S = 30.0
Kept = Callable[[Response], Awaitable[None]]


class Running:
    """One of them. `frames` are its events so far."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.frames: list[bytes] = []
        self.over = False
        self.task: asyncio.Task[None] | None = None
        self._stirred = asyncio.Event()

    def say(self, frames: bytes) -> None:
        self.frames += [frame + b"\n\n" for frame in frames.split(b"\n\n") if frame]
        self._stirred.set()

    def end(self) -> None:
        self.over = True
        self._stirred.set()

    async def follow(self, first: int = 0) -> AsyncIterator[bytes]:
        """Its events from number `first` on, as they come."""
        at = first
        while True:
            stirred = self._stirred
            while at < len(self.frames):
                yield self.frames[at]
                at += 1
            if self.over:
                return
            await stirred.wait()
            if stirred is self._stirred:
                self._stirred = asyncio.Event()


class Background:
    """Those of this process. One whose process has died is never finished: who asks for it is told so."""

    def __init__(self, turn_s: float) -> None:
        """`turn_s`: none takes longer."""
        self._turn_s = turn_s
        self._running: dict[str, Running] = {}

    def find(self, id_: str) -> Running | None:
        return self._running.get(id_)

    def begin(self, running: Running, work: Coroutine[Any, Any, None], kept: Kept) -> None:
        """`work` takes the turn and says its frames; `kept` keeps what came of it. Raises PoolExhausted."""
        if len(self._running) >= MOST_AT_ONCE:
            work.close()
            raise PoolExhausted(RETRY_AFTER_S)
        self._running[running.response.id] = running
        running.task = asyncio.ensure_future(self._run(running, work, kept))

    async def cancel(self, id_: str) -> Body | None:
        """What it is then; None where it is not running here."""
        running = self._running.get(id_)
        if running is None or running.task is None:
            return None
        running.task.cancel()
        await asyncio.wait({running.task})
        return running.response.body

    async def aclose(self) -> None:
        for id_ in list(self._running):
            await self.cancel(id_)

    async def _run(self, running: Running, work: Coroutine[Any, Any, None], kept: Kept) -> None:
        response = running.response
        try:
            async with asyncio.timeout(self._turn_s):
                await work
        except asyncio.CancelledError:
            response.cancelled()
            await kept(response)
        except LibrarianError as error:
            await self._failed(running, error, kept)
        except TimeoutError:
            await self._failed(running, UpstreamTimedOut(self._turn_s), kept)
        except Exception as error:  # the outermost edge: nobody else sees it
            log.exception("background_response_failed", exc_info=error)
            await self._failed(running, error, kept)
        finally:
            running.end()
            self._running.pop(response.id, None)

    async def _failed(self, running: Running, error: Exception, kept: Kept) -> None:
        running.say(running.response.failed(error))
        try:
            await kept(running.response)
        except LibrarianError as lost:
            log.warning("response_not_kept", response=running.response.id, error=str(lost))
