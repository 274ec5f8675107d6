"""The tables of the house. Where a column is named `*_s` it holds seconds since 1970; `owner` is an OwnerId."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData()

NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts rows by itself only where the type is spelt INTEGER."""


def _numbered() -> Column[int]:
    return Column("number", NUMBER, primary_key=True)


def _index_where_given(name: str, *columns: str) -> Index:
    """Of rows whose last column is not null: they are few, and the others cost nothing."""
    given = text(f"{columns[-1]} IS NOT NULL")
    return Index(name, *columns, sqlite_where=given, postgresql_where=given)


store = Table(
    "store",
    metadata,
    Column("id", Text, primary_key=True),
    comment="One row: which store this is. What was derived from another one is of no use to it.",
)

agent = Table(
    "agent",
    metadata,
    Column("id", Text, primary_key=True),
    Column("template", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("owner", LargeBinary(16), nullable=False),
    Column("created_at_s", Float, nullable=False),
    Column("standing", Text, nullable=False, server_default="active", comment="active, paused or retired."),
    Index("agent_by_key", "template", "principal", "subject", unique=True),
)

block = Table(
    "block",
    metadata,
    Column("agent", Text, primary_key=True),
    Column("label", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("limit_chars", Integer, nullable=False),
    Column("read_only", Boolean, nullable=False),
    Column("position", Integer, nullable=False),
)

block_edit = Table(
    "block_edit",
    metadata,
    _numbered(),
    Column("agent", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("took", Text, nullable=False),
    Column("put", Text, nullable=False),
    Column("made", Boolean, nullable=False, comment="Whether the block began with this edit."),
    Column("author", Text, nullable=False),
    Column("conversation", Text),
    Column("turn", Text),
    Column("call_id", Text),
    Column("at_s", Float, nullable=False),
    Column("undone_at_s", Float),
    Index("block_edit_by_call", "turn", "call_id", unique=True),
    Index("block_edit_by_agent", "agent", "number"),
)

passage = Table(
    "passage",
    metadata,
    _numbered(),
    Column("agent", Text, nullable=False),
    Column("owner", LargeBinary(16), nullable=False),
    Column("conversation", Text, comment="Where it was put by first."),
    Column("at_s", Float, nullable=False),
    Column("taken_back_at_s", Float),
    Column("text_hash", LargeBinary(32), nullable=False),
    Column("tags", Text, nullable=False, comment="A JSON array."),
    Column("text", Text, nullable=False),
    Index("passage_by_owner", "owner", "number"),
    Index("passage_by_text", "agent", "text_hash"),
)

passage_source = Table(
    "passage_source",
    metadata,
    _numbered(),
    Column("passage", NUMBER, nullable=False),
    Column("author", Text, nullable=False),
    Column("conversation", Text),
    Column("turn", Text),
    Column("call_id", Text),
    Column("at_s", Float, nullable=False),
    Column("taken_back_at_s", Float),
    Index("passage_source_by_passage", "passage"),
    Index("passage_source_by_call", "turn", "call_id", unique=True),
    comment="Who put a passage by: it stands as long as one of them stands by it.",
)

conversation = Table(
    "conversation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", LargeBinary(16), nullable=False),
    Column("principal", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("key", Text, comment="The client's own name for it."),
    Column("head", NUMBER, comment="The number of its newest turn."),
    Column("created_at_s", Float, nullable=False),
    Column("metadata", Text, comment="A JSON object: the client's own labels."),
    Column("waiting", LargeBinary, comment="Messages that no turn has taken up yet, as in wire.py."),
    Column("waiting_ids", Text, comment="Their ids: a JSON array."),
    Column("told", LargeBinary, comment="System messages that stay."),
    sqlite_with_rowid=False,
)

turn = Table(
    "turn",
    metadata,
    _numbered(),
    Column("id", Text, nullable=False),
    Column("conversation", Text, nullable=False),
    Column("parent", NUMBER),
    Column("on_path", Boolean, nullable=False, comment="Whether it lies between its conversation's head and root."),
    Column("owner", LargeBinary(16), nullable=False),
    Column("digest_key", BigInteger, nullable=False, comment="The digest's first 8 bytes: a quarter to index."),
    Column("digest", LargeBinary(32), nullable=False),
    Column("model", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),
    Column("at_s", Float, nullable=False),
    # Long ones last, and what is looked up first of them first: SQLite reads a row from its beginning.
    Column("context", LargeBinary, comment="JSON, as in wire.py; null where empty, like the next three."),
    Column("reply", LargeBinary),
    Column("heard", LargeBinary),
    Column("seed", LargeBinary),
    Column("said_key", BigInteger, comment="The beginning of the reply's own digest; null where nobody asks for it."),
    Column("ref", Text, comment="The client's name for the reply."),
    Column("names", Text, comment="Of its first messages, where they were put in before: a JSON array."),
    Index("turn_by_id", "id", unique=True),
    Index("turn_by_digest", "digest_key"),
    Index("turn_by_owner", "owner", "number"),
    _index_where_given("turn_by_parent", "parent"),
    Index("turn_by_said", "conversation", "said_key"),
    _index_where_given("turn_by_ref", "conversation", "ref"),
)

request = Table(
    "request",
    metadata,
    _numbered(),
    Column("turn", NUMBER, nullable=False),
    Column("at_s", Float, nullable=False),
    Column("digest_key", BigInteger, nullable=False, comment="The digest's first 8 bytes."),
    Column("digest", LargeBinary(32), nullable=False),
    Column("idempotency_key", BigInteger),
    Column("idempotency", LargeBinary(32)),
    Index("request_by_digest", "digest_key"),
    _index_where_given("request_by_idempotency", "idempotency_key"),
    comment="Which turn answered a request, for when it comes again: a day's worth.",
)

answer = Table(
    "answer",
    metadata,
    _numbered(),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="response, or chat.completion."),
    Column("principal", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("turn", Text),
    Column("conversation", Text),
    Column("model", Text, nullable=False),
    Column("at_s", Float, nullable=False),
    Column("metadata", Text, nullable=False, comment="A JSON object: the client's own labels."),
    Column("body", LargeBinary, nullable=False, comment="JSON, as it went over the wire."),
    Column("asked", LargeBinary, nullable=False, comment="JSON: what it answers."),
    Column("told", LargeBinary, comment="System messages that stay for whoever goes on from here."),
    Index("answer_by_id", "id", unique=True),
    Index("answer_by_principal", "principal", "kind", "number"),
    _index_where_given("answer_by_conversation", "conversation"),
    comment="Answers that clients may ask for again.",
)

backend_agent = Table(
    "backend_agent",
    metadata,
    Column("backend", Text, primary_key=True),
    Column("agent", Text, primary_key=True),
    Column("ref", Text, nullable=False),
    Index("backend_agent_by_ref", "backend", "ref"),
    comment="Which agent of a server stands for one of ours.",
    sqlite_with_rowid=False,
)

thread = Table(
    "thread",
    metadata,
    _numbered(),
    Column("backend", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("agent", Text, nullable=False, comment="Its name on the server."),
    Column("conversation", Text, nullable=False),
    Column("tip", Text, nullable=False, comment="The last turn it heard whole; a thread in use is not here."),
    Column("last", Text, comment="Its newest message."),
    Column("settings", Text, nullable=False),
    Column("kept", Text, nullable=False, comment="Results that wait for the client's own: a JSON array."),
    Index("thread_by_tip", "backend", "tip"),
    Index("thread_by_conversation", "conversation"),
    Index("thread_by_agent", "backend", "agent"),
)

thread_turn = Table(
    "thread_turn",
    metadata,
    Column("turn", Text, primary_key=True),
    Column("backend", Text, primary_key=True),
    Column("agent", Text, nullable=False),
    Column("messages", Text, nullable=False, comment="What the turn added, as the server knows it: a JSON array."),
    sqlite_with_rowid=False,
)
