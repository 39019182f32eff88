"""Outbox, relay, consumer and inbox together, on a real Kafka and a real PostgreSQL.

The consumer is tested with its event once, twice, malformed, unknown, with the dependency away, and with our own bugs.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from vallum.monitor.v1 import events_pb2 as monitor_pb2
from vallum.registry.v1 import events_pb2, model_pb2
from vallum_common.bus import relay as relay_module
from vallum_common.bus.consumer import Consumer, Limits
from vallum_common.bus.event import Event
from vallum_common.bus.record import OutgoingRecord, ReceivedRecord
from vallum_common.bus.relay import Relay, republish
from vallum_common.bus.topics import topic_of
from vallum_common.database import Database, Transaction
from vallum_common.database.tables import inbox, metadata, outbox, outbox_cluster
from vallum_common.errors import Conflict, Exhausted, Invalid, NotFound, Unavailable
from vallum_common.testing import START, FakeClock

pytestmark = pytest.mark.platform

TOPIC = topic_of(events_pb2.ModelSubmitted)
WAIT_S = 60
QUICK = Limits(not_found_retries=2, backoff_s=0.01, backoff_max_s=0.05, dead_letters_in_a_row=3)


def make_event(model: str, number: int = 0, event_id: str = "") -> Event:
    reference = model_pb2.ModelReference(model=model, version=str(number), digest="d")
    return Event(
        id=event_id or str(uuid.uuid4()),
        source="test",
        subject=f"{model}@{number}",
        key=model,
        time=START,
        message=events_pb2.ModelSubmitted(submission_id=str(number), model=reference),
    )


@pytest.fixture
async def store(database: Callable[[], str]) -> AsyncIterator[Database]:
    found = Database(database().replace("postgresql://", "postgresql+asyncpg://"))
    async with found.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield found
    await found.close()


@pytest.fixture
def model() -> str:
    """A model id of this test alone: the topics are shared by the session."""
    return f"m-{uuid.uuid4().hex[:12]}"


async def send(bootstrap: str, records: Sequence[OutgoingRecord]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    for record in records:
        await producer.send_and_wait(record.topic, key=record.key, value=record.value, headers=list(record.headers))
    await producer.stop()


def as_record(event: Event) -> OutgoingRecord:
    return OutgoingRecord.of_event(event, traceparent="")


async def read(bootstrap: str, topic: str, key: str, count: int) -> list[bytes]:
    """Wait for `count` records of a key, then give those behind them half a second to show up."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: list[bytes] = []
    async with asyncio.timeout(WAIT_S):
        while len(found) < count:
            record = await consumer.getone()
            found += [record] if record.key == key.encode() else []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            while True:
                record = await consumer.getone()
                found += [record] if record.key == key.encode() else []
    await consumer.stop()
    return found


@contextlib.asynccontextmanager
async def running(*parts: Awaitable[None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(part) for part in parts]
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await condition():
            await asyncio.sleep(0.02)


class Recorder:
    """A handler that notes what took effect, in its own transaction, and fails as told."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.effects: list[str] = []
        self.failures: dict[str, list[Exception]] = {}
        self.calls = 0

    async def __call__(self, transaction: Transaction, events: Sequence[Event]) -> None:
        self.calls += 1
        noted = []
        for event in events:
            if event.key != self.model:
                continue
            waiting = self.failures.get(event.subject.partition("@")[2], [])
            if waiting:
                raise waiting[0] if len(waiting) == 1 else waiting.pop(0)
            noted.append(event.message.submission_id)
        transaction.after_commit.append(lambda: self.effects.extend(noted))


def consumer(store: Database, bootstrap: str, handle: Recorder, limits: Limits = QUICK) -> Consumer:
    return Consumer(
        f"test-{handle.model}",
        [events_pb2.ModelSubmitted],
        handle,
        database=store,
        bootstrap=bootstrap,
        clock=FakeClock(),
        randomness=random.Random(1),
        limits=limits,
    )


async def took_effect(handle: Recorder, count: int) -> None:
    async def enough() -> bool:
        return len(handle.effects) >= count

    await until(enough)
    await asyncio.sleep(0.3)


async def test_what_is_committed_is_published_in_order_and_what_is_not_is_not(
    store: Database, platform_kafka: str, model: str
) -> None:
    async with running(Relay(store, bootstrap=platform_kafka, clock=FakeClock()).run()):
        for number in range(20):
            async with store.transaction() as transaction:
                transaction.publish(make_event(model, number))
        with contextlib.suppress(Invalid):
            async with store.transaction() as transaction:
                transaction.publish(make_event(model, 99))
                raise Invalid("no")
        found = await read(platform_kafka, TOPIC.name, model, 20)
    numbers = [events_pb2.ModelSubmitted.FromString(record.value).submission_id for record in found]
    assert numbers == [str(number) for number in range(20)]


async def test_two_relays_publish_each_event_once(store: Database, platform_kafka: str, model: str) -> None:
    relays = [Relay(store, bootstrap=platform_kafka, clock=FakeClock()) for _ in range(2)]
    async with running(*(relay.run() for relay in relays)):
        async with store.transaction() as transaction:
            for number in range(50):
                transaction.publish(make_event(model, number))
        found = await read(platform_kafka, TOPIC.name, model, 50)
    assert len(found) == 50


async def test_the_second_relay_goes_on_when_the_first_ends(store: Database, platform_kafka: str, model: str) -> None:
    first, second = (Relay(store, bootstrap=platform_kafka, clock=FakeClock()) for _ in range(2))
    async with running(first.run()):
        async with store.transaction() as transaction:
            transaction.publish(make_event(model, 1))
        await read(platform_kafka, TOPIC.name, model, 1)
        async with running(second.run()) as tasks:
            pass
        assert tasks[0].cancelled()
    async with running(second.run()):
        async with store.transaction() as transaction:
            transaction.publish(make_event(model, 2))
        assert len(await read(platform_kafka, TOPIC.name, model, 2)) == 2


async def test_a_foreign_cluster_is_refused_until_the_outbox_is_republished(
    store: Database, platform_kafka: str, model: str
) -> None:
    async with store.transaction() as transaction:
        transaction.publish(make_event(model, 1))
        await transaction.connection.execute(sa.insert(outbox_cluster).values(cluster_id="another"))
    with pytest.raises(Conflict, match="vallum outbox republish"):
        await asyncio.wait_for(Relay(store, bootstrap=platform_kafka, clock=FakeClock()).run(), WAIT_S)
    assert await republish(store) == 1
    async with running(Relay(store, bootstrap=platform_kafka, clock=FakeClock()).run()):
        assert len(await read(platform_kafka, TOPIC.name, model, 1)) == 1


async def test_the_outbox_forgets_what_kafka_forgets_and_nothing_else(store: Database, platform_kafka: str) -> None:
    traffic = Event("t", "test", "m@1", "m", START, monitor_pb2.InferenceObserved(batch_id="b"))
    async with store.transaction() as transaction:
        transaction.publish(traffic)
        transaction.publish(make_event("kept"))

    async def left() -> set[str]:
        async with store.transaction() as transaction:
            query = sa.select(outbox.c.topic).where(outbox.c.published_at.is_not(None))
            return set((await transaction.connection.execute(query)).scalars())

    async def both_published() -> bool:
        return len(await left()) == 2

    async with running(Relay(store, bootstrap=platform_kafka, clock=FakeClock()).run()):
        await until(both_published)
    later = FakeClock()
    later.advance(8 * 24 * 3600)
    async with running(Relay(store, bootstrap=platform_kafka, clock=later).run()):

        async def one_left() -> bool:
            return await left() == {TOPIC.name}

        await until(one_left)


async def test_the_outbox_is_pruned_in_slices(
    store: Database, platform_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_PRUNE_ROWS", 3)
    old = monitor_pb2.InferenceObserved(batch_id="b")
    async with store.transaction() as transaction:
        for number in range(8):
            transaction.publish(Event(f"t{number}", "test", "m@1", "m", START, old))
    async with store.transaction() as transaction:
        await transaction.connection.execute(sa.update(outbox).values(published_at=START))
    deleted: list[int] = []

    @sa.event.listens_for(store.engine.sync_engine, "after_cursor_execute")
    def note(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("DELETE FROM outbox") and cursor.rowcount:
            deleted.append(cursor.rowcount)

    async def empty() -> bool:
        async with store.transaction() as transaction:
            return not (await transaction.connection.execute(sa.select(outbox.c.position))).all()

    clock = FakeClock()
    clock.advance(8 * 24 * 3600)
    async with running(Relay(store, bootstrap=platform_kafka, clock=clock).run()):
        await until(empty)
    assert deleted == [3, 3, 2]


async def narrow_topic(bootstrap: str) -> str:
    """A topic whose broker takes 10 kB."""
    name = f"narrow-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"max.message.bytes": "10000"})])
    await admin.close()
    return name


@pytest.mark.parametrize("size", [20_000, 3 * 1024 * 1024], ids=["by the broker", "by the client"])
async def test_a_record_kafka_refuses_for_its_size_holds_up_no_other(
    store: Database, platform_kafka: str, model: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await narrow_topic(platform_kafka)
    monkeypatch.setattr(relay_module, "log", structlog.get_logger())
    contents = [b"0", b"x" * size, b"2", b"3"]
    async with store.transaction() as transaction:
        for number, content in enumerate(contents):
            transaction.publish_record(OutgoingRecord(f"{model}-{number}", topic, model.encode(), content, []))

    async def unpublished() -> list[str]:
        async with store.transaction() as transaction:
            query = sa.select(outbox.c.record_id).where(outbox.c.published_at.is_(None))
            return list((await transaction.connection.execute(query)).scalars())

    async def only_it() -> bool:
        return await unpublished() == [f"{model}-1"]

    with structlog.testing.capture_logs() as lines:
        async with running(Relay(store, bootstrap=platform_kafka, clock=FakeClock()).run()):
            await until(only_it)
            found = await read(platform_kafka, topic, model, 3)
    # What went with it may be sent twice, but never out of order.
    assert list(dict.fromkeys(record.value for record in found)) == [b"0", b"2", b"3"]
    refused = [line for line in lines if line["event"] == "record_refused"]
    assert [(line["log_level"], line["record_id"], line["value_bytes"]) for line in refused] == [
        ("error", f"{model}-1", size)
    ]


async def test_a_record_with_nothing_in_it_can_be_sent(store: Database, platform_kafka: str) -> None:
    """A dead letter of one has neither key nor value, and a header of a stranger may have none either."""
    topic = await narrow_topic(platform_kafka)
    async with store.transaction() as transaction:
        transaction.publish_record(OutgoingRecord("r", topic, None, None, [("h", None)]))
    reader = AIOKafkaConsumer(topic, bootstrap_servers=platform_kafka, auto_offset_reset="earliest")
    await reader.start()
    async with running(Relay(store, bootstrap=platform_kafka, clock=FakeClock()).run()):
        record = await asyncio.wait_for(reader.getone(), WAIT_S)
    await reader.stop()
    assert (record.key, record.value, record.headers) == (None, b"", (("h", None),))


async def test_a_dead_letter_of_the_largest_event_reaches_its_topic(
    store: Database, platform_kafka: str, model: str
) -> None:
    record = ReceivedRecord(TOPIC.name, 0, 0, model.encode(), b"x" * 1_048_000, [])
    async with store.transaction() as transaction:
        transaction.publish_record(record.dead_letter(TOPIC.dead, consumer="c", reason={"reason": "x" * 9000}))
    async with running(Relay(store, bootstrap=platform_kafka, clock=FakeClock()).run()):
        (found,) = await read(platform_kafka, TOPIC.dead, model, 1)
    assert found.value == record.value


async def test_positions_of_a_key_follow_the_order_of_commits(store: Database, model: str) -> None:
    """Without the lock the transaction that began first could take the smaller position and commit last."""

    async def write(key: str, number: int) -> None:
        async with store.transaction() as transaction:
            transaction.publish(make_event(key, number))

    async with store.transaction() as first:
        first.publish(make_event(model, 1))
        await first.flush()
        second = asyncio.create_task(write(model, 2))
        for number in range(5):  # other keys are not held up, and take as long as the second would without the lock
            await asyncio.wait_for(write("another", number), WAIT_S)
        assert not second.done()
    await second
    async with store.transaction() as transaction:
        query = sa.select(outbox.c.value).where(outbox.c.key == model.encode()).order_by(outbox.c.position)
        rows = (await transaction.connection.execute(query)).scalars()
        assert [events_pb2.ModelSubmitted.FromString(value).submission_id for value in rows] == ["1", "2"]


async def test_a_repeated_event_changes_nothing(store: Database, platform_kafka: str, model: str) -> None:
    handle = Recorder(model)
    once, again = as_record(make_event(model, 1, "same-" + model)), as_record(make_event(model, 1, "same-" + model))
    await send(platform_kafka, [once, again, as_record(make_event(model, 2)), once])
    async with running(consumer(store, platform_kafka, handle).run()):
        await took_effect(handle, 2)
    assert handle.effects == ["1", "2"]
    # Another run of the same group begins where the first ended; a new group would meet the inbox.
    async with store.transaction() as transaction:
        count = sa.select(sa.func.count()).select_from(inbox).where(inbox.c.event_id == "same-" + model)
        assert (await transaction.connection.execute(count)).scalar() == 1


async def test_killed_between_effect_and_offset_the_event_takes_effect_once(
    store: Database, platform_kafka: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Recorder(model)
    await send(platform_kafka, [as_record(make_event(model, number)) for number in range(5)])

    async def die(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(AIOKafkaConsumer, "commit", die)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(consumer(store, platform_kafka, handle).run(), WAIT_S)
    await send(platform_kafka, [as_record(make_event(model, 5))])
    async with running(consumer(store, platform_kafka, handle).run()):
        await took_effect(handle, 6)
    assert handle.effects == ["0", "1", "2", "3", "4", "5"]


async def test_poison_goes_aside_whole_and_the_line_goes_on(store: Database, platform_kafka: str, model: str) -> None:
    good, poison = as_record(make_event(model, 1)), OutgoingRecord("p", TOPIC.name, model.encode(), b"\xff\xfe", [])
    handle = Recorder(model)
    handle.failures["3"] = [Conflict("contradicts what is recorded")]
    await send(platform_kafka, [good, poison, as_record(make_event(model, 3)), as_record(make_event(model, 4))])
    relay = Relay(store, bootstrap=platform_kafka, clock=FakeClock())
    async with running(consumer(store, platform_kafka, handle).run(), relay.run()):
        await took_effect(handle, 2)
        dead = await read(platform_kafka, TOPIC.dead, model, 2)
    assert handle.effects == ["1", "4"]
    headers = [{name: value.decode() for name, value in record.headers} for record in dead]
    assert dead[0].value == b"\xff\xfe"
    assert headers[0]["x-dead-error"] == "INVALID"
    assert "lacks the headers" in headers[0]["x-dead-reason"]
    assert headers[0]["x-dead-topic"] == TOPIC.name
    assert headers[0]["x-dead-offset"].isdigit()
    assert (headers[1]["x-dead-error"], headers[1]["x-dead-consumer"]) == ("CONFLICT", f"test-{model}")
    assert headers[1]["x-dead-at"] == START.isoformat()


async def test_an_unknown_subject_is_waited_for_and_then_goes_aside(
    store: Database, platform_kafka: str, model: str
) -> None:
    handle = Recorder(model)
    handle.failures["1"] = [NotFound("not yet"), NotFound("not yet"), NotFound("never")]
    handle.failures["1"].insert(0, NotFound("first, in the batch"))
    handle.failures["2"] = [NotFound("never")]
    await send(platform_kafka, [as_record(make_event(model, number)) for number in (1, 2, 3)])
    relay = Relay(store, bootstrap=platform_kafka, clock=FakeClock())
    async with running(consumer(store, platform_kafka, handle).run(), relay.run()):
        await took_effect(handle, 1)
        dead = await read(platform_kafka, TOPIC.dead, model, 2)
    assert handle.effects == ["3"]
    assert [dict(record.headers)["x-dead-error"] for record in dead] == [b"NOT_FOUND", b"NOT_FOUND"]


async def test_a_dependency_that_is_away_is_waited_for_and_nothing_is_lost(
    store: Database, platform_kafka: str, model: str
) -> None:
    handle = Recorder(model)
    handle.failures["1"] = [Unavailable("away")] * 5 + [Exhausted("slower")] * 2
    await send(platform_kafka, [as_record(make_event(model, number)) for number in (0, 1, 2)])

    async with running(consumer(store, platform_kafka, handle).run()):

        async def tried() -> bool:
            return len(handle.failures["1"]) <= 2

        await until(tried)
        # Poison of another test may have the batch taken apart; then what stands before the event has taken effect.
        assert handle.effects in ([], ["0"])
        handle.failures.clear()
        await took_effect(handle, 3)
    assert handle.effects == ["0", "1", "2"]


async def test_our_own_bug_stops_the_partition_and_keeps_the_message(
    store: Database, platform_kafka: str, model: str
) -> None:
    handle = Recorder(model)
    handle.failures["1"] = [ZeroDivisionError("bug")]
    await send(platform_kafka, [as_record(make_event(model, number)) for number in (0, 1, 2)])
    faulty = consumer(store, platform_kafka, handle)
    async with running(faulty.run()):

        async def stopped() -> bool:
            return bool(faulty.stopped)

        await until(stopped)
        await asyncio.sleep(0.3)
    assert handle.effects == ["0"]
    assert "ZeroDivisionError" in next(iter(faulty.stopped.values()))
    handle.failures.clear()
    async with running(consumer(store, platform_kafka, handle).run()):
        await took_effect(handle, 3)
    assert handle.effects == ["0", "1", "2"]


async def test_too_much_poison_in_a_row_stops_the_partition(store: Database, platform_kafka: str, model: str) -> None:
    handle = Recorder(model)
    for number in range(10):
        handle.failures[str(number)] = [Invalid("a bad deploy")]
    await send(platform_kafka, [as_record(make_event(model, number)) for number in range(10)])
    faulty = consumer(store, platform_kafka, handle)
    async with running(faulty.run()):

        async def stopped() -> bool:
            return bool(faulty.stopped)

        await until(stopped)
    async with store.transaction() as transaction:
        count = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.key == model.encode())
        assert (await transaction.connection.execute(count)).scalar() == QUICK.dead_letters_in_a_row
