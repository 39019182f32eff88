"""Events in: each handler with its event once, twice, late, out of order; and the Faust worker with what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from vallum.monitor.v1.events_pb2 import AlertRaised, InferenceObserved
from vallum.registry.v1 import model_pb2
from vallum.registry.v1.events_pb2 import CorrectionApplied, DeploymentChanged
from vallum_common.bus.consumer import Limits, each
from vallum_common.bus.event import Event
from vallum_common.bus.record import OutgoingRecord, ReceivedRecord
from vallum_common.errors import Conflict, Exhausted, Invalid, Unavailable
from vallum_common.testing import START
from vallum_monitor import wire
from vallum_monitor.config import read_policy
from vallum_monitor.detectors.drift import PopulationDrift
from vallum_monitor.detectors.policy import DetectionPolicy
from vallum_monitor.domain.models import DeploymentState
from vallum_monitor.playbooks.correction import CorrectionPolicy
from vallum_monitor.service.correcting import Correcting
from vallum_monitor.service.detection import Detection
from vallum_monitor.service.knowledge import Knowledge
from vallum_monitor.stream.consumers import correction_handlers, detection_handlers, knowledge_handlers
from vallum_monitor.stream.faust_worker import Bus, FaustWorker, TooMuchPoison


def event(message: Any, event_id: str = "event-1") -> Event:
    """An event as the bus hands it over."""
    return Event(event_id, "vallum/test", "adult-income@1.2.0", "adult-income", START, message)


class TestKnowledge:
    async def hear(self, store, *messages: Any) -> None:
        """Take effect of facts, each in a transaction; `transaction` stands for the unit here."""
        handlers = knowledge_handlers(Knowledge(), lambda unit: unit)
        for message in messages:
            async with store.begin() as unit:
                await each(handlers)(unit, [event(message)])

    async def test_every_fact_is_kept(self, fake, given):
        await self.hear(fake, given.deployed(), given.validated(), given.scored(), given.decided())
        state = fake.state
        assert all((state.deployments, state.validations, state.risks, state.decisions))

    async def test_facts_may_come_twice_and_in_any_order(self, fake, given):
        ended = given.deployed(state=model_pb2.DEPLOYMENT_STATE_QUARANTINED, after_s=9)
        facts = [given.decided(), given.scored(after_s=5), given.scored(high=0.9), ended, given.validated()]
        await self.hear(fake, *facts, given.deployed(), *facts)
        (deployment,) = fake.state.deployments.values()
        assert deployment.state is DeploymentState.QUARANTINED
        assert fake.state.risks["submission-1"].upper_bound == 0.4

    async def test_malformed_facts_are_refused(self, fake):
        for message in (DeploymentChanged(), CorrectionApplied()):
            with pytest.raises(Invalid):
                await self.hear(fake, message)


class TestCorrection:
    async def test_alert_heard_twice_asks_once_and_a_malformed_one_is_refused(self, fake, given, clock):
        policy, digest = read_policy(given.policies / "correction.yaml", CorrectionPolicy)
        handlers = correction_handlers(Correcting(policy, policy_digest=digest, clock=clock), lambda unit: unit)
        for _ in range(2):
            async with fake.begin() as unit:
                await each(handlers)(unit, [event(given.alert())])
        assert len(fake.state.published) == 1
        with pytest.raises(Invalid):
            async with fake.begin() as unit:
                await each(handlers)(unit, [event(AlertRaised())])


@dataclass
class FakeTransaction:
    """The part of a transaction that the worker uses, with a unit of the fake store."""

    unit: Any
    seen: set[str]
    records: list[OutgoingRecord] = field(default_factory=list)

    async def unseen(self, consumer: str, event_ids: Sequence[str]) -> set[str]:
        """Note events."""
        fresh = set(event_ids) - self.seen
        self.seen |= fresh
        return fresh

    def publish_record(self, record: OutgoingRecord) -> None:
        """Note a record."""
        self.records.append(record)


class FakeDatabase:
    """Transactions over the fake store; fails as it is told, once for each entry."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.seen: set[str] = set()
        self.records: list[OutgoingRecord] = []
        self.failures: list[Exception] = []

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[FakeTransaction]:
        """A transaction."""
        async with self._store.begin() as unit:
            transaction = FakeTransaction(unit, set(self.seen))
            yield transaction
            if self.failures:
                raise self.failures.pop()
        self.seen = transaction.seen
        self.records += transaction.records


@pytest.fixture
def database(serving) -> FakeDatabase:
    """Knows one version that serves."""
    return FakeDatabase(serving)


@pytest.fixture
def worker(database, given, clock) -> FaustWorker:
    """The worker with detection behind it; it does not wait."""
    policy, digest = read_policy(given.policies / "detection.yaml", DetectionPolicy)
    detector = PopulationDrift(policy.population_drift, policy_digest=digest)
    detection = Detection([detector], clock=clock, on_alert=lambda: None)
    limits = Limits(not_found_retries=2, backoff_s=0, backoff_max_s=0, dead_letters_in_a_row=3)
    return FaustWorker(
        "monitor-detection",
        each(detection_handlers(detection, lambda transaction: transaction.unit)),
        bus=Bus("nowhere:1", database, clock, random.Random(1), limits),
        folder=Path("unused"),
    )


@pytest.fixture
def observed(given, rng):
    """Call it for a record of traffic: `observed(offset)`."""

    def make(offset: int, *, event_id: str = "", **changes: Any) -> ReceivedRecord:
        request = given.request(given.batch(f"batch-{offset}", rng, 100))
        message = InferenceObserved(
            batch_id=request.batch_id,
            model=given.reference(**changes),
            environment="production",
            rows=100,
            columns=request.columns,
            predictions=request.predictions,
            observed_at=given.at(),
        )
        one = event(message, event_id or f"event-{offset}")
        return ReceivedRecord(
            "inference-observed", 0, offset, b"adult-income", message.SerializeToString(), tuple(one.headers())
        )

    return make


def rows(store: Any) -> int:
    """Rows counted so far."""
    return sum(watch.window.rows for watch in store.state.watches.values())


POISON = ReceivedRecord("inference-observed", 0, 7, b"adult-income", b"\xff", (("ce_id", b"\xff"),))


class TestFaustWorker:
    async def test_batch_that_comes_again_counts_once(self, worker, serving, observed):
        for record in (observed(0), observed(1), observed(0), observed(5, event_id="event-1")):
            await worker.settle(record)
        assert rows(serving) == 200

    async def test_poison_goes_aside_with_its_bytes_and_the_reason(self, worker, database, serving, observed):
        await worker.settle(POISON)
        await worker.settle(observed(8))
        (dead,) = database.records
        assert (dead.topic, dead.key, dead.value) == ("inference-observed.dead", POISON.key, POISON.value)
        headers = dict(dead.headers)
        assert headers["ce_id"] == b"\xff"
        assert headers["x-dead-error"] == b"INVALID"
        assert headers["x-dead-offset"] == b"7"
        assert rows(serving) == 100

    async def test_event_that_went_aside_may_be_tried_again(self, worker, database, serving, observed):
        record = observed(0)
        database.failures = [Conflict("not now")]
        await worker.settle(record)
        assert rows(serving) == 0
        await worker.settle(record)
        assert rows(serving) == 100

    @pytest.mark.parametrize("error", [Unavailable("away"), Exhausted("full")])
    async def test_batch_waits_for_as_long_as_the_database_is_away(self, worker, database, serving, observed, error):
        database.failures = [error] * 30
        await worker.settle(observed(0))
        assert rows(serving) == 100
        assert database.records == []

    async def test_poison_waits_as_well(self, worker, database):
        database.failures = [Unavailable("away")] * 10
        await worker.settle(POISON)
        assert len(database.records) == 1

    async def test_traffic_of_an_unknown_deployment_is_tried_within_a_bound(self, worker, database, observed):
        await worker.settle(observed(0, version="9.9.9"))
        (dead,) = database.records
        assert dict(dead.headers)["x-dead-error"] == b"NOT_FOUND"

    async def test_deployment_heard_late_is_still_in_time(self, worker, database, serving, given, observed):
        record = observed(0, version="2.0.0")
        late = wire.deployment_from(given.deployed(deployment_id="late", model=given.reference(version="2.0.0")))
        attempts = []

        async def back_off(attempt: int) -> None:
            attempts.append(attempt)
            serving.state.deployments["late"] = late

        worker._back_off = back_off
        await worker.settle(record)
        assert attempts == [0]
        assert rows(serving) == 100

    async def test_our_own_bug_goes_aside_and_tells_no_secret(self, worker, database, observed):
        database.failures = [RuntimeError("password=hunter2")]
        await worker.settle(observed(0))
        headers = dict(database.records[0].headers)
        assert headers["x-dead-error"] == b"INTERNAL"
        assert headers["x-dead-reason"] == b"RuntimeError"

    async def test_too_much_poison_in_a_row_stops_the_worker(self, worker, database, observed):
        for _ in range(2):
            await worker.settle(POISON)
        await worker.settle(observed(0))  # only what follows each other counts
        for _ in range(3):
            await worker.settle(POISON)
        with pytest.raises(TooMuchPoison):
            await worker.settle(POISON)
        assert len(database.records) == 5

    async def test_worker_that_stopped_says_so_and_does_not_end_the_others_with_it(self, worker, monkeypatch):
        """A part that returns or raises ends the service; this one waits."""
        ready = []

        async def run_app(on_ready: Any) -> None:
            on_ready()
            raise TooMuchPoison("4 records in a row cannot be handled")

        monkeypatch.setattr(worker, "_run_app", run_app)
        running = asyncio.create_task(worker.run(on_ready=lambda: ready.append(True)))
        for _ in range(10):  # until it waits
            await asyncio.sleep(0)
        assert not running.done()
        assert ready == [True]  # and is not begun again
        assert worker.stopped == {"inference-observed": "4 records in a row cannot be handled"}
        running.cancel()


@dataclass
class Message:
    """A message as Faust hands it over."""

    record: ReceivedRecord
    references: int = 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.record, name)

    def incref(self) -> None:
        """Hold it."""
        self.references += 1

    def decref(self) -> None:
        """Let it go."""
        self.references -= 1


@dataclass
class Faust:
    """Hands out messages; notes how many references each had while it was worked on."""

    messages: list[Message]

    async def __aiter__(self) -> AsyncIterator[Any]:
        for message in self.messages:
            self.message = message
            yield self


class TestReferences:
    """Faust commits a message once nobody holds a reference to it: also one whose agent is stopped in the middle."""

    async def test_message_is_held_until_it_is_settled(self, worker, observed):
        messages = [Message(observed(n)) for n in range(2)]
        held = []

        async def settle(record: ReceivedRecord) -> None:
            held.append([message.references for message in messages])

        worker.settle = settle
        await worker._consume(aiter(Faust(messages)), asyncio.get_running_loop().create_future())
        assert held == [[2, 1], [1, 2]]
        assert [message.references for message in messages] == [1, 1]

    async def test_message_is_still_held_when_the_agent_is_stopped(self, worker, observed):
        (message,) = messages = [Message(observed(0))]
        working = asyncio.Event()

        async def settle(record: ReceivedRecord) -> None:
            working.set()
            await asyncio.Event().wait()

        worker.settle = settle
        gave_up = asyncio.get_running_loop().create_future()
        agent = asyncio.create_task(worker._consume(aiter(Faust(messages)), gave_up))
        await working.wait()
        agent.cancel()
        await asyncio.gather(agent, return_exceptions=True)
        assert message.references == 2

    async def test_message_is_still_held_when_the_worker_gives_up(self, worker):
        messages = [Message(POISON) for _ in range(5)]
        gave_up = asyncio.get_running_loop().create_future()
        agent = asyncio.create_task(worker._consume(aiter(Faust(messages)), gave_up))
        with pytest.raises(TooMuchPoison):
            await gave_up
        assert [message.references for message in messages] == [1, 1, 1, 2, 1]
        agent.cancel()
        await asyncio.gather(agent, return_exceptions=True)


@pytest.mark.platform
class TestOnKafka:
    async def test_message_in_work_when_the_worker_is_stopped_comes_again(
        self, platform_kafka, begin_behind, database, observed, clock, tmp_path
    ):
        """Faust 0.15.3 by itself commits past it: with offset 40 in work it was seen to commit 41."""
        name = f"stopped-{uuid.uuid4()}"
        await begin_behind(name)
        heard: list[str] = []
        working = asyncio.Event()

        async def handle(transaction: Any, events: Sequence[Event]) -> None:
            heard.append(events[0].id)
            if len(heard) == 3:
                working.set()
                await asyncio.Event().wait()

        bus = Bus(platform_kafka, database, clock, random.Random(1), Limits())
        ids = [str(uuid.uuid4()) for _ in range(4)]
        async with AIOKafkaProducer(bootstrap_servers=platform_kafka) as producer:
            for number, event_id in enumerate(ids):
                record = observed(number, event_id=event_id)
                await producer.send_and_wait(
                    record.topic, key=name.encode(), value=record.value, headers=list(record.headers)
                )
        for expected in (ids[:3], ids[2:]):
            heard_before = len(heard)
            task = asyncio.create_task(FaustWorker(name, handle, bus=bus, folder=tmp_path).run())
            async with asyncio.timeout(60):
                while len(heard) < heard_before + len(expected):
                    await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert heard[heard_before:] == expected
