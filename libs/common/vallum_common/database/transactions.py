"""Transactions that keep a record and its outgoing facts together (architecture, rule 2)."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from vallum_common.bus.event import Event
from vallum_common.bus.record import OutgoingRecord
from vallum_common.database.absence import is_absence
from vallum_common.database.tables import inbox, outbox
from vallum_common.errors import Invalid, Unavailable
from vallum_common.trace import current_traceparent

MAX_EVENT_BYTES: Final = 1_000_000
"""Just under Kafka's default `max.message.bytes` (1,048,588 with headers and framing)."""

_LOCK_KEYS: Final = sa.text(
    "SELECT pg_advisory_xact_lock(hashtextextended(key, 7401)) FROM (SELECT unnest(:keys) AS key ORDER BY 1) AS sorted"
).bindparams(sa.bindparam("keys", type_=sa.ARRAY(sa.Text)))

# One array instead of a row of parameters for each event: SQLAlchemy would write the statement anew for every batch.
_NOTE: Final = (
    insert(inbox)
    .from_select(
        ["consumer", "event_id"],
        sa.select(
            sa.bindparam("consumer", type_=sa.Text), sa.func.unnest(sa.bindparam("ids", type_=sa.ARRAY(sa.Text)))
        ),
    )
    .on_conflict_do_nothing()
    .returning(inbox.c.event_id)
)


class Transaction:
    """One database transaction. What it publishes reaches Kafka if and only if it commits.

    Args:
        connection: for the service's own statements (SQLAlchemy Core).
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self._outgoing: list[OutgoingRecord] = []
        self.after_commit: list[Callable[[], None]] = []
        """Called once the transaction is committed, and never where it is not: to wake who waits for the change."""

    def publish(self, event: Event) -> None:
        """Note an event; the relay sends it after the commit, in the order of commits of its key.

        Raises:
            Invalid: the message is larger than Kafka takes by default, and will be however often it is tried.
        """
        record = OutgoingRecord.of_event(event, traceparent=event.traceparent or current_traceparent())
        size = len(record.value or b"")
        if size > MAX_EVENT_BYTES:
            raise Invalid(f"event {event.type} about {event.subject!r} has {size} bytes; at most {MAX_EVENT_BYTES} fit")
        self._outgoing.append(record)

    def publish_record(self, record: OutgoingRecord) -> None:
        """Note a raw record: a dead letter, or a topic that is not protobuf."""
        self._outgoing.append(record)

    async def unseen(self, consumer: str, event_ids: Sequence[str]) -> set[str]:
        """Note events in the inbox.

        Returns:
            Those this consumer had not noted before; the others have taken effect already.
        """
        if not event_ids:
            return set()
        # One id twice in one statement is one row; sorted, two consumers in a rebalance cannot lock each other out.
        noted = await self.connection.execute(_NOTE, {"consumer": consumer, "ids": sorted(set(event_ids))})
        return set(noted.scalars())

    async def flush(self) -> int:
        """Write what was published to the outbox; called once, before the commit.

        The keys are locked first: positions are drawn from a sequence, and without the lock a transaction with a
        smaller position could commit after one with a larger position and the same key, and be sent after it.

        Returns:
            How many records were written.
        """
        if not self._outgoing:
            return 0
        keys = sorted({base64.b64encode(record.key or b"").decode() for record in self._outgoing})
        await self.connection.execute(_LOCK_KEYS, {"keys": keys})
        await self.connection.execute(
            insert(outbox).on_conflict_do_nothing(index_elements=["record_id"]).values(_rows(self._outgoing))
        )
        written, self._outgoing = len(self._outgoing), []
        return written


def _rows(records: Iterable[OutgoingRecord]) -> list[dict[str, object]]:
    return [
        {
            "record_id": record.record_id,
            "topic": record.topic,
            "key": record.key,
            "value": record.value,
            "headers": [_stored_header(name, content) for name, content in record.headers],
        }
        for record in records
    ]


def _stored_header(name: str, content: bytes | None) -> list[str | None]:
    # PostgreSQL keeps no zero character in text; a stranger's header, now in a dead letter, may have one in its name.
    return [name.replace("\x00", "\ufffd"), None if content is None else base64.b64encode(content).decode()]


class Database:
    """A service's own database.

    Args:
        url: `postgresql+asyncpg://…`.
        pool_size: connections kept open.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        # Without hide_parameters a failing statement would write payloads into the log.
        self.engine = create_async_engine(
            url, pool_size=pool_size, max_overflow=5, pool_pre_ping=True, hide_parameters=True
        )
        self._listeners: list[Callable[[], None]] = []

    def on_published(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after each commit that wrote to the outbox; the relay wakes by it."""
        self._listeners.append(listener)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that commits at the end of the block and rolls back when it is left by an exception.

        Raises:
            Unavailable: PostgreSQL cannot be reached, went away, or gave up this transaction for the sake of another;
                nothing was committed, or it is not known.
        """
        of_the_block: OSError | None = None
        try:
            async with self.engine.begin() as connection:
                transaction = Transaction(connection)
                try:
                    yield transaction
                except OSError as error:
                    of_the_block = error  # a full disk, say: what the block does besides is not the database's fault
                    raise
                written = await transaction.flush()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            if error is of_the_block or not is_absence(error):
                raise
            raise Unavailable("the database does not answer, or gave up the transaction; try again") from error
        for listener in (*transaction.after_commit, *(self._listeners if written else ())):
            listener()

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
