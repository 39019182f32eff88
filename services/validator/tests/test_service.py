"""What the validator does with a submission, with everything around it in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import structlog
from sqlalchemy.pool import QueuePool

from vallum_common.errors import Conflict, Denied, Exhausted, Invalid, NotFound, Unavailable, VallumError
from vallum_common.testing import FakeClock
from vallum_local.identity import load_or_create_key
from vallum_validator import main
from vallum_validator.config import Config
from vallum_validator.domain.evidence import (
    CHECK_NAMES,
    Assessment,
    Outcome,
    ReportState,
    Step,
    Submission,
    SubmittedFile,
)
from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.service import MAX_ATTEMPTS, MAX_WAIT, Validation

from .fakes import ASSESSMENT, DIGEST, SUBMISSION, MemoryArtifacts, MemoryMeasurer, MemoryStore

THRESHOLDS = Path(__file__).parents[3] / "policies" / "thresholds.yaml"


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
    completed = store.shown[-1]
    assert (completed.signature, completed.thresholds_digest) == (ASSESSMENT.signature, ASSESSMENT.thresholds_digest)


async def test_the_signature_is_shown_before_the_scan(store: MemoryStore) -> None:
    class Signed(MemoryMeasurer):
        async def assess(
            self, bundle: Path, artifact: SubmittedFile, on_step: Callable[[Step], Awaitable[None]]
        ) -> Assessment:
            await on_step(Step("signature", signature=ASSESSMENT.signature))
            return await super().assess(bundle, artifact, on_step)

    work = replace(validation(store), measurer=Signed())
    await submit(work, store)
    await work.work()
    shown = [(report.stage, report.signature is not None, report.scan is not None) for report in store.shown]
    assert shown[2:4] == [("signature", True, False), ("scan", True, True)]


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


@dataclass
class RefusingArtifacts(MemoryArtifacts):
    """A registry that answers with these errors first."""

    errors: list[VallumError] = field(default_factory=list)

    async def fetch(self, sha256: str, target: Path) -> None:
        """Refuse, or write the bytes."""
        if self.errors:
            raise self.errors.pop(0)
        await super().fetch(sha256, target)


@pytest.mark.parametrize("error", [Conflict("damaged"), Invalid("no digest"), Exhausted("too large")])
async def test_bytes_that_can_never_be_fetched_are_evidence_of_nothing(store: MemoryStore, error: VallumError) -> None:
    work = validation(store, RefusingArtifacts(errors=[error]))
    await submit(work, store)
    assert await work.work()
    (told,) = store.published
    assert told.assessment.scan.verdict is ScanVerdict.UNKNOWN
    assert {(check.outcome, check.reason) for check in told.assessment.checks} == {
        (Outcome.INCONCLUSIVE, error.message)
    }
    assert told.manifest is not None
    assert not store.queue


async def test_bytes_nobody_has_are_waited_for_within_a_bound(store: MemoryStore) -> None:
    clock = FakeClock()
    artifacts = RefusingArtifacts(errors=[NotFound("no such artefact") for _ in range(3)])
    work = Validation(store, artifacts, MemoryMeasurer(), clock, "thresholds", "rules")
    await submit(work, store)
    for _ in range(2):
        with pytest.raises(NotFound):
            await work.work()
        clock.advance(MAX_WAIT.total_seconds() / 2)
    assert await work.work()
    assert store.published[0].assessment.checks[0].reason == "no such artefact"


async def test_bytes_that_come_late_are_measured(store: MemoryStore) -> None:
    work = validation(store, RefusingArtifacts(errors=[NotFound("not yet")]))
    await submit(work, store)
    with pytest.raises(NotFound):
        await work.work()
    assert await work.work()
    assert store.published[0].assessment == ASSESSMENT


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (Denied("the token has expired"), "error"),
        (VallumError("internal error"), "error"),
        (Unavailable("away"), "warning"),
    ],
)
async def test_a_worker_outlives_what_an_operator_mends(
    store: MemoryStore, error: VallumError, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "_RETRY_S", 0)
    work = validation(store, RefusingArtifacts(errors=[error, error]))
    await submit(work, store)
    with structlog.testing.capture_logs() as told:
        worker = asyncio.create_task(main._worker(work, asyncio.Event())())
        async with asyncio.timeout(10):
            while not (store.published or worker.done()):
                await asyncio.sleep(0)
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
    assert [fact.assessment for fact in store.published] == [ASSESSMENT]
    assert [entry["log_level"] for entry in told if entry["event"] == "worker_waits"] == [level, level]


class EndlessMeasurer(MemoryMeasurer):
    """Begins, and never ends."""

    async def assess(
        self, bundle: Path, artifact: SubmittedFile, on_step: Callable[[Step], Awaitable[None]]
    ) -> Assessment:
        """Show the scan, then wait for ever."""
        await on_step(Step("scan", scan=ASSESSMENT.scan))
        await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")


async def test_an_orderly_stop_costs_no_attempt(store: MemoryStore) -> None:
    stopped = Validation(store, MemoryArtifacts(), EndlessMeasurer(), FakeClock(), "thresholds", "rules")
    await submit(stopped, store)
    for _ in range(MAX_ATTEMPTS + 1):
        work, begun = asyncio.create_task(stopped.work()), len(store.shown) + 3
        async with asyncio.timeout(10):
            while len(store.shown) < begun:
                await asyncio.sleep(0)
        assert store.reports["s-1"].attempts == 1
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert store.reports["s-1"].attempts == 0
    assert await validation(store).work()
    assert store.published[0].assessment == ASSESSMENT


async def test_every_worker_has_a_connection_and_some_are_left(tmp_path: Path) -> None:
    """A worker holds one for a whole measurement; the servicer, the relay and the consumer need theirs meanwhile."""
    load_or_create_key(tmp_path / "issuer.pem")
    config = Config(
        grpc_address="127.0.0.1:0",
        kafka="127.0.0.1:9",
        database_url="postgresql+asyncpg://validator:x@127.0.0.1:9/validator",
        jwks=str(tmp_path / "issuer.jwks.json"),
        data_dir=tmp_path,
        token_file=tmp_path / "validator.token",
        registry_address="127.0.0.1:9",
        thresholds=THRESHOLDS,
        publishers=THRESHOLDS.with_name("publishers.yaml"),
        workers=64,
    )
    service = main.build(config)
    pool = service.database.engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.size() == 64 + 10
    for close in service.close:
        await close()


async def test_a_full_disk_is_no_fault_of_the_submission(store: MemoryStore) -> None:
    class FullDisk(MemoryArtifacts):
        async def fetch(self, sha256: str, target: Path) -> None:
            raise OSError(28, "No space left on device")

    work = validation(store, FullDisk())
    await submit(work, store)
    with pytest.raises(Unavailable, match="No space left"):
        await work.work()
    assert await validation(store).work()
    assert store.published[0].assessment == ASSESSMENT
