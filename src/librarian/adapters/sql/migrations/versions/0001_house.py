"""Agents with their memory; conversations with their turns."""

import os

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    store = op.create_table("store", sa.Column("id", sa.Text, primary_key=True))
    op.bulk_insert(store, [{"id": os.urandom(12).hex()}])

    op.create_table(
        "agent",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("template", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("owner", sa.LargeBinary(16), nullable=False),
        sa.Column("created_at_s", sa.Float, nullable=False),
    )
    op.create_index("agent_by_key", "agent", ["template", "principal", "subject"], unique=True)

    op.create_table(
        "block",
        sa.Column("agent", sa.Text, primary_key=True),
        sa.Column("label", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("limit_chars", sa.Integer, nullable=False),
        sa.Column("read_only", sa.Boolean, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
    )

    op.create_table(
        "block_edit",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("took", sa.Text, nullable=False),
        sa.Column("put", sa.Text, nullable=False),
        sa.Column("made", sa.Boolean, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("conversation", sa.Text),
        sa.Column("turn", sa.Text),
        sa.Column("call_id", sa.Text),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.Column("undone_at_s", sa.Float),
    )
    op.create_index("block_edit_by_call", "block_edit", ["turn", "call_id"], unique=True)

    op.create_table(
        "passage",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("owner", sa.LargeBinary(16), nullable=False),
        sa.Column("conversation", sa.Text),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.Column("taken_back_at_s", sa.Float),
        sa.Column("text_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("passage_by_owner", "passage", ["owner", "number"])
    op.create_index("passage_by_text", "passage", ["agent", "text_hash"])

    op.create_table(
        "passage_source",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("passage", NUMBER, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("conversation", sa.Text),
        sa.Column("turn", sa.Text),
        sa.Column("call_id", sa.Text),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.Column("taken_back_at_s", sa.Float),
    )
    op.create_index("passage_source_by_passage", "passage_source", ["passage"])
    op.create_index("passage_source_by_call", "passage_source", ["turn", "call_id"], unique=True)

    op.create_table(
        "conversation",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.LargeBinary(16), nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("template", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("head", NUMBER),
        sa.Column("created_at_s", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )

    op.create_table(
        "turn",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("conversation", sa.Text, nullable=False),
        sa.Column("parent", NUMBER),
        sa.Column("on_path", sa.Boolean, nullable=False),
        sa.Column("owner", sa.LargeBinary(16), nullable=False),
        sa.Column("digest_key", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("input_tokens", sa.Integer, nullable=False),
        sa.Column("output_tokens", sa.Integer, nullable=False),
        sa.Column("cached_tokens", sa.Integer, nullable=False),
        sa.Column("reasoning_tokens", sa.Integer, nullable=False),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.Column("context", sa.LargeBinary),
        sa.Column("reply", sa.LargeBinary),
        sa.Column("heard", sa.LargeBinary),
        sa.Column("seed", sa.LargeBinary),
    )
    op.create_index("turn_by_id", "turn", ["id"], unique=True)
    op.create_index("turn_by_digest", "turn", ["digest_key"])
    op.create_index("turn_by_owner", "turn", ["owner", "number"])


def downgrade() -> None:
    for table in ("turn", "conversation", "passage_source", "passage", "block_edit", "block", "agent", "store"):
        op.drop_table(table)
