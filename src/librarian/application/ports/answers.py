"""Answers that clients may ask for again: responses, and chat completions that are to be stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.identity import Owner, PrincipalId
from librarian.domain.transcript import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """`body` is the answer as it went over the wire, `asked` what it answers: both JSON in their dialect's words.

    `turn` None: it was answered without memory, or is not answered yet. `number` orders all answers; 0 before it is
    kept. `told`: the system messages of what was asked, which stay for whoever goes on from here.
    """

    id: str
    kind: str
    owner: Owner
    turn: TurnId | None
    conversation: ConversationId | None
    model: str
    at_s: float
    body: bytes
    asked: bytes
    metadata: Mapping[str, str]
    told: Sequence[Message] = ()
    number: int = 0


class AnswerStore(Protocol):
    """All raise StoreUnavailable."""

    async def keep(self, answer: KeptAnswer) -> None:
        """Durable when it returns; one of the same id is replaced."""
        ...

    async def find(self, id_: str, kind: str) -> KeptAnswer | None: ...

    async def listed(
        self, principal: PrincipalId, kind: str, *, after: int, limit: int, newest_first: bool
    ) -> Sequence[KeptAnswer]:
        """Of one principal, those beyond number `after`; 0: from the beginning, or the end."""
        ...

    async def delete(self, id_: str) -> None: ...
