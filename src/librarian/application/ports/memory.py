"""Core memory and archive, wherever they are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

from librarian.domain.conversation import TurnId
from librarian.domain.identity import Owner, OwnerId
from librarian.domain.memory import BlockEdit, MemoryBlock, Passage, Provenance
from librarian.domain.recall import Entry, Search

AgentId = NewType("AgentId", str)


@dataclass(frozen=True, slots=True)
class AgentKey:
    """One agent for each of these; two owners never share one."""

    template: str
    owner: Owner


class MemoryStore(Protocol):
    """Every method raises StoreUnavailable where the store cannot be reached."""

    async def agent(self, key: AgentKey, beginning: Sequence[MemoryBlock]) -> AgentId:
        """The agent of `key`; made with the blocks of `beginning` if there is none. Safe to run at once."""
        ...

    async def blocks(self, agent: AgentId) -> Sequence[MemoryBlock]:
        """As they are now, in the order they are shown."""
        ...

    async def edit(self, agent: AgentId, edit: BlockEdit, by: Provenance) -> MemoryBlock:
        """The block after the edit. Atomic under a lock of its block, and kept with its provenance.

        A call of a turn that was run already changes nothing. Raises MemoryRefused.
        """
        ...

    async def put_by(self, agent: AgentId, text: str, tags: Sequence[str], by: Provenance) -> Passage:
        """A text like one that the agent's archive holds already is not put by again: that one is returned.

        A call of a turn that was run already changes nothing. Raises MemoryRefused.
        """
        ...

    async def take_back(self, turn: TurnId, *, unless_settled: bool = False) -> int:
        """Undo what a turn wrote, as far as it can still be told apart; how many entries were undone.

        `unless_settled`: a turn that was recorded after all keeps what it wrote.
        """
        ...

    async def put_by_since(self, owner: OwnerId, number: int, limit: int) -> Sequence[Entry]:
        """The owner's passages after passage `number`, oldest first."""
        ...

    async def elsewhere(self, agent: AgentId, search: Search) -> Sequence[Entry]:
        """What others put by for the agent where it lives, and the house has no passage of; the best first.

        Raises nothing: where it cannot be had in good time, it is left out.
        """
        ...

    async def passages_kept(self, numbers: Sequence[int]) -> frozenset[int]:
        """Those of these passages that have not been taken back."""
        ...
