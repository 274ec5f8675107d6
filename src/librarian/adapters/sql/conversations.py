"""Conversations in SQLite, found by the digests of their turns."""

import sqlite3
from collections.abc import Sequence

from msgspec import json

from librarian.adapters.sql.database import Database, Row
from librarian.adapters.sql.wire import from_context, from_messages, to_context, to_messages
from librarian.application.ports.conversations import TurnRecord
from librarian.domain.conversation import Conversation, ConversationId, KnownTurn, TurnId
from librarian.domain.identity import OwnerId
from librarian.domain.recall import Entry, Shelf
from librarian.domain.transcript import Digest, Message, Role

NEWEST_AT = (
    "SELECT c.id, c.head, t.id, t.number, t.context FROM turn t JOIN conversation c ON c.id = t.conversation"
    " WHERE t.digest_key = ? AND t.digest = ? ORDER BY t.number DESC LIMIT 1"
)
HEAD_AT = (
    "SELECT c.id, c.head, t.id, t.number, t.context FROM turn t JOIN conversation c ON c.id = t.conversation"
    " WHERE t.digest_key = ? AND t.digest = ? AND c.head = t.number ORDER BY t.number DESC LIMIT 1"
)
RECORD = (
    "INSERT INTO turn (id, conversation, parent, on_path, owner, digest_key, digest, model, mode, reason,"
    " input_tokens, output_tokens, cached_tokens, reasoning_tokens, at_s, context, reply, heard, seed)"
    " VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
BEGIN = (
    "INSERT INTO conversation (id, owner, principal, subject, template, head, created_at_s)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET head = excluded.head WHERE conversation.head IS NULL"
)
MOVE_HEAD = "UPDATE conversation SET head = ? WHERE id = ? AND head = ?"
ABOVE = "SELECT parent, on_path FROM turn WHERE number = ?"
PUT_ON_PATH = "UPDATE turn SET on_path = 1 WHERE number = ?"
TAKE_OFF_PATH = "UPDATE turn SET on_path = 0 WHERE number = ?"
SAID_SINCE = (
    "SELECT number, conversation, at_s, heard, reply FROM turn WHERE owner = ? AND number > ? ORDER BY number LIMIT ?"
)
ON_PATH = "SELECT number FROM turn WHERE number IN (SELECT value FROM json_each(?)) AND on_path"

READ_AT_ONCE = 64
"""Turns: read in the loop's own thread, so a few, and then a few more."""


class SqlConversations:
    """Reads in the loop's thread, a few microseconds each; writes through the writer."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def at(self, parent: Digest) -> Conversation | None:
        place = (_key(parent), parent)
        row = self._database.row(NEWEST_AT, place)
        if row is None:
            return None
        if row[1] != row[3]:  # it went on from there: one that was alike so far may not have
            row = self._database.row(HEAD_AT, place) or row
        id_, head, turn, number, context = row
        return Conversation(ConversationId(id_), head, KnownTurn(TurnId(turn), number, parent, to_context(context)))

    async def settle(self, turn: TurnRecord) -> None:
        conversation, owner, usage = turn.conversation, turn.owner, turn.usage
        parent = conversation.known.number if conversation.known else None
        owner_id = owner.id
        recorded = (
            turn.id,
            conversation.id,
            parent,
            owner_id,
            _key(turn.digest),
            turn.digest,
            turn.model,
            turn.mode,
            turn.reason,
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
            turn.at_s,
            from_context(turn.context),
            from_messages((turn.reply,)),
            from_messages(turn.heard),
            from_messages(turn.seed),
        )

        def settle(connection: sqlite3.Connection) -> None:
            number = connection.execute(RECORD, recorded).lastrowid
            if conversation.head is None:
                begun = (conversation.id, owner_id, owner.principal, owner.subject, turn.template, number, turn.at_s)
                moved = connection.execute(BEGIN, begun)
            else:
                moved = connection.execute(MOVE_HEAD, (number, conversation.id, conversation.head))
            if not moved.rowcount:
                connection.execute(TAKE_OFF_PATH, (number,))
            elif parent != conversation.head:
                _switch(connection, conversation.head, parent)

        await self._database.write(settle)

    async def said_since(self, owner: OwnerId, number: int, limit: int) -> Sequence[Entry]:
        """At most READ_AT_ONCE turns; none only where nothing was said since."""
        at_once = min(limit, READ_AT_ONCE)
        while rows := self._database.rows(SAID_SINCE, (owner, number, at_once)):
            if entries := [entry for row in rows for entry in _said(row)]:
                return entries
            number = rows[-1][0]
        return ()

    async def on_path(self, numbers: Sequence[int]) -> frozenset[int]:
        if not numbers:
            return frozenset()
        return frozenset(number for (number,) in self._database.rows(ON_PATH, (json.encode(numbers),)))


def _key(digest: Digest) -> int:
    return int.from_bytes(digest[:8], "big", signed=True)


def _switch(connection: sqlite3.Connection, old_head: int | None, parent: int | None) -> None:
    """The turns above the new head come on the path, as far as they are not; those it leaves go off."""
    joined: list[tuple[int]] = []
    junction = parent
    while junction is not None:
        above, on_path = connection.execute(ABOVE, (junction,)).fetchone()
        if on_path:
            break
        joined.append((junction,))
        junction = above
    left: list[tuple[int]] = []
    at = old_head
    while at is not None and at != junction:
        left.append((at,))
        at, _ = connection.execute(ABOVE, (at,)).fetchone()
    connection.executemany(PUT_ON_PATH, joined)
    connection.executemany(TAKE_OFF_PATH, left)


def _said(row: Row) -> Sequence[Entry]:
    number, conversation, at_s, heard, reply = row
    texts = {
        Role.USER: _joined(to_messages(heard), Role.USER),
        Role.ASSISTANT: _joined(to_messages(reply), Role.ASSISTANT),
    }
    return [
        Entry(Shelf.SAID, number, text, at_s, role, ConversationId(conversation))
        for role, text in texts.items()
        if text
    ]


def _joined(messages: Sequence[Message], role: Role) -> str:
    return "\n\n".join(message.text for message in messages if message.role is role and message.text)
