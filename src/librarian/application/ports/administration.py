"""Agents as those see them who look after them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from librarian.application.ports.memory import AgentId, AgentKey
from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.identity import PrincipalId, Subject
from librarian.domain.memory import MemoryBlock, Passage


class Standing(StrEnum):
    """Only an active agent takes turns."""

    ACTIVE = "active"
    PAUSED = "paused"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class AgentCard:
    id: AgentId
    key: AgentKey
    created_s: float
    standing: Standing


@dataclass(frozen=True, slots=True)
class Written:
    """What a turn did to memory. `what`: a block's label, or `archive`; `took` is what was there, `put` what came."""

    turn: TurnId
    conversation: ConversationId | None
    at_s: float
    what: str
    took: str
    put: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was changed, or would be; and what is in the way. A sentence each."""

    changes: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()

    def __add__(self, other: "Report") -> "Report":
        return Report(self.changes + other.changes, self.troubles + other.troubles)


class AgentRegister(Protocol):
    """The house's own list of its agents. Every method raises StoreUnavailable where it cannot be reached."""

    async def standing(self, key: AgentKey) -> Standing:
        """An agent that is not made yet is active. On the path of every turn."""
        ...

    async def find(self, key: AgentKey) -> AgentCard | None: ...

    async def agent(self, agent: AgentId) -> AgentCard:
        """Raises UnknownAgent."""
        ...

    async def agents(
        self,
        principal: PrincipalId | None = None,
        *,
        subject: Subject | None = None,
        after: AgentId | None = None,
        limit: int = 100,
    ) -> Sequence[AgentCard]:
        """Oldest first; those of one principal, or all; of it, those of one subject, or all."""
        ...

    async def stand(self, agent: AgentId, standing: Standing) -> None: ...

    async def passages(self, agent: AgentId, *, after: int = 0, limit: int = 100) -> Sequence[Passage]:
        """Oldest first, those that were taken back left out."""
        ...

    async def delete_passage(self, agent: AgentId, number: int) -> Passage:
        """Its text is gone for good. As it was. Raises UnknownPassage."""
        ...

    async def abandoned(self, agent: AgentId, limit: int = 100) -> Sequence[Written]:
        """What turns wrote that were edited or regenerated away, as far as it still stands; the newest first."""
        ...

    async def unsettled(self, before_s: float) -> Sequence[TurnId]:
        """Turns that wrote to memory before that moment and were never recorded, among those that wrote last."""
        ...

    async def forget(self, agent: AgentId, beginning: Sequence[MemoryBlock]) -> None:
        """All that it remembers and all that was said to it is gone for good; its blocks are those of `beginning`."""
        ...


class AgentHost(Protocol):
    """Where agents live. Raises what AgentRuntime raises."""

    async def missing(self) -> Sequence[str]:
        """What is configured and not there, and what is there in its place. A sentence each."""
        ...

    async def model(self, template: str) -> str | None:
        """What the agents of a template speak through by its own word; None where it has none. Raises nothing."""
        ...

    async def furnish(self, key: AgentKey, *, dry_run: bool) -> Report:
        """The agent with its blocks and archive, as far as any of it is missing."""
        ...

    async def give_tools(self, *, dry_run: bool) -> Report:
        """The tools that templates name are with their agents, those no longer named are not; no others change."""
        ...

    async def retire(self, agent: AgentCard, *, forget: bool) -> None:
        """The host has no such agent any more; with `forget`, nothing of its memory either. Again changes nothing."""
        ...

    async def passage_deleted(self, agent: AgentCard, passage: Passage) -> None:
        """The house has it no more, and so has the host."""
        ...
