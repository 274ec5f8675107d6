"""Threads: a backend's own records of conversations. Caches, all of them: the next turn rebuilds one that is lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

from librarian.application.ports.memory import AgentId
from librarian.domain.conversation import ConversationId, TurnId

Backend = NewType("Backend", str)
"""Which server: its address, without secrets."""
ThreadRef = NewType("ThreadRef", str)
AgentRef = NewType("AgentRef", str)
MessageRef = NewType("MessageRef", str)
"""Names of things as their backend knows them."""


@dataclass(frozen=True, slots=True)
class KeptResult:
    """What one of the house's tools returned for a call that waits, with calls of the client's, to be answered."""

    call_id: str
    text: str
    succeeded: bool


@dataclass(frozen=True, slots=True)
class Thread:
    """`last` is its newest message, `settings` what was last asked of the backend for it; `kept` goes back with the
    client's own results."""

    backend: Backend
    ref: ThreadRef
    agent: AgentRef
    conversation: ConversationId
    last: MessageRef | None = None
    settings: str = ""
    kept: tuple[KeptResult, ...] = ()


class ThreadStore(Protocol):
    """Every method raises StoreUnavailable where the store cannot be reached."""

    async def agent(self, backend: Backend, agent: AgentId) -> AgentRef | None: ...

    async def keep_agent(self, backend: Backend, agent: AgentId, ref: AgentRef) -> AgentRef:
        """The one that is kept: of two made at once, the first."""
        ...

    async def forget_agent(self, backend: Backend, ref: AgentRef) -> None:
        """And all its threads."""
        ...

    async def engage(self, backend: Backend, tip: TurnId) -> Thread | None:
        """The thread whose last turn is `tip`, for this turn alone: nobody finds it again unless it is `heard`."""
        ...

    async def give_back(self, thread: Thread, tip: TurnId) -> None:
        """It was engaged, and has heard nothing."""
        ...

    async def heard(self, thread: Thread, turn: TurnId, messages: Sequence[MessageRef] | None) -> None:
        """`turn` is the thread's tip from now on; `messages` are those it added, a seed included, oldest first; None
        where that is not known."""
        ...

    async def path(self, backend: Backend, turn: TurnId) -> tuple[AgentRef, Sequence[MessageRef]] | None:
        """All messages from the root up to `turn`, and whose they are; None where any of them is not known."""
        ...

    async def prune(self, conversation: ConversationId, keep: int) -> Sequence[Thread]:
        """All but the newest `keep` threads of a conversation; they are no longer found."""
        ...
