"""The relay: publishes the outbox, per key in the order of commits, and only to the cluster it belongs to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import sqlalchemy as sa
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
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
_PRUNE_ROWS: Final = 10_000
"""Most rows deleted at once: between two slices the relay publishes."""
_MAX_REQUEST_BYTES: Final = 2 * 1024 * 1024
"""The largest event and what a dead letter adds to it; dead-letter topics must take as much."""
_TRY_LOCK: Final = sa.text("SELECT pg_try_advisory_lock(7401, 2)")

log = structlog.get_logger(__name__)


class Relay:
    """Publishes what transactions wrote to the outbox.

    Any number may run: an advisory lock lets one publish at a time, and another goes on when it ends. A record may be
    sent twice (a crash between Kafka's acknowledgement and ours); consumers recognise it by its id. A record Kafka
    refuses for its size stays unpublished and holds up no other; it is tried again when the relay is made anew.

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
        self._refused: set[int] = set()
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
            except (KafkaError, OSError, sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
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
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            enable_idempotence=True,
            acks="all",
            max_request_size=_MAX_REQUEST_BYTES,
        )
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
        waiting = outbox.c.published_at.is_(None) & outbox.c.position.not_in(sorted(self._refused))
        query = sa.select(outbox).where(waiting).order_by(outbox.c.position).limit(_BATCH)
        rows = (await connection.execute(query)).all()
        if rows:
            await self._deliver(rows, producer)
            await connection.execute(
                sa.update(outbox)
                .where(outbox.c.position.in_([row.position for row in rows]))
                .values(published_at=self._clock.now())
            )
        await connection.commit()
        return len(rows)

    async def _deliver(self, rows: Sequence[sa.Row[Any]], producer: AIOKafkaProducer) -> None:
        """Send rows, in order, and wait until Kafka has them all.

        Raises:
            KafkaError: it does not have them all; those it refuses for their size are left out from now on. The rest is
                sent again by another producer, for this one's sequence numbers have a gap.
        """
        deliveries: list[asyncio.Future[Any]] = []
        for row in rows:
            try:
                deliveries.append(await _send(row, producer))
            except MessageSizeTooLargeError as error:
                deliveries.append(asyncio.get_running_loop().create_future())
                deliveries[-1].set_exception(error)
        outcomes = await asyncio.gather(*deliveries, return_exceptions=True)
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, MessageSizeTooLargeError):
                self._refused.add(row.position)
                log.error("record_refused", topic=row.topic, record_id=row.record_id, value_bytes=len(row.value or b""))
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _prune(self, connection: AsyncConnection) -> None:
        """Forget what Kafka itself forgets: records of topics with a retention, once they are older than that."""
        now = self._clock.now()
        if self._pruned_at is not None and (now - self._pruned_at).total_seconds() < _PRUNE_S:
            return
        complete = True
        for topic in all_topics():
            if topic.retention_ms is not None:
                oldest = now - dt.timedelta(milliseconds=topic.retention_ms)
                old = (outbox.c.topic == topic.name) & (outbox.c.published_at < oldest)
                slice_ = sa.select(outbox.c.position).where(old).order_by(outbox.c.position).limit(_PRUNE_ROWS)
                deleted = await connection.execute(sa.delete(outbox).where(outbox.c.position.in_(slice_)))
                await connection.commit()
                complete = complete and deleted.rowcount < _PRUNE_ROWS
        if complete:
            self._pruned_at = now

    async def _idle(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), _POLL_S)


async def _send(row: sa.Row[Any], producer: AIOKafkaProducer) -> asyncio.Future[Any]:
    # The client refuses a record with neither key nor value, but Kafka has them, and so has a dead letter of one.
    value = b"" if row.key is None and row.value is None else row.value
    headers = [(name, None if content is None else base64.b64decode(content)) for name, content in row.headers]
    delivery: asyncio.Future[Any] = await producer.send(row.topic, key=row.key, value=value, headers=headers)
    return delivery


async def republish(database: Database) -> int:
    """Have the whole outbox sent again, to whatever cluster the relay finds next; inboxes make it harmless.

    Returns:
        How many records will be sent.
    """
    async with database.transaction() as transaction:
        await transaction.connection.execute(sa.delete(outbox_cluster))
        result = await transaction.connection.execute(sa.update(outbox).values(published_at=None))
        return result.rowcount
