"""What is kept of every chat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from librarian.domain.conversation import Context, Conversation, ConversationId, KnownTurn, PastTurn, TurnId
from librarian.domain.identity import Owner, OwnerId
from librarian.domain.recall import Entry
from librarian.domain.transcript import Digest, Message
from librarian.domain.turn import StopReason, Usage

MOST_TURNS = 100_000


@dataclass(frozen=True, slots=True)
class Request:
    """By what a request is known when it comes again: all of it, and the client's idempotency key, if it has one.

    `retried`: the client says that it sent it before.
    """

    digest: Digest
    idempotency: Digest | None = None
    retried: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """One settled turn, whole. `parent`: the number of the turn it goes on from.

    `seed`: the history after the parent that it was rebuilt from, if it was. `context` is what the next turn on this
    path is shown beside the transcript. `said` is the own digest of the reply as the client will send it, where the
    client named the conversation; `ref` the client's name for the reply. `at_s` is when it began. `aside`: one of
    several choices, and not the first; the head stays. `told`: it took up what waited in its conversation, which is a
    line; these system messages stay. `names` are those of its first messages, where the client put them in.
    """

    id: TurnId
    conversation: Conversation
    parent: int | None
    owner: Owner
    template: str
    model: str
    mode: str
    digest: Digest
    seed: Sequence[Message]
    heard: Sequence[Message]
    reply: Message
    reason: StopReason
    context: Context
    usage: Usage
    at_s: float
    said: Digest | None = None
    ref: str | None = None
    request: Request | None = None
    aside: bool = False
    told: Sequence[Message] | None = None
    names: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A settled turn, as the client that asked for it was answered."""

    turn: TurnId
    request: Digest
    conversation: ConversationId
    mode: str
    reply: Message
    reason: StopReason
    usage: Usage
    at_s: float


class ConversationStore(Protocol):
    """Conversations by their names and by the digests of their turns. All raise StoreUnavailable."""

    async def at(self, parents: Sequence[Digest], within: ConversationId | None = None) -> Conversation | None:
        """A conversation with a turn that ends in one of `parents`, the first that is known, that turn known.

        `within` None: one that the client has no name for; preferably one where the turn is a tip, else the newest.
        """
        ...

    async def named(self, name: ConversationId, owner: OwnerId, template: str) -> Conversation | None:
        """None where it is somebody else's, or another template's. No turn of it is known."""
        ...

    async def referred(self, conversation: ConversationId, ref: str) -> KnownTurn | None:
        """The newest turn whose reply the client calls so."""
        ...

    async def saying(self, conversation: ConversationId, said: Digest, most: int) -> Sequence[KnownTurn]:
        """The newest turns of a conversation with such a reply, the newest first."""
        ...

    async def path(self, turn: int, most: int) -> Sequence[PastTurn]:
        """From that turn towards the root, at most so many."""
        ...

    async def past(
        self, turn: TurnId, owner: OwnerId, most: int = MOST_TURNS
    ) -> tuple[ConversationId, Sequence[PastTurn]] | None:
        """The turns from the root up to that one, oldest first, the last `most` of them, and their conversation; None
        where it is not there, or somebody else's."""
        ...

    async def answered(self, request: Request, since_s: float) -> Answered | None:
        """The newest turn of that request; by its idempotency key where it has one, and then maybe of another."""
        ...

    async def settle(self, turn: TurnRecord) -> None:
        """Returns once the turn is durable, all of it in one transaction. Raises UnknownConversation where the name of
        one that begins is somebody else's, or another template's: nothing of it is kept.

        The head moves only if it is still where `turn.conversation` says. Turns that are no longer on the path from
        the head to the root are off the path from then on, those that are on it again are not.
        """
        ...

    async def said_since(self, owner: OwnerId, number: int, limit: int) -> Sequence[Entry]:
        """What was said in the owner's turns after turn `number`, oldest first, for at most `limit` turns.

        Only what the reader and the agent said in that turn: no seed, no system text, no tool results.
        """
        ...

    async def on_path(self, numbers: Sequence[int]) -> frozenset[int]:
        """Those of these turns that still lie between their conversation's head and its root."""
        ...
