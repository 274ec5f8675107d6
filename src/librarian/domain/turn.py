"""One exchange: what an agent does between hearing a message and falling silent."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from librarian.domain.conversation import ConversationId, Summary, TurnId
from librarian.domain.mode import ModeChoice
from librarian.domain.transcript import Message, Role, ToolCall


class StopReason(StrEnum):
    """Why the agent fell silent. Failures are not stop reasons; they are raised."""

    END_OF_TURN = "end_of_turn"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens spent by every step of the turn together. `cached` are among the input, `reasoning` among the output."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


class TurnBegan(NamedTuple):
    """The first event of every turn: a seat is held, nothing was asked of the agent yet.

    `turn` and `at_s`, in seconds since 1970, are those of the turn that is told again, where it is. Who speaks without
    memory has no conversation, and a task no manner.
    """

    conversation: ConversationId | None
    turn: TurnId
    plan: str
    mode: ModeChoice | None
    at_s: float = 0.0


class Ignored(NamedTuple):
    """What the client asked for and the backend cannot do: names of sampling fields. Before anything is said."""

    names: tuple[str, ...]


class Likelihood(NamedTuple):
    """How likely a model found a token, as the natural logarithm; and what else it might have said in its place.

    `utf8`: the token's bytes; one character may be cut between two.
    """

    token: str
    logarithm: float
    utf8: bytes
    others: tuple["Likelihood", ...] = ()


class TextSpoken(NamedTuple):
    """What was said since the last event, in the fragments it came in; join them for the text.

    One event for each *breath* (one read from the agent), not for each token: the layers between
    cost the same for one fragment as for sixty.

    `likelihoods`: of its tokens, where the client asked for them and the model's server tells.
    """

    fragments: Sequence[str]
    likelihoods: Sequence[Likelihood] = ()


class Reasoned(NamedTuple):
    """What was thought since the last event. Never part of what is said."""

    fragments: Sequence[str]


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """A call of a tool, or more of its arguments.

    `index` counts the calls of the step. The first event of a call has its `id` and `name`; later ones have
    neither and add to `arguments`.
    """

    index: int
    id: str
    name: str
    arguments: str


class ToolReturned(NamedTuple):
    """One of the house's own tools was run. `succeeded` is False where it refused."""

    call_id: str
    name: str
    succeeded: bool


class MemoryChanged(NamedTuple):
    """A block was edited, or a passage put by. `what` is the block's label, or `archive`."""

    what: str


class Compacted(NamedTuple):
    """The oldest messages were replaced by a summary."""

    summary: Summary


class TurnEnded(NamedTuple):
    """The last event of every turn that does not raise; there is exactly one.

    `steps` are the house's own tool steps, hidden from the client: calls, and what they returned.
    """

    reason: StopReason
    usage: Usage
    steps: tuple[Message, ...] = ()


class StepEnded(NamedTuple):
    """The last event of one step of a model. `usage` is None where the model's server did not say."""

    reason: StopReason
    usage: Usage | None


TurnEvent = (
    TurnBegan | Ignored | TextSpoken | Reasoned | ToolCalled | ToolReturned | MemoryChanged | Compacted | TurnEnded
)
TurnStream = AsyncGenerator[TurnEvent, None]
StepEvent = Ignored | TextSpoken | Reasoned | ToolCalled | StepEnded
StepStream = AsyncGenerator[StepEvent, None]


class Collected:
    """A stream gathered into the message it makes."""

    __slots__ = ("_calls", "_fragments", "likelihoods")

    def __init__(self) -> None:
        self.likelihoods: list[Likelihood] = []
        self._fragments: list[str] = []
        self._calls: dict[int, list[str]] = {}

    def speak(self, fragments: Sequence[str]) -> None:
        self._fragments.extend(fragments)

    def call(self, event: ToolCalled) -> None:
        known = self._calls.get(event.index)
        if known is None:
            self._calls[event.index] = [event.id, event.name, event.arguments]
        else:
            known.append(event.arguments)

    @property
    def text(self) -> str:
        return "".join(self._fragments)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        if not self._calls:
            return ()
        return tuple(ToolCall(id_, name, "".join(rest)) for id_, name, *rest in self._calls.values())

    @property
    def message(self) -> Message:
        return Message(Role.ASSISTANT, self.text, calls=self.calls)


async def collected(events: TurnStream) -> Message:
    """The whole reply of a turn, once it is settled."""
    reply = Collected()
    async with aclosing(events):
        async for event in events:
            match event:
                case TextSpoken(fragments):
                    reply.speak(fragments)
                case ToolCalled():
                    reply.call(event)
    return reply.message
