"""The tables. The migrations add what SQLAlchemy has no words for: what may never change, and what may not serve."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

metadata: Final = sa.MetaData()

_MOMENT: Final = sa.DateTime(timezone=True)

model: Final = sa.Table("model", metadata, sa.Column("id", sa.Text, primary_key=True))
"""One row per model id: the lock under which everything about a model changes."""

submission: Final = sa.Table(
    "submission",
    metadata,
    sa.Column("position", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("submission_id", sa.Text, primary_key=True),
    sa.Column("upload_id", sa.Text, nullable=False, unique=True),
    sa.Column("model", sa.Text, sa.ForeignKey("model.id"), nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("manifest", sa.LargeBinary, nullable=False),
    sa.Column("manifest_sha256", sa.Text, nullable=False),
    sa.Column("files", postgresql.JSONB, nullable=False),
    sa.Column("description", postgresql.JSONB, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("parent_model", sa.Text),
    sa.Column("parent_version", sa.Text),
    sa.Column("datasets", postgresql.JSONB, nullable=False),
    sa.Column("vendor", sa.Text, nullable=False),
    sa.Column("submitted_by", sa.Text, nullable=False),
    sa.Column("submitted_at", _MOMENT, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("hidden_state", sa.Text),
    sa.Column("changed_at", _MOMENT, nullable=False),
    sa.Column("verdict", sa.Text),
    sa.Column("attestation", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("model", "version", name="submission_version_once"),
    sa.Index("submission_parent", "parent_model", "parent_version"),
)
"""Versions. Only the columns from `state` on ever change."""

artifact: Final = sa.Table(
    "artifact",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
)
"""Files of submissions, by content: what may be downloaded."""

deployment: Final = sa.Table(
    "deployment",
    metadata,
    sa.Column("position", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("deployment_id", sa.Text, primary_key=True),
    sa.Column("submission_id", sa.Text, sa.ForeignKey("submission.submission_id"), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("changed_at", _MOMENT, nullable=False),
    sa.Index("deployment_model", "model", "environment"),
    sa.Index("deployment_submission", "submission_id"),
    sa.Index(
        "deployment_one_active",
        "model",
        "environment",
        unique=True,
        postgresql_where=sa.text("state = 'ACTIVE'"),
    ),
)
"""Times of service."""

history: Final = sa.Table(
    "history",
    metadata,
    sa.Column("position", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("before", sa.Text),
    sa.Column("after", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Index("history_model", "model", "version"),
)
"""Who did what, when and why. Rows are added, never changed."""

correction: Final = sa.Table(
    "correction",
    metadata,
    sa.Column("correction_id", sa.Text, primary_key=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("at", _MOMENT, nullable=False),
)
"""Corrections that were dealt with."""
