"""Exclusive use of threads and seats. The rules are `domain/pool.py`; this is where they are waited for."""

from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from librarian.domain.identity import PrincipalId


class Held(NamedTuple):
    """A seat. `waited`: it was not free at once. `beside`: another turn is being taken on the thread, not this one."""

    waited: bool
    beside: bool


class Leases(Protocol):
    """A thread and a seat for one turn."""

    def hold(
        self, principal: PrincipalId, thread: str | None, *, line: bool = False
    ) -> AbstractAsyncContextManager[Held]:
        """Hold both until the block ends, however it ends - cancellation included.

        `thread` None: one that nobody else knows of. It is waited for only on a `line`. Does not yield to the loop
        when a seat is free. Raises PoolExhausted, and ConversationEngaged on a line.
        """
        ...
