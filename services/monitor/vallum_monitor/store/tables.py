"""The tables of the monitor; `migrations` made them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

metadata: Final = sa.MetaData()

deployment: Final = sa.Table(
    "deployment",
    metadata,
    sa.Column("deployment_id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("submission_id", sa.Text, nullable=False),
    sa.Index("deployment_of_model", "model", "environment", "changed_at"),
)
"""What serves and what has served, as the registry says."""

validation: Final = sa.Table(
    "validation",
    metadata,
    sa.Column("submission_id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("checks", sa.Integer, nullable=False),
    sa.Column("conclusive", sa.Integer, nullable=False),
    sa.Column("baseline", sa.Text, nullable=False),
)
"""The baseline as JSON text: JSONB knows no infinity, which may bound a bin."""

risk: Final = sa.Table(
    "risk",
    metadata,
    sa.Column("submission_id", sa.Text, primary_key=True),
    sa.Column("upper_bound", sa.Float(53), nullable=False),
    sa.Column("probability_high", sa.Float(53), nullable=False),
    sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
)

decision: Final = sa.Table(
    "decision",
    metadata,
    sa.Column("submission_id", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("allows_deployment", sa.Boolean, nullable=False),
    sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
)

reported_batch: Final = sa.Table(
    "reported_batch",
    metadata,
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
)
"""Batches that were taken, so that a repeated one is recognised; never their content."""

watch: Final = sa.Table(
    "watch",
    metadata,
    sa.Column("deployment_id", sa.Text, primary_key=True),
    sa.Column("detector", sa.Text, primary_key=True),
    sa.Column("open_window", sa.Text, nullable=False),
    sa.Column("episode", sa.Text),
)
"""What a detector remembers, JSON."""

alert: Final = sa.Table(
    "alert",
    metadata,
    sa.Column("position", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("alert_id", sa.Text, nullable=False, unique=True),
    sa.Column("episode_id", sa.Text, nullable=False),
    sa.Column("deployment_id", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("detector", sa.Text, nullable=False),
    sa.Column("severity", sa.Integer, nullable=False),
    sa.Column("confirmed", sa.Boolean, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("evidence", postgresql.JSONB, nullable=False),
    sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
    sa.Index("alert_of_deployment", "deployment_id"),
    sa.Index("alert_of_episode", "episode_id"),
)
"""Every alert, in the order in which they were raised."""

correction: Final = sa.Table(
    "correction",
    metadata,
    sa.Column("correction_id", sa.Text, primary_key=True),
    sa.Column("alert_id", sa.Text, nullable=False, unique=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("policy_digest", sa.Text, nullable=False),
    sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("applied_at", sa.DateTime(timezone=True)),
)
"""Corrections that were asked for, and what became of them."""
