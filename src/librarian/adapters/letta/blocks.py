"""A MemoryStore for agents that live in Letta: edits are made in the house's own store, atomically, and Letta follows.

Letta loses edits made at once, and keeps no limits. What its other users change there is taken over before a turn.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from librarian.adapters.letta.answers import Block, FoundPassage
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
from librarian.domain.recall import Entry, Search, Shelf

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


ELSEWHERE_S = 3.0
"""How long a search of Letta's archive may take."""
FOUND_AT_MOST = 100
SOURCE = "Letta"
HOUSE = f"{TAG}-house"
BASE = f"{TAG}-base"
"""The hash of what another wrote, that this was made of."""


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
        house: Callable[[], str],
    ) -> None:
        """`kept`: the house's own store, which `house` names: gateways with other stores may use the same agents."""
        self._client = client
        self._backend = backend
        self._making = making
        self._threads = threads
        self._kept = kept
        self._clock = clock
        self._house = house
        self._bases: dict[tuple[AgentId, str], str | None] = {}
        self._stale: set[tuple[AgentId, str]] = set()
        self._locks: defaultdict[tuple[AgentId, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._copying: set[asyncio.Task[str | None]] = set()
        self._wrote: defaultdict[TurnId, list[tuple[AgentId, asyncio.Task[str | None] | None]]] = defaultdict(list)

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
        """No turn waits for the vector that Letta makes of it."""
        passage = await self._kept.put_by(agent, text, tags, by)
        if passage.at_s == by.at_s:  # else it was there already
            copying = asyncio.ensure_future(self._copied(agent, passage))
            self._copying.add(copying)
            copying.add_done_callback(self._copying.discard)
            if by.turn is not None:
                self._wrote[by.turn].append((agent, copying))
        return passage

    async def take_back(self, turn: TurnId, *, unless_settled: bool = False) -> int:
        undone = await self._kept.take_back(turn, unless_settled=unless_settled)
        wrote = self._wrote.pop(turn, [])
        if undone:
            for agent, copying in wrote:
                await self._unfollowed(agent, copying)
        return undone

    def settled(self, turn: TurnId) -> None:
        """What it wrote stays."""
        self._wrote.pop(turn, None)

    async def put_by_since(self, owner: OwnerId, number: int, limit: int) -> Sequence[Entry]:
        return await self._kept.put_by_since(owner, number, limit)

    async def elsewhere(self, agent: AgentId, search: Search) -> Sequence[Entry]:
        """The house's own copies are known by their tag; there may be many of them among the nearest."""
        try:
            async with asyncio.timeout(ELSEWHERE_S):
                ref = await self._threads.agent(self._backend, agent)
                if ref is None or not search.text.strip():
                    return ()
                found = await self._client.memory.search(
                    ref,
                    search.text,
                    most=min(4 * search.limit + 20, FOUND_AT_MOST),
                    tags=search.tags,
                    all_tags=search.all_tags,
                    since=_iso(search.since_s),
                    until=_iso(search.until_s),
                )
        except (LibrarianError, TimeoutError) as error:
            log.warning("letta_archive_not_searched", agent_id=agent, error=str(error) or type(error).__name__)
            return ()
        own = self._own_tag
        return [self._entry(passage) for passage in found if own not in (passage.tags or ())]

    async def passages_kept(self, numbers: Sequence[int]) -> frozenset[int]:
        return await self._kept.passages_kept(numbers)

    async def aclose(self) -> None:
        while self._copying:
            await asyncio.wait(self._copying)

    @property
    def _own_tag(self) -> str:
        """Of copies of the house's own passages."""
        return f"{HOUSE}:{self._house()}"

    def _entry(self, found: FoundPassage) -> Entry:
        tags = tuple(tag for tag in found.tags or () if not tag.startswith(f"{HOUSE}:"))
        return Entry(Shelf.PUT_BY, 0, found.content, self._moment(found.timestamp), tags=tags, source=SOURCE)

    def _moment(self, written: str | None) -> float:
        """Now, where Letta does not know."""
        try:
            return datetime.fromisoformat(written or "").timestamp()
        except ValueError:
            return self._clock.now_s()

    async def _settled(self, agent: AgentId, ref: AgentRef, ours: MemoryBlock, theirs: Block | None) -> bool:
        """Whether ours changed. Of what was written by another at the same time, every line is kept."""
        if theirs is None:
            await self._client.memory.add_block(
                ref, ours.label, ours.value, limit_chars=ours.limit_chars, description=ours.description
            )
            return False
        self._bases[agent, ours.label] = self._base(theirs)
        if theirs.value == ours.value:
            return False
        written = theirs.metadata or {}
        if written.get(TAG) is None or (written[TAG] == _hash(theirs.value) and not self._by_another(written)):
            await self._follow(agent, ours.label)
            return False
        if _hash(ours.value) in {written[TAG], written.get(BASE)}:
            return await self._taken_over(agent, Rethink(ours.label, theirs.value))
        lines = theirs.value.split("\n")
        both = [*lines, *(line for line in ours.value.split("\n") if line not in lines)]
        return await self._taken_over(agent, Rethink(ours.label, "\n".join(both)))

    def _by_another(self, written: Mapping[str, Any]) -> bool:
        house = self._house()
        return bool(written.get(HOUSE, house) != house)

    def _base(self, theirs: Block) -> str | None:
        """What we build upon: what somebody else wrote last."""
        written = theirs.metadata or {}
        ours = written.get(TAG) == _hash(theirs.value) and not self._by_another(written)
        return written.get(BASE) if ours else _hash(theirs.value)

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
                written = mark(block.value) | {HOUSE: self._house()}
                if base := self._bases.get(key):
                    written[BASE] = base
                await self._client.memory.patch_block(ref, label, value=block.value, metadata=written)
            except LibrarianError as error:  # it is brought before the next turn
                log.warning("letta_block_behind", agent_id=agent, label=label, error=str(error))

    async def _copied(self, agent: AgentId, passage: Passage) -> str | None:
        """Letta's id of it."""
        ref = await self._threads.agent(self._backend, agent)
        if ref is None:
            return None
        try:
            return (await self._client.memory.put_by(ref, passage.text, [*passage.tags, self._own_tag])).id
        except LibrarianError as error:
            log.warning("letta_passage_not_put_by", agent_id=agent, error=str(error))
            return None

    async def _unfollowed(self, agent: AgentId, copying: asyncio.Task[str | None] | None) -> None:
        ref = await self._threads.agent(self._backend, agent)
        if ref is None:
            return
        try:
            if copying is None:
                await self.blocks(agent)
            elif passage := await copying:
                await self._client.memory.delete_passage(ref, passage)
        except LibrarianError as error:
            log.warning("letta_not_taken_back", agent_id=agent, error=str(error))


def _iso(moment_s: float | None) -> str | None:
    return None if moment_s is None else datetime.fromtimestamp(moment_s, UTC).isoformat()


def _hash(value: str) -> str:
    return mark(value)[TAG]
