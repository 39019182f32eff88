"""Protobuf to domain and back."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from google.protobuf import json_format, struct_pb2

from vallum.registry.v1 import events_pb2 as registry_pb2
from vallum.registry.v1 import model_pb2
from vallum.validator.v1 import events_pb2, evidence_pb2, validator_service_pb2
from vallum_common.bus.event import Event
from vallum_common.clock import Ids
from vallum_common.errors import Invalid
from vallum_validator.domain.evidence import (
    NOT_LOOKED_AT,
    Assessment,
    CheckResult,
    Evidence,
    FeatureBaseline,
    Interval,
    Isolation,
    Outcome,
    Report,
    ReportState,
    SignatureMethod,
    SignatureOutcome,
    SignatureReport,
    SignatureScope,
    Submission,
    SubmittedFile,
    Validated,
)
from vallum_validator.domain.findings import FileReport, Finding, ScanReport, ScanVerdict, Severity


def submission_from(message: registry_pb2.ModelSubmitted, *, traceparent: str) -> Submission:
    """A submission to be measured.

    Raises:
        Invalid: it lacks its id, its model, its manifest or its files, none of these is the model, or one would lie
            outside the bundle.
    """
    reference = message.model
    if not (message.submission_id and reference.model and reference.version and reference.digest):
        raise Invalid("ModelSubmitted needs submission_id and model with version and digest")
    if not (message.manifest and message.files):
        raise Invalid(f"ModelSubmitted {message.submission_id!r} needs manifest and files")
    for file in message.files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in file.path:
            raise Invalid(f"ModelSubmitted {message.submission_id!r} has a file at {file.path!r}, outside the bundle")
    if reference.digest not in {file.sha256 for file in message.files}:
        raise Invalid(f"ModelSubmitted {message.submission_id!r} has no file with the model's digest")
    return Submission(
        submission_id=message.submission_id,
        model=reference.model,
        version=reference.version,
        digest=reference.digest,
        manifest=message.manifest,
        files=tuple(SubmittedFile(file.path, file.sha256) for file in message.files),
        traceparent=traceparent,
    )


def scan_message(report: ScanReport) -> evidence_pb2.ScanReport:
    """A scan."""
    return evidence_pb2.ScanReport(
        verdict=_VERDICTS[report.verdict],
        files=map(file_message, report.files),
        rules_digest=report.rules_digest,
        scanner_version=_SCANNER_VERSION,
    )


def file_message(report: FileReport) -> evidence_pb2.FileReport:
    """The scan of one file."""
    return evidence_pb2.FileReport(
        path=_text(report.path),
        sha256=report.sha256,
        size_bytes=report.size_bytes,
        format=report.format,
        verdict=_VERDICTS[report.verdict],
        findings=[
            evidence_pb2.Finding(
                rule=finding.rule,
                severity=_SEVERITIES[finding.severity],
                member=_text(finding.member),
                offset=finding.offset,
                message=_text(finding.message),
            )
            for finding in report.findings
        ],
    )


def scan_from(message: evidence_pb2.ScanReport) -> ScanReport:
    """A scan as `scan_message` wrote it."""
    return ScanReport(files=tuple(map(file_from, message.files)), rules_digest=message.rules_digest)


def file_from(message: evidence_pb2.FileReport) -> FileReport:
    """The scan of one file as `file_message` wrote it."""
    return FileReport(
        path=message.path,
        sha256=message.sha256,
        size_bytes=message.size_bytes,
        format=message.format,
        verdict=_back(_VERDICTS, message.verdict),
        findings=tuple(
            Finding(
                f.rule, _back(_SEVERITIES, f.severity), f.member, f.offset if f.HasField("offset") else None, f.message
            )
            for f in message.findings
        ),
    )


def check_message(result: CheckResult) -> evidence_pb2.CheckResult:
    """The evidence of one check; a value or interval that is no number is left out, as if nothing had been measured."""
    message = evidence_pb2.CheckResult(
        name=result.name,
        outcome=_OUTCOMES[result.outcome],
        value=_plain(result.value),
        confidence=result.confidence,
        samples=result.samples,
        method=result.method,
        seed=result.seed,
        reason=_text(result.reason),
        details=_struct(result.details),
    )
    if result.interval is not None and all(map(math.isfinite, (result.interval.low, result.interval.high))):
        message.interval.CopyFrom(evidence_pb2.Interval(low=result.interval.low, high=result.interval.high))
    return message


def check_from(message: evidence_pb2.CheckResult) -> CheckResult:
    """The evidence of one check as `check_message` wrote it."""
    return CheckResult(
        name=message.name,
        outcome=_back(_OUTCOMES, message.outcome),
        value=message.value if message.HasField("value") else None,
        interval=Interval(message.interval.low, message.interval.high) if message.HasField("interval") else None,
        confidence=message.confidence,
        samples=message.samples,
        method=message.method,
        seed=message.seed,
        reason=message.reason,
        details=json_format.MessageToDict(message.details),
    )


def signature_message(report: SignatureReport) -> evidence_pb2.SignatureReport:
    """The check of a signature."""
    return evidence_pb2.SignatureReport(
        outcome=_SIGNATURES[report.outcome],
        publisher=_text(report.publisher),
        method=report.method or "",
        key_id=_text(report.key_id),
        scope=report.scope or "",
        digest=report.digest,
        reason=_text(report.reason),
        publishers_digest=report.publishers_digest,
    )


def signature_from(message: evidence_pb2.SignatureReport) -> SignatureReport:
    """The check of a signature as `signature_message` wrote it."""
    return SignatureReport(
        outcome=_back(_SIGNATURES, message.outcome),
        publisher=message.publisher,
        method=SignatureMethod(message.method) if message.method else None,
        key_id=message.key_id,
        scope=SignatureScope(message.scope) if message.scope else None,
        digest=message.digest,
        reason=message.reason,
        publishers_digest=message.publishers_digest,
    )


def _text(value: str) -> str:
    """Names in hostile files need not be Unicode; protobuf takes nothing else."""
    return value.encode("utf-8", "backslashreplace").decode()


def _struct(details: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(_plain(details))
    return struct


def _plain(value: Any) -> Any:
    """JSON-compatible: a number that JSON cannot write becomes null, a NumPy scalar the Python one."""
    if isinstance(value, Mapping):
        return {_text(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def assessment_message(assessment: Assessment) -> events_pb2.ValidationCompleted:
    """The evidence part of `ValidationCompleted`; who and when is added by `EventWriter`."""
    message = events_pb2.ValidationCompleted(
        scan=scan_message(assessment.scan),
        checks=map(check_message, assessment.checks),
        baseline=[
            evidence_pb2.FeatureBaseline(name=b.name, categories=b.categories, edges=b.edges, counts=b.counts)
            for b in assessment.baseline
        ],
        thresholds_digest=assessment.thresholds_digest,
        signature=signature_message(assessment.signature),
    )
    if assessment.isolation is not None:
        message.isolation.CopyFrom(_isolation_message(assessment.isolation))
    return message


def assessment_from(message: events_pb2.ValidationCompleted) -> Assessment:
    """The evidence as `assessment_message` wrote it."""
    return Assessment(
        scan=scan_from(message.scan),
        checks=tuple(map(check_from, message.checks)),
        isolation=_isolation_from(message.isolation) if message.HasField("isolation") else None,
        baseline=tuple(
            FeatureBaseline(b.name, tuple(b.categories), tuple(b.edges), tuple(b.counts)) for b in message.baseline
        ),
        thresholds_digest=message.thresholds_digest,
        signature=signature_from(message.signature) if message.HasField("signature") else NOT_LOOKED_AT,
    )


def _isolation_message(isolation: Isolation) -> evidence_pb2.Isolation:
    return evidence_pb2.Isolation(
        mechanism=isolation.mechanism,
        landlock_abi=isolation.landlock_abi,
        seccomp=isolation.seccomp,
        degraded=isolation.degraded,
    )


def _isolation_from(message: evidence_pb2.Isolation) -> Isolation:
    return Isolation(message.mechanism, message.landlock_abi, message.seccomp, tuple(message.degraded))


def report_message(report: Report) -> validator_service_pb2.GetReportResponse:
    """A report for callers, and for the store."""
    submission = report.submission
    message = validator_service_pb2.GetReportResponse(
        submission_id=submission.submission_id,
        model=_reference(submission),
        state=_STATES[report.state],
        stage=report.stage,
        checks=map(check_message, report.checks),
        thresholds_digest=report.thresholds_digest,
    )
    if report.scan is not None:
        message.scan.CopyFrom(scan_message(report.scan))
    if report.isolation is not None:
        message.isolation.CopyFrom(_isolation_message(report.isolation))
    if report.signature is not None:
        message.signature.CopyFrom(signature_message(report.signature))
    if report.started_at is not None:
        message.started_at.FromDatetime(report.started_at)
    if report.completed_at is not None:
        message.completed_at.FromDatetime(report.completed_at)
    return message


def evidence_from(message: validator_service_pb2.GetReportResponse) -> Evidence:
    """The measured part of a report as `report_message` wrote it."""
    return Evidence(
        scan=scan_from(message.scan) if message.HasField("scan") else None,
        checks=tuple(map(check_from, message.checks)),
        isolation=_isolation_from(message.isolation) if message.HasField("isolation") else None,
        signature=signature_from(message.signature) if message.HasField("signature") else None,
        thresholds_digest=message.thresholds_digest,
    )


def _reference(submission: Submission) -> model_pb2.ModelReference:
    return model_pb2.ModelReference(model=submission.model, version=submission.version, digest=submission.digest)


class EventWriter:
    """Makes events of facts.

    Args:
        ids: gives each event its id.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids

    def event(self, validated: Validated) -> Event:
        """`ValidationCompleted`."""
        submission, manifest = validated.submission, validated.manifest
        message = assessment_message(validated.assessment)
        message.submission_id = submission.submission_id
        message.model.CopyFrom(_reference(submission))
        message.started_at.FromDatetime(validated.started_at)
        message.completed_at.FromDatetime(validated.completed_at)
        if manifest is not None:
            message.tier = manifest.model.tier.value
            message.task = manifest.model.task.value
            message.has_signature = manifest.signature is not None
            message.datasets = len(manifest.lineage.datasets)
            message.datasets_with_digest = sum(d.sha256 is not None for d in manifest.lineage.datasets)
            message.vendor = manifest.vendor.name if manifest.vendor else ""
            expires = manifest.vendor.contract_expires if manifest.vendor else None
            message.vendor_contract_expires = expires.isoformat() if expires else ""
        return Event(
            id=self._ids.new(),
            source="vallum/validator",
            subject=f"{submission.model}@{submission.version}",
            key=submission.model,
            time=validated.completed_at.astimezone(dt.UTC),
            message=message,
            traceparent=submission.traceparent,
        )


_VERDICTS: Final[Mapping[ScanVerdict, Any]] = {
    v: evidence_pb2.ScanVerdict.Value(f"SCAN_VERDICT_{v.value}") for v in ScanVerdict
}
_SEVERITIES: Final[Mapping[Severity, Any]] = {s: evidence_pb2.Severity.Value(f"SEVERITY_{s.value}") for s in Severity}
_STATES: Final[Mapping[ReportState, Any]] = {
    s: validator_service_pb2.ReportState.Value(f"REPORT_STATE_{s.value}") for s in ReportState
}
_OUTCOMES: Final[Mapping[Outcome, Any]] = {
    o: evidence_pb2.CheckOutcome.Value(f"CHECK_OUTCOME_{o.value}") for o in Outcome
}
_SIGNATURES: Final[Mapping[SignatureOutcome, Any]] = {
    o: evidence_pb2.SignatureOutcome.Value(f"SIGNATURE_OUTCOME_{o.value}") for o in SignatureOutcome
}
_SCANNER_VERSION: Final = importlib.metadata.version("vallum-validator")


def _back(table: Mapping[Any, int], number: int) -> Any:
    for name, value in table.items():
        if value == number:
            return name
    raise Invalid(f"{number} is none of {[str(name) for name in table]}")
