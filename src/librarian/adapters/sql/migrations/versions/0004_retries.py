"""Requests that come again, tips of branches, replies by their own digest and by the client's name for them; the edits
of an agent."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
PARTIAL = {
    "turn_by_parent": ("turn", ["parent"]),
    "turn_by_said": ("turn", ["conversation", "said_key"]),
    "turn_by_ref": ("turn", ["conversation", "ref"]),
    "request_by_idempotency": ("request", ["idempotency_key"]),
}


def upgrade() -> None:
    said_key = sa.Column(
        "said_key",
        sa.BigInteger,
        comment="The beginning of the reply's own digest; null where nobody asks for it.",
    )
    op.add_column("turn", said_key)
    op.add_column("turn", sa.Column("ref", sa.Text, comment="The client's name for the reply."))
    op.create_table(
        "request",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("turn", NUMBER, nullable=False),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.Column("digest_key", sa.BigInteger, nullable=False, comment="The digest's first 8 bytes."),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("idempotency_key", sa.BigInteger),
        sa.Column("idempotency", sa.LargeBinary(32)),
        comment="Which turn answered a request, for when it comes again: a day's worth.",
    )
    op.create_index("request_by_digest", "request", ["digest_key"])
    op.create_index("block_edit_by_agent", "block_edit", ["agent", "number"])
    for name, (table, columns) in PARTIAL.items():
        given = sa.text(f"{columns[-1]} IS NOT NULL")
        op.create_index(name, table, columns, sqlite_where=given, postgresql_where=given)


def downgrade() -> None:
    op.drop_index("block_edit_by_agent", "block_edit")
    for name in ("turn_by_parent", "turn_by_said", "turn_by_ref"):
        op.drop_index(name, "turn")
    op.drop_table("request")
    op.drop_column("turn", "ref")
    op.drop_column("turn", "said_key")
