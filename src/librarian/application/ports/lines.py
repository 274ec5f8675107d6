"""Conversations as clients see them that have the house keep them: with metadata, and items put in beside the turns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.identity import Owner
from librarian.domain.transcript import Message


class Waiting(NamedTuple):
    """A message that was put in by the client and that no turn has taken up yet. `id`: unlike any other's."""

    id: str
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationCard:
    """`head`: its newest turn; None where there is none. What waits comes after all its turns. `told`: the system
    messages that clients put in, which stay."""

    id: ConversationId
    owner: Owner
    created_s: float
    metadata: Mapping[str, str]
    head: TurnId | None = None
    waiting: Sequence[Waiting] = ()
    told: Sequence[Message] = ()


class Lines(Protocol):
    """All raise StoreUnavailable."""

    async def begin(self, card: ConversationCard) -> None: ...

    async def find(self, name: ConversationId) -> ConversationCard | None: ...

    async def label(self, name: ConversationId, metadata: Mapping[str, str]) -> None: ...

    async def put(self, name: ConversationId, waiting: Sequence[Waiting]) -> None:
        """After what waits already."""
        ...

    async def rewrite(self, name: ConversationId, waiting: Sequence[Waiting]) -> None:
        """All that it holds from now on: its turns are off the path."""
        ...

    async def delete(self, name: ConversationId) -> None:
        """With the texts of its turns, and the answers that were kept of them, for good."""
        ...
