"""What the scan found, and its attestation."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; what was decided before has no attestation of its scan."""
    op.add_column("evidence", sa.Column("scan", sa.Text))
    op.add_column(
        "decision", sa.Column("scan_attestation", sa.LargeBinary, nullable=False, server_default=sa.text("''"))
    )
