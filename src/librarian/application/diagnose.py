"""Ask every part of the house whether it is well."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from librarian.application.ports.clock import Clock
from librarian.application.ports.health import Finding, Health

PATIENCE_S = 3.0
FRESH_S = 1.0
"""For how long a diagnosis is given to whoever asks next: those who ask need no key."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Every part that the house cannot serve without is well."""
        return all(finding.well for finding in self.findings if finding.needed)

    @property
    def well(self) -> bool:
        return all(finding.well for finding in self.findings)


class Diagnose:
    """All parts at once; one that does not answer in time is not well."""

    def __init__(self, *, parts: Sequence[Health], clock: Clock, patience_s: float = PATIENCE_S) -> None:
        self._parts = parts
        self._clock = clock
        self._patience_s = patience_s
        self._asking = asyncio.Lock()
        self._last: tuple[float, Diagnosis] | None = None

    async def __call__(self) -> Diagnosis:
        async with self._asking:
            if self._last is not None and self._clock.elapsed_s() - self._last[0] < FRESH_S:
                return self._last[1]
            diagnosis = Diagnosis(tuple(await asyncio.gather(*map(self._ask, self._parts))))
            self._last = (self._clock.elapsed_s(), diagnosis)
            return diagnosis

    async def _ask(self, part: Health) -> Finding:
        try:
            async with asyncio.timeout(self._patience_s):
                return await part.check()
        except TimeoutError:
            return Finding(type(part).__name__, well=False, detail=f"no answer within {self._patience_s:g} s")
