"""Who sits, who waits, who is turned away. A pure state machine: it never waits, and is told the time."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from librarian.domain.errors import ConversationEngaged, PoolExhausted
from librarian.domain.identity import PrincipalId

SHORTEST_RETRY_S = 1.0
LONGEST_RETRY_S = 120.0


@dataclass(slots=True, eq=False)
class Lease:
    """A seat and the thread, or a place in the queue for them. `thread` None: a thread that nobody else knows.

    `line`: it waits for its thread, too. Any other takes its seat beside the turn that holds the thread.
    """

    principal: PrincipalId
    thread: str | None
    deadline_s: float
    line: bool = False
    seated: bool = False
    beside: bool = False


class AgentPool:
    """`seats` turns at once, one on a thread; `places` more may wait, served round robin over principals.

    Nobody waits for a thread but on a line: who finds it engaged sits without it, and branches.
    """

    def __init__(self, *, seats: int, places: int, patience_s: float) -> None:
        self._seats = seats
        self._places = places
        self._patience_s = patience_s
        self._taken = 0
        self._engaged: set[str] = set()
        self._queues: OrderedDict[PrincipalId, deque[Lease]] = OrderedDict()
        self._waiting = 0

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def waiting(self) -> int:
        return self._waiting

    def ask(self, principal: PrincipalId, thread: str | None, now_s: float, *, line: bool = False) -> Lease:
        """A seated lease, or one that waits. Raises PoolExhausted when the queue is full."""
        lease = Lease(principal, thread, now_s + self._patience_s, line)
        if self._taken < self._seats and self._can_sit(lease):
            self._seat(lease)
            return lease
        if self._waiting >= self._places:
            raise PoolExhausted(self._retry_after_s())
        self._queues.setdefault(principal, deque()).append(lease)
        self._waiting += 1
        return lease

    def give_back(self, lease: Lease) -> Sequence[Lease]:
        """Free a seat, or leave the queue. Returns the leases that are seated instead."""
        if not lease.seated:
            self._leave(lease)
            return ()
        lease.seated = False
        self._taken -= 1
        if lease.thread is not None and not lease.beside:
            self._engaged.discard(lease.thread)
        return self._fill() if self._waiting else ()

    def give_up(self, lease: Lease) -> PoolExhausted | ConversationEngaged:
        """The refusal for a lease whose deadline has passed; it leaves the queue."""
        self._leave(lease)
        engaged = not self._can_sit(lease)
        return ConversationEngaged(self._retry_after_s()) if engaged else PoolExhausted(self._retry_after_s())

    def _retry_after_s(self) -> float:
        return min(max(self._patience_s / 4, SHORTEST_RETRY_S), LONGEST_RETRY_S)

    def _can_sit(self, lease: Lease) -> bool:
        """Where there is a seat."""
        return not lease.line or lease.thread not in self._engaged

    def _seat(self, lease: Lease) -> None:
        lease.seated = True
        self._taken += 1
        lease.beside = lease.thread in self._engaged
        if lease.thread is not None:
            self._engaged.add(lease.thread)

    def _leave(self, lease: Lease) -> None:
        queue = self._queues.get(lease.principal)
        if queue is None or lease not in queue:
            return
        queue.remove(lease)
        self._waiting -= 1
        if not queue:
            del self._queues[lease.principal]

    def _fill(self) -> list[Lease]:
        seated: list[Lease] = []
        while self._taken < self._seats and (lease := self._next()) is not None:
            self._seat(lease)
            seated.append(lease)
        return seated

    def _next(self) -> Lease | None:
        """The first that can sit, of the principal whose turn it is; who was served goes to the end."""
        for principal, queue in self._queues.items():
            for lease in queue:
                if self._can_sit(lease):
                    queue.remove(lease)
                    self._waiting -= 1
                    if queue:
                        self._queues.move_to_end(principal)
                    else:
                        del self._queues[principal]
                    return lease
        return None
