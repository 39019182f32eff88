"""Facts that are kept, windows, alerts and corrections."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from vallum_common.database.migrations import create_event_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    create_event_tables(op.get_bind())
    _create_facts()
    _create_detection()


def _create_facts() -> None:
    op.create_table(
        "deployment",
        sa.Column("deployment_id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("submission_id", sa.Text, nullable=False),
    )
    op.create_index("deployment_of_model", "deployment", ["model", "environment", "changed_at"])
    op.create_table(
        "validation",
        sa.Column("submission_id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("checks", sa.Integer, nullable=False),
        sa.Column("conclusive", sa.Integer, nullable=False),
        sa.Column("baseline", sa.Text, nullable=False),
    )
    op.create_table(
        "risk",
        sa.Column("submission_id", sa.Text, primary_key=True),
        sa.Column("upper_bound", sa.Float(53), nullable=False),
        sa.Column("probability_high", sa.Float(53), nullable=False),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "decision",
        sa.Column("submission_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("allows_deployment", sa.Boolean, nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
    )


def _create_detection() -> None:
    op.create_table(
        "reported_batch",
        sa.Column("batch_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "watch",
        sa.Column("deployment_id", sa.Text, primary_key=True),
        sa.Column("detector", sa.Text, primary_key=True),
        sa.Column("open_window", sa.Text, nullable=False),
        sa.Column("episode", sa.Text),
    )
    op.create_table(
        "alert",
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
    )
    op.create_index("alert_of_deployment", "alert", ["deployment_id"])
    op.create_index("alert_of_episode", "alert", ["episode_id"])
    op.create_table(
        "correction",
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
