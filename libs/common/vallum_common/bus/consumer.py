"""The consumer: each event takes effect once, poison goes aside, and nothing is lost without a word.

One database transaction per batch holds the inbox rows, the effects and the facts that follow; the offsets are
committed after it. Killed in between, the batch comes again and the inbox knows it. The closed error list decides the
rest.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from google.protobuf.message import Message

from vallum_common.bus.event import Event, decode_event
from vallum_common.bus.record import ReceivedRecord
from vallum_common.bus.topics import Topic, topic_of
from vallum_common.clock import Clock
from vallum_common.database import Database, Transaction
from vallum_common.errors import Conflict, Denied, Exhausted, Invalid, NotFound, Unavailable, VallumError
from vallum_common.trace import enter_trace

log = structlog.get_logger(__name__)

BatchHandler = Callable[[Transaction, Sequence[Event]], Awaitable[None]]
"""Takes effect of events, in order, inside the transaction; never commits, may be called again after a rollback."""

Handler = Callable[[Transaction, Event], Awaitable[None]]
"""Takes effect of one event."""

_DEAD_LETTER: Final = (Invalid, Conflict, Denied)


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient a consumer is.

    Args:
        batch: most records in one transaction.
        not_found_retries: how often an event whose subject is unknown is tried again before it goes aside.
        backoff_s: first waiting time; it doubles, with jitter.
        backoff_max_s: longest waiting time.
        dead_letters_in_a_row: after so many on one partition the partition stops: a bad deploy must not drain a topic.
    """

    batch: int = 500
    not_found_retries: int = 5
    backoff_s: float = 0.2
    backoff_max_s: float = 15.0
    dead_letters_in_a_row: int = 20


def each(handlers: Mapping[type[Message], Handler]) -> BatchHandler:
    """A batch handler that gives each event to the handler of its message type.

    While an event is handled, its id, model and trace are on every log line, and the trace goes on in what is
    published. A batch handler of one's own, made for many small events, has neither.
    """

    async def handle(transaction: Transaction, events: Sequence[Event]) -> None:
        for event in events:
            trace_id = enter_trace(event.traceparent, _trace_randomness)
            with structlog.contextvars.bound_contextvars(event_id=event.id, model=event.key, trace_id=trace_id):
                await handlers[type(event.message)](transaction, event)

    return handle


_trace_randomness = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class _Undecided:
    """A record with what became of reading it."""

    record: ReceivedRecord
    event: Event | Invalid


class _StopPartition(Exception):
    """The record of this partition cannot be handled and must not be lost: our bug, or too much poison."""


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed for us
    """Forgets stopped partitions when they are assigned anew: whoever has them then reads from the last commit."""

    def __init__(self, stopped: dict[TopicPartition, str]) -> None:
        self._stopped = stopped

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """They may go to another process, and are its concern."""
        self._forget(revoked)

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """None of them is paused any more."""
        self._forget(assigned)

    def _forget(self, partitions: Collection[TopicPartition]) -> None:
        for partition in partitions:
            self._stopped.pop(partition, None)


class Consumer:
    """Reads topics as one consumer group.

    Args:
        name: the consumer group, and the consumer's name in the inbox.
        messages: which events it hears.
        handle: takes effect of them.
        database: where effects, inbox and outgoing facts are kept.
        bootstrap: Kafka's addresses.
        clock: for the time in dead letters.
        randomness: for jitter.
        limits: how patient it is.
    """

    def __init__(
        self,
        name: str,
        messages: Collection[type[Message]],
        handle: BatchHandler,
        *,
        database: Database,
        bootstrap: str,
        clock: Clock,
        randomness: random.Random,
        limits: Limits | None = None,
    ) -> None:
        self.name = name
        self._topics: dict[str, Topic] = {topic.name: topic for topic in map(topic_of, messages)}
        self._handle = handle
        self._database = database
        self._bootstrap = bootstrap
        self._clock = clock
        self._randomness = randomness
        self._limits = limits or Limits()
        # Offsets, not a number: a batch that is tried again must not count the same record twice.
        self._dead_in_a_row: dict[TopicPartition, set[int]] = {}
        self.stopped: dict[TopicPartition, str] = {}
        """Partitions that stand still, with the reason; a health check reports them."""

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Consume until cancelled; begins with the earliest record it has not yet committed."""
        while True:
            self.stopped.clear()
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                group_id=self.name,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                session_timeout_ms=15_000,
                heartbeat_interval_ms=3_000,
                max_poll_interval_ms=600_000,
            )
            consumer.subscribe(list(self._topics), listener=_Assignment(self.stopped))
            try:
                await consumer.start()
                on_ready()
                await self._consume(consumer)
            except (KafkaError, OSError) as error:
                log.warning("consumer_interrupted", consumer=self.name, error=type(error).__name__)
                await asyncio.sleep(self._limits.backoff_max_s * self._randomness.random())
            finally:
                await consumer.stop()

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=self._limits.batch)
            batch = [
                self._read(
                    ReceivedRecord(r.topic, r.partition, r.offset, r.key, r.value, tuple(r.headers)),
                )
                for records in fetched.values()
                for r in records
            ]
            if not batch:
                continue
            progress = await self._take_effect(batch)
            for partition, reason in self.stopped.items():
                if partition in fetched:
                    consumer.pause(partition)
                    log.error("partition_stopped", consumer=self.name, partition=str(partition), reason=reason)
            try:
                if progress:
                    await consumer.commit(progress)
            except (CommitFailedError, IllegalStateError):
                # A rebalance gave the partition to another; it will see these events again and know them.
                log.warning("commit_superseded", consumer=self.name)

    def _read(self, record: ReceivedRecord) -> _Undecided:
        try:
            topic = self._topics[record.topic]
            event = decode_event(topic, key=record.key, value=record.value, headers=record.headers)
            return _Undecided(record, replace(event, record=record))
        except Invalid as error:
            return _Undecided(record, error)

    async def _take_effect(self, batch: Sequence[_Undecided]) -> dict[TopicPartition, int]:
        """Handle a batch whole, or where that fails one by one.

        Returns:
            The offset to commit for each partition: one after the last record that is settled.
        """
        attempt = 0
        while True:
            try:
                try:
                    return await self._whole(batch)
                except (Unavailable, Exhausted):
                    raise
                except Exception as error:  # noqa: BLE001 (one by one finds out for which record, and says so)
                    log.info("batch_taken_apart", consumer=self.name, records=len(batch), error=type(error).__name__)
                return await self._one_by_one(batch)
            except (Unavailable, Exhausted) as error:
                log.warning("consumer_waits", consumer=self.name, kind=error.kind, reason=error.message)
                await self._back_off(attempt)
                attempt += 1

    async def _whole(self, batch: Sequence[_Undecided]) -> dict[TopicPartition, int]:
        events = []
        for entry in batch:
            if isinstance(entry.event, Invalid):
                raise entry.event
            events.append(entry.event)
        async with self._database.transaction() as transaction:
            unseen = await transaction.unseen(self.name, [event.id for event in events])
            fresh = []
            for event in events:
                if event.id in unseen:
                    unseen.discard(event.id)
                    fresh.append(event)
            if fresh:
                await self._handle(transaction, fresh)
        progress = _progress(batch)
        for partition in progress:
            self._went_well(partition)
        return progress

    async def _one_by_one(self, batch: Sequence[_Undecided]) -> dict[TopicPartition, int]:
        settled: list[_Undecided] = []
        stopped: dict[TopicPartition, str] = {}
        for entry in batch:
            partition = TopicPartition(entry.record.topic, entry.record.partition)
            if partition in stopped:
                continue
            try:
                await self._settle(entry, partition)
                settled.append(entry)
            except _StopPartition as stop:
                stopped[partition] = str(stop)
        self.stopped.update(stopped)
        return _progress(settled)

    async def _settle(self, entry: _Undecided, partition: TopicPartition) -> None:
        for attempt in range(self._limits.not_found_retries + 1):
            try:
                if isinstance(entry.event, Invalid):
                    raise entry.event
                async with self._database.transaction() as transaction:
                    if await transaction.unseen(self.name, [entry.event.id]):
                        await self._handle(transaction, [entry.event])
                self._went_well(partition)
                return
            except NotFound as error:
                if attempt == self._limits.not_found_retries:
                    await self._put_aside(entry, partition, error)
                    return
                await self._back_off(attempt)
            except _DEAD_LETTER as error:
                await self._put_aside(entry, partition, error)
                return
            except (Unavailable, Exhausted):
                raise
            except Exception as error:  # our bug, of any type: keep the message
                log.exception("consumer_failed", consumer=self.name, topic=entry.record.topic)
                raise _StopPartition(f"{type(error).__name__} at offset {entry.record.offset}") from error

    async def _put_aside(self, entry: _Undecided, partition: TopicPartition, error: VallumError) -> None:
        in_a_row = self._dead_in_a_row.get(partition, set()) | {entry.record.offset}
        if len(in_a_row) > self._limits.dead_letters_in_a_row:
            raise _StopPartition(f"{len(in_a_row)} records in a row cannot be handled; the last: {error.message}")
        reason = {"error": str(error.kind), "reason": error.message, "at": self._clock.now().isoformat()}
        record = entry.record
        async with self._database.transaction() as transaction:
            transaction.publish_record(
                record.dead_letter(self._topics[record.topic].dead, consumer=self.name, reason=reason)
            )
        self._dead_in_a_row[partition] = in_a_row
        log.error("dead_letter", consumer=self.name, topic=record.topic, offset=record.offset, **reason)

    def _went_well(self, partition: TopicPartition) -> None:
        self._dead_in_a_row.pop(partition, None)
        self.stopped.pop(partition, None)

    async def _back_off(self, attempt: int) -> None:
        limit = min(self._limits.backoff_max_s, self._limits.backoff_s * 2 ** min(attempt, 16))
        await asyncio.sleep(limit * (0.5 + self._randomness.random() / 2))


def _progress(settled: Sequence[_Undecided]) -> dict[TopicPartition, int]:
    progress: dict[TopicPartition, int] = {}
    for entry in settled:
        partition = TopicPartition(entry.record.topic, entry.record.partition)
        progress[partition] = max(progress.get(partition, 0), entry.record.offset + 1)
    return progress
