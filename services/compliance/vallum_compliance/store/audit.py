"""The audit log in PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from vallum_common.database import Database, Transaction
from vallum_compliance.domain.audit import AuditEvent, Entry, NewEntry, Selection
from vallum_compliance.store.tables import audit_entry

_ONE_WRITER: Final = sa.text("SELECT pg_advisory_xact_lock(7404, 1)")

_APPEND: Final = sa.insert(audit_entry).from_select(
    audit_entry.columns.keys(),
    sa.select(
        *(
            sa.func.unnest(sa.bindparam(column.name, type_=sa.ARRAY(column.type, dimensions=1)))
            for column in audit_entry.columns
        )
    ),
)
"""One statement for a whole batch, with one array for each column: rows one at a time take twice as long."""


class SqlAuditUnit:
    """One transaction.

    Args:
        transaction: of the database or of the bus.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def append(self, entries: Sequence[NewEntry]) -> None:
        """Give entries the next places. The lock is held until the transaction ends: only then is the last place
        certain, and no later entry can become visible before an earlier one."""
        if not entries:
            return
        connection = self._transaction.connection
        await connection.execute(_ONE_WRITER)
        first = (
            await connection.execute(sa.select(sa.func.coalesce(sa.func.max(audit_entry.c.index) + 1, 0)))
        ).scalar_one()
        rows = [_row(first + place, entry) for place, entry in enumerate(entries)]
        await connection.execute(_APPEND, {name: [row[name] for row in rows] for name in rows[0]})

    async def start(self, selection: Selection) -> int:
        """The first index a selection can begin at; where nothing fits yet, the one the next entry will have."""
        if selection.since is None:
            return selection.from_index
        recorded_since = sa.select(sa.func.min(audit_entry.c.index)).where(audit_entry.c.recorded_at >= selection.since)
        following = sa.select(sa.func.max(audit_entry.c.index) + 1)
        query = sa.select(sa.func.coalesce(recorded_since.scalar_subquery(), following.scalar_subquery(), 0))
        first: int = (await self._transaction.connection.execute(query)).scalar_one()
        return max(first, selection.from_index)

    async def page(self, selection: Selection, *, start: int, limit: int) -> Sequence[Entry]:
        """The next entries of a selection in order of index, from `start` on; empty where there are none yet."""
        query = sa.select(audit_entry).where(audit_entry.c.index >= start).order_by(audit_entry.c.index).limit(limit)
        if selection.model:
            query = query.where(audit_entry.c.key == selection.model.encode())
        return [_entry(row) for row in await self._transaction.connection.execute(query)]

    def after_commit(self, call: Callable[[], None]) -> None:
        """Have something called once the transaction is committed."""
        self._transaction.after_commit.append(call)


class SqlAuditStore:
    """The audit log.

    Args:
        database: of compliance.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[SqlAuditUnit]:
        """A transaction of its own."""
        async with self._database.transaction() as transaction:
            yield SqlAuditUnit(transaction)


def _row(index: int, entry: NewEntry) -> dict[str, Any]:
    event = entry.event
    return {
        "index": index,
        "event_id": event.id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        "topic": event.topic,
        "partition": event.partition,
        "offset": event.offset,
        "key": event.key,
        "headers": event.headers,
        "data": event.data,
        "leaf_hash": entry.leaf_hash(),
        "recorded_at": entry.recorded_at,
    }


def _entry(row: Any) -> Entry:
    event = AuditEvent(
        id=row.event_id,
        type=row.type,
        source=row.source,
        subject=row.subject,
        time=row.time,
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        key=row.key,
        headers=tuple((name, value) for name, value in row.headers),
        data=row.data,
    )
    return Entry(event=event, recorded_at=row.recorded_at, index=row.index)
