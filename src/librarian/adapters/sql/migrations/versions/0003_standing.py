"""Agents that are paused or retired."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    standing = sa.Column(
        "standing", sa.Text, nullable=False, server_default="active", comment="active, paused or retired."
    )
    op.add_column("agent", standing)


def downgrade() -> None:
    op.drop_column("agent", "standing")
