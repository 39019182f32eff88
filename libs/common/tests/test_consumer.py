"""The consumer's bookkeeping, with a Kafka and a database that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition

from vallum.registry.v1 import events_pb2
from vallum_common.bus import consumer as consumer_module
from vallum_common.bus.consumer import Consumer, Limits, each
from vallum_common.bus.event import Event
from vallum_common.bus.record import OutgoingRecord
from vallum_common.bus.topics import topic_of
from vallum_common.errors import Invalid, Unavailable
from vallum_common.testing import START, FakeClock

TOPIC = topic_of(events_pb2.ModelSubmitted)
FIRST, SECOND = TopicPartition(TOPIC.name, 0), TopicPartition(TOPIC.name, 1)
LIMITS = Limits(backoff_s=0.0, backoff_max_s=0.0, dead_letters_in_a_row=3)


class ScriptedKafka:
    """Stands where `AIOKafkaConsumer` stands: gives the batches of the script, then waits."""

    script: ClassVar[list[list[Any]]] = []
    listener: ClassVar[ConsumerRebalanceListener | None] = None
    ended: ClassVar[asyncio.Event]

    def __init__(self, *_: object, **__: object) -> None:
        self.committed: dict[TopicPartition, int] = {}

    def subscribe(self, _: list[str], listener: ConsumerRebalanceListener) -> None:
        type(self).listener = listener

    async def start(self) -> None:
        """Nothing to reach."""

    async def stop(self) -> None:
        """Nothing to leave."""

    async def getmany(self, **_: object) -> dict[TopicPartition, list[Any]]:
        if not self.script:
            self.ended.set()
            await asyncio.Event().wait()
        found: dict[TopicPartition, list[Any]] = {}
        for record in self.script.pop(0):
            found.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
        return found

    def pause(self, _: TopicPartition) -> None:
        """The script says what comes."""

    async def commit(self, progress: dict[TopicPartition, int]) -> None:
        self.committed.update(progress)


class MemoryDatabase:
    """Transactions that keep dead letters in memory and are away as often as told."""

    def __init__(self) -> None:
        self.dead: list[OutgoingRecord] = []
        self.away_for_dead_letters = 0

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        published: list[OutgoingRecord] = []

        async def unseen(_: str, ids: Sequence[str]) -> set[str]:
            return set(ids)

        yield SimpleNamespace(publish_record=published.append, unseen=unseen)
        if published and self.away_for_dead_letters:
            self.away_for_dead_letters -= 1
            raise Unavailable("away")
        self.dead += published


def received(number: int, *, partition: int = 0, good: bool = True) -> Any:
    event = Event(f"e{number}", "test", f"m@{number}", "m", START, events_pb2.ModelSubmitted(submission_id=str(number)))
    headers = OutgoingRecord.of_event(event, traceparent="").headers if good else []
    value = event.message.SerializeToString()
    return SimpleNamespace(
        topic=TOPIC.name, partition=partition, offset=number, key=b"m", value=value, headers=tuple(headers)
    )


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedKafka]:
    monkeypatch.setattr(consumer_module, "AIOKafkaConsumer", ScriptedKafka)
    monkeypatch.setattr(ScriptedKafka, "ended", asyncio.Event(), raising=False)
    monkeypatch.setattr(ScriptedKafka, "script", [])
    return ScriptedKafka


class Hearer:
    """Notes what took effect, and fails as told."""

    def __init__(self) -> None:
        self.failures: dict[str, list[Exception]] = {}
        self.effects: list[str] = []

    async def __call__(self, _: Any, events: Sequence[Event]) -> None:
        for event in events:
            waiting = self.failures.get(event.message.submission_id)
            if waiting:
                raise waiting.pop(0)
        self.effects += [event.message.submission_id for event in events]


@pytest.fixture
def hear() -> Callable[..., Consumer]:
    def make(handle: Any, database: MemoryDatabase) -> Consumer:
        return Consumer(
            "test",
            [events_pb2.ModelSubmitted],
            handle,
            database=database,
            bootstrap="",
            clock=FakeClock(),
            randomness=random.Random(1),
            limits=LIMITS,
        )

    return make


async def run_script(consumer: Consumer, kafka: type[ScriptedKafka], *batches: list[Any]) -> None:
    """Hear the batches to their end."""
    kafka.ended.clear()
    kafka.script.extend(batches)
    task = asyncio.create_task(consumer.run())
    ended = asyncio.create_task(kafka.ended.wait())
    await asyncio.wait({task, ended}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    assert ended.done(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_one_poison_record_does_not_stop_the_partition_while_the_database_is_away(kafka, hear) -> None:
    database, handle = MemoryDatabase(), Hearer()
    database.away_for_dead_letters = 10
    consumer = hear(handle, database)
    await run_script(consumer, kafka, [received(0, good=False), received(1)])
    assert consumer.stopped == {}
    assert len(database.dead) == 1
    assert handle.effects == ["1"]


async def test_a_record_put_aside_again_with_its_batch_counts_once(kafka, hear) -> None:
    database, handle = MemoryDatabase(), Hearer()
    handle.failures["1"] = [Unavailable("away") for _ in range(10)]
    consumer = hear(handle, database)
    await run_script(consumer, kafka, [received(0, good=False), received(1)])
    assert consumer.stopped == {}
    assert len({record.record_id for record in database.dead}) == 1


async def test_a_good_batch_of_one_partition_does_not_excuse_another(kafka, hear) -> None:
    consumer = hear(Hearer(), MemoryDatabase())
    batches = [[received(number, good=False)] for number in range(4)]
    good = [[received(number, partition=1)] for number in range(4)]
    await run_script(consumer, kafka, *(batch for pair in zip(batches, good, strict=True) for batch in pair))
    assert list(consumer.stopped) == [FIRST]


async def test_a_good_record_begins_the_count_anew(kafka, hear) -> None:
    consumer = hear(Hearer(), MemoryDatabase())
    poison = [received(number, good=False) for number in (0, 1, 2, 4, 5, 6)]
    await run_script(consumer, kafka, poison[:3], [received(3)], poison[3:])
    assert consumer.stopped == {}


async def test_a_partition_that_stopped_is_forgotten_when_it_goes_well_again(kafka, hear) -> None:
    handle = Hearer()
    handle.failures["0"] = [ZeroDivisionError("bug"), ZeroDivisionError("bug")]
    consumer = hear(handle, MemoryDatabase())
    await run_script(consumer, kafka, [received(0)])
    assert list(consumer.stopped) == [FIRST]
    await run_script(consumer, kafka)
    assert consumer.stopped == {}


@pytest.mark.parametrize("callback", ["on_partitions_revoked", "on_partitions_assigned"])
async def test_a_partition_that_stopped_is_forgotten_when_it_is_assigned_anew(kafka, hear, callback: str) -> None:
    handle = Hearer()
    for number in ("0", "1"):
        handle.failures[number] = [ZeroDivisionError("bug"), ZeroDivisionError("bug")]
    consumer = hear(handle, MemoryDatabase())
    await run_script(consumer, kafka, [received(0)], [received(1, partition=1)])
    assert set(consumer.stopped) == {FIRST, SECOND}
    getattr(kafka.listener, callback)({FIRST})
    assert set(consumer.stopped) == {SECOND}


async def test_names_of_an_event_are_on_its_lines_and_on_no_later_ones() -> None:
    bound = []

    async def handle(_: Any, event: Event) -> None:
        bound.append(structlog.contextvars.get_contextvars())

    event = Event(
        "e", "test", "m@1", "m", START, events_pb2.ModelSubmitted(), traceparent=f"00-{'a' * 32}-{'b' * 16}-01"
    )
    before = structlog.contextvars.get_contextvars()
    await each({events_pb2.ModelSubmitted: handle})(None, [event])
    assert bound == [{**before, "event_id": "e", "model": "m", "trace_id": "a" * 32}]
    assert structlog.contextvars.get_contextvars() == before


async def test_poison_in_a_row_stops_the_partition_with_the_reason(kafka, hear) -> None:
    handle = Hearer()
    for number in range(4):
        handle.failures[str(number)] = [Invalid("a bad deploy")] * 2
    consumer = hear(handle, MemoryDatabase())
    await run_script(consumer, kafka, [received(number) for number in range(4)])
    assert "4 records in a row" in consumer.stopped[FIRST]
