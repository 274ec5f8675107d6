"""A language model that is overheard: what it was shown can be looked at, and what it does next can be laid down."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from librarian.application.ports.models import LanguageModel
from librarian.domain.catalog import ModelCard
from librarian.domain.errors import LibrarianError
from librarian.domain.prompt import Prompt
from librarian.domain.turn import StepEnded, StepEvent, StepStream, StopReason, ToolCalled, Usage

Act = Sequence[StepEvent | LibrarianError]
TOOK = Usage(11, 7)


def ended(reason: StopReason = StopReason.END_OF_TURN) -> StepEnded:
    return StepEnded(reason, TOOK)


def called(name: str, arguments: str, call_id: str = "call_1") -> ToolCalled:
    return ToolCalled(0, call_id, name, arguments)


class Overheard:
    """Does what was laid down for it, act by act; then what the model it stands before does."""

    def __init__(self, behind: LanguageModel, cards: Sequence[ModelCard] = ()) -> None:
        self.prompts: list[Prompt] = []
        self.acts: deque[Act] = deque()
        self.cards = cards
        self.knows_tools = True
        self._behind = behind

    async def speak(self, prompt: Prompt) -> StepStream:
        self.prompts.append(prompt)
        if self.acts:
            for event in self.acts.popleft():
                if isinstance(event, LibrarianError):
                    raise event
                await asyncio.sleep(0)
                yield event
            return
        asked = prompt if self.knows_tools else replace(prompt, tools=())
        async for event in self._behind.speak(asked):
            yield event

    async def models(self) -> Sequence[ModelCard]:
        return self.cards or await self._behind.models()

    async def aclose(self) -> None:
        await self._behind.aclose()
