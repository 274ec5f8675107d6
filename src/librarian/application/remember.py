"""Find what bears on a request in what was said and put by."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from librarian.application.ports.clock import Clock
from librarian.application.ports.conversations import ConversationStore
from librarian.application.ports.memory import MemoryStore
from librarian.application.ports.meter import Meter
from librarian.application.ports.recall import RecallIndex
from librarian.domain.conversation import ConversationId
from librarian.domain.errors import StoreUnavailable
from librarian.domain.identity import Owner, OwnerId
from librarian.domain.recall import Hit, Search, Shelf, within

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

BATCH = 500
WANTED = 8
QUERY_CHARS = 2000


class Remember:
    """The index is a cache of the stores: what it lacks is added before it is searched."""

    def __init__(
        self,
        *,
        conversations: ConversationStore,
        memory: MemoryStore,
        index: RecallIndex,
        meter: Meter,
        clock: Clock,
        budget_s: float,
        budget_chars: int,
    ) -> None:
        """`budget_s` 0 switches off what is put in view unasked; the agent's own searches go on."""
        self._conversations = conversations
        self._memory = memory
        self._index = index
        self._meter = meter
        self._clock = clock
        self._budget_s = budget_s
        self._budget_chars = budget_chars
        self._searches: set[asyncio.Task[Sequence[Hit]]] = set()

    async def __call__(self, owner: Owner, text: str, without: ConversationId | None) -> Sequence[Hit]:
        """What is put in view before a turn, oldest first. Never fails a turn: late or broken, it finds nothing."""
        if not self._budget_s or not text:
            return ()
        began_s = self._clock.elapsed_s()
        search = Search(text[:QUERY_CHARS], limit=WANTED, without=without)
        task = asyncio.ensure_future(self.search(owner, search))
        self._searches.add(task)  # one that is late goes on: the index has caught up for the next turn
        task.add_done_callback(self._done)
        await asyncio.wait({task}, timeout=self._budget_s)
        hits: Sequence[Hit] = ()
        if not task.done():
            outcome = "late"
        elif task.exception() is not None:
            outcome = "failed"
        else:
            hits = within(task.result(), self._budget_chars)
            outcome = "found" if hits else "nothing"
        self._meter.recalled(len(hits), self._clock.elapsed_s() - began_s, outcome)
        return hits

    async def search(self, owner: Owner, search: Search) -> Sequence[Hit]:
        """At most `search.limit` entries of this owner that still hold, the best first. Raises StoreUnavailable."""
        for shelf in Shelf:
            if search.shelf in (None, shelf):
                await self._catch_up(owner.id, shelf)
        hits = await self._index.search(owner.id, replace(search, limit=4 * search.limit + 20))
        said = await self._conversations.on_path([h.entry.number for h in hits if h.entry.shelf is Shelf.SAID])
        kept = await self._memory.passages_kept([h.entry.number for h in hits if h.entry.shelf is Shelf.PUT_BY])
        holding = {Shelf.SAID: said, Shelf.PUT_BY: kept}
        return [hit for hit in hits if hit.entry.number in holding[hit.entry.shelf]][: search.limit]

    async def _catch_up(self, owner: OwnerId, shelf: Shelf) -> None:
        since = self._conversations.said_since if shelf is Shelf.SAID else self._memory.put_by_since
        upto = await self._index.newest(owner, shelf)
        while entries := await since(owner, upto, BATCH):
            upto = max(entry.number for entry in entries)
            await self._index.add(owner, shelf, entries, upto)

    def _done(self, task: asyncio.Task[Sequence[Hit]]) -> None:
        self._searches.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, StoreUnavailable):
                raise error
            log.warning("recall_failed", error=str(error))
