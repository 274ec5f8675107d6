"""Conversations that clients have the house keep, in SQLite."""

import sqlite3
from collections.abc import Mapping, Sequence

from msgspec import json

from librarian.adapters.sql.database import Database
from librarian.adapters.sql.wire import from_messages, to_messages
from librarian.application.ports.lines import ConversationCard, Waiting
from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.identity import Owner, PrincipalId, Subject

BEGIN = (
    "INSERT INTO conversation (id, owner, principal, subject, template, created_at_s, metadata, waiting, waiting_ids)"
    " VALUES (?, ?, ?, ?, '', ?, ?, ?, ?)"
)
FIND = (
    "SELECT c.principal, c.subject, c.created_at_s, c.metadata, c.waiting, c.waiting_ids, c.told, t.id"
    " FROM conversation c LEFT JOIN turn t ON t.number = c.head WHERE c.id = ?"
)
LABEL = "UPDATE conversation SET metadata = ? WHERE id = ?"
WAITING = "SELECT waiting, waiting_ids FROM conversation WHERE id = ?"
PUT = "UPDATE conversation SET waiting = ?, waiting_ids = ? WHERE id = ?"
OFF_PATH = "UPDATE turn SET on_path = 0 WHERE conversation = ? AND on_path"
REWRITE = "UPDATE conversation SET head = NULL, waiting = ?, waiting_ids = ? WHERE id = ?"
EMPTY_TURNS = (
    "UPDATE turn SET on_path = 0, context = NULL, heard = NULL, seed = NULL, reply = X'5B5D', ref = NULL,"
    " said_key = NULL WHERE conversation = ?"
)
FORGET_REQUESTS = "DELETE FROM request WHERE turn IN (SELECT number FROM turn WHERE conversation = ?)"
FORGET_ANSWERS = "DELETE FROM answer WHERE conversation = ?"
DELETE = "DELETE FROM conversation WHERE id = ?"

_ids = json.Decoder(list[str]).decode
_labels = json.Decoder(dict[str, str]).decode


class SqlLines:
    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def begin(self, card: ConversationCard) -> None:
        owner = card.owner
        labels = json.encode(card.metadata).decode()
        values = (card.id, owner.id, owner.principal, owner.subject, card.created_s, labels, *_columns(card.waiting))
        await self._database.write(lambda connection: connection.execute(BEGIN, values))

    async def find(self, name: ConversationId) -> ConversationCard | None:
        row = self._database.row(FIND, (name,))
        if row is None:
            return None
        principal, subject, created_s, metadata, waiting, ids, told, head = row
        return ConversationCard(
            id=name,
            owner=Owner(PrincipalId(principal), Subject(subject)),
            created_s=created_s,
            metadata=_labels(metadata) if metadata else {},
            head=TurnId(head) if head else None,
            waiting=_waiting(waiting, ids),
            told=to_messages(told),
        )

    async def label(self, name: ConversationId, metadata: Mapping[str, str]) -> None:
        labels = json.encode(metadata).decode()
        await self._database.write(lambda connection: connection.execute(LABEL, (labels, name)))

    async def put(self, name: ConversationId, waiting: Sequence[Waiting]) -> None:
        def job(connection: sqlite3.Connection) -> None:
            row = connection.execute(WAITING, (name,)).fetchone()
            if row is not None:
                connection.execute(PUT, (*_columns((*_waiting(*row), *waiting)), name))

        await self._database.write(job)

    async def rewrite(self, name: ConversationId, waiting: Sequence[Waiting]) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(OFF_PATH, (name,))
            connection.execute(REWRITE, (*_columns(waiting), name))

        await self._database.write(job)

    async def delete(self, name: ConversationId) -> None:
        def job(connection: sqlite3.Connection) -> None:
            for statement in (FORGET_ANSWERS, FORGET_REQUESTS, EMPTY_TURNS, DELETE):
                connection.execute(statement, (name,))

        await self._database.write(job)


def _columns(waiting: Sequence[Waiting]) -> tuple[bytes | None, str | None]:
    if not waiting:
        return None, None
    return from_messages(entry.message for entry in waiting), json.encode([entry.id for entry in waiting]).decode()


def _waiting(messages: bytes | None, ids: str | None) -> Sequence[Waiting]:
    if ids is None:
        return ()
    return tuple(Waiting(id_, message) for id_, message in zip(_ids(ids), to_messages(messages), strict=True))
