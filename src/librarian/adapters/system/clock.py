"""The machine's clocks and dice."""

import os
import time

CHANCE_DIGITS = 11
DRAWN_BYTES = CHANCE_DIGITS * 128


class SystemClock:
    """Time as the machine tells it."""

    now_s = staticmethod(time.time)
    elapsed_s = staticmethod(time.perf_counter)


class TimelyIds:
    """Microseconds first, chance after: rows with such keys are written side by side, on half the pages."""

    def __init__(self) -> None:
        self._last_us = 0
        self._chances: list[str] = []
        os.register_at_fork(after_in_child=self._chances.clear)  # no two processes draw the same

    def new(self) -> str:
        self._last_us = max(time.time_ns() // 1000, self._last_us + 1)
        return f"{self._last_us:013x}{self._chance()}"

    def _chance(self) -> str:
        """11 digits, drawn in bulk: a call of the kernel's for each would cost as much as all the rest."""
        try:
            return self._chances.pop()
        except IndexError:
            drawn = os.urandom(DRAWN_BYTES).hex()
            self._chances += [drawn[at : at + CHANCE_DIGITS] for at in range(0, len(drawn), CHANCE_DIGITS)]
            return self._chances.pop()
