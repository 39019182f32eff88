"""What the validator knows: results of the four checks and of the signature, and the evidence that they form with the
scan.

Values and pure rules only. Nothing here says whether a model may be released: that is policy, which compliance holds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from vallum_validator.domain.findings import FileReport, ScanReport

if TYPE_CHECKING:
    from vallum_common.bundle import Manifest  # pydantic with it, which a scan can do without

CHECK_NAMES: Final = ("adversarial_robustness", "data_privacy", "bias_fairness", "transparency")
"""The four checks, in the order they run."""

Detail: TypeAlias = "str | int | float | bool | Sequence[Detail] | Mapping[str, Detail] | None"


class Outcome(StrEnum):
    """How a check ended. A crash, a timeout or missing data is INCONCLUSIVE, never PASS."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class SignatureOutcome(StrEnum):
    """What the signature in a submission is worth. Only VERIFIED speaks for a model; INVALID speaks against it."""

    NOT_SIGNED = "NOT_SIGNED"
    VERIFIED = "VERIFIED"
    UNTRUSTED = "UNTRUSTED"
    NOT_ALLOWED = "NOT_ALLOWED"
    INVALID = "INVALID"
    UNKNOWN = "UNKNOWN"


class SignatureMethod(StrEnum):
    """How it is known who signed."""

    KEY = "key"
    CERTIFICATE = "certificate"
    SIGSTORE = "sigstore"


class SignatureScope(StrEnum):
    """What is vouched for: the artefact alone, or every file of the bundle but the signature itself."""

    ARTIFACT = "artifact"
    BUNDLE = "bundle"


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """The check of the signature, made before the scan.

    Args:
        outcome: what it is worth.
        publisher: as policy names them; empty where nobody was recognised.
        method: `None` where there is no signature or it cannot be read.
        key_id: fingerprint of the key or certificate, or the identity; only claimed where the outcome is UNTRUSTED.
        scope: `None` where it does not cover the artefact.
        digest: hex SHA-256 of the artefact that was signed; empty where none is covered.
        reason: one line for a person.
        publishers_digest: hex SHA-256 of the policy of publishers in force.
        publisher_formats: what the publisher may publish, in the scan's words; empty for all. Not told to others.
    """

    outcome: SignatureOutcome
    publisher: str = ""
    method: SignatureMethod | None = None
    key_id: str = ""
    scope: SignatureScope | None = None
    digest: str = ""
    reason: str = ""
    publishers_digest: str = ""
    publisher_formats: tuple[str, ...] = ()

    def under(self, publishers_digest: str) -> SignatureReport:
        """The report with the policy of publishers it was made under."""
        return replace(self, publishers_digest=publishers_digest)

    def held_against(self, artifact: FileReport) -> SignatureReport:
        """The report once the artefact was scanned: it must be the bytes that were signed, in a format allowed."""
        if self.outcome is not SignatureOutcome.VERIFIED:
            return self
        if artifact.sha256 != self.digest:
            reason = f"signed was sha256 {self.digest}, scanned was {artifact.sha256}"
            return replace(self, outcome=SignatureOutcome.INVALID, reason=reason)
        if self.publisher_formats and artifact.format not in self.publisher_formats:
            reason = f"{self.publisher!r} may publish {', '.join(self.publisher_formats)}, not {artifact.format!r}"
            return replace(self, outcome=SignatureOutcome.NOT_ALLOWED, reason=reason)
        return self


NOT_LOOKED_AT: Final = SignatureReport(SignatureOutcome.UNKNOWN, reason="nobody looked at the signature")
"""What holds until somebody has."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, both ends included, in the unit of the value it belongs to."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The evidence of one check.

    Args:
        name: one of `CHECK_NAMES`.
        outcome: against the threshold named in `details["threshold"]`.
        value: the headline measurement; `None` where nothing could be measured.
        interval: of `value`, at `confidence`; `None` where nothing could be measured.
        confidence: coverage of the interval, e.g. 0.95.
        samples: number of rows behind `value`.
        method: name with every parameter that changes the result.
        seed: of the generator every random choice came from.
        reason: one line for a person: why this outcome, with the figures.
        details: further measurements, JSON-compatible.
    """

    name: str
    outcome: Outcome
    value: float | None = None
    interval: Interval | None = None
    confidence: float = 0.95
    samples: int = 0
    method: str = ""
    seed: int = 0
    reason: str = ""
    details: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Isolation:
    """What really held the worker in which the model ran; it belongs to the evidence.

    Args:
        mechanism: `sandlock` or `none`.
        landlock_abi: the kernel's Landlock version, 0 where there is none.
        seccomp: whether a system-call filter was in force.
        degraded: what could not be enforced, in words; empty when all was.
    """

    mechanism: str
    landlock_abi: int
    seccomp: bool
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureBaseline:
    """How one column was distributed in the evaluation data: what drift is measured against.

    Args:
        name: the feature, or `prediction` for the model's own output.
        categories: the values of a categorical column; empty for a numeric one.
        edges: `len(counts) - 1` inner bin edges of a numeric column, ascending; bin i is `edges[i-1] <= x < edges[i]`.
        counts: rows per category or bin; a categorical column has one more at the end for any other value.
    """

    name: str
    categories: tuple[str, ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Assessment:
    """Everything measured about one submission: the evidence policy decides on.

    Args:
        scan: of the artefact and of every file beside it.
        checks: one per name in `CHECK_NAMES`, in that order.
        isolation: what held the worker; `None` where the model was never run.
        baseline: of the evaluation data and of the model's predictions on it; empty where they could not be had.
        thresholds_digest: hex SHA-256 of the threshold file in force.
        signature: what the signature in the bundle is worth.
    """

    scan: ScanReport
    checks: tuple[CheckResult, ...]
    isolation: Isolation | None
    baseline: tuple[FeatureBaseline, ...]
    thresholds_digest: str
    signature: SignatureReport = NOT_LOOKED_AT


class ReportState(StrEnum):
    """Where the work on a submission stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"


@dataclass(frozen=True, slots=True)
class SubmittedFile:
    """A file of a submission: where it lies in the bundle and the digest it is fetched by."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Submission:
    """What is to be measured.

    Args:
        submission_id: whose.
        model: model id.
        version: version.
        digest: hex SHA-256 of the artefact.
        manifest: `vallum.yaml` as written.
        files: all files of the bundle.
        traceparent: of the submission, so that what follows belongs to its trace.
    """

    submission_id: str
    model: str
    version: str
    digest: str
    manifest: bytes
    files: tuple[SubmittedFile, ...]
    traceparent: str = ""

    @property
    def artifact(self) -> SubmittedFile:
        """The file that is the model."""
        return next(file for file in self.files if file.sha256 == self.digest)


@dataclass(frozen=True, slots=True)
class Report:
    """The work on a submission as far as it has come.

    Args:
        submission: what is measured.
        state: where it stands.
        stage: what runs now, or ran last.
        attempts: how often the work began.
        scan: once it is done.
        checks: the finished ones, in order.
        isolation: once the model has run.
        started_at: of the last attempt.
        completed_at: of the whole.
        signature: once somebody has looked at it.
        thresholds_digest: of the threshold file, once the whole is completed.
    """

    submission: Submission
    state: ReportState = ReportState.QUEUED
    stage: str = ""
    attempts: int = 0
    scan: ScanReport | None = None
    checks: tuple[CheckResult, ...] = ()
    isolation: Isolation | None = None
    started_at: dt.datetime | None = None
    completed_at: dt.datetime | None = None
    signature: SignatureReport | None = None
    thresholds_digest: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The part of a report that is measured, as far as it has come."""

    scan: ScanReport | None
    checks: tuple[CheckResult, ...]
    isolation: Isolation | None
    signature: SignatureReport | None = None
    thresholds_digest: str = ""


@dataclass(frozen=True, slots=True)
class Validated:
    """The fact that a submission was scanned and measured.

    Args:
        submission: which.
        manifest: checked; `None` where it could not be read, and then nothing was measured.
        assessment: all the evidence.
        started_at: of the attempt that ended well.
        completed_at: now.
    """

    submission: Submission
    manifest: Manifest | None
    assessment: Assessment
    started_at: dt.datetime
    completed_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Step:
    """Something to show while the work goes on: a stage that began, or what ended: signature, scan or a check."""

    stage: str
    check: CheckResult | None = None
    scan: ScanReport | None = None
    signature: SignatureReport | None = None
