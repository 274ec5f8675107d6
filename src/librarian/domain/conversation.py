"""The tree of turns we keep of one chat, and what a transcript asks of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

from librarian.domain.transcript import Digest, Message, Reading

ConversationId = NewType("ConversationId", str)
TurnId = NewType("TurnId", str)


@dataclass(frozen=True, slots=True)
class Summary:
    """A compaction: `text` stands for the first `covers` messages of the transcript."""

    text: str
    covers: int


@dataclass(frozen=True, slots=True)
class HiddenSteps:
    """The house's own tool steps of one turn. They were taken just before message `at` was spoken."""

    at: int
    messages: tuple[Message, ...]


REMEMBERED_STEPS = 8
REMEMBERED_CHARS = 16_000


@dataclass(frozen=True, slots=True)
class Context:
    """What the model was shown beside the transcript, up to one turn. Bounded, so a turn costs what is new."""

    summary: Summary | None = None
    steps: tuple[HiddenSteps, ...] = ()

    def with_steps(self, at: int, messages: Sequence[Message]) -> "Context":
        """The oldest steps are forgotten first."""
        if not messages:
            return self
        kept: list[HiddenSteps] = []
        room = REMEMBERED_CHARS
        for steps in reversed((*self.steps, HiddenSteps(at, tuple(messages)))):
            room -= sum(_size(message) for message in steps.messages)
            if room < 0 or len(kept) == REMEMBERED_STEPS:
                break
            kept.append(steps)
        return Context(self.summary, tuple(reversed(kept)))

    def with_summary(self, summary: Summary) -> "Context":
        """Steps of turns that the summary stands for go with them."""
        return Context(summary, tuple(steps for steps in self.steps if steps.at >= summary.covers))


EMPTY = Context()


def _size(message: Message) -> int:
    return len(message.text) + sum(len(call.arguments) for call in message.calls)


@dataclass(frozen=True, slots=True)
class Start:
    """Nothing is known and nothing was said before: a new thread."""


@dataclass(frozen=True, slots=True)
class KnownTurn:
    """A settled turn that a transcript goes on from. `number` orders all turns of the house."""

    id: TurnId
    number: int
    digest: Digest
    context: Context = EMPTY


@dataclass(frozen=True, slots=True)
class Continue:
    """The parent of the news is the tip: only the news is new to the thread."""

    at: KnownTurn


@dataclass(frozen=True, slots=True)
class Branch:
    """The parent of the news is a known turn that something else followed: an edit, a regenerate, a lost race."""

    at: KnownTurn


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The client holds turns that no thread has: the seed is what it says went before."""

    seed: Sequence[Message]


Plan = Start | Continue | Branch | Rebuild
START = Start()


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is known of one chat: its head, and the turn at the parent of the news, if there is one.

    `head` is the number of its newest turn; None for a conversation that only now begins.
    """

    id: ConversationId
    head: int | None = None
    known: KnownTurn | None = None

    def plan(self, reading: Reading) -> Plan:
        """Pure and total."""
        if reading.parent is None:
            return START
        if self.known is None or self.known.digest != reading.parent:
            return Rebuild(reading.transcript.history)
        return Continue(self.known) if self.known.number == self.head else Branch(self.known)


def context_of(plan: Plan) -> Context:
    """What is shown beside the transcript: that of the turn it goes on from."""
    return plan.at.context if isinstance(plan, Continue | Branch) else EMPTY
