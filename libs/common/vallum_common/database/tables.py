"""The tables every service has for its events: outbox, inbox, and the Kafka cluster the outbox belongs to."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

metadata: Final = sa.MetaData()

outbox: Final = sa.Table(
    "outbox",
    metadata,
    sa.Column("position", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("record_id", sa.Text, nullable=False, unique=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("key", sa.LargeBinary),
    sa.Column("value", sa.LargeBinary),
    sa.Column("headers", postgresql.JSONB, nullable=False),
    sa.Column("published_at", sa.DateTime(timezone=True)),
    sa.Index("outbox_unpublished", "position", postgresql_where=sa.text("published_at IS NULL")),
)
"""Facts on their way to Kafka. Rows stay after publication, so that a new cluster can be filled again."""

inbox: Final = sa.Table(
    "inbox",
    metadata,
    sa.Column("consumer", sa.Text, primary_key=True),
    sa.Column("event_id", sa.Text, primary_key=True),
)
"""Events a consumer has taken effect of."""

outbox_cluster: Final = sa.Table("outbox_cluster", metadata, sa.Column("cluster_id", sa.Text, primary_key=True))
"""The one Kafka cluster this outbox publishes to; empty until the first time."""
