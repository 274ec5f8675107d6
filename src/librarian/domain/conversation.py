"""The tree of turns we keep of one chat, and what a transcript asks of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NewType

from librarian.domain.transcript import Digest, Message, Reading, Role, own_digests

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
    """What the model was shown beside the transcript, up to one turn. Bounded, so a turn costs what is new.

    `oldest`: the number of the oldest turn that the transcript still shows, where its beginning was cut off; else 0.
    """

    summary: Summary | None = None
    steps: tuple[HiddenSteps, ...] = ()
    oldest: int = 0

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
        return Context(self.summary, tuple(reversed(kept)), self.oldest)

    def with_summary(self, summary: Summary) -> "Context":
        """Steps of turns that the summary stands for go with them."""
        return Context(summary, tuple(steps for steps in self.steps if steps.at >= summary.covers), self.oldest)


EMPTY = Context()


def _size(message: Message) -> int:
    return len(message.text) + sum(len(call.arguments) for call in message.calls)


@dataclass(frozen=True, slots=True)
class KnownTurn:
    """A settled turn that a transcript goes on from. `number` orders all turns of the house.

    `tip`: nothing follows it yet. Every branch has one.
    """

    id: TurnId
    number: int
    digest: Digest
    context: Context = EMPTY
    tip: bool = True


@dataclass(frozen=True, slots=True)
class Start:
    """Nothing is known and nothing was said before: a new thread."""


@dataclass(frozen=True, slots=True)
class Continue:
    """The parent of the news is a tip: only the news is new to its thread."""

    at: KnownTurn


@dataclass(frozen=True, slots=True)
class Resume:
    """The tip ends in calls of the client's tools, and the news begin with what they returned."""

    at: KnownTurn


@dataclass(frozen=True, slots=True)
class Branch:
    """The parent of the news is a known turn that something else follows, or is about to: an edit, a regenerate,
    a lost race."""

    at: KnownTurn


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The client holds turns that no thread has.

    `at` is the deepest known turn that its transcript shares with the conversation, and `seed` what it says came after
    that, up to the news. `window`: the numbers of the turns that a transcript without its beginning still shows.
    """

    seed: Sequence[Message]
    at: KnownTurn | None = None
    window: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Replay:
    """The request was answered before, and is sent once more: the same answer, and nothing runs."""

    turn: TurnId


Plan = Start | Continue | Resume | Branch | Rebuild | Replay
START = Start()


@dataclass(frozen=True, slots=True)
class Shared:
    """Where the parent of the news is unknown: what the transcript shares with the conversation all the same.

    `covers`: how many of its messages lie up to turn `at`, or stand for what does.
    """

    at: KnownTurn
    covers: int
    window: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is known of one chat: its head, and the turn at the parent of the news, if there is one.

    `head` is the number of its newest turn; None for a conversation that only now begins. `key` is the client's own
    name for it. `shared` is only looked for where the parent is unknown.
    """

    id: ConversationId
    head: int | None = None
    known: KnownTurn | None = None
    key: str | None = None
    shared: Shared | None = None

    def plan(self, reading: Reading, *, engaged: bool = False) -> Plan:
        """Pure and total. `engaged`: another turn is being taken on the thread of that tip."""
        if reading.parent is None:
            return START
        known = self.known
        if known is None or known.digest != reading.parent:
            return self._rebuild(reading.transcript.history)
        if engaged or not known.tip:
            return Branch(known)
        return Resume(known) if reading.transcript.answers else Continue(known)

    def _rebuild(self, history: Sequence[Message]) -> Rebuild:
        shared = self.shared
        if shared is None:
            return Rebuild(history)
        return Rebuild(history[shared.covers :], shared.at, shared.window)


def context_of(plan: Plan) -> Context:
    """What is shown beside the transcript: that of the turn it goes on from. A Rebuild keeps only what was cut off."""
    if isinstance(plan, Continue | Resume | Branch):
        return plan.at.context
    return Context(oldest=min(plan.window)) if isinstance(plan, Rebuild) and plan.window else EMPTY


def parent_of(plan: Plan) -> KnownTurn | None:
    """The turn that a new one is recorded under."""
    return plan.at if isinstance(plan, Continue | Resume | Branch | Rebuild) else None


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn of a stored path, with all that was new in it. `seed`: what it was rebuilt from, if it was.

    `names`: what its first messages were called before, where the client put them in.
    """

    number: int
    seed: Sequence[Message]
    heard: Sequence[Message]
    reply: Message
    id: TurnId = TurnId("")
    names: tuple[str, ...] = ()

    @property
    def messages(self) -> Sequence[Message]:
        """As the client's next transcript has them: a reply that carried a text on is one with it."""
        heard, reply = self.heard, self.reply
        if heard and heard[-1].role is Role.ASSISTANT:
            reply = reply._replace(text=heard[-1].text + reply.text)
            heard = heard[:-1]
        return (*self.seed, *heard, reply)


def window_on(history: Sequence[Message], path: Sequence[PastTurn]) -> frozenset[int] | None:
    """Which turns a transcript still shows that lost its oldest messages; `path` has them newest first.

    None where the two differ before the transcript's beginning: then it is no window on this path.
    """
    left = own_digests(history)
    turns: set[int] = set()
    for depth, turn in enumerate(path, 1):
        if not left:
            break
        turns.add(turn.number)
        calls = path[depth].reply.calls if depth < len(path) else ()
        for digest in reversed(own_digests(turn.messages, calls)):
            if not left:
                break
            if left.pop() != digest:
                return None
    return None if left else frozenset(turns)


# Names of conversations: 24 digits of chance, or of the client's key, and 8 by which a name is known to be the house's
# own for this owner and template. So one whose first turn never settled can be gone on with, and a foreign one cannot.
_OURS = re.compile(r"conv_([0-9a-f]{24})([0-9a-f]{8})?")


def new_name(root: Digest, chance: str) -> ConversationId:
    """`chance`: 24 hexadecimal digits, unlike any others."""
    return ConversationId(f"conv_{chance}{_seal(root, chance)}")


def name_of_key(root: Digest, key: str) -> ConversationId:
    """The same for the same key of the same owner and template: nothing has to be kept to find it."""
    return new_name(root, sha256(b"key:%b%b" % (root, key.encode())).hexdigest()[:24])


def named_by_us(name: str) -> ConversationId | None:
    """`name`, where it has the form of one of the house's own."""
    return ConversationId(name) if _OURS.fullmatch(name) else None


def is_sealed(root: Digest, name: ConversationId) -> bool:
    """Whether the house gave this name to a conversation of this owner and template, settled or not."""
    form = _OURS.fullmatch(name)
    return form is not None and form[2] == _seal(root, form[1])


def _seal(root: Digest, digits: str) -> str:
    return sha256(b"seal:%b%b" % (root, digits.encode())).hexdigest()[:8]
