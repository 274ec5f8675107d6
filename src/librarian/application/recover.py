"""Take back what turns wrote to memory whose process died before they were recorded."""

from collections.abc import Callable

import structlog

from librarian.application.ports.administration import AgentRegister
from librarian.application.ports.clock import Clock
from librarian.application.ports.memory import MemoryStore
from librarian.domain.errors import LibrarianError

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Recover:
    """At the start of the house. Safe beside other processes: what a turn of theirs wrote is left alone."""

    def __init__(
        self,
        *,
        register: AgentRegister,
        memory: MemoryStore,
        alone: Callable[[], bool],
        clock: Clock,
        turn_s: float,
    ) -> None:
        """`alone`: no other process had the store open when this one opened it. `turn_s`: no turn takes longer."""
        self._register = register
        self._memory = memory
        self._alone = alone
        self._clock = clock
        self._turn_s = turn_s

    async def __call__(self) -> int:
        """How many entries were taken back. One that cannot be is left for the next start."""
        before_s = self._clock.now_s() - (0.0 if self._alone() else self._turn_s)
        undone = 0
        for turn in await self._register.unsettled(before_s):
            try:
                undone += await self._memory.take_back(turn, unless_settled=True)
            except LibrarianError as error:
                log.warning("memory_not_taken_back", turn=turn, error=str(error))
        if undone:
            log.info("memory_recovered", entries=undone)
        return undone
