"""Answers in SQLite. They are written beside a turn, and read now and then."""

from collections.abc import Sequence

from msgspec import json

from librarian.adapters.sql.database import Database, Row
from librarian.adapters.sql.wire import from_messages, to_messages
from librarian.application.ports.answers import KeptAnswer
from librarian.domain.conversation import ConversationId, TurnId
from librarian.domain.identity import Owner, PrincipalId, Subject

KEEP = (
    "INSERT INTO answer (id, kind, principal, subject, turn, conversation, model, at_s, metadata, body, asked, told)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET turn = excluded.turn,"
    " conversation = excluded.conversation, metadata = excluded.metadata, body = excluded.body,"
    " told = excluded.told"
)
_answer = (
    "SELECT number, id, kind, principal, subject, turn, conversation, model, at_s, metadata, body, asked, told"
    " FROM answer"
)
FIND = f"{_answer} WHERE id = ? AND kind = ?"
OLDEST = f"{_answer} WHERE principal = ? AND kind = ? AND number > ? ORDER BY number LIMIT ?"
NEWEST = f"{_answer} WHERE principal = ? AND kind = ? AND number < ? ORDER BY number DESC LIMIT ?"
DELETE = "DELETE FROM answer WHERE id = ?"
BEYOND_ALL = 2**62

_labels = json.Decoder(dict[str, str]).decode


class SqlAnswers:
    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def keep(self, answer: KeptAnswer) -> None:
        values = (
            answer.id,
            answer.kind,
            answer.owner.principal,
            answer.owner.subject,
            answer.turn,
            answer.conversation,
            answer.model,
            answer.at_s,
            json.encode(answer.metadata).decode(),
            answer.body,
            answer.asked,
            from_messages(answer.told),
        )
        await self._database.write(lambda connection: connection.execute(KEEP, values))

    async def find(self, id_: str, kind: str) -> KeptAnswer | None:
        row = self._database.row(FIND, (id_, kind))
        return _kept(row) if row else None

    async def listed(
        self, principal: PrincipalId, kind: str, *, after: int, limit: int, newest_first: bool
    ) -> Sequence[KeptAnswer]:
        sql, beyond = (NEWEST, after or BEYOND_ALL) if newest_first else (OLDEST, after)
        return [_kept(row) for row in self._database.rows(sql, (principal, kind, beyond, limit))]

    async def delete(self, id_: str) -> None:
        await self._database.write(lambda connection: connection.execute(DELETE, (id_,)))


def _kept(row: Row) -> KeptAnswer:
    number, id_, kind, principal, subject, turn, conversation, model, at_s, metadata, body, asked, told = row
    return KeptAnswer(
        id=id_,
        kind=kind,
        owner=Owner(PrincipalId(principal), Subject(subject)),
        turn=TurnId(turn) if turn else None,
        conversation=ConversationId(conversation) if conversation else None,
        model=model,
        at_s=at_s,
        body=body,
        asked=asked,
        metadata=_labels(metadata),
        told=to_messages(told),
        number=number,
    )
