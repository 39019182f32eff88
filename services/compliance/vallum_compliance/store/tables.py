"""The tables of compliance; `migrations` made them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

metadata: Final = sa.MetaData()

evidence: Final = sa.Table(
    "evidence",
    metadata,
    sa.Column("submission_id", sa.Text, primary_key=True),
    sa.Column("validation", sa.Text),
    sa.Column("risk", sa.Text),
    sa.Column("scan", sa.Text),
)
"""What is known of a submission; canonical JSON, as text because JSONB would write numbers anew."""

policy: Final = sa.Table(
    "policy",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
)
"""Every policy that ever decided, whole, so that each decision can be replayed."""

decision: Final = sa.Table(
    "decision",
    metadata,
    sa.Column("submission_id", sa.Text, sa.ForeignKey(evidence.c.submission_id), primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("policy_digest", sa.Text, sa.ForeignKey(policy.c.digest), nullable=False),
    sa.Column("input", sa.Text, nullable=False),
    sa.Column("input_digest", sa.Text, nullable=False),
    sa.Column("attestation", sa.LargeBinary, nullable=False),
    sa.Column("scan_attestation", sa.LargeBinary, nullable=False, server_default=sa.text("''")),
    sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
    sa.Index("decision_of_version", "model", "version", "decided_at"),
)
"""At most one decision for each submission."""

audit_entry: Final = sa.Table(
    "audit_entry",
    metadata,
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
    sa.Index("audit_entry_of_key", "key", "index"),
    sa.Index("audit_entry_recorded_at", "recorded_at"),
)
"""The audit log. Indexes without gaps: given under a lock, never from a sequence, which loses numbers at a rollback."""
