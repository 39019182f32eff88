"""Evidence in: what validator and risk say, as values. Incomplete events are refused, naming the field."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any, TypeVar

from vallum.registry.v1 import model_pb2
from vallum.risk.v1 import risk_pb2
from vallum.validator.v1 import events_pb2, evidence_pb2
from vallum_common.bundle import Tier
from vallum_common.errors import Invalid
from vallum_compliance.domain.evidence import (
    CategoryScore,
    Check,
    FileScan,
    Finding,
    Isolation,
    Model,
    ModelReference,
    Outcome,
    RiskAssessment,
    RiskScore,
    Scan,
    ScanVerdict,
    Score,
    Signature,
    SignatureOutcome,
    Validation,
)
from vallum_compliance.wire.fields import enum_name, required
from vallum_compliance.wire.scan import scan_predicate

Name = TypeVar("Name", bound=StrEnum)


def parse_validation(message: events_pb2.ValidationCompleted) -> Validation:
    """A validation.

    Raises:
        Invalid: a field policy needs is missing or impossible.
    """
    reference = _reference(message.model)
    return Validation(
        submission_id=required(message.submission_id, "submission_id"),
        model=Model(
            id=reference.id,
            version=reference.version,
            digest=reference.digest,
            tier=_named(Tier, message.tier, "tier"),
            task=required(message.task, "task"),
            vendor=message.vendor,
            has_signature=message.has_signature,
        ),
        signature=_signature(message),
        scan=_scan(message),
        checks=tuple(map(_check, message.checks)),
        isolation=_isolation(message.isolation) if message.HasField("isolation") else None,
        scan_predicate=scan_predicate(message),
    )


def parse_risk(message: risk_pb2.RiskScored) -> RiskAssessment:
    """A scoring.

    Raises:
        Invalid: a field policy needs is missing or impossible.
    """
    profile = message.profile
    return RiskAssessment(
        submission_id=required(profile.submission_id, "profile.submission_id"),
        model=_reference(profile.model),
        overall=Score(**_score(profile, "overall")),
        categories=tuple(
            CategoryScore(name=required(category.name, "categories.name"), **_score(category, "score"))
            for category in profile.categories
        ),
        risks=tuple(
            RiskScore(name=required(risk.name, "risks.name"), measured=risk.measured, **_score(risk, "score"))
            for risk in profile.risks
        ),
    )


def _reference(message: model_pb2.ModelReference) -> ModelReference:
    return ModelReference(
        required(message.model, "model.model"),
        required(message.version, "model.version"),
        required(message.digest, "model.digest"),
    )


def _signature(message: events_pb2.ValidationCompleted) -> Signature:
    if not message.HasField("signature"):  # from a validator that does not look yet
        return Signature(SignatureOutcome.UNKNOWN if message.has_signature else SignatureOutcome.NOT_SIGNED)
    told = message.signature
    outcome = enum_name(evidence_pb2.SignatureOutcome, "SIGNATURE_OUTCOME_", told.outcome, "signature.outcome")
    if outcome == SignatureOutcome.VERIFIED and told.digest != message.model.digest:
        raise Invalid(
            f"signature.digest is {told.digest!r}, model.digest {message.model.digest!r}; a signature that is verified "
            "is about the model",
            field="signature.digest",
        )
    return Signature(
        outcome=SignatureOutcome(outcome),
        publisher=told.publisher,
        method=told.method,
        key_id=told.key_id,
        scope=told.scope,
        reason=told.reason,
        publishers_digest=told.publishers_digest,
    )


def _scan(message: events_pb2.ValidationCompleted) -> Scan:
    if not message.HasField("scan"):
        return Scan(ScanVerdict.UNKNOWN, ())  # nothing was scanned, as the contract says
    return Scan(_scan_verdict(message.scan.verdict, "scan.verdict"), tuple(map(_file, message.scan.files)))


def _file(message: evidence_pb2.FileReport) -> FileScan:
    findings = tuple(
        Finding(
            required(finding.rule, "findings.rule"),
            enum_name(evidence_pb2.Severity, "SEVERITY_", finding.severity, "findings.severity"),
        )
        for finding in message.findings
    )
    path = required(message.path, "files.path")
    return FileScan(path, message.format, _scan_verdict(message.verdict, "files.verdict"), findings)


def _scan_verdict(value: int, field: str) -> ScanVerdict:
    return ScanVerdict(enum_name(evidence_pb2.ScanVerdict, "SCAN_VERDICT_", value, field))


def _check(message: evidence_pb2.CheckResult) -> Check:
    name = required(message.name, "checks.name")
    measured = message.HasField("interval")
    return Check(
        name=name,
        outcome=Outcome(enum_name(evidence_pb2.CheckOutcome, "CHECK_OUTCOME_", message.outcome, f"{name}.outcome")),
        value=_finite(message.value, f"{name}.value") if message.HasField("value") else None,
        low=_finite(message.interval.low, f"{name}.interval.low") if measured else None,
        high=_finite(message.interval.high, f"{name}.interval.high") if measured else None,
        samples=message.samples,
        reason=message.reason,
    )


def _isolation(message: evidence_pb2.Isolation) -> Isolation:
    mechanism = required(message.mechanism, "isolation.mechanism")
    return Isolation(mechanism, message.landlock_abi, message.seccomp, tuple(message.degraded))


def _score(owner: Any, field: str) -> dict[str, float]:
    if not owner.HasField(field):
        raise Invalid(f"the event lacks {field!r}", field=field)
    score: risk_pb2.Score = getattr(owner, field)
    if not score.HasField("interval"):
        raise Invalid(f"the event lacks {field + '.interval'!r}", field=field)
    values = {
        "score": score.score,
        "low": score.interval.low,
        "high": score.interval.high,
        "probability_high": score.probability_high,
    }
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise Invalid(f"{field}.{name} is {value!r}; it must lie between 0 and 1", field=field)
    return values


def _finite(value: float, field: str) -> float:
    if not math.isfinite(value):
        raise Invalid(f"{field} is {value!r}; it must be a number", field=field)
    return value


def _named(names: type[Name], value: str, field: str) -> Name:
    try:
        return names(value)
    except ValueError:
        raise Invalid(f"{field} is {value!r}; it must be one of {[str(name) for name in names]}", field=field) from None
