"""Answers that clients may ask for again, and conversations that clients have the house keep."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    for name, kind, comment in (
        ("metadata", sa.Text, "A JSON object: the client's own labels."),
        ("waiting", sa.LargeBinary, "Messages that no turn has taken up yet, as in wire.py."),
        ("waiting_ids", sa.Text, "Their ids: a JSON array."),
        ("told", sa.LargeBinary, "System messages that stay."),
    ):
        op.add_column("conversation", sa.Column(name, kind, comment=comment))
    names = sa.Column("names", sa.Text, comment="Of its first messages, where they were put in before: a JSON array.")
    op.add_column("turn", names)
    op.drop_index("turn_by_said", "turn")
    op.create_index("turn_by_said", "turn", ["conversation", "said_key"])
    op.create_table(
        "answer",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False, comment="response, or chat.completion."),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("turn", sa.Text),
        sa.Column("conversation", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False, comment="A JSON object: the client's own labels."),
        sa.Column("body", sa.LargeBinary, nullable=False, comment="JSON, as it went over the wire."),
        sa.Column("asked", sa.LargeBinary, nullable=False, comment="JSON: what it answers."),
        sa.Column("told", sa.LargeBinary, comment="System messages that stay for whoever goes on from here."),
        comment="Answers that clients may ask for again.",
    )
    op.create_index("answer_by_id", "answer", ["id"], unique=True)
    op.create_index("answer_by_principal", "answer", ["principal", "kind", "number"])
    given = sa.text("conversation IS NOT NULL")
    op.create_index("answer_by_conversation", "answer", ["conversation"], sqlite_where=given, postgresql_where=given)


def downgrade() -> None:
    op.drop_table("answer")
    op.drop_column("turn", "names")
    op.drop_index("turn_by_said", "turn")
    given = sa.text("said_key IS NOT NULL")
    op.create_index("turn_by_said", "turn", ["conversation", "said_key"], sqlite_where=given, postgresql_where=given)
    for name in ("told", "waiting_ids", "waiting", "metadata"):
        op.drop_column("conversation", name)
