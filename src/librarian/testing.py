"""Fakes that keep the contracts of the ports, for those who embed the house and test what they build on it."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from librarian.application.ports.agents import Hearing
from librarian.domain.catalog import ModelCard
from librarian.domain.errors import LibrarianError, UpstreamRefused
from librarian.domain.prompt import Prompt
from librarian.domain.turn import (
    Reasoned,
    StepEnded,
    StepEvent,
    StepStream,
    StopReason,
    TextSpoken,
    ToolCalled,
    TurnEnded,
    TurnEvent,
    TurnStream,
    Usage,
)

Line = StepEvent | LibrarianError | asyncio.Event
TOOK = Usage(input_tokens=11, output_tokens=7)


class ScriptedModel:
    """A LanguageModel that does what was laid down for it, step by step; then it has one line for every occasion.

    `prompts` holds what it was asked, `stopped` how many of its steps were left before their end.
    """

    def __init__(self, line: str = "Indeed.", *, models: Sequence[ModelCard] = (ModelCard("scripted"),)) -> None:
        self.prompts: list[Prompt] = []
        self.stopped = 0
        self._line = line
        self._models = models
        self._steps: deque[Sequence[Line]] = deque()

    def say(
        self,
        *fragments: str,
        reasoning: str = "",
        reason: StopReason = StopReason.END_OF_TURN,
        usage: Usage | None = TOOK,
    ) -> None:
        """One step; each fragment is a read of its own."""
        thought = [Reasoned((reasoning,))] if reasoning else []
        self._steps.append([*thought, *(TextSpoken((fragment,)) for fragment in fragments), StepEnded(reason, usage)])

    def call(self, name: str, arguments: Mapping[str, Any] | str) -> None:
        self.calls((name, arguments))

    def calls(self, *calls: tuple[str, Mapping[str, Any] | str]) -> None:
        """One step with several calls at once. Arguments are JSON, or are made so."""
        made = [
            ToolCalled(index, self._call_id(index), name, text if isinstance(text, str) else json.dumps(text))
            for index, (name, text) in enumerate(calls)
        ]
        self._steps.append([*made, StepEnded(StopReason.TOOL_CALLS, TOOK)])

    def fail(self, error: LibrarianError) -> None:
        self._steps.append([error])

    def break_off(self, after: str = "") -> None:
        """In the middle of a step, once it has said `after`."""
        said = [TextSpoken((after,))] if after else []
        self._steps.append([*said, UpstreamRefused("The language model broke off.", heard=True)])

    def wait(self, event: asyncio.Event, *, after: str = "") -> None:
        """Says `after`, waits for the event, and then its one line."""
        said = [TextSpoken((after,))] if after else []
        self._steps.append([*said, event, TextSpoken((self._line,)), StepEnded(StopReason.END_OF_TURN, TOOK)])

    async def speak(self, prompt: Prompt) -> StepStream:
        self.prompts.append(prompt)
        if not self._steps:
            self.say(self._line)
        ended = False
        try:
            for line in self._steps.popleft():
                match line:
                    case asyncio.Event():
                        await line.wait()
                    case LibrarianError():
                        ended = True
                        raise line
                    case _:
                        await asyncio.sleep(0)
                        ended = isinstance(line, StepEnded)
                        yield line
        finally:
            self.stopped += not ended

    async def models(self) -> Sequence[ModelCard]:
        return self._models

    async def aclose(self) -> None:
        """There is nothing to close."""

    def _call_id(self, index: int) -> str:
        """Unlike any other of this model's."""
        return f"call_{sha256(b'%d:%d' % (len(self._steps) + len(self.prompts), index)).hexdigest()[:24]}"


class ScriptedAgents:
    """An AgentRuntime that does what it is told to, turn by turn, and then says one line for every occasion.

    `heard` holds what it was given to hear, oldest first.
    """

    def __init__(self, line: str = "Indeed.") -> None:
        self.line = line
        self.heard: list[Hearing] = []
        self._acts: deque[Sequence[TurnEvent | LibrarianError]] = deque()

    def say(self, *fragments: str) -> None:
        """In the next turn for which nothing is laid down yet."""
        self._acts.append(
            [*(TextSpoken((fragment,)) for fragment in fragments), TurnEnded(StopReason.END_OF_TURN, TOOK)]
        )

    def call(self, name: str, arguments: str) -> None:
        """A tool of the client's."""
        self._acts.append([ToolCalled(0, "call_1", name, arguments), TurnEnded(StopReason.TOOL_CALLS, TOOK)])

    def fail(self, error: LibrarianError, *, after: str = "") -> None:
        """`after`: what is said before it."""
        said: Sequence[TurnEvent] = (TextSpoken((after,)),) if after else ()
        self._acts.append([*said, error])

    async def take_turn(self, hearing: Hearing) -> TurnStream:
        self.heard.append(hearing)
        acts = (
            self._acts.popleft() if self._acts else (TextSpoken((self.line,)), TurnEnded(StopReason.END_OF_TURN, TOOK))
        )
        for act in acts:
            if isinstance(act, LibrarianError):
                raise act
            yield act

    async def aclose(self) -> None:
        """Nothing is held."""
