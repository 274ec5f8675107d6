"""The machine's clocks and dice."""

import os
import time


class SystemClock:
    """Time as the machine tells it."""

    now_s = staticmethod(time.time)
    elapsed_s = staticmethod(time.perf_counter)


class TimelyIds:
    """Microseconds first, chance after: rows with such keys are written side by side, on half the pages."""

    def __init__(self) -> None:
        self._last_us = 0

    def new(self) -> str:
        self._last_us = max(time.time_ns() // 1000, self._last_us + 1)
        return f"{self._last_us:013x}{os.urandom(6).hex()[1:]}"
