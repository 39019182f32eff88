"""What the registry hears, on the real store: once, twice, late, out of order, malformed."""

from __future__ import annotations

import pytest

from vallum.compliance.v1 import decision_pb2
from vallum.monitor.v1 import events_pb2 as monitor_pb2
from vallum_common.bus.consumer import each
from vallum_common.bus.event import Event
from vallum_common.errors import Invalid, NotFound
from vallum_common.testing import START
from vallum_registry import stream, wire
from vallum_registry.domain.states import Verdict

pytestmark = pytest.mark.platform


@pytest.fixture
def database_url(database):
    """Only the real store has a consumer's transaction."""
    return database()


@pytest.fixture
def heard(any_registry):
    """The handlers."""
    return stream.handlers(any_registry.decisions, any_registry.store.within)


@pytest.fixture
def hear(any_registry, heard):
    """Call it with messages: they arrive in one transaction, as the consumer hands them over."""
    handle = each(heard)

    async def arrive(*messages):
        events = [Event(f"e-{n}", "vallum/test", "m@1", "m", START, message) for n, message in enumerate(messages)]
        async with any_registry.store.database.transaction() as transaction:
            await handle(transaction, events)

    return arrive


def verdict_on(submission, given, verdict=Verdict.APPROVED):
    """What compliance sends."""
    decision = given.decision(submission, verdict)
    return decision_pb2.ComplianceDecided(
        submission_id=decision.submission_id,
        model=wire.reference_message(submission.reference),
        verdict=getattr(decision_pb2, f"VERDICT_{verdict.name}"),
        attestation=decision.attestation,
    )


def correction_of(submission, number=1, action="QUARANTINE", environment="production"):
    """What the monitor sends."""
    return monitor_pb2.CorrectionRequested(
        correction_id=f"correction-{number}",
        model=wire.reference_message(submission.reference),
        environment=environment,
        action=getattr(monitor_pb2, f"CORRECTION_ACTION_{action}"),
        reason="drift",
    )


def test_hears_verdicts_and_corrections(heard):
    assert set(heard) == {decision_pb2.ComplianceDecided, monitor_pb2.CorrectionRequested}


async def test_verdict_twice_moves_once(any_registry, given, hear):
    submission = await any_registry.submit()
    await hear(verdict_on(submission, given), verdict_on(submission, given))
    await hear(verdict_on(submission, given))
    assert await any_registry.actions() == ["submitted", "approved"]
    await any_registry.deploy("1.0.0")


async def test_late_verdict_changes_nothing(any_registry, given, hear):
    submission = await any_registry.submit()
    await hear(verdict_on(submission, given, Verdict.REJECTED))
    await hear(verdict_on(submission, given, Verdict.APPROVED))
    assert await any_registry.state() == "REJECTED"


async def test_verdict_before_its_submission_is_tried_again(any_registry, given, hear):
    submission = await any_registry.submit()
    early = verdict_on(submission, given)
    early.submission_id = "not yet here"
    with pytest.raises(NotFound):
        await hear(early)


async def test_correction_before_the_verdict_bars_and_the_verdict_is_kept(any_registry, given, hear):
    submission = await any_registry.submit()
    await hear(correction_of(submission), verdict_on(submission, given))
    assert await any_registry.state() == "QUARANTINED"
    assert (await any_registry.serving.release(given.reference(), cause=given.cause)).state == "APPROVED"


async def test_correction_twice_is_answered_once(any_registry, given, hear):
    submission = await any_registry.approved()
    await any_registry.deploy("1.0.0")
    await hear(correction_of(submission), correction_of(submission))
    await hear(correction_of(submission))
    told = await any_registry.store.published()
    assert [line for line in told if line.startswith("correction")] == ["correction-1 APPLIED"]


async def test_failed_correction_does_not_hold_up_the_next(any_registry, given, hear):
    submission = await any_registry.approved()
    await any_registry.deploy("1.0.0")
    unknown = correction_of(submission, 1)
    unknown.model.version = "9.0.0"
    await hear(unknown, correction_of(submission, 2))
    told = await any_registry.store.published()
    assert [line for line in told if line.startswith("correction")] == ["correction-1 FAILED", "correction-2 APPLIED"]


@pytest.mark.parametrize("message", [decision_pb2.ComplianceDecided(), monitor_pb2.CorrectionRequested()])
async def test_malformed_event_is_refused(hear, message):
    with pytest.raises(Invalid):
        await hear(message)
