"""What is kept of every chat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from librarian.domain.conversation import Context, Conversation, TurnId
from librarian.domain.identity import Owner, OwnerId
from librarian.domain.recall import Entry
from librarian.domain.transcript import Digest, Message
from librarian.domain.turn import StopReason, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """One settled turn, whole. `seed`: the history it was rebuilt from, if it was.

    `context` is what the next turn on this path is shown beside the transcript.
    """

    id: TurnId
    conversation: Conversation
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


class ConversationStore(Protocol):
    """Conversations by the digests of their turns."""

    async def at(self, parent: Digest) -> Conversation | None:
        """A conversation with a turn that ends in `parent`, that turn known; preferably one whose head it is,
        else the newest. Raises StoreUnavailable."""
        ...

    async def settle(self, turn: TurnRecord) -> None:
        """Returns once the turn is durable, all of it in one transaction.

        The head moves only if it is still where `turn.conversation` says. Turns that are no longer on the path from
        the head to the root are off the path from then on, those that are on it again are not. Raises
        StoreUnavailable.
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
