"""What the validator does with a submission, with everything around it in memory."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vallum_common.errors import NotFound, Unavailable
from vallum_common.testing import FakeClock
from vallum_validator.domain import (
    CHECK_NAMES,
    Assessment,
    CheckResult,
    FileReport,
    Outcome,
    Report,
    ReportState,
    ScanReport,
    ScanVerdict,
    Step,
    Submission,
    SubmittedFile,
    Validated,
)
from vallum_validator.service import MAX_ATTEMPTS, Validation

CONTENT = b"a model"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
MANIFEST = b"model: {id: m, version: '1', artifact: sub/m.onnx, owner: x}"
SUBMISSION = Submission("s-1", "m", "1", DIGEST, MANIFEST, (SubmittedFile("sub/m.onnx", DIGEST),))


@dataclass
class MemoryStore:
    """A queue and reports in memory; a claim that ends with an exception gives the submission back."""

    queue: list[Submission] = field(default_factory=list)
    reports: dict[str, Report] = field(default_factory=dict)
    published: list[Validated] = field(default_factory=list)
    shown: list[Report] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[MemoryStore]:
        yield self

    @contextlib.asynccontextmanager
    async def claim(self) -> AsyncIterator[tuple[MemoryStore, Report] | None]:
        yield (self, self.reports[self.queue[0].submission_id]) if self.queue else None

    async def enqueue(self, submission: Submission) -> None:
        if submission.submission_id not in self.reports:
            self.queue.append(submission)
            self.reports[submission.submission_id] = Report(submission)

    async def save_report(self, report: Report) -> None:
        self.reports[report.submission.submission_id] = report
        self.shown.append(report)

    async def report_of(self, submission_id: str) -> Report | None:
        return self.reports.get(submission_id)

    async def complete(self, validated: Validated) -> None:
        self.queue.remove(validated.submission)
        self.published.append(validated)


@dataclass
class MemoryArtifacts:
    """Bytes by digest; away when told."""

    away: bool = False

    async def fetch(self, sha256: str, target: Path) -> None:
        if self.away:
            raise Unavailable("the registry does not answer")
        target.write_bytes({DIGEST: CONTENT}[sha256])


ASSESSMENT = Assessment(
    scan=ScanReport((FileReport("sub/m.onnx", DIGEST, 7, "onnx", ScanVerdict.CLEAN),), "rules"),
    checks=tuple(CheckResult(name, Outcome.PASS) for name in CHECK_NAMES),
    isolation=None,
    baseline=(),
    thresholds_digest="thresholds",
)


@dataclass
class MemoryMeasurer:
    """Measures nothing; looks whether the files lie where the manifest says."""

    dies: bool = False
    found: bool = False

    async def assess(
        self, bundle: Path, artifact: SubmittedFile, on_step: Callable[[Step], Awaitable[None]]
    ) -> Assessment:
        self.found = (bundle / artifact.path).is_file()
        assert self.found
        await on_step(Step("scan", scan=ASSESSMENT.scan))
        if self.dies:
            raise SystemExit("killed")
        for check in ASSESSMENT.checks:
            await on_step(Step(check.name, check=check))
        return ASSESSMENT

    async def scan(self, path: Path, name: str) -> tuple[FileReport, str]:
        return ASSESSMENT.scan.files[0], "rules"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def validation(store: MemoryStore, artifacts: MemoryArtifacts | None = None, dies: bool = False) -> Validation:
    return Validation(store, artifacts or MemoryArtifacts(), MemoryMeasurer(dies), FakeClock(), "thresholds", "rules")


async def test_a_submission_is_measured_and_told_once(store: MemoryStore) -> None:
    work = validation(store)
    await work.submit(store, SUBMISSION)
    await work.submit(store, SUBMISSION)
    assert await work.work() is True
    assert await work.work() is False
    assert [fact.assessment for fact in store.published] == [ASSESSMENT]
    assert (await work.report("s-1")).state is ReportState.COMPLETED


async def test_progress_shows_each_stage_as_it_ends(store: MemoryStore) -> None:
    work = validation(store)
    await work.submit(store, SUBMISSION)
    await work.work()
    assert [report.stage for report in store.shown] == ["fetch", "scan", "scan", *CHECK_NAMES, "completed"]
    assert store.shown[2].scan == ASSESSMENT.scan
    assert [len(report.checks) for report in store.shown[3:7]] == [1, 2, 3, 4]


async def test_an_absent_registry_costs_no_attempt(store: MemoryStore) -> None:
    artifacts = MemoryArtifacts(away=True)
    work = validation(store, artifacts)
    await work.submit(store, SUBMISSION)
    for _ in range(MAX_ATTEMPTS + 2):
        with pytest.raises(Unavailable):
            await work.work()
    artifacts.away = False
    assert await work.work()
    assert store.published[0].assessment == ASSESSMENT


async def test_what_kills_the_validator_is_measured_no_more_and_never_clean(store: MemoryStore) -> None:
    await validation(store).submit(store, SUBMISSION)
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
    await validation(store).submit(store, broken)
    await validation(store).work()
    assert store.published[0].manifest is None
    assert "not YAML" in store.published[0].assessment.checks[0].reason


async def test_an_unknown_submission_is_not_found(store: MemoryStore) -> None:
    with pytest.raises(NotFound, match="s-9"):
        await validation(store).report("s-9")
