"""What the validator needs from outside, in memory; the store passes the same contract as PostgreSQL."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vallum_common.errors import Unavailable
from vallum_validator.domain.evidence import (
    CHECK_NAMES,
    Assessment,
    CheckResult,
    Outcome,
    Report,
    SignatureOutcome,
    SignatureReport,
    Step,
    Submission,
    SubmittedFile,
    Validated,
)
from vallum_validator.domain.findings import FileReport, ScanReport, ScanVerdict

CONTENT: Final = b"a model"
DIGEST: Final = hashlib.sha256(CONTENT).hexdigest()
MANIFEST: Final = b"model: {id: m, version: '1', artifact: sub/m.onnx, owner: x}"
SUBMISSION: Final = Submission("s-1", "m", "1", DIGEST, MANIFEST, (SubmittedFile("sub/m.onnx", DIGEST),))
ASSESSMENT: Final = Assessment(
    scan=ScanReport((FileReport("sub/m.onnx", DIGEST, 7, "onnx", ScanVerdict.CLEAN),), "rules"),
    checks=tuple(CheckResult(name, Outcome.PASS) for name in CHECK_NAMES),
    isolation=None,
    baseline=(),
    thresholds_digest="thresholds",
    signature=SignatureReport(SignatureOutcome.NOT_SIGNED, publishers_digest="publishers"),
)


class MemoryUnit:
    """One transaction: what it writes is seen by others once it ends well."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._writes: list[Callable[[], None]] = []

    def commit(self) -> None:
        """Let the others see it."""
        for write in self._writes:
            write()

    async def enqueue(self, submission: Submission) -> None:
        """Note it, unless it is known when this commits."""

        def write() -> None:
            if submission.submission_id not in self._store.reports:
                self._store.queue.append(submission)
                self._store.reports[submission.submission_id] = Report(submission)

        self._writes.append(write)

    async def save_report(self, report: Report) -> None:
        """Note it."""

        def write() -> None:
            self._store.reports[report.submission.submission_id] = report
            self._store.shown.append(report)

        self._writes.append(write)

    async def report_of(self, submission_id: str) -> Report | None:
        """Find it."""
        return self._store.reports.get(submission_id)

    async def complete(self, validated: Validated) -> None:
        """Note it."""

        def write() -> None:
            self._store.queue.remove(validated.submission)
            self._store.published.append(validated)

        self._writes.append(write)


@dataclass
class MemoryStore:
    """A queue and reports in memory."""

    queue: list[Submission] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    reports: dict[str, Report] = field(default_factory=dict)
    published: list[Validated] = field(default_factory=list)
    shown: list[Report] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[MemoryUnit]:
        """A transaction."""
        unit = MemoryUnit(self)
        yield unit
        unit.commit()

    @contextlib.asynccontextmanager
    async def claim(self) -> AsyncIterator[tuple[MemoryUnit, Report] | None]:
        """A transaction that holds the oldest submission nobody else holds."""
        waiting = next((s.submission_id for s in self.queue if s.submission_id not in self.held), None)
        if waiting is None:
            yield None
            return
        self.held.add(waiting)
        try:
            async with self.begin() as unit:
                yield unit, self.reports[waiting]
        finally:
            self.held.discard(waiting)


@dataclass
class MemoryArtifacts:
    """Bytes by digest; away when told."""

    away: bool = False

    async def fetch(self, sha256: str, target: Path) -> None:
        """Write them."""
        if self.away:
            raise Unavailable("the registry does not answer")
        target.write_bytes({DIGEST: CONTENT}[sha256])


@dataclass
class MemoryMeasurer:
    """Measures nothing; looks whether the files lie where the manifest says."""

    dies: bool = False

    async def assess(
        self, bundle: Path, artifact: SubmittedFile, on_step: Callable[[Step], Awaitable[None]]
    ) -> Assessment:
        """Shows the steps of `ASSESSMENT`."""
        assert (bundle / artifact.path).read_bytes() == CONTENT
        await on_step(Step("scan", scan=ASSESSMENT.scan))
        if self.dies:
            raise SystemExit("killed")
        for check in ASSESSMENT.checks:
            await on_step(Step(check.name, check=check))
        return ASSESSMENT

    async def scan(self, path: Path, name: str) -> tuple[FileReport, str]:
        """Says that the file is clean, and how large it is."""
        return FileReport(name, DIGEST, path.stat().st_size, "onnx", ScanVerdict.CLEAN), "rules"
