"""The relay: publishes the outbox, per key in the order of commits, and only to the cluster it belongs to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from typing import Final

import sqlalchemy as sa
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vallum_common.bus.topics import all_topics
from vallum_common.clock import Clock
from vallum_common.database import Database
from vallum_common.database.tables import outbox, outbox_cluster
from vallum_common.errors import Conflict

_POLL_S: Final = 0.2
"""How long a commit of *another* process may wait; commits of this one wake the relay."""
_RETRY_S: Final = 1.0
_BATCH: Final = 500
_PRUNE_S: Final = 60.0
_TRY_LOCK: Final = sa.text("SELECT pg_try_advisory_lock(7401, 2)")

log = structlog.get_logger(__name__)


class Relay:
    """Publishes what transactions wrote to the outbox.

    Any number may run: an advisory lock lets one publish at a time, and another goes on when it ends. A record may be
    sent twice (a crash between Kafka's acknowledgement and ours); consumers recognise it by its id.

    Args:
        database: whose outbox is published.
        bootstrap: Kafka's addresses.
        clock: for `published_at`.
    """

    def __init__(self, database: Database, *, bootstrap: str, clock: Clock) -> None:
        self._database = database
        self._bootstrap = bootstrap
        self._clock = clock
        self._wake = asyncio.Event()
        self._pruned_at: dt.datetime | None = None
        database.on_published(self._wake.set)

    async def run(self) -> None:
        """Publish until cancelled.

        Raises:
            Conflict: Kafka is not the cluster this outbox has published to; nothing was sent.
        """
        while True:
            try:
                async with self._leadership() as connection, self._producer() as producer:
                    await self._check_cluster(connection)
                    while True:
                        if not await self._publish_batch(connection, producer):
                            await self._prune(connection)
                            await self._idle()
            except (KafkaError, OSError, sa.exc.DBAPIError) as error:
                log.warning("relay_interrupted", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    @contextlib.asynccontextmanager
    async def _leadership(self) -> AsyncIterator[AsyncConnection]:
        async with self._database.engine.connect() as connection:
            # A session-level lock: it ends with the connection, also when this process is killed.
            while not (await connection.execute(_TRY_LOCK)).scalar():
                await connection.rollback()
                await asyncio.sleep(_RETRY_S)
            await connection.commit()
            try:
                yield connection
            finally:
                # Given back to the pool, the connection would keep the lock.
                await connection.invalidate()

    @contextlib.asynccontextmanager
    async def _producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, enable_idempotence=True, acks="all")
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def _check_cluster(self, connection: AsyncConnection) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        try:
            present = str((await admin.describe_cluster())["cluster_id"])
        finally:
            await admin.close()
        known = (await connection.execute(sa.select(outbox_cluster.c.cluster_id))).scalar()
        if known is None:
            await connection.execute(insert(outbox_cluster).values(cluster_id=present))
        await connection.commit()
        if known not in (None, present):
            raise Conflict(
                f"Kafka at {self._bootstrap!r} is cluster {present!r}, but this outbox published to {known!r}: give "
                "the right address, or run `vallum outbox republish` to fill the new cluster"
            )

    async def _publish_batch(self, connection: AsyncConnection, producer: AIOKafkaProducer) -> int:
        self._wake.clear()
        query = sa.select(outbox).where(outbox.c.published_at.is_(None)).order_by(outbox.c.position).limit(_BATCH)
        rows = (await connection.execute(query)).all()
        if rows:
            deliveries = [
                await producer.send(
                    row.topic,
                    key=row.key,
                    value=row.value,
                    headers=[(name, base64.b64decode(value)) for name, value in row.headers],
                )
                for row in rows
            ]
            await asyncio.gather(*deliveries)
            await connection.execute(
                sa.update(outbox)
                .where(outbox.c.position.in_([row.position for row in rows]))
                .values(published_at=self._clock.now())
            )
        await connection.commit()
        return len(rows)

    async def _prune(self, connection: AsyncConnection) -> None:
        """Forget what Kafka itself forgets: records of topics with a retention, once they are older than that."""
        now = self._clock.now()
        if self._pruned_at is not None and (now - self._pruned_at).total_seconds() < _PRUNE_S:
            return
        self._pruned_at = now
        for topic in all_topics():
            if topic.retention_ms is not None:
                oldest = now - dt.timedelta(milliseconds=topic.retention_ms)
                await connection.execute(
                    sa.delete(outbox).where(outbox.c.topic == topic.name, outbox.c.published_at < oldest)
                )
        await connection.commit()

    async def _idle(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), _POLL_S)


async def republish(database: Database) -> int:
    """Have the whole outbox sent again, to whatever cluster the relay finds next; inboxes make it harmless.

    Returns:
        How many records will be sent.
    """
    async with database.transaction() as transaction:
        await transaction.connection.execute(sa.delete(outbox_cluster))
        result = await transaction.connection.execute(sa.update(outbox).values(published_at=None))
        return result.rowcount
