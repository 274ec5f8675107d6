"""A language model whose every answer is unlike any other, and that can be made to wait or to fail."""

import asyncio
from collections.abc import Sequence
from time import perf_counter

from librarian.domain.catalog import ModelCard
from librarian.domain.errors import LibrarianError
from librarian.domain.prompt import Prompt
from librarian.domain.turn import StepEnded, StepStream, StopReason, TextSpoken, Usage

TOOK = Usage(11, 7)


class Numbered:
    """Says `Answer 1.`, `Answer 2.` and so on. `prompts` holds what it was asked."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []
        self.asked = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.trouble: LibrarianError | None = None

    def hold(self) -> asyncio.Event:
        """Until it is set, nothing is said. `asked` is set when somebody waits."""
        self.asked.clear()
        self.gate = asyncio.Event()
        return self.gate

    async def speak(self, prompt: Prompt) -> StepStream:
        self.prompts.append(prompt)
        answer = f"Answer {len(self.prompts)}."
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        yield TextSpoken((answer,))
        yield StepEnded(StopReason.END_OF_TURN, TOOK)

    async def models(self) -> Sequence[ModelCard]:
        return (ModelCard("numbered"),)

    async def aclose(self) -> None:
        """There is nothing to close."""


class SetClock:
    """Stands still until it is moved on."""

    def __init__(self, now_s: float = 1_790_000_000.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        return self._now_s

    def elapsed_s(self) -> float:
        return perf_counter()

    def move_on(self, seconds: float) -> None:
        self._now_s += seconds
