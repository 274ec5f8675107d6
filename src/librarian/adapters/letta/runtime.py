"""Agents that live in a Letta server: an AgentRuntime over its conversations."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial

import orjson
import structlog

from librarian.adapters.letta import wire
from librarian.adapters.letta.answers import Model
from librarian.adapters.letta.blocks import LettaMemory
from librarian.adapters.letta.client import LettaClient
from librarian.adapters.letta.errors import Engaged, Gone, Missing, NotPending, Pending
from librarian.adapters.letta.making import Making
from librarian.adapters.letta.placing import Placed, Placing
from librarian.adapters.letta.sampling import Chosen, chosen
from librarian.application.engine.counting import Counting
from librarian.application.engine.loop import AgentTools, steps
from librarian.application.engine.memory_tools import MemoryTools, TurnTools
from librarian.application.ports.agents import Hearing
from librarian.application.ports.threads import AgentRef, KeptResult
from librarian.domain.conversation import TurnId
from librarian.domain.errors import (
    AgentUnavailable,
    InvalidRequest,
    LibrarianError,
    StoreUnavailable,
    UnknownModel,
    UpstreamBusy,
    UpstreamRefused,
)
from librarian.domain.memory import MemoryBlock
from librarian.domain.prompt import IDENTITY, Prompt, system_message
from librarian.domain.stops import Stops
from librarian.domain.tools import ClientTools, ToolSpec, ToolUse
from librarian.domain.transcript import Message, Role
from librarian.domain.turn import (
    Ignored,
    Reasoned,
    StepEnded,
    StepStream,
    StopReason,
    TextSpoken,
    ToolCalled,
    TurnEnded,
    TurnStream,
)

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LOST = (Gone, Pending, NotPending, Engaged)
"""The thread or the agent is not what it was taken for. Nothing was heard: the transcript is told to a new one."""
TRIES = 3
MUST_CALL = "Answer this request by calling {}, and in no other way."


class LettaAgents:
    """One Letta conversation for each thread of ours, told only what is new; all it is told of memory, by the house."""

    def __init__(
        self,
        *,
        client: LettaClient,
        making: Making,
        placing: Placing,
        memory: LettaMemory,
        tools: MemoryTools,
        counting: Counting,
        most_steps: int,
        strict: bool,
    ) -> None:
        """`strict`: what Letta cannot do is refused, not left out and named."""
        self._client = client
        self._making = making
        self._placing = placing
        self._memory = memory
        self._tools = tools
        self._counting = counting
        self._most_steps = most_steps
        self._strict = strict
        self._undoing: set[asyncio.Task[None]] = set()
        self._models: dict[str, Model] = {}

    async def take_turn(self, hearing: Hearing) -> TurnStream:
        await self._undone()
        pattern = await self._making.pattern(hearing.agent.template)
        handle = hearing.model or pattern.handle or await self._making.model()
        settings = chosen(handle, await self._provider(handle), hearing.sampling)
        if left_out := _left_out(settings, hearing.tools):
            yield self._named(left_out)
        own = TurnTools(self._tools, hearing)
        ended = False
        try:
            for more_tries in reversed(range(TRIES)):
                agent, ref = await self._making.of(hearing.agent)
                loose: Placed | None = None
                began = False
                try:
                    blocks = await self._memory.blocks(agent)
                    anew = more_tries < TRIES - 1
                    placed = loose = await self._placing.place(hearing, ref, handle, settings, anew=anew)
                    speaking = _Speaking(self._client, placed, settings, hearing, self._most_steps)
                    tools = AgentTools(partial(own.run, agent=agent), hearing.tools.names, self._most_steps)
                    prompt = self._prompt(hearing, blocks, handle, pattern.identity or IDENTITY)
                    async with aclosing(steps(speaking.speak, self._counting, prompt, tools)) as events:
                        async for event in events:
                            began = True
                            if isinstance(event, TurnEnded):
                                await self._put_away(placed, hearing.turn, event, stopped=speaking.stopped)
                                loose = None
                            yield event
                    ended = True
                    self._memory.settled(hearing.turn)
                    return
                except LOST as lost:
                    if began or not more_tries:
                        raise
                    await self._lost(lost, hearing, ref)
                except LibrarianError as error:
                    if loose is not None and not began and _nothing_heard(error):
                        await self._placing.unheard(loose)
                        loose = None
                    raise
                finally:
                    self._left(loose, hearing.turn)
        finally:
            if own.used and not ended:
                self._take_back(hearing.turn)

    async def aclose(self) -> None:
        await self._undone()
        await self._memory.aclose()
        await self._placing.aclose()
        await self._client.aclose()

    def _prompt(self, hearing: Hearing, blocks: Sequence[MemoryBlock], handle: str, identity: str) -> Prompt:
        """`messages` are there to be counted; Letta is told its own way."""
        client = hearing.tools
        system = system_message(
            hearing.mode, hearing.transcript.overlay, blocks, "", hearing.recalled, identity=identity
        )
        if client.choice.demands:  # Letta takes no tool_choice
            named = f"the tool `{client.choice.name}`" if client.choice.name else "one of the tools"
            system = f"{system}\n\n{MUST_CALL.format(named)}"
        return Prompt(handle, system, hearing.transcript.messages, hearing.sampling, self._offered(hearing))

    def _offered(self, hearing: Hearing) -> Sequence[ToolSpec]:
        client = hearing.tools
        if client.choice.demands:
            named = client.choice.name
            return tuple(spec for spec in client.specs if named is None or spec.name == named)
        theirs = client.specs if client.choice.use is not ToolUse.NONE else ()
        ours = self._tools.specs(without=theirs, writes=hearing.writes)
        return (*ours, *theirs) if theirs else ours

    def _named(self, ignored: tuple[str, ...]) -> Ignored:
        """Raises InvalidRequest where nothing is to be left out."""
        if self._strict:
            raise InvalidRequest(
                f"Agents that live in Letta cannot be told: {', '.join(ignored)}.",
                param=ignored[0],
                code="unsupported_parameter",
            )
        return Ignored(ignored)

    async def _provider(self, handle: str) -> str | None:
        if handle not in self._models:
            self._models = {model.handle: model for model in await self._client.models()}
        model = self._models.get(handle)
        return model.provider_type if model is not None else None

    async def _put_away(self, placed: Placed, turn: TurnId, ended: TurnEnded, *, stopped: bool) -> None:
        if stopped:  # Letta was stopped in the middle, and has kept nothing of the turn
            self._placing.leave(placed, turn)
            return
        kept = _results(ended.steps) if ended.reason is StopReason.TOOL_CALLS else ()
        try:
            await self._placing.put_away(placed.thread, turn, kept)
        except LibrarianError as error:  # the turn is taken all the same; what follows it is told to a new thread
            log.warning("letta_thread_not_put_away", ref=placed.thread.ref, error=str(error))
            self._placing.leave(placed, turn)

    def _left(self, loose: Placed | None, turn: TurnId) -> None:
        """In the middle of the turn."""
        if loose is not None:
            self._placing.leave(loose, turn)

    async def _lost(self, lost: LibrarianError, hearing: Hearing, ref: AgentRef) -> None:
        log.info("letta_thread_lost", error=type(lost).__name__, conversation=hearing.conversation)
        if isinstance(lost, Gone) and lost.what is Missing.AGENT:
            await self._making.forget(hearing.agent, ref)
        elif isinstance(lost, Gone) and lost.what is Missing.HANDLE:
            raise lost if hearing.model is None else UnknownModel(hearing.model)

    async def _undone(self) -> None:
        """What an abandoned turn wrote is not before the eyes of the next."""
        if self._undoing:
            await asyncio.wait(self._undoing)

    def _take_back(self, turn: TurnId) -> None:
        task = asyncio.ensure_future(self._taken_back(turn))  # a client that left cannot interrupt it
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def _taken_back(self, turn: TurnId) -> None:
        try:
            await self._memory.take_back(turn, unless_settled=True)
        except StoreUnavailable as error:
            log.warning("memory_not_taken_back", turn=turn, error=str(error))


class _Speaking:
    """One turn on one thread: every step is a request to Letta."""

    def __init__(
        self, client: LettaClient, placed: Placed, settings: Chosen, hearing: Hearing, most_steps: int
    ) -> None:
        self._client = client
        self._placed = placed
        self._settings = settings
        self._turn = hearing.turn
        self._stops = Stops(_stops(hearing.sampling.passed.get("stop")))
        self._most_steps = most_steps
        self._steps = 0

    @property
    def stopped(self) -> bool:
        return self._stops.stopped

    async def speak(self, prompt: Prompt) -> StepStream:
        messages = self._placed.news if not self._steps else [wire.returned(_answers(prompt.messages))]
        self._steps += 1
        body = wire.turn(
            messages,
            system=prompt.system,
            tools=prompt.tools,
            most_steps=self._most_steps,
            otid=f"{self._turn}-{self._steps}",
        )
        reader = self._client.conversations.reader(self._settings.most_tokens)
        async with aclosing(self._client.send(self._placed.thread.ref, body, reader)) as events:
            async for event in events:
                match event:
                    case TextSpoken(fragments):
                        if said := self._stops.feed("".join(fragments)):
                            yield TextSpoken((said,))
                        if self._stops.stopped:
                            yield StepEnded(StopReason.END_OF_TURN, None)
                            return
                    case StepEnded():
                        if rest := self._stops.rest():
                            yield TextSpoken((rest,))
                        yield event
                    case Reasoned() | ToolCalled():
                        yield event


def _left_out(settings: Chosen, tools: ClientTools) -> tuple[str, ...]:
    """Letta takes several calls at once, or loses all but the first."""
    return settings.ignored if tools.parallel is not False else (*settings.ignored, "parallel_tool_calls")


def _nothing_heard(error: LibrarianError) -> bool:
    """Of a turn whose first step failed so, Letta keeps nothing."""
    return isinstance(error, UpstreamBusy) or (
        isinstance(error, AgentUnavailable | UpstreamRefused) and not error.heard
    )


def _answers(messages: Sequence[Message]) -> list[wire.Result]:
    """The results at the end: those of the step before."""
    at = len(messages)
    while at and messages[at - 1].role is Role.TOOL:
        at -= 1
    return [wire.result_of(message) for message in messages[at:]]


def _results(steps_taken: Sequence[Message]) -> tuple[KeptResult, ...]:
    """What the house's own tools returned in the last step, which waits for the client's."""
    return tuple(
        KeptResult(result.call_id, "".join(map(str, result.parts)), succeeded=True) for result in _answers(steps_taken)
    )


def _stops(passed: bytes | None) -> Sequence[str]:
    stops = orjson.loads(passed) if passed else None
    return [stops] if isinstance(stops, str) else stops or []
