"""What the validator does with a submission it hears of: once, twice, late, incomplete."""

from __future__ import annotations

import pytest

from vallum.registry.v1 import model_pb2
from vallum.registry.v1.events_pb2 import ModelSubmitted
from vallum_common.bus.event import Event
from vallum_common.errors import Invalid
from vallum_common.testing import START, FakeClock
from vallum_validator.service import Validation
from vallum_validator.stream import handlers

from .fakes import DIGEST, MANIFEST, MemoryArtifacts, MemoryMeasurer, MemoryStore

SUBMITTED = ModelSubmitted(
    submission_id="s-1",
    model=model_pb2.ModelReference(model="m", version="1", digest=DIGEST),
    manifest=MANIFEST,
    files=[model_pb2.BundleFile(path="sub/m.onnx", sha256=DIGEST)],
)


class FakeTransaction:
    """A transaction on the memory store, as the bus gives it to handlers."""

    def __init__(self, unit):
        self.unit = unit
        self.after_commit = []


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def validation(store):
    return Validation(store, MemoryArtifacts(), MemoryMeasurer(), FakeClock(), "thresholds", "rules")


@pytest.fixture
def woken():
    return []


@pytest.fixture
def hear(store, validation, woken):
    """Hands an event to its handler, in a transaction of its own."""
    heard = handlers(validation, lambda transaction: transaction.unit, lambda: woken.append(len(store.queue)))

    async def handle(message):
        event = Event("e-1", "vallum/registry", "m@1", "m", START, message, traceparent="00-t")
        async with store.begin() as unit:
            transaction = FakeTransaction(unit)
            await heard[type(message)](transaction, event)
        for call in transaction.after_commit:
            call()

    return handle


def test_it_hears_submissions_only(validation):
    assert set(handlers(validation, lambda unit: unit, lambda: None)) == {ModelSubmitted}


async def test_submission_is_queued_with_its_trace_and_workers_are_woken_after_the_commit(hear, store, woken):
    await hear(SUBMITTED)
    (queued,) = store.queue
    assert (queued.submission_id, queued.traceparent) == ("s-1", "00-t")
    assert woken == [1]


async def test_repeated_submission_is_measured_once(hear, store, validation):
    await hear(SUBMITTED)
    await hear(SUBMITTED)
    assert [await validation.work(), await validation.work()] == [True, False]


async def test_submission_heard_again_after_it_was_measured_changes_nothing(hear, store, validation):
    await hear(SUBMITTED)
    await validation.work()
    await hear(SUBMITTED)
    assert await validation.work() is False
    assert len(store.published) == 1


async def test_incomplete_submission_is_invalid_and_wakes_nobody(hear, store, woken):
    with pytest.raises(Invalid):
        await hear(ModelSubmitted(submission_id="s-1"))
    assert (store.queue, woken) == ([], [])
