"""Core memory and archive in SQLite. Every edit is one job of the one writer, so none is lost to another."""

import sqlite3
from collections.abc import Sequence
from hashlib import sha256

from msgspec import json

from librarian.adapters.sql.database import Database, Row
from librarian.application.ports.clock import Clock, Ids
from librarian.application.ports.memory import AgentId, AgentKey
from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.errors import StoreUnavailable
from librarian.domain.identity import OwnerId
from librarian.domain.memory import (
    BlockEdit,
    MemoryBlock,
    Passage,
    Provenance,
    check_passage,
    edited,
    taken_back,
    touched,
)
from librarian.domain.recall import Entry, Search, Shelf

AGENT = "SELECT id FROM agent WHERE template = ? AND principal = ? AND subject = ?"
MAKE_AGENT = (
    "INSERT INTO agent (id, template, principal, subject, owner, created_at_s) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (template, principal, subject) DO NOTHING"
)
BLOCKS = "SELECT label, value, limit_chars, description, read_only FROM block WHERE agent = ? ORDER BY position"
MAKE_BLOCK = (
    "INSERT INTO block (agent, position, label, value, limit_chars, description, read_only)"
    " SELECT ?1, coalesce(max(position), 0) + 1, ?2, ?3, ?4, ?5, ?6 FROM block WHERE agent = ?1"
)
CHANGE_BLOCK = "UPDATE block SET value = ? WHERE agent = ? AND label = ?"
REMOVE_BLOCK = "DELETE FROM block WHERE agent = ? AND label = ?"
EDIT_RUN = "SELECT label FROM block_edit WHERE turn = ? AND call_id = ?"
KEEP_EDIT = (
    "INSERT INTO block_edit (agent, label, took, put, made, author, conversation, turn, call_id, at_s)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
EDITS_OF = (
    "SELECT number, agent, label, took, put, made FROM block_edit WHERE turn = ? AND undone_at_s IS NULL"
    " ORDER BY number DESC"
)
UNDO_EDIT = "UPDATE block_edit SET undone_at_s = ? WHERE number = ?"
PASSAGE_RUN = (
    "SELECT p.number, p.text, p.tags, p.at_s FROM passage_source s JOIN passage p ON p.number = s.passage"
    " WHERE s.turn = ? AND s.call_id = ?"
)
PASSAGE_LIKE = (
    "SELECT number, text, tags, at_s FROM passage WHERE agent = ? AND text_hash = ? AND taken_back_at_s IS NULL"
)
PUT_BY = (
    "INSERT INTO passage (agent, owner, text, tags, text_hash, conversation, at_s)"
    " SELECT id, owner, ?, ?, ?, ?, ? FROM agent WHERE id = ?"
)
KEEP_SOURCE = (
    "INSERT INTO passage_source (passage, author, conversation, turn, call_id, at_s) VALUES (?, ?, ?, ?, ?, ?)"
)
SOURCES_OF = "SELECT DISTINCT passage FROM passage_source WHERE turn = ? AND taken_back_at_s IS NULL"
TAKE_BACK_SOURCES = "UPDATE passage_source SET taken_back_at_s = ? WHERE turn = ? AND taken_back_at_s IS NULL"
TAKE_BACK_PASSAGE = (
    "UPDATE passage SET taken_back_at_s = ?1 WHERE number = ?2 AND NOT EXISTS"
    " (SELECT 1 FROM passage_source WHERE passage = ?2 AND taken_back_at_s IS NULL)"
)
SETTLED = "SELECT 1 FROM turn WHERE id = ?"
PUT_BY_SINCE = (
    "SELECT number, text, at_s, conversation, tags FROM passage WHERE owner = ? AND number > ?"
    " AND taken_back_at_s IS NULL ORDER BY number LIMIT ?"
)
KEPT = "SELECT number FROM passage WHERE number IN (SELECT value FROM json_each(?)) AND taken_back_at_s IS NULL"

AGENTS_REMEMBERED = 10_000


class SqlMemory:
    """Which agent belongs to a key never changes, so that is remembered; blocks are read anew each time."""

    def __init__(self, *, database: Database, clock: Clock, ids: Ids) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._agents: dict[AgentKey, AgentId] = {}

    async def agent(self, key: AgentKey, beginning: Sequence[MemoryBlock]) -> AgentId:
        known = self._agents.get(key)
        if known is not None:
            return known
        row = self._database.row(AGENT, (key.template, key.owner.principal, key.owner.subject))
        agent = AgentId(row[0]) if row else await self._made(key, beginning)
        if len(self._agents) >= AGENTS_REMEMBERED:
            self._agents.clear()
        self._agents[key] = agent
        return agent

    async def blocks(self, agent: AgentId) -> Sequence[MemoryBlock]:
        return [_block(row) for row in self._database.rows(BLOCKS, (agent,))]

    async def edit(self, agent: AgentId, edit: BlockEdit, by: Provenance) -> MemoryBlock:
        def job(connection: sqlite3.Connection) -> MemoryBlock:
            blocks = _blocks(connection, agent)
            if (run := _run_already(connection, EDIT_RUN, by)) is not None:
                return next((block for block in blocks if block.label == run[0]), MemoryBlock(run[0], ""))
            before, after = edited(edit, blocks)
            took, put = touched(edit, before.value if before else "")
            if before is None:
                _make_block(connection, agent, after)
            else:
                connection.execute(CHANGE_BLOCK, (after.value, agent, after.label))
            kept = (agent, after.label, took, put, before is None, by.author)
            connection.execute(KEEP_EDIT, (*kept, by.conversation, by.turn, by.call_id, by.at_s))
            return after

        return await self._database.write(job)

    async def put_by(self, agent: AgentId, text: str, tags: Sequence[str], by: Provenance) -> Passage:
        text = check_passage(text)
        text_hash = sha256(text.encode()).digest()
        tags_column = json.encode(tags).decode()

        def job(connection: sqlite3.Connection) -> Passage:
            if (run := _run_already(connection, PASSAGE_RUN, by)) is not None:
                return _passage(run)
            known = connection.execute(PASSAGE_LIKE, (agent, text_hash)).fetchone()
            if known is not None:
                passage = _passage(known)
            else:
                values = (text, tags_column, text_hash, by.conversation, by.at_s, agent)
                added = connection.execute(PUT_BY, values)
                if not added.rowcount or added.lastrowid is None:
                    raise StoreUnavailable(f"There is no agent `{agent}`.")
                passage = Passage(added.lastrowid, text, tuple(tags), by.at_s)
            source = (passage.number, by.author, by.conversation, by.turn, by.call_id, by.at_s)
            connection.execute(KEEP_SOURCE, source)
            return passage

        return await self._database.write(job)

    async def take_back(self, turn: TurnId, *, unless_settled: bool = False) -> int:
        now_s = self._clock.now_s()

        def job(connection: sqlite3.Connection) -> int:
            if unless_settled and connection.execute(SETTLED, (turn,)).fetchone():
                return 0
            undone = sum(_undone(connection, edit, now_s) for edit in connection.execute(EDITS_OF, (turn,)).fetchall())
            passages = connection.execute(SOURCES_OF, (turn,)).fetchall()
            connection.execute(TAKE_BACK_SOURCES, (now_s, turn))
            return undone + sum(
                connection.execute(TAKE_BACK_PASSAGE, (now_s, number)).rowcount for (number,) in passages
            )

        return await self._database.write(job)

    async def put_by_since(self, owner: OwnerId, number: int, limit: int) -> Sequence[Entry]:
        return [
            Entry(
                Shelf.PUT_BY,
                number,
                text,
                at_s,
                conversation=ConversationId(conversation) if conversation else None,
                tags=_tags(tags),
            )
            for number, text, at_s, conversation, tags in self._database.rows(PUT_BY_SINCE, (owner, number, limit))
        ]

    async def elsewhere(self, agent: AgentId, search: Search) -> Sequence[Entry]:  # noqa: ARG002  all is here
        return ()

    async def passages_kept(self, numbers: Sequence[int]) -> frozenset[int]:
        if not numbers:
            return frozenset()
        return frozenset(number for (number,) in self._database.rows(KEPT, (json.encode(numbers),)))

    async def _made(self, key: AgentKey, beginning: Sequence[MemoryBlock]) -> AgentId:
        owner = key.owner
        named = (key.template, owner.principal, owner.subject)
        made = (f"agent-{self._ids.new()}", *named, owner.id, self._clock.now_s())

        def job(connection: sqlite3.Connection) -> AgentId:
            if connection.execute(MAKE_AGENT, made).rowcount:
                for block in beginning:
                    _make_block(connection, made[0], block)
            return AgentId(connection.execute(AGENT, named).fetchone()[0])

        return await self._database.write(job)


def _run_already(connection: sqlite3.Connection, sql: str, by: Provenance) -> Row | None:
    if by.turn is None or by.call_id is None:
        return None
    row: Row | None = connection.execute(sql, (by.turn, by.call_id)).fetchone()
    return row


def _blocks(connection: sqlite3.Connection, agent: str) -> list[MemoryBlock]:
    return [_block(row) for row in connection.execute(BLOCKS, (agent,))]


def _block(row: Row) -> MemoryBlock:
    label, value, limit_chars, description, read_only = row
    return MemoryBlock(label, value, limit_chars, description, bool(read_only))


def _make_block(connection: sqlite3.Connection, agent: str, block: MemoryBlock) -> None:
    values = (agent, block.label, block.value, block.limit_chars, block.description, block.read_only)
    connection.execute(MAKE_BLOCK, values)


def _undone(connection: sqlite3.Connection, edit: Row, now_s: float) -> bool:
    """Whether an edit could be taken back; a block that began with it and is left empty goes too."""
    number, agent, label, took, put, made = edit
    block = next((block for block in _blocks(connection, agent) if block.label == label), None)
    value = taken_back(block.value, took, put) if block is not None else None
    if block is None or value is None or len(value) > block.limit_chars:
        return False
    if made and not value:
        connection.execute(REMOVE_BLOCK, (agent, label))
    else:
        connection.execute(CHANGE_BLOCK, (value, agent, label))
    connection.execute(UNDO_EDIT, (now_s, number))
    return True


def _passage(row: Row) -> Passage:
    number, text, tags, at_s = row
    return Passage(number, text, _tags(tags), at_s)


def _tags(column: str) -> tuple[str, ...]:
    return tuple(json.decode(column))
