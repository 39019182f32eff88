"""The only translation between protobuf and the domain, both ways. Incomplete input is refused, naming the field."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, TypeVar

from google.protobuf import json_format, struct_pb2, timestamp_pb2

from vallum.compliance.v1 import compliance_service_pb2, decision_pb2
from vallum.registry.v1 import model_pb2
from vallum.risk.v1 import risk_pb2
from vallum.validator.v1 import events_pb2, evidence_pb2
from vallum_common.bundle import Tier
from vallum_common.bus.event import Event
from vallum_common.clock import Ids
from vallum_common.errors import Invalid
from vallum_compliance.domain.audit import AuditEvent, Entry, Selection
from vallum_compliance.domain.decision import Decision, Evaluation, Judgement, Reason
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
    Validation,
)

SOURCE: Final = "vallum/compliance"

Name = TypeVar("Name", bound=StrEnum)


def parse_validation(message: events_pb2.ValidationCompleted) -> Validation:
    """A validation.

    Raises:
        Invalid: a field policy needs is missing or impossible.
    """
    reference = _reference(message.model)
    return Validation(
        submission_id=_required(message.submission_id, "submission_id"),
        model=Model(
            id=reference.id,
            version=reference.version,
            digest=reference.digest,
            tier=_named(Tier, message.tier, "tier"),
            task=_required(message.task, "task"),
            vendor=message.vendor,
            has_signature=message.has_signature,
        ),
        scan=_scan(message),
        checks=tuple(map(_check, message.checks)),
        isolation=_isolation(message.isolation) if message.HasField("isolation") else None,
    )


def parse_risk(message: risk_pb2.RiskScored) -> RiskAssessment:
    """A scoring.

    Raises:
        Invalid: a field policy needs is missing or impossible.
    """
    profile = message.profile
    return RiskAssessment(
        submission_id=_required(profile.submission_id, "profile.submission_id"),
        model=_reference(profile.model),
        overall=Score(**_score(profile, "overall")),
        categories=tuple(
            CategoryScore(name=_required(category.name, "categories.name"), **_score(category, "score"))
            for category in profile.categories
        ),
        risks=tuple(
            RiskScore(name=_required(risk.name, "risks.name"), measured=risk.measured, **_score(risk, "score"))
            for risk in profile.risks
        ),
    )


def parse_audit_event(event: Event) -> AuditEvent:
    """What the audit log keeps of an event.

    Raises:
        Invalid: the event was not received from Kafka, so there is nothing to keep.
    """
    record = event.record
    if record is None:
        raise Invalid(f"event {event.id!r} has no record; only what was received from Kafka is audited")
    return AuditEvent(
        id=event.id,
        type=event.type,
        source=event.source,
        subject=event.subject,
        time=event.time,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        headers=tuple((name, value.decode()) for name, value in record.headers),
        data=record.value or b"",
    )


def parse_selection(request: compliance_service_pb2.ReplayRequest) -> Selection:
    """Which entries a replay shows.

    Raises:
        Invalid: the index is negative.
    """
    if request.from_index < 0:
        raise Invalid(f"from_index is {request.from_index!r}; the first entry has 0", field="from_index")
    since = request.since.ToDatetime(dt.UTC) if request.HasField("since") else None
    return Selection(request.from_index, since, request.model)


def require_decision_name(request: compliance_service_pb2.GetDecisionRequest) -> None:
    """Refuse a request that names neither a submission nor a version.

    Raises:
        Invalid: so it is.
    """
    if not request.submission_id and not (request.model and request.version):
        raise Invalid("give submission_id, or model and version", field="submission_id")


def require_submission(submission_id: str) -> str:
    """The id, unless it is empty.

    Raises:
        Invalid: it is.
    """
    return _required(submission_id, "submission_id")


def decision_message(decision: Decision) -> decision_pb2.ComplianceDecided:
    """The fact that was decided."""
    model = decision.model
    return decision_pb2.ComplianceDecided(
        submission_id=decision.submission_id,
        model=model_pb2.ModelReference(model=model.id, version=model.version, digest=model.digest),
        verdict=_verdict(decision.judgement),
        reasons=_reasons(decision.judgement.reasons),
        policy_digest=decision.policy_digest,
        input_digest=decision.policy_input.digest,
        attestation=decision.attestation,
        decided_at=_timestamp(decision.decided_at),
    )


def evaluation_response(evaluation: Evaluation) -> compliance_service_pb2.EvaluatePolicyResponse:
    """What the policy in force says of a recorded input."""
    policy_input = evaluation.recorded.policy_input
    return compliance_service_pb2.EvaluatePolicyResponse(
        verdict=_verdict(evaluation.judgement),
        reasons=_reasons(evaluation.judgement.reasons),
        policy_digest=evaluation.policy_digest,
        input_digest=policy_input.digest,
        input=_struct(policy_input.document()),
        agrees=evaluation.agrees,
    )


def replay_response(entry: Entry) -> compliance_service_pb2.ReplayResponse:
    """An entry of the audit log."""
    event = entry.event
    return compliance_service_pb2.ReplayResponse(
        index=entry.index,
        type=event.type,
        id=event.id,
        source=event.source,
        subject=event.subject,
        time=_timestamp(event.time),
        data=event.data,
        topic=event.topic,
        recorded_at=_timestamp(entry.recorded_at),
    )


class EventWriter:
    """Makes events of decisions.

    Args:
        ids: for the events.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids

    def event(self, decision: Decision) -> Event:
        """The event that tells of a decision."""
        return Event(
            id=self._ids.new(),
            source=SOURCE,
            subject=f"{decision.model.id}@{decision.model.version}",
            key=decision.model.id,
            time=decision.decided_at,
            message=decision_message(decision),
        )


def _reference(message: model_pb2.ModelReference) -> ModelReference:
    return ModelReference(
        _required(message.model, "model.model"),
        _required(message.version, "model.version"),
        _required(message.digest, "model.digest"),
    )


def _scan(message: events_pb2.ValidationCompleted) -> Scan:
    if not message.HasField("scan"):
        return Scan(ScanVerdict.UNKNOWN, ())  # nothing was scanned, as the contract says
    return Scan(_scan_verdict(message.scan.verdict, "scan.verdict"), tuple(map(_file, message.scan.files)))


def _file(message: evidence_pb2.FileReport) -> FileScan:
    findings = tuple(
        Finding(
            _required(finding.rule, "findings.rule"),
            _enum_name(evidence_pb2.Severity, "SEVERITY_", finding.severity, "findings.severity"),
        )
        for finding in message.findings
    )
    path = _required(message.path, "files.path")
    return FileScan(path, message.format, _scan_verdict(message.verdict, "files.verdict"), findings)


def _scan_verdict(value: int, field: str) -> ScanVerdict:
    return ScanVerdict(_enum_name(evidence_pb2.ScanVerdict, "SCAN_VERDICT_", value, field))


def _check(message: evidence_pb2.CheckResult) -> Check:
    name = _required(message.name, "checks.name")
    measured = message.HasField("interval")
    return Check(
        name=name,
        outcome=Outcome(_enum_name(evidence_pb2.CheckOutcome, "CHECK_OUTCOME_", message.outcome, f"{name}.outcome")),
        value=_finite(message.value, f"{name}.value") if message.HasField("value") else None,
        low=_finite(message.interval.low, f"{name}.interval.low") if measured else None,
        high=_finite(message.interval.high, f"{name}.interval.high") if measured else None,
        samples=message.samples,
        reason=message.reason,
    )


def _isolation(message: evidence_pb2.Isolation) -> Isolation:
    mechanism = _required(message.mechanism, "isolation.mechanism")
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


def _required(value: str, field: str) -> str:
    if not value:
        raise Invalid(f"{field!r} is empty; it must be given", field=field)
    if "\x00" in value:
        raise Invalid(f"{field} is {value!r}; a zero character cannot be kept", field=field)
    return value


def _finite(value: float, field: str) -> float:
    if not math.isfinite(value):
        raise Invalid(f"{field} is {value!r}; it must be a number", field=field)
    return value


def _named(names: type[Name], value: str, field: str) -> Name:
    try:
        return names(value)
    except ValueError:
        raise Invalid(f"{field} is {value!r}; it must be one of {[str(name) for name in names]}", field=field) from None


def _enum_name(enum: Any, prefix: str, value: int, field: str) -> str:
    known: dict[int, str] = {number: name.removeprefix(prefix) for name, number in enum.items()}
    if not known.get(value) or value == 0:  # the zero of an enum means that nobody set it
        raise Invalid(f"{field} is {known.get(value, value)!r}; it must be set to a known value", field=field)
    return known[value]


def _verdict(judgement: Judgement) -> str:
    return f"VERDICT_{judgement.verdict}"


def _reasons(reasons: Iterable[Reason]) -> list[decision_pb2.Reason]:
    return [
        decision_pb2.Reason(
            rule=reason.rule, severity=reason.severity, message=reason.message, values=_struct(reason.values)
        )
        for reason in reasons
    ]


def _struct(document: Any) -> struct_pb2.Struct:
    return json_format.ParseDict(document, struct_pb2.Struct())


def _timestamp(moment: dt.datetime) -> timestamp_pb2.Timestamp:
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message
