"""The steps of a turn: think, call tools, speak."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from librarian.application.engine.counting import Counting
from librarian.application.engine.memory_tools import Returned
from librarian.application.ports.models import LanguageModel
from librarian.domain.errors import TurnFailed
from librarian.domain.prompt import Prompt
from librarian.domain.tools import ToolChoice
from librarian.domain.transcript import Message, Role, ToolCall
from librarian.domain.turn import (
    Collected,
    Ignored,
    MemoryChanged,
    Reasoned,
    StepEnded,
    StepEvent,
    StepStream,
    StopReason,
    TextSpoken,
    ToolCalled,
    ToolReturned,
    TurnEnded,
    TurnEvent,
    TurnStream,
    Usage,
)

BETWEEN_STEPS = "\n\n"
"""Between what was said before a tool was run and what is said after it."""

RunTool = Callable[[ToolCall], Awaitable[Returned]]
Speak = Callable[[Prompt], StepStream]
"""As LanguageModel.speak."""
NOTHING = Usage(0, 0)


@dataclass(frozen=True, slots=True)
class AgentTools:
    """The house's tools for one turn. `theirs`: the names of the client's; None if every call is the client's."""

    run: RunTool
    theirs: frozenset[str] | None
    most_steps: int


class _Step:
    """What one step of the model makes: text as it comes, calls kept apart by whose they are."""

    __slots__ = ("_before", "_indexes", "_theirs", "ended", "ours", "said")

    def __init__(self, theirs: frozenset[str] | None, before: str) -> None:
        """`before`: what to put before the first words."""
        self.said = Collected()
        self.ours = Collected()
        self.ended: StepEnded | None = None
        self._before = before
        self._theirs = theirs
        self._indexes: dict[int, int] = {}

    def take(self, event: StepEvent) -> TurnEvent | None:
        """The event as the client sees it, if it does: its own calls are counted from 0, the house's hidden."""
        match event:
            case TextSpoken(fragments):
                self.said.speak(fragments)
                if self._before:
                    event = event._replace(fragments=(self._before, *fragments))
                    self._before = ""
                return event
            case ToolCalled():
                return self._call(event)
            case StepEnded():
                self.ended = event
                return None
            case Reasoned() | Ignored():
                return event

    @property
    def made(self) -> Message:
        return Message(Role.ASSISTANT, self.said.text, calls=self.said.calls + self.ours.calls)

    def _call(self, event: ToolCalled) -> ToolCalled | None:
        if event.index not in self._indexes and not (event.name and self._is_theirs(event.name)):
            self.ours.call(event)
            return None
        self.said.call(event)
        return replace(event, index=self._indexes.setdefault(event.index, len(self._indexes)))

    def _is_theirs(self, name: str) -> bool:
        return self._theirs is None or name in self._theirs


async def steps(speak: Speak, counting: Counting, prompt: Prompt, tools: AgentTools) -> TurnStream:
    """Steps until the agent has spoken, or called a tool of the client's. The last one it may take has no tools.

    Raises what LanguageModel raises, TurnFailed and StoreUnavailable.
    """
    usage = NOTHING
    hidden: list[Message] = []
    spoke = False
    for taken in range(1, tools.most_steps + 1):
        if taken > 1 and taken == tools.most_steps:
            prompt = replace(prompt, tools=(), choice=ToolChoice(), parallel=None)
        step = _Step(tools.theirs, BETWEEN_STEPS if spoke else "")
        async with aclosing(speak(prompt)) as events:
            async for event in events:
                if (shown := step.take(event)) is not None:
                    yield shown
        if step.ended is None:
            raise TurnFailed("The model fell silent in the middle of a step.")
        usage += step.ended.usage or await counting.usage(prompt, step.made)
        if not (ours := step.ours.calls):
            yield TurnEnded(step.ended.reason, usage, tuple(hidden))
            return
        results: list[Message] = []
        async for done in _run(taken, ours, tools.run, results):
            yield done
        hidden += [Message(Role.ASSISTANT, "", calls=ours), *results]
        if step.said.calls:  # the client's calls of the same step are its to answer
            yield TurnEnded(StopReason.TOOL_CALLS, usage, tuple(hidden))
            return
        spoke = spoke or bool(step.said.text)
        prompt = replace(prompt, messages=(*prompt.messages, step.made, *results))
    raise TurnFailed("The agent did not come to an end.")


async def _run(step: int, calls: tuple[ToolCall, ...], run: RunTool, results: list[Message]) -> TurnStream:
    """In order, one after the other: a later call may build on an earlier one."""
    for call in calls:
        returned = await run(call._replace(id=f"{step}/{call.id}"))  # some models give every step's calls the same ids
        results.append(Message(Role.TOOL, returned.text, answers=call.id))
        yield ToolReturned(call.id, call.name, returned.succeeded)
        if returned.changed is not None:
            yield MemoryChanged(returned.changed)


def one_step(model: LanguageModel, counting: Counting, prompt: Prompt) -> TurnStream:
    """A turn without an agent."""
    return steps(model.speak, counting, prompt, AgentTools(_none, None, 1))


async def _none(call: ToolCall) -> Returned:
    return Returned(f"Error: there is no tool `{call.name}`.", succeeded=False)
