"""What the validator does with a submission: queue it, fetch its bytes, measure them apart from everything, tell."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

import structlog

from vallum_common.bundle import MANIFEST_NAME, parse_manifest
from vallum_common.clock import Clock
from vallum_common.errors import Conflict, Exhausted, Invalid, NotFound, Unavailable
from vallum_validator.domain.evidence import (
    CHECK_NAMES,
    Assessment,
    CheckResult,
    Outcome,
    Report,
    ReportState,
    SignatureOutcome,
    SignatureReport,
    Step,
    Submission,
    SubmittedFile,
    Validated,
)
from vallum_validator.domain.findings import FileReport, Finding, ScanReport, ScanVerdict, Severity

MAX_ATTEMPTS: Final = 3
"""A submission during which the validator itself died so often is measured no more: it may be what kills it."""
MAX_WAIT: Final = dt.timedelta(minutes=10)
"""How long after the first try bytes that nobody has may still arrive."""
_FETCH: Final = "fetch"

log = structlog.get_logger(__name__)


class Unit(Protocol):
    """One transaction."""

    async def enqueue(self, submission: Submission) -> None:
        """Put a submission at the end of the queue; one that is known changes nothing."""
        ...

    async def save_report(self, report: Report) -> None:
        """Keep the report as it stands now."""
        ...

    async def report_of(self, submission_id: str) -> Report | None:
        """The report of a submission."""
        ...

    async def complete(self, validated: Validated) -> None:
        """Take the submission off the queue and publish `ValidationCompleted`."""
        ...


class Store(Protocol):
    """Where queue and reports are kept."""

    def begin(self) -> AbstractAsyncContextManager[Unit]:
        """Open a transaction."""
        ...

    def claim(self) -> AbstractAsyncContextManager[tuple[Unit, Report] | None]:
        """Open a transaction that holds the oldest submission nobody else holds; `None` where there is none.

        The claim ends with the transaction, also when this process is killed: then another takes the submission.
        """
        ...


class Artifacts(Protocol):
    """Where the bytes are fetched from."""

    async def fetch(self, sha256: str, target: Path) -> None:
        """Write the bytes of a digest to a file.

        Raises:
            NotFound: nobody has them, so far.
            Invalid, Conflict, Exhausted: they can never be had.
            Unavailable: the registry is away, or what came does not match the digest.
            VallumError: the registry refuses the caller, or failed itself.
        """
        ...


class Measurer(Protocol):
    """Measures in a process of its own, which holds no key, no database and no socket."""

    async def assess(
        self, bundle: Path, artifact: SubmittedFile, on_step: Callable[[Step], Awaitable[None]]
    ) -> Assessment:
        """Scan and measure a bundle; whatever the measuring process does, this returns evidence."""
        ...

    async def scan(self, path: Path, name: str) -> tuple[FileReport, str]:
        """Scan one file; with the digest of the rules in force."""
        ...


@dataclass(frozen=True, slots=True)
class Validation:
    """The use cases.

    Args:
        store: where queue and reports are kept.
        artifacts: where the bytes come from.
        measurer: measures them.
        clock: for the times in the report.
        thresholds_digest: of the threshold file in force.
        rules_digest: of the scan rules in force.
    """

    store: Store
    artifacts: Artifacts
    measurer: Measurer
    clock: Clock
    thresholds_digest: str
    rules_digest: str
    check_names: Sequence[str] = field(default=CHECK_NAMES)

    async def submit(self, unit: Unit, submission: Submission) -> None:
        """Queue a submission."""
        await unit.enqueue(submission)

    async def report(self, submission_id: str) -> Report:
        """The report of a submission as far as it has come.

        Raises:
            NotFound: it has not arrived here.
        """
        async with self.store.begin() as unit:
            found = await unit.report_of(submission_id)
        if found is None:
            raise NotFound(f"no submission {submission_id!r} here; it may still be on its way")
        return found

    async def work(self) -> bool:
        """Take the oldest submission and measure it.

        Returns:
            Whether there was one.

        Raises:
            NotFound: the registry does not have the bytes yet; the submission stays in the queue, as below.
            Unavailable: the registry or the database is away.
            VallumError: the registry refuses the validator, or failed itself.
        """
        async with self.store.claim() as claimed:
            if claimed is None:
                return False
            unit, report = claimed
            validated = await self._validate(report)
            await unit.complete(validated)
            await unit.save_report(_completed(report, validated))
            log.info(
                "submission_validated",
                submission_id=report.submission.submission_id,
                model=report.submission.model,
                scan=validated.assessment.scan.verdict,
                checks={check.name: check.outcome for check in validated.assessment.checks},
            )
            return True

    async def _validate(self, report: Report) -> Validated:
        submission, started = report.submission, self._began(report)
        manifest = None
        if report.attempts >= MAX_ATTEMPTS:
            assessment = self._nothing(submission, f"the validator died {report.attempts} times while measuring this")
        else:
            try:
                manifest = parse_manifest(submission.manifest)
                running = replace(report, state=ReportState.RUNNING, stage=_FETCH, checks=(), started_at=started)
                assessment = await self._measure(running)
            except (Invalid, Conflict, Exhausted) as error:
                assessment = self._nothing(submission, error.message)
            except NotFound as error:
                if self.clock.now() - started < MAX_WAIT:
                    raise
                assessment = self._nothing(submission, error.message)
        return Validated(submission, manifest, assessment, started, self.clock.now())

    def _began(self, report: Report) -> dt.datetime:
        """When this attempt began; one that still waits for its bytes goes on with the first try."""
        first_try = report.started_at if report.stage == _FETCH else None
        return first_try or self.clock.now()

    async def _measure(self, shown: Report) -> Assessment:
        await self._show(shown)
        with tempfile.TemporaryDirectory(prefix="vallum-submission-") as folder:
            root = Path(folder)
            await self._lay_out(shown.submission, root)

            async def show(step: Step) -> None:
                nonlocal shown
                checks = (*shown.checks, step.check) if step.check else shown.checks
                scan, signature = step.scan or shown.scan, step.signature or shown.signature
                shown = replace(shown, stage=step.stage, checks=checks, scan=scan, signature=signature)
                await self._show(shown)

            attempts = shown.attempts
            try:
                # Counted before the dangerous part, in a transaction of its own: it must outlive this process.
                shown = replace(shown, stage="scan", attempts=attempts + 1)
                await self._show(shown)
                return await self.measurer.assess(root, shown.submission.artifact, show)
            except asyncio.CancelledError:
                # An orderly stop says nothing of the submission.
                await self._show(replace(shown, attempts=attempts))
                raise

    async def _lay_out(self, submission: Submission, root: Path) -> None:
        """Write the files of a bundle to a folder.

        Raises:
            Unavailable: this machine cannot keep them; a full disk says nothing about a model.
        """
        try:
            (root / MANIFEST_NAME).write_bytes(submission.manifest)
            for file in submission.files:
                target = root / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                await self.artifacts.fetch(file.sha256, target)
        except OSError as error:
            raise Unavailable(f"the bundle cannot be written to disk here: {error.strerror}") from error

    async def _show(self, report: Report) -> None:
        # Progress is for people who wait; it must not end the work.
        with contextlib.suppress(Unavailable):
            async with self.store.begin() as unit:
                await unit.save_report(report)

    def _nothing(self, submission: Submission, reason: str) -> Assessment:
        """Evidence that nothing could be measured, and why: unknown, never clean."""
        return no_evidence(
            submission.artifact,
            reason,
            rules_digest=self.rules_digest,
            thresholds_digest=self.thresholds_digest,
        )


def no_evidence(artifact: SubmittedFile, reason: str, *, rules_digest: str, thresholds_digest: str) -> Assessment:
    """The assessment of bytes that could not be measured: the scan UNKNOWN and every check INCONCLUSIVE.

    Args:
        artifact: the file that is the model.
        reason: one line why.
        rules_digest: of the scan rules in force.
        thresholds_digest: of the threshold file in force.
    """
    finding = Finding("measure.failed", Severity.HIGH, "", None, reason)
    return Assessment(
        scan=ScanReport(
            (FileReport(artifact.path, artifact.sha256, 0, "unknown", ScanVerdict.UNKNOWN, (finding,)),), rules_digest
        ),
        checks=tuple(CheckResult(name, Outcome.INCONCLUSIVE, reason=reason) for name in CHECK_NAMES),
        isolation=None,
        baseline=(),
        thresholds_digest=thresholds_digest,
        signature=SignatureReport(SignatureOutcome.UNKNOWN, reason=reason),
    )


def _completed(report: Report, validated: Validated) -> Report:
    return replace(
        report,
        state=ReportState.COMPLETED,
        stage="completed",
        scan=validated.assessment.scan,
        checks=validated.assessment.checks,
        isolation=validated.assessment.isolation,
        started_at=validated.started_at,
        completed_at=validated.completed_at,
        signature=validated.assessment.signature,
        thresholds_digest=validated.assessment.thresholds_digest,
    )
