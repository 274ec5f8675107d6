"""A MemoryStore for agents that live in Letta: edits are made in the house's own store, atomically, and Letta follows.

Letta loses edits made at once, and keeps no limits. What its other users change there is taken over before a turn.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import structlog

from librarian.adapters.letta.answers import Block
from librarian.adapters.letta.client import LettaClient
from librarian.adapters.letta.making import Making
from librarian.adapters.letta.tags import TAG, mark
from librarian.application.ports.clock import Clock
from librarian.application.ports.memory import AgentId, AgentKey, MemoryStore
from librarian.application.ports.threads import AgentRef, Backend, ThreadStore
from librarian.domain.conversation import TurnId
from librarian.domain.errors import LibrarianError, MemoryRefused
from librarian.domain.identity import OwnerId
from librarian.domain.memory import Author, BlockEdit, MemoryBlock, Passage, Provenance, Rethink
from librarian.domain.recall import Entry

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class LettaMemory:
    def __init__(
        self,
        *,
        client: LettaClient,
        backend: Backend,
        making: Making,
        threads: ThreadStore,
        kept: MemoryStore,
        clock: Clock,
    ) -> None:
        """`kept`: the house's own store."""
        self._client = client
        self._backend = backend
        self._making = making
        self._threads = threads
        self._kept = kept
        self._clock = clock
        self._stale: set[tuple[AgentId, str]] = set()
        self._locks: defaultdict[tuple[AgentId, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._wrote: defaultdict[TurnId, list[tuple[AgentId, str | None]]] = defaultdict(list)

    async def agent(self, key: AgentKey, beginning: Sequence[MemoryBlock]) -> AgentId:  # noqa: ARG002  Making has it
        agent, _ = await self._making.of(key)
        return agent

    async def blocks(self, agent: AgentId) -> Sequence[MemoryBlock]:
        """What either side changed since is on both afterwards."""
        ours = await self._kept.blocks(agent)
        ref = await self._threads.agent(self._backend, agent)
        if ref is None:
            return ours
        theirs = {block.label: block for block in await self._client.memory.blocks(ref) if block.label}
        changed = False
        for block in ours:
            changed |= await self._settled(agent, ref, block, theirs.pop(block.label, None))
        for label, other in theirs.items():
            changed |= await self._taken_over(agent, Rethink(label, other.value))
        return await self._kept.blocks(agent) if changed else ours

    async def ours(self, agent: AgentId) -> Sequence[MemoryBlock]:
        """As the house has them, whatever Letta has."""
        return await self._kept.blocks(agent)

    async def edit(self, agent: AgentId, edit: BlockEdit, by: Provenance) -> MemoryBlock:
        block = await self._kept.edit(agent, edit, by)
        if by.turn is not None:
            self._wrote[by.turn].append((agent, None))
        await self._follow(agent, edit.label)
        return block

    async def put_by(self, agent: AgentId, text: str, tags: Sequence[str], by: Provenance) -> Passage:
        passage = await self._kept.put_by(agent, text, tags, by)
        ref = await self._threads.agent(self._backend, agent)
        if ref is not None and passage.at_s == by.at_s:  # else it was there already
            try:
                theirs = await self._client.memory.put_by(ref, passage.text, passage.tags)
            except LibrarianError as error:
                log.warning("letta_passage_not_put_by", agent_id=agent, error=str(error))
            else:
                if by.turn is not None:
                    self._wrote[by.turn].append((agent, theirs.id))
        return passage

    async def take_back(self, turn: TurnId, *, unless_settled: bool = False) -> int:
        undone = await self._kept.take_back(turn, unless_settled=unless_settled)
        wrote = self._wrote.pop(turn, [])
        if undone:
            for agent, passage in wrote:
                await self._unfollowed(agent, passage)
        return undone

    def settled(self, turn: TurnId) -> None:
        """What it wrote stays."""
        self._wrote.pop(turn, None)

    async def put_by_since(self, owner: OwnerId, number: int, limit: int) -> Sequence[Entry]:
        return await self._kept.put_by_since(owner, number, limit)

    async def passages_kept(self, numbers: Sequence[int]) -> frozenset[int]:
        return await self._kept.passages_kept(numbers)

    async def _settled(self, agent: AgentId, ref: AgentRef, ours: MemoryBlock, theirs: Block | None) -> bool:
        """Whether ours changed."""
        if theirs is None:
            await self._client.memory.add_block(
                ref, ours.label, ours.value, limit_chars=ours.limit_chars, description=ours.description
            )
            return False
        if theirs.value == ours.value:
            return False
        written = {TAG: told} if (told := (theirs.metadata or {}).get(TAG)) else {}
        if written == mark(theirs.value) or not written:
            await self._follow(agent, ours.label)
            return False
        if written == mark(ours.value):
            return await self._taken_over(agent, Rethink(ours.label, theirs.value))
        lines = theirs.value.split("\n")
        both = [*lines, *(line for line in ours.value.split("\n") if line not in lines)]
        return await self._taken_over(agent, Rethink(ours.label, "\n".join(both)))

    async def _taken_over(self, agent: AgentId, edit: Rethink) -> bool:
        try:
            await self._kept.edit(agent, edit, Provenance(Author.IMPORT, self._clock.now_s()))
        except MemoryRefused as refused:
            log.warning("letta_block_not_taken_over", agent_id=agent, label=edit.label, error=str(refused))
            return False
        await self._follow(agent, edit.label)
        return True

    async def _follow(self, agent: AgentId, label: str) -> None:
        """Letta's block becomes ours as it is then. Of many who ask at once, the second brings what all wrote."""
        key = (agent, label)
        self._stale.add(key)
        async with self._locks[key]:
            if key not in self._stale:
                return
            self._stale.discard(key)
            ref = await self._threads.agent(self._backend, agent)
            block = next((block for block in await self._kept.blocks(agent) if block.label == label), None)
            if ref is None or block is None:
                return
            try:
                await self._client.memory.patch_block(ref, label, value=block.value, metadata=mark(block.value))
            except LibrarianError as error:  # it is brought before the next turn
                log.warning("letta_block_behind", agent_id=agent, label=label, error=str(error))

    async def _unfollowed(self, agent: AgentId, passage: str | None) -> None:
        ref = await self._threads.agent(self._backend, agent)
        if ref is None:
            return
        try:
            if passage is None:
                await self.blocks(agent)
            else:
                await self._client.memory.delete_passage(ref, passage)
        except LibrarianError as error:
            log.warning("letta_not_taken_back", agent_id=agent, error=str(error))
