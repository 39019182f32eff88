"""What the validator does with a submission, with everything around it in memory."""

from __future__ import annotations

import pytest

from vallum_common.errors import NotFound, Unavailable
from vallum_common.testing import FakeClock
from vallum_validator.domain import CHECK_NAMES, Outcome, ReportState, ScanVerdict, Submission
from vallum_validator.service import MAX_ATTEMPTS, Validation

from .fakes import ASSESSMENT, DIGEST, SUBMISSION, MemoryArtifacts, MemoryMeasurer, MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def submit(work: Validation, store: MemoryStore, submission: Submission = SUBMISSION) -> None:
    """As the consumer does, in a transaction of its own."""
    async with store.begin() as unit:
        await work.submit(unit, submission)


def validation(store: MemoryStore, artifacts: MemoryArtifacts | None = None, dies: bool = False) -> Validation:
    return Validation(store, artifacts or MemoryArtifacts(), MemoryMeasurer(dies), FakeClock(), "thresholds", "rules")


async def test_a_submission_is_measured_and_told_once(store: MemoryStore) -> None:
    work = validation(store)
    await submit(work, store)
    await submit(work, store)
    assert await work.work() is True
    assert await work.work() is False
    assert [fact.assessment for fact in store.published] == [ASSESSMENT]
    assert (await work.report("s-1")).state is ReportState.COMPLETED


async def test_progress_shows_each_stage_as_it_ends(store: MemoryStore) -> None:
    work = validation(store)
    await submit(work, store)
    await work.work()
    assert [report.stage for report in store.shown] == ["fetch", "scan", "scan", *CHECK_NAMES, "completed"]
    assert store.shown[2].scan == ASSESSMENT.scan
    assert [len(report.checks) for report in store.shown[3:7]] == [1, 2, 3, 4]


async def test_an_absent_registry_costs_no_attempt(store: MemoryStore) -> None:
    artifacts = MemoryArtifacts(away=True)
    work = validation(store, artifacts)
    await submit(work, store)
    for _ in range(MAX_ATTEMPTS + 2):
        with pytest.raises(Unavailable):
            await work.work()
    artifacts.away = False
    assert await work.work()
    assert store.published[0].assessment == ASSESSMENT


async def test_what_kills_the_validator_is_measured_no_more_and_never_clean(store: MemoryStore) -> None:
    await submit(validation(store), store)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(SystemExit):
            await validation(store, dies=True).work()
    assert await validation(store, dies=True).work()
    assessment = store.published[0].assessment
    assert assessment.scan.verdict is ScanVerdict.UNKNOWN
    assert assessment.scan.files[0].path == "sub/m.onnx"
    assert {check.outcome for check in assessment.checks} == {Outcome.INCONCLUSIVE}
    assert "died 3 times" in assessment.checks[0].reason


async def test_a_manifest_that_cannot_be_read_is_evidence_too(store: MemoryStore) -> None:
    broken = Submission("s-2", "m", "1", DIGEST, b"model: {", SUBMISSION.files)
    await submit(validation(store), store, broken)
    await validation(store).work()
    assert store.published[0].manifest is None
    assert "not YAML" in store.published[0].assessment.checks[0].reason


async def test_an_unknown_submission_is_not_found(store: MemoryStore) -> None:
    with pytest.raises(NotFound, match="s-9"):
        await validation(store).report("s-9")
