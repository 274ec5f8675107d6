"""Exclusive use of threads and seats. The rules are `domain/pool.py`; this is where they are waited for."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from librarian.domain.identity import PrincipalId


class Leases(Protocol):
    """A thread and a seat for one turn."""

    def hold(self, principal: PrincipalId, thread: str | None) -> AbstractAsyncContextManager[bool]:
        """Hold both until the block ends, however it ends - cancellation included. Says whether it had to wait.

        `thread` None: one that nobody else knows of. Does not yield to the loop when a seat is free. Raises
        PoolExhausted.
        """
        ...
