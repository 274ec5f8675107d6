"""The embedded engine: an AgentRuntime of our own, over any language model."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import structlog

from librarian.application.engine.context import Contexts, Shown
from librarian.application.engine.counting import Counting
from librarian.application.engine.loop import AgentTools, steps
from librarian.application.engine.memory_tools import MemoryTools, TurnTools
from librarian.application.ports.agents import Hearing
from librarian.application.ports.memory import MemoryStore
from librarian.application.ports.models import LanguageModel
from librarian.domain.compaction import answer_tokens
from librarian.domain.conversation import TurnId
from librarian.domain.errors import InvalidRequest, StoreUnavailable
from librarian.domain.prompt import DEFAULT_BLOCKS
from librarian.domain.tools import ToolSpec, ToolUse
from librarian.domain.turn import Compacted, TurnStream

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

TIGHTER = 0.6
"""How much of what overflowed an upstream is shown at the second try."""
NO_TOOLS_HERE = re.compile(
    r"(?:not|n't) support (?:\w+ )?(?:tools|function)|tools? (?:is|are) not supported", re.IGNORECASE
)


class EmbeddedAgents:
    """Shows the model what the client sent, under one system message with the agent's memory."""

    def __init__(
        self,
        *,
        model: LanguageModel,
        memory: MemoryStore,
        tools: MemoryTools,
        contexts: Contexts,
        counting: Counting,
        most_steps: int,
    ) -> None:
        self._model = model
        self._memory = memory
        self._tools = tools
        self._contexts = contexts
        self._counting = counting
        self._most_steps = most_steps
        self._without_tools: set[str | None] = set()
        self._undoing: set[asyncio.Task[None]] = set()

    async def take_turn(self, hearing: Hearing) -> TurnStream:
        if self._undoing:
            await asyncio.wait(self._undoing)  # what an abandoned turn wrote is not before the eyes of the next
        agent = await self._memory.agent(hearing.agent, DEFAULT_BLOCKS)
        blocks = await self._memory.blocks(agent)
        own = TurnTools(self._tools, hearing)
        run = partial(own.run, agent=agent)
        trial = _Trial(hearing.window_tokens)
        ended = False
        try:
            while not ended:
                began, shown = False, None
                try:
                    shown = await self._contexts(hearing, blocks, self._offered(hearing), trial.window_tokens)
                    if shown.compacted is not None:
                        yield Compacted(shown.compacted)
                    tools = AgentTools(run, hearing.tools.names, self._most_steps)
                    async with aclosing(steps(self._model.speak, self._counting, shown.prompt, tools)) as events:
                        async for event in events:
                            began = True
                            yield event
                    ended = True
                except InvalidRequest as refused:
                    if began:
                        raise
                    trial = await self._once_more(trial, refused, hearing, shown)
        finally:
            if own.used and not ended:
                self._take_back(hearing.turn)

    async def aclose(self) -> None:
        if self._undoing:
            await asyncio.wait(self._undoing)

    def _offered(self, hearing: Hearing) -> Sequence[ToolSpec]:
        """The client's tools and the house's; where the client demands a call, it is one of its own."""
        client = hearing.tools
        theirs = client.specs if client.choice.use is not ToolUse.NONE else ()
        if client.choice.demands or hearing.model in self._without_tools:
            return theirs
        ours = self._tools.specs(without=theirs, writes=hearing.writes)
        return (*ours, *theirs) if theirs else ours

    async def _once_more(
        self, trial: "_Trial", refused: InvalidRequest, hearing: Hearing, shown: Shown | None
    ) -> "_Trial":
        """What to try next. Raises the refusal where trying again would not help."""
        if shown is None:  # the last turn does not fit, be it only by the guess after an upstream's overflow
            raise trial.overflow or refused
        if refused.code == "context_length_exceeded" and trial.overflow is None:
            answer = answer_tokens(hearing.sampling.max_tokens, trial.window_tokens)
            return _Trial(int(await self._counting.prompt(shown.prompt) * TIGHTER) + answer, refused)
        if NO_TOOLS_HERE.search(str(refused)) and not hearing.tools.specs and hearing.model not in self._without_tools:
            # such a model has blocks and recall in view, and edits none
            self._without_tools.add(hearing.model)
            log.warning("model_without_tools", model=hearing.model)
            return trial
        raise refused

    def _take_back(self, turn: TurnId) -> None:
        task = asyncio.ensure_future(self._taken_back(turn))  # a client that left cannot interrupt it
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def _taken_back(self, turn: TurnId) -> None:
        try:
            entries = await self._memory.take_back(turn, unless_settled=True)
            log.info("memory_taken_back", turn=turn, entries=entries)
        except StoreUnavailable as error:
            log.warning("memory_not_taken_back", turn=turn, error=str(error))


@dataclass(frozen=True, slots=True)
class _Trial:
    """How large the window is thought to be, and the upstream's refusal that made the house think so."""

    window_tokens: int
    overflow: InvalidRequest | None = None
