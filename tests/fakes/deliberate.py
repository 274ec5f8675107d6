"""A store of conversations that takes its time to write."""

import asyncio

from librarian.application.ports.conversations import ConversationStore, TurnRecord


class Deliberate:
    """Writes once it `may`; as every writer, even if nobody waits for it any more. Reads as the store behind it."""

    def __init__(self, behind: ConversationStore) -> None:
        self._behind = behind
        self._writing: set[asyncio.Task[None]] = set()
        self.begun = asyncio.Event()
        self.may = asyncio.Event()
        for name in ("at", "named", "referred", "saying", "path", "answered", "said_since", "on_path"):
            setattr(self, name, getattr(behind, name))

    async def settle(self, turn: TurnRecord) -> None:
        task = asyncio.ensure_future(self._settled(turn))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        await asyncio.shield(task)

    async def _settled(self, turn: TurnRecord) -> None:
        self.begun.set()
        await self.may.wait()
        await self._behind.settle(turn)
