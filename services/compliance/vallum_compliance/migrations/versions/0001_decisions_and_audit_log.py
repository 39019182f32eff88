"""Evidence, decisions and the audit log."""

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
        sa.Column("submission_id", sa.Text, primary_key=True),
        sa.Column("validation", sa.Text),
        sa.Column("risk", sa.Text),
    )
    op.create_table(
        "policy",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "decision",
        sa.Column("submission_id", sa.Text, sa.ForeignKey("evidence.submission_id"), primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("policy_digest", sa.Text, sa.ForeignKey("policy.digest"), nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("input_digest", sa.Text, nullable=False),
        sa.Column("attestation", sa.LargeBinary, nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("decision_of_version", "decision", ["model", "version", "decided_at"])
    op.create_table(
        "audit_entry",
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event_id", sa.Text, nullable=False, unique=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("key", sa.LargeBinary),
        sa.Column("headers", postgresql.JSONB, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("index >= 0", name="audit_entry_index_from_zero"),
    )
    op.create_index("audit_entry_of_key", "audit_entry", ["key", "index"])
    op.create_index("audit_entry_recorded_at", "audit_entry", ["recorded_at"])
