"""Conversations in SQLite, found by the digests of their turns."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from msgspec import json

from librarian.adapters.sql.database import Database, Row
from librarian.adapters.sql.wire import from_context, from_messages, to_context, to_messages
from librarian.application.ports.conversations import MOST_TURNS, Answered, Request, TurnRecord
from librarian.domain.conversation import Conversation, ConversationId, KnownTurn, PastTurn, TurnId
from librarian.domain.errors import UnknownConversation
from librarian.domain.identity import OwnerId
from librarian.domain.recall import Entry, Shelf
from librarian.domain.transcript import Digest, Message, Role
from librarian.domain.turn import StopReason, Usage

_turn_at = (
    "SELECT c.id, c.head, c.key, t.id, t.number, t.digest, t.context,"
    " EXISTS (SELECT 1 FROM turn f WHERE f.parent = t.number)"
    " FROM turn t JOIN conversation c ON c.id = t.conversation"
)
_ALONE = "NOT EXISTS (SELECT 1 FROM turn f WHERE f.parent = t.number)"
_THESE = "(SELECT value FROM json_each(?1))"
_NEWEST = "ORDER BY t.number DESC LIMIT 1"
_UNNAMED = "WHERE t.digest_key = ? AND t.digest = ? AND c.key IS NULL"
_WITHIN = "WHERE t.digest_key = ? AND t.digest = ? AND c.id = ?"
NEWEST_AT = f"{_turn_at} {_UNNAMED} {_NEWEST}"
TIP_AT = f"{_turn_at} {_UNNAMED} AND {_ALONE} {_NEWEST}"
NEWEST_WITHIN = f"{_turn_at} {_WITHIN} {_NEWEST}"
TIP_WITHIN = f"{_turn_at} {_WITHIN} AND {_ALONE} {_NEWEST}"
ANY_AT = f"{_turn_at} WHERE t.digest_key IN {_THESE} AND c.key IS NULL ORDER BY t.number DESC"
ANY_WITHIN = f"{_turn_at} WHERE t.digest_key IN {_THESE} AND c.id = ?2 ORDER BY t.number DESC"
NAMED = "SELECT head, key FROM conversation WHERE id = ? AND owner = ? AND template IN (?, '')"
_known_turn = (
    "SELECT t.id, t.number, t.digest, t.context, EXISTS (SELECT 1 FROM turn f WHERE f.parent = t.number) FROM turn t"
)
REFERRED = f"{_known_turn} WHERE t.conversation = ? AND t.ref = ? ORDER BY t.number DESC LIMIT 1"
SAYING = f"{_known_turn} WHERE t.conversation = ? AND t.said_key = ? ORDER BY t.number DESC LIMIT ?"
PATH = (
    "WITH RECURSIVE above (number, parent, depth) AS ("
    " SELECT number, parent, 1 FROM turn WHERE number = ?1"
    " UNION ALL SELECT t.number, t.parent, a.depth + 1 FROM turn t JOIN above a ON t.number = a.parent"
    " WHERE a.depth < ?2)"
    " SELECT a.number, t.seed, t.heard, t.reply, t.id, t.names FROM above a JOIN turn t ON t.number = a.number"
    " ORDER BY a.depth"
)
PLACED = (
    "SELECT t.conversation, t.number FROM turn t JOIN conversation c ON c.id = t.conversation"
    " WHERE t.id = ? AND t.owner = ?"
)
_answered_turn = (
    "SELECT t.id, r.digest, t.conversation, t.mode, t.reply, t.reason,"
    " t.input_tokens, t.output_tokens, t.cached_tokens, t.reasoning_tokens, t.at_s"
    " FROM request r JOIN turn t ON t.number = r.turn"
)
ANSWERED_BY_KEY = (
    f"{_answered_turn} WHERE r.idempotency_key = ? AND r.idempotency = ? AND r.at_s > ? ORDER BY r.number DESC LIMIT 1"
)
ANSWERED_BY_DIGEST = (
    f"{_answered_turn} WHERE r.digest_key = ? AND r.digest = ? AND r.at_s > ? ORDER BY r.number DESC LIMIT 1"
)
RECORD = (
    "INSERT INTO turn (id, conversation, parent, on_path, owner, digest_key, digest, model, mode, reason,"
    " input_tokens, output_tokens, cached_tokens, reasoning_tokens, at_s, context, reply, heard, seed, said_key, ref,"
    " names) VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
REQUESTED = (
    "INSERT INTO request (turn, at_s, digest_key, digest, idempotency_key, idempotency) VALUES (?, ?, ?, ?, ?, ?)"
)
FORGET_REQUESTS = (
    "DELETE FROM request WHERE number <= (SELECT min(number) + 1 FROM request) AND (at_s < ? OR number < ?)"
)
BEGIN = (
    "INSERT INTO conversation (id, owner, principal, subject, template, key, head, created_at_s)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET head = excluded.head, template = excluded.template"
    " WHERE conversation.head IS NULL"
)
TAKE_UP = "UPDATE conversation SET waiting = NULL, waiting_ids = NULL, told = ? WHERE id = ?"
OWN = "SELECT 1 FROM conversation WHERE id = ? AND owner = ? AND template IN (?, '')"
MOVE_HEAD = "UPDATE conversation SET head = ? WHERE id = ? AND head = ?"
ABOVE = "SELECT parent, on_path FROM turn WHERE number = ?"
PUT_ON_PATH = "UPDATE turn SET on_path = 1 WHERE number = ?"
TAKE_OFF_PATH = "UPDATE turn SET on_path = 0 WHERE number = ?"
SAID_SINCE = (
    "SELECT number, conversation, at_s, heard, reply FROM turn WHERE owner = ? AND number > ? ORDER BY number LIMIT ?"
)
ON_PATH = "SELECT number FROM turn WHERE number IN (SELECT value FROM json_each(?)) AND on_path"

REQUESTS_KEPT_S = 86_400.0
MOST_REQUESTS = 1_000_000
READ_AT_ONCE = 64
"""Turns: read in the loop's own thread, so a few, and then a few more."""


class SqlConversations:
    """Reads in the loop's thread, a few microseconds each; writes through the writer."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def at(self, parents: Sequence[Digest], within: ConversationId | None = None) -> Conversation | None:
        if len(parents) != 1:
            return self._at_any(parents, within)
        (parent,) = parents
        newest, tip = (NEWEST_AT, TIP_AT) if within is None else (NEWEST_WITHIN, TIP_WITHIN)
        place = (_key(parent), parent, *_given(within))
        row = self._database.row(newest, place)
        if row is None:
            return None
        if row[-1]:  # it went on from there: one that was alike so far may not have
            row = self._database.row(tip, place) or row
        return _conversation(row)

    async def named(self, name: ConversationId, owner: OwnerId, template: str) -> Conversation | None:
        row = self._database.row(NAMED, (name, owner, template))
        return Conversation(name, row[0], key=row[1]) if row else None

    async def referred(self, conversation: ConversationId, ref: str) -> KnownTurn | None:
        row = self._database.row(REFERRED, (conversation, ref))
        return _known(row) if row else None

    async def saying(self, conversation: ConversationId, said: Digest, most: int) -> Sequence[KnownTurn]:
        return [_known(row) for row in self._database.rows(SAYING, (conversation, _key(said), most))]

    async def path(self, turn: int, most: int) -> Sequence[PastTurn]:
        return [
            PastTurn(number, to_messages(seed), to_messages(heard), _reply(reply), TurnId(id_), _names(names))
            for number, seed, heard, reply, id_, names in self._database.rows(PATH, (turn, most))
        ]

    async def past(
        self, turn: TurnId, owner: OwnerId, most: int = MOST_TURNS
    ) -> tuple[ConversationId, Sequence[PastTurn]] | None:
        row = self._database.row(PLACED, (turn, owner))
        if row is None:
            return None
        conversation, number = row
        return ConversationId(conversation), tuple(reversed(await self.path(number, most)))

    async def answered(self, request: Request, since_s: float) -> Answered | None:
        asked, digest = ANSWERED_BY_DIGEST, request.digest
        if request.idempotency is not None:
            asked, digest = ANSWERED_BY_KEY, request.idempotency
        row = self._database.row(asked, (_key(digest), digest, since_s))
        return _answered(row) if row else None

    async def settle(self, turn: TurnRecord) -> None:
        conversation, owner, usage, request = turn.conversation, turn.owner, turn.usage, turn.request
        owner_id = owner.id
        recorded = (
            turn.id,
            conversation.id,
            turn.parent,
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
            _key(turn.said) if turn.said is not None else None,
            turn.ref,
            json.encode(turn.names).decode() if turn.names else None,
        )

        def settle(connection: sqlite3.Connection) -> None:
            number = connection.execute(RECORD, recorded).lastrowid
            if request is not None:
                _keep_request(connection, request, number or 0, turn.at_s)
            if conversation.head is None:
                begun = (conversation.id, owner_id, owner.principal, owner.subject, turn.template, conversation.key)
                moved = connection.execute(BEGIN, (*begun, number, turn.at_s)).rowcount
                if not moved and not connection.execute(OWN, (conversation.id, owner_id, turn.template)).fetchone():
                    raise UnknownConversation(conversation.id)
            elif turn.aside:
                moved = 0
            else:
                moved = connection.execute(MOVE_HEAD, (number, conversation.id, conversation.head)).rowcount
            if not moved:
                connection.execute(TAKE_OFF_PATH, (number,))
            elif turn.parent != conversation.head:
                _switch(connection, conversation.head, turn.parent)
            if turn.told is not None:
                connection.execute(TAKE_UP, (from_messages(turn.told), conversation.id))

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

    def _at_any(self, parents: Sequence[Digest], within: ConversationId | None) -> Conversation | None:
        """Of the first that is known at all."""
        found: dict[bytes, list[Row]] = {}
        keys = json.encode([_key(parent) for parent in parents])
        sql = ANY_AT if within is None else ANY_WITHIN
        for row in self._database.rows(sql, (keys, *_given(within))):
            found.setdefault(row[5], []).append(row)
        rows = next((found[parent] for parent in parents if parent in found), None)
        return _conversation(next((row for row in rows if not row[-1]), rows[0])) if rows else None


def _given(within: ConversationId | None) -> tuple[ConversationId, ...]:
    return () if within is None else (within,)


def _conversation(row: Row) -> Conversation:
    name, head, key, *known = row
    return Conversation(ConversationId(name), head, _known(known), key)


def _known(row: Sequence[Any]) -> KnownTurn:
    id_, number, digest, context, followed = row
    return KnownTurn(TurnId(id_), number, Digest(digest), to_context(context), tip=not followed)


def _answered(row: Row) -> Answered:
    turn, request, conversation, mode, reply, reason, input_tokens, output_tokens, cached, reasoning, at_s = row
    return Answered(
        turn=TurnId(turn),
        request=Digest(request),
        conversation=ConversationId(conversation),
        mode=mode,
        reply=_reply(reply),
        reason=StopReason(reason),
        usage=Usage(input_tokens, output_tokens, cached, reasoning),
        at_s=at_s,
    )


def _names(column: str | None) -> tuple[str, ...]:
    return tuple(json.decode(column)) if column else ()


def _reply(column: bytes | None) -> Message:
    (reply,) = to_messages(column)
    return reply


def _keep_request(connection: sqlite3.Connection, request: Request, turn: int, at_s: float) -> None:
    """Each new one takes two old ones with it: so they never are many more than a day's."""
    key = request.idempotency
    kept = (turn, at_s, _key(request.digest), request.digest, _key(key) if key is not None else None, key)
    number = connection.execute(REQUESTED, kept).lastrowid or 0
    connection.execute(FORGET_REQUESTS, (at_s - REQUESTS_KEPT_S, number - MOST_REQUESTS))


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
