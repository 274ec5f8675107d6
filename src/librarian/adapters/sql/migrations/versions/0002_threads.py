"""Threads on servers of agents, and which agent there stands for one of ours."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "backend_agent",
        sa.Column("backend", sa.Text, primary_key=True),
        sa.Column("agent", sa.Text, primary_key=True),
        sa.Column("ref", sa.Text, nullable=False),
        comment="Which agent of a server stands for one of ours.",
        sqlite_with_rowid=False,
    )
    op.create_index("backend_agent_by_ref", "backend_agent", ["backend", "ref"])
    op.create_table(
        "thread",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False, comment="Its name on the server."),
        sa.Column("conversation", sa.Text, nullable=False),
        sa.Column("tip", sa.Text, nullable=False, comment="The last turn it heard whole; a thread in use is not here."),
        sa.Column("last", sa.Text, comment="Its newest message."),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("kept", sa.Text, nullable=False, comment="Results that wait for the client's own: a JSON array."),
    )
    op.create_index("thread_by_tip", "thread", ["backend", "tip"])
    op.create_index("thread_by_conversation", "thread", ["conversation"])
    op.create_index("thread_by_agent", "thread", ["backend", "agent"])
    op.create_table(
        "thread_turn",
        sa.Column("turn", sa.Text, primary_key=True),
        sa.Column("backend", sa.Text, primary_key=True),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column(
            "messages", sa.Text, nullable=False, comment="What the turn added, as the server knows it: a JSON array."
        ),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("thread_turn", "thread", "backend_agent"):
        op.drop_table(table)
