"""Evidence, profiles and the event tables."""

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
        "evidence",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("submission_id", sa.Text, nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("content", postgresql.JSONB, nullable=False),
    )
    op.create_table(
        "profile",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("overall", sa.Float, nullable=False, index=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
