"""Leases in one process: drives `domain/pool.py` and does its waiting."""

import asyncio
from contextlib import AbstractAsyncContextManager

from librarian.application.ports.clock import Clock
from librarian.application.ports.leases import Held
from librarian.domain.identity import PrincipalId
from librarian.domain.pool import AgentPool, Lease


class LocalLeases:
    """A restart forgets every lease."""

    def __init__(self, pool: AgentPool, *, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._woken: dict[Lease, asyncio.Future[None]] = {}

    def hold(
        self, principal: PrincipalId, thread: str | None, *, line: bool = False
    ) -> AbstractAsyncContextManager[Held]:
        return _Holding(self, principal, thread, line=line)

    def ask(self, principal: PrincipalId, thread: str | None, *, line: bool = False) -> Lease:
        return self._pool.ask(principal, thread, self._clock.elapsed_s(), line=line)

    async def seat(self, lease: Lease) -> None:
        """Wait for a seat. Raises PoolExhausted or ConversationEngaged at the deadline."""
        woken = self._woken[lease] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(lease.deadline_s - self._clock.elapsed_s()):
                await woken
        except TimeoutError:
            if not lease.seated:  # a seat that came in the same moment is not refused
                raise self._pool.give_up(lease) from None
        finally:
            del self._woken[lease]

    def give_back(self, lease: Lease) -> None:
        for heir in self._pool.give_back(lease):
            woken = self._woken.get(heir)
            if woken is not None and not woken.done():
                woken.set_result(None)


class _Holding:
    """A class and not `@asynccontextmanager`: it does not suspend when a seat is free."""

    __slots__ = ("_lease", "_leases", "_line", "_principal", "_thread")

    def __init__(self, leases: LocalLeases, principal: PrincipalId, thread: str | None, *, line: bool) -> None:
        self._leases = leases
        self._principal = principal
        self._thread = thread
        self._line = line

    async def __aenter__(self) -> Held:
        self._lease = lease = self._leases.ask(self._principal, self._thread, line=self._line)
        if lease.seated:
            return Held(waited=False, beside=lease.beside)
        try:
            await self._leases.seat(lease)
        except BaseException:
            self._leases.give_back(lease)
            raise
        return Held(waited=True, beside=lease.beside)

    async def __aexit__(self, *_: object) -> None:
        self._leases.give_back(self._lease)  # no await: a leaving client cannot interrupt it
