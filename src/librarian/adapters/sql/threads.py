"""Threads in SQLite. One that is in use is not in its table: a crash in the middle of a turn loses it, and no more."""

import sqlite3
from collections.abc import Sequence

import msgspec

from librarian.adapters.sql.database import Database, Row
from librarian.application.ports.memory import AgentId
from librarian.application.ports.threads import AgentRef, Backend, KeptResult, MessageRef, Thread, ThreadRef
from librarian.domain.conversation import ConversationId, TurnId

AGENT = "SELECT ref FROM backend_agent WHERE backend = ? AND agent = ?"
KEEP_AGENT = "INSERT INTO backend_agent (backend, agent, ref) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
FORGET_AGENT = "DELETE FROM backend_agent WHERE backend = ? AND ref = ?"
FORGET_THREADS = "DELETE FROM thread WHERE backend = ? AND agent = ?"
ENGAGE = (
    "DELETE FROM thread WHERE number = (SELECT number FROM thread WHERE backend = ? AND tip = ?"
    " ORDER BY number DESC LIMIT 1) RETURNING ref, agent, conversation, last, settings, kept"
)
HEARD = (
    "INSERT INTO thread (backend, ref, agent, conversation, tip, last, settings, kept) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
HEARD_TURN = (
    "INSERT INTO thread_turn (turn, backend, agent, messages) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (turn, backend) DO UPDATE SET agent = excluded.agent, messages = excluded.messages"
)
PATH = (
    "WITH RECURSIVE above (number, id, parent) AS ("
    " SELECT number, id, parent FROM turn WHERE id = ?1"
    " UNION ALL SELECT t.number, t.id, t.parent FROM turn t JOIN above a ON t.number = a.parent)"
    " SELECT h.agent, h.messages FROM above a LEFT JOIN thread_turn h ON h.turn = a.id AND h.backend = ?2"
    " ORDER BY a.number"
)
PRUNE = (
    "DELETE FROM thread WHERE number IN (SELECT number FROM thread WHERE conversation = ?"
    " ORDER BY number DESC LIMIT -1 OFFSET ?) RETURNING backend, ref, agent, conversation, last, settings, kept"
)

_encode = msgspec.json.Encoder().encode
_kept = msgspec.json.Decoder(tuple[KeptResult, ...]).decode
_messages = msgspec.json.Decoder(list[str]).decode


class SqlThreads:
    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def agent(self, backend: Backend, agent: AgentId) -> AgentRef | None:
        row = self._database.row(AGENT, (backend, agent))
        return AgentRef(row[0]) if row else None

    async def keep_agent(self, backend: Backend, agent: AgentId, ref: AgentRef) -> AgentRef:
        def job(connection: sqlite3.Connection) -> AgentRef:
            connection.execute(KEEP_AGENT, (backend, agent, ref))
            return AgentRef(connection.execute(AGENT, (backend, agent)).fetchone()[0])

        return await self._database.write(job)

    async def forget_agent(self, backend: Backend, ref: AgentRef) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(FORGET_AGENT, (backend, ref))
            connection.execute(FORGET_THREADS, (backend, ref))

        await self._database.write(job)

    async def engage(self, backend: Backend, tip: TurnId) -> Thread | None:
        row = await self._database.write(lambda connection: connection.execute(ENGAGE, (backend, tip)).fetchone())
        return _thread((backend, *row)) if row else None

    async def give_back(self, thread: Thread, tip: TurnId) -> None:
        await self._database.write(lambda connection: connection.execute(HEARD, _values(thread, tip)))

    async def heard(self, thread: Thread, turn: TurnId, messages: Sequence[MessageRef] | None) -> None:
        values = _values(thread, turn)
        added = (turn, thread.backend, thread.agent, _encode(messages).decode())

        def job(connection: sqlite3.Connection) -> None:
            connection.execute(HEARD, values)
            if messages is not None:
                connection.execute(HEARD_TURN, added)

        await self._database.write(job)

    async def path(self, backend: Backend, turn: TurnId) -> tuple[AgentRef, Sequence[MessageRef]] | None:
        rows = self._database.rows(PATH, (turn, backend))
        agents = {agent for agent, _ in rows}
        if len(agents) != 1 or None in agents:
            return None
        return AgentRef(agents.pop()), [MessageRef(ref) for _, messages in rows for ref in _messages(messages)]

    async def prune(self, conversation: ConversationId, keep: int) -> Sequence[Thread]:
        rows = await self._database.write(lambda connection: connection.execute(PRUNE, (conversation, keep)).fetchall())
        return [_thread(row) for row in rows]


def _values(thread: Thread, tip: TurnId) -> Row:
    kept = _encode(thread.kept).decode()
    named = (thread.backend, thread.ref, thread.agent, thread.conversation)
    return (*named, tip, thread.last, thread.settings, kept)


def _thread(row: Row) -> Thread:
    backend, ref, agent, conversation, last, settings, kept = row
    return Thread(
        Backend(backend),
        ThreadRef(ref),
        AgentRef(agent),
        ConversationId(conversation),
        MessageRef(last) if last else None,
        settings,
        _kept(kept),
    )
