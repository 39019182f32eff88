"""The queue, the reports and the event tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from vallum_common.database.migrations import create_event_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    create_event_tables(op.get_bind())
    op.create_table(
        "submission",
        sa.Column("submission_id", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, sa.Identity(always=True)),
        sa.Column("content", postgresql.JSONB, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
    )
    op.create_index("submission_waiting", "submission", ["position"], postgresql_where=sa.text("NOT done"))
    op.create_table(
        "report",
        sa.Column("submission_id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.Column("evidence", sa.LargeBinary, nullable=False),
    )
