"""How many events a second the audit log takes and replays, through a real PostgreSQL with fsync on.

What is timed is what the consumer does with a batch from Kafka: inbox rows, leaf hashes, entries and commit, in one
transaction. Run it with `.venv/bin/python bench/audit.py`.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace

from vallum.validator.v1 import events_pb2, evidence_pb2
from vallum_common.bus.event import Event
from vallum_common.bus.record import ReceivedRecord
from vallum_common.clock import SystemClock
from vallum_common.database import Database, migrate
from vallum_common.testing import START
from vallum_compliance.domain.audit import Selection
from vallum_compliance.service import AuditLog
from vallum_compliance.store import SqlAuditStore, SqlAuditUnit
from vallum_compliance.stream import audit_handler
from vallum_local.foundations import Foundations, drop_database, fresh_database

EVENTS = 20_000
MESSAGE_BYTES = 500


def received(number: int) -> Event:
    """An event of about 500 bytes, as it comes from Kafka."""
    check = evidence_pb2.CheckResult(name="transparency", reason="x" * (MESSAGE_BYTES - 60))
    message = events_pb2.ValidationCompleted(submission_id=f"submission-{number:09}", checks=[check])
    event = Event(f"event-{number:012}", "vallum/validator", "model@1.0.0", f"model-{number % 50}", START, message)
    value = message.SerializeToString()
    record = ReceivedRecord(event.topic.name, 0, number, event.key.encode(), value, tuple(event.headers()))
    return replace(event, record=record)


async def append(database: Database, log: AuditLog, events: list[Event], batch: int) -> float:
    """Record events in batches; returns events per second."""
    record = audit_handler(log, SqlAuditUnit)
    started = time.perf_counter()
    for first in range(0, len(events), batch):
        part = events[first : first + batch]
        async with database.transaction() as transaction:
            await transaction.unseen("audit", [event.id for event in part])
            await record(transaction, part)
    return len(events) / (time.perf_counter() - started)


async def replay(log: AuditLog) -> float:
    """Read the whole log; returns entries per second."""
    started = time.perf_counter()
    count = 0
    async for _ in log.replay(Selection(), follow=False):
        count += 1
    return count / (time.perf_counter() - started)


async def measure(url: str) -> None:
    """Print one line for each batch size, and one for the replay."""
    database = Database(url)
    await migrate(database.engine, "vallum_compliance")
    log = AuditLog(SqlAuditStore(database), clock=SystemClock())
    number = 0
    for batch, count in ((1, 1_000), (50, 10_000), (500, EVENTS)):
        events = [received(number + place) for place in range(count)]
        number += count
        rate = await append(database, log, events, batch)
        print(f"audit append, batches of {batch:>3}, {MESSAGE_BYTES}-byte events: {rate:>8,.0f} events/s")
    print(f"audit replay, {number:,} entries:                     {await replay(log):>8,.0f} entries/s")
    await database.close()


def main() -> None:
    """Start a PostgreSQL, measure, end it."""
    foundations = Foundations(os.environ)
    try:
        administrator = foundations.postgres()
        url = fresh_database(administrator)
        asyncio.run(measure(url))
        drop_database(administrator, url)
    finally:
        foundations.stop()


if __name__ == "__main__":
    main()
