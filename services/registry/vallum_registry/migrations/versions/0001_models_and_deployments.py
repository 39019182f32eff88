"""Models, submissions, artefacts, deployments, history, corrections, and the event tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from vallum_common.database.migrations import create_event_tables

revision = "0001"
down_revision = None

SHA256 = "~ '^[0-9a-f]{64}$'"
STATES = "('SUBMITTED', 'APPROVED', 'REJECTED', 'NEEDS_REVIEW', 'QUARANTINED')"
VERDICTS = "('APPROVED', 'APPROVED_WITH_CONDITIONS', 'REJECTED', 'NEEDS_REVIEW')"
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables, and the rules the database itself upholds."""
    create_event_tables(op.get_bind())
    op.create_table("model", sa.Column("id", sa.Text, primary_key=True))
    _create_submission()
    _create_deployment()
    _create_records()
    _create_guards()


def _create_submission() -> None:
    op.create_table(
        "submission",
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
        sa.Column("submitted_at", MOMENT, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("hidden_state", sa.Text),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.Column("verdict", sa.Text),
        sa.Column("attestation", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("model", "version", name="submission_version_once"),
        sa.CheckConstraint(f"digest {SHA256}", name="submission_digest"),
        sa.CheckConstraint(f"state IN {STATES}", name="submission_state"),
        sa.CheckConstraint(f"hidden_state IN {STATES} AND hidden_state <> 'QUARANTINED'", name="submission_hidden"),
        sa.CheckConstraint("(state = 'QUARANTINED') = (hidden_state IS NOT NULL)", name="submission_quarantine_hides"),
        sa.CheckConstraint(f"verdict IN {VERDICTS}", name="submission_verdict"),
        sa.CheckConstraint(
            "(coalesce(hidden_state, state) = 'SUBMITTED') = (verdict IS NULL)", name="submission_decided_by_verdict"
        ),
    )
    op.create_index("submission_parent", "submission", ["parent_model", "parent_version"])


def _create_deployment() -> None:
    op.create_table(
        "deployment",
        sa.Column("position", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
        sa.Column("deployment_id", sa.Text, primary_key=True),
        sa.Column("submission_id", sa.Text, sa.ForeignKey("submission.submission_id"), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.CheckConstraint("environment ~ '^[a-z0-9-]{1,63}$'", name="deployment_environment"),
        sa.CheckConstraint("state IN ('ACTIVE', 'SUPERSEDED', 'ROLLED_BACK', 'QUARANTINED')", name="deployment_state"),
    )
    op.create_index("deployment_model", "deployment", ["model", "environment"])
    op.create_index("deployment_submission", "deployment", ["submission_id"])
    op.create_index(
        "deployment_one_active",
        "deployment",
        ["model", "environment"],
        unique=True,
        postgresql_where=sa.text("state = 'ACTIVE'"),
    )


def _create_records() -> None:
    op.create_table(
        "artifact",
        sa.Column("sha256", sa.Text, primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.CheckConstraint(f"sha256 {SHA256}", name="artifact_sha256"),
        sa.CheckConstraint("size_bytes > 0", name="artifact_size"),
    )
    op.create_table(
        "history",
        sa.Column("position", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
    )
    op.create_index("history_model", "history", ["model", "version"])
    op.create_table(
        "correction",
        sa.Column("correction_id", sa.Text, primary_key=True),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.CheckConstraint("outcome IN ('APPLIED', 'UNNECESSARY', 'FAILED')", name="correction_outcome"),
    )


def _create_guards() -> None:
    op.execute("""
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% of % is not allowed', TG_OP, TG_TABLE_NAME USING ERRCODE = 'check_violation';
        END $$
    """)
    op.execute(
        "CREATE TRIGGER history_only_grows BEFORE UPDATE OR DELETE ON history "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER submission_bytes_never_change BEFORE DELETE OR UPDATE OF submission_id, upload_id, model, "
        "version, digest, manifest, manifest_sha256, files, submitted_by, submitted_at ON submission "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER deployment_ends_once BEFORE UPDATE ON deployment "
        "FOR EACH ROW WHEN (OLD.state <> 'ACTIVE') EXECUTE FUNCTION refuse_change()"
    )
    op.execute("""
        CREATE FUNCTION refuse_unapproved_service() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT FROM deployment JOIN submission USING (submission_id)
                WHERE submission_id = NEW.submission_id
                AND deployment.state = 'ACTIVE' AND submission.state <> 'APPROVED'
            ) THEN
                RAISE EXCEPTION 'submission % serves and is not APPROVED', NEW.submission_id
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$
    """)
    # Deferred to the commit: a quarantine moves the version first and ends its deployments after.
    for table, change in (("deployment", "INSERT OR UPDATE"), ("submission", "UPDATE OF state")):
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {table}_only_approved_serve AFTER {change} ON {table} "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unapproved_service()"
        )
