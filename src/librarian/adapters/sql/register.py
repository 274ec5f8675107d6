"""The list of agents in SQLite. What is deleted leaves its row behind, emptied: numbers are never given twice."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import json

from librarian.adapters.sql.database import Database, Row
from librarian.adapters.sql.memory import MAKE_BLOCK
from librarian.application.ports.administration import AgentCard, Standing, Written
from librarian.application.ports.clock import Clock
from librarian.application.ports.memory import AgentId, AgentKey
from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.errors import UnknownAgent, UnknownPassage
from librarian.domain.identity import Owner, PrincipalId, Subject
from librarian.domain.memory import MemoryBlock, Passage

STANDING = "SELECT standing FROM agent WHERE template = ? AND principal = ? AND subject = ?"
CARD = "SELECT id, template, principal, subject, created_at_s, standing FROM agent"
FOUND = f"{CARD} WHERE template = ? AND principal = ? AND subject = ?"
NAMED = f"{CARD} WHERE id = ?"
LISTED = (
    f"{CARD} WHERE (?1 IS NULL OR principal = ?1) AND (?2 IS NULL OR subject = ?2) AND (?3 IS NULL OR id > ?3)"
    " ORDER BY id LIMIT ?4"
)
STAND = "UPDATE agent SET standing = ? WHERE id = ?"
PASSAGES = (
    "SELECT number, text, tags, at_s FROM passage WHERE agent = ? AND number > ? AND taken_back_at_s IS NULL"
    " ORDER BY number LIMIT ?"
)
PASSAGE = "SELECT number, text, tags, at_s FROM passage WHERE agent = ? AND number = ? AND taken_back_at_s IS NULL"
ABANDONED_EDITS = (
    "SELECT e.turn, e.conversation, e.at_s, e.label, e.took, e.put FROM block_edit e JOIN turn t ON t.id = e.turn"
    " WHERE e.agent = ? AND e.undone_at_s IS NULL AND NOT t.on_path ORDER BY e.number DESC LIMIT ?"
)
ABANDONED_PASSAGES = (
    "SELECT s.turn, s.conversation, s.at_s, 'archive', '', p.text FROM passage p"
    " JOIN passage_source s ON s.passage = p.number JOIN turn t ON t.id = s.turn"
    " WHERE p.agent = ? AND p.taken_back_at_s IS NULL AND s.taken_back_at_s IS NULL AND NOT t.on_path"
    " ORDER BY s.number DESC LIMIT ?"
)
UNSETTLED_EDITS = (
    "SELECT turn FROM block_edit e WHERE number > (SELECT max(number) - ?2 FROM block_edit) AND at_s < ?1"
    " AND undone_at_s IS NULL AND +turn IS NOT NULL AND NOT EXISTS (SELECT 1 FROM turn t WHERE t.id = e.turn)"
)
UNSETTLED_SOURCES = (
    "SELECT turn FROM passage_source s WHERE number > (SELECT max(number) - ?2 FROM passage_source)"
    " AND at_s < ?1 AND taken_back_at_s IS NULL AND +turn IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM turn t WHERE t.id = s.turn)"
)
LOOKED_THROUGH = 10_000
"""Of the newest entries: what a process that died left behind is among them."""
EMPTY_PASSAGES = (
    "UPDATE passage SET text = '', tags = '[]', text_hash = zeroblob(32),"
    " taken_back_at_s = coalesce(taken_back_at_s, :now_s) WHERE agent = :agent"
)
EMPTY_PASSAGE = f"{EMPTY_PASSAGES} AND number = :number"
EMPTY_TURNS = (
    "UPDATE turn SET on_path = 0, context = NULL, reply = NULL, heard = NULL, seed = NULL WHERE conversation IN"
    " (SELECT c.id FROM conversation c JOIN agent a ON a.owner = c.owner AND a.template = c.template"
    " WHERE a.id = :agent)"
)
FORGET = (
    "DELETE FROM block WHERE agent = :agent",
    "UPDATE block_edit SET took = '', put = '', undone_at_s = coalesce(undone_at_s, :now_s) WHERE agent = :agent",
    EMPTY_PASSAGES,
    EMPTY_TURNS,
)


class SqlRegister:
    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def standing(self, key: AgentKey) -> Standing:
        row = self._database.row(STANDING, _values(key))
        return Standing(row[0]) if row else Standing.ACTIVE

    async def find(self, key: AgentKey) -> AgentCard | None:
        row = self._database.row(FOUND, _values(key))
        return _card(row) if row else None

    async def agent(self, agent: AgentId) -> AgentCard:
        row = self._database.row(NAMED, (agent,))
        if row is None:
            raise UnknownAgent(agent)
        return _card(row)

    async def agents(
        self,
        principal: PrincipalId | None = None,
        *,
        subject: Subject | None = None,
        after: AgentId | None = None,
        limit: int = 100,
    ) -> Sequence[AgentCard]:
        return [_card(row) for row in self._database.rows(LISTED, (principal, subject, after, limit))]

    async def stand(self, agent: AgentId, standing: Standing) -> None:
        await self._database.write(lambda connection: connection.execute(STAND, (standing, agent)))

    async def passages(self, agent: AgentId, *, after: int = 0, limit: int = 100) -> Sequence[Passage]:
        return [_passage(row) for row in self._database.rows(PASSAGES, (agent, after, limit))]

    async def delete_passage(self, agent: AgentId, number: int) -> Passage:
        values = {"agent": agent, "number": number, "now_s": self._clock.now_s()}

        def job(connection: sqlite3.Connection) -> Passage:
            row = connection.execute(PASSAGE, (agent, number)).fetchone()
            if row is None:
                raise UnknownPassage(number)
            with _overwriting(connection):
                connection.execute(EMPTY_PASSAGE, values)
            return _passage(row)

        return await self._database.write(job)

    async def abandoned(self, agent: AgentId, limit: int = 100) -> Sequence[Written]:
        rows = [
            *self._database.rows(ABANDONED_EDITS, (agent, limit)),
            *self._database.rows(ABANDONED_PASSAGES, (agent, limit)),
        ]
        rows.sort(key=lambda row: -row[2])
        return [_written(row) for row in rows[:limit]]

    async def unsettled(self, before_s: float) -> Sequence[TurnId]:
        found = [
            row[0]
            for sql in (UNSETTLED_EDITS, UNSETTLED_SOURCES)
            for row in self._database.rows(sql, (before_s, LOOKED_THROUGH))
        ]
        return [TurnId(turn) for turn in dict.fromkeys(found)]

    async def forget(self, agent: AgentId, beginning: Sequence[MemoryBlock]) -> None:
        values = {"agent": agent, "now_s": self._clock.now_s()}

        def job(connection: sqlite3.Connection) -> None:
            with _overwriting(connection):
                for statement in FORGET:
                    connection.execute(statement, values)
            for block in beginning:
                made = (agent, block.label, block.value, block.limit_chars, block.description, block.read_only)
                connection.execute(MAKE_BLOCK, made)

        await self._database.write(job)


@contextmanager
def _overwriting(connection: sqlite3.Connection) -> Iterator[None]:
    """What is deleted is not left lying in the file's free places."""
    connection.execute("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        connection.execute("PRAGMA secure_delete=OFF")


def _values(key: AgentKey) -> tuple[str, str, str]:
    return key.template, key.owner.principal, key.owner.subject


def _written(row: Row) -> Written:
    turn, conversation, at_s, what, took, put = row
    return Written(TurnId(turn), ConversationId(conversation) if conversation else None, at_s, what, took, put)


def _card(row: Row) -> AgentCard:
    id_, template, principal, subject, created_s, standing = row
    key = AgentKey(template, Owner(PrincipalId(principal), Subject(subject)))
    return AgentCard(AgentId(id_), key, created_s, Standing(standing))


def _passage(row: Row) -> Passage:
    number, text, tags, at_s = row
    return Passage(number, text, tuple(json.decode(tags)), at_s)
