"""Protobuf to domain and back."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator

from vallum.monitor.v1 import events_pb2 as monitor_pb2
from vallum.registry.v1 import model_pb2
from vallum.risk.v1 import risk_pb2
from vallum.validator.v1 import events_pb2, evidence_pb2
from vallum_common.bus.event import Event
from vallum_common.clock import Ids
from vallum_common.errors import Invalid
from vallum_risk.domain import (
    Count,
    Driver,
    Evidence,
    EvidenceValue,
    Measurement,
    ModelReference,
    Recommendation,
    Risk,
    RiskProfile,
    Score,
    Sign,
)

_SCAN_SIGNS = {
    evidence_pb2.SCAN_VERDICT_CLEAN: Sign.GOOD,
    evidence_pb2.SCAN_VERDICT_MALICIOUS: Sign.BAD,
    evidence_pb2.SCAN_VERDICT_UNKNOWN: Sign.UNKNOWN,
    evidence_pb2.SCAN_VERDICT_UNSPECIFIED: Sign.UNKNOWN,
}

_TOLD = (evidence_pb2.CHECK_OUTCOME_PASS, evidence_pb2.CHECK_OUTCOME_FAIL)


def reference_from(message: model_pb2.ModelReference) -> ModelReference:
    """A reference.

    Raises:
        Invalid: model, version or digest is missing.
    """
    if not (message.model and message.version and message.digest):
        raise Invalid(f"a model reference needs model, version and digest, got {message.model!r}@{message.version!r}")
    return ModelReference(message.model, message.version, message.digest)


def evidence_from(message: events_pb2.ValidationCompleted) -> Evidence:
    """What a validation says, as evidence by name.

    Raises:
        Invalid: it does not say of which submission, or holds a number that is none.
    """
    if not message.submission_id:
        raise Invalid("ValidationCompleted needs submission_id")
    return Evidence(
        reference=reference_from(message.model),
        submission_id=message.submission_id,
        tier=message.tier,
        items=dict(_items(message)),
    )


def _items(message: events_pb2.ValidationCompleted) -> Iterator[tuple[str, EvidenceValue]]:
    yield "scan", _SCAN_SIGNS.get(message.scan.verdict, Sign.UNKNOWN)
    could_not_tell = 0
    for check in message.checks:
        could_not_tell += check.outcome not in _TOLD
        if check.HasField("value") and check.HasField("interval"):
            numbers = (check.value, check.interval.low, check.interval.high, check.confidence)
            is_ordered = check.interval.low <= check.interval.high
            if not (all(map(math.isfinite, numbers)) and is_ordered and 0 < check.confidence < 1):
                raise Invalid(f"check {check.name!r} has the value, interval and confidence {numbers}")
            yield f"checks.{check.name}", Measurement(*numbers)
    yield "validation.inconclusive", Count(bad=could_not_tell, trials=len(message.checks))
    without = message.datasets - message.datasets_with_digest
    if not 0 <= without <= message.datasets:
        raise Invalid(f"{message.datasets_with_digest} of {message.datasets} data sets cannot have a digest")
    if message.datasets:
        yield "lineage.without_digest", Count(bad=without, trials=message.datasets)
    if message.vendor:
        vouched_for = message.signature.outcome == evidence_pb2.SIGNATURE_OUTCOME_VERIFIED
        yield "vendor.unsigned", Sign.GOOD if vouched_for else Sign.BAD


def alert_from(message: monitor_pb2.AlertRaised) -> ModelReference | None:
    """The version a confirmed alert is about; `None` for an alert that is not confirmed."""
    return reference_from(message.model) if message.confirmed else None


def _score(score: Score) -> risk_pb2.Score:
    return risk_pb2.Score(
        score=score.score,
        interval=evidence_pb2.Interval(low=score.low, high=score.high),
        probability_high=score.probability_high,
    )


def _score_from(message: risk_pb2.Score) -> Score:
    return Score(message.score, message.interval.low, message.interval.high, message.probability_high)


def profile_message(profile: RiskProfile) -> risk_pb2.RiskProfile:
    """A profile for callers and other services."""
    message = risk_pb2.RiskProfile(
        model=model_pb2.ModelReference(
            model=profile.reference.model, version=profile.reference.version, digest=profile.reference.digest
        ),
        submission_id=profile.submission_id,
        overall=_score(profile.overall),
        categories=[risk_pb2.Category(name=name, score=_score(score)) for name, score in profile.categories.items()],
        risks=[_risk(risk) for risk in profile.risks],
        recommendations=[risk_pb2.Recommendation(risk=r.risk, action=r.action) for r in profile.recommendations],
        risk_model_digest=profile.risk_model_digest,
        cause_event_id=profile.cause_event_id,
    )
    message.scored_at.FromDatetime(profile.scored_at)
    return message


def _risk(risk: Risk) -> risk_pb2.Risk:
    return risk_pb2.Risk(
        name=risk.name,
        category=risk.category,
        score=_score(risk.score),
        measured=risk.measured,
        drivers=[risk_pb2.Driver(evidence=d.evidence, contribution=d.contribution) for d in risk.drivers],
    )


def profile_from(message: risk_pb2.RiskProfile) -> RiskProfile:
    """A profile as it was written by `profile_message`."""
    return RiskProfile(
        reference=reference_from(message.model),
        submission_id=message.submission_id,
        overall=_score_from(message.overall),
        categories={category.name: _score_from(category.score) for category in message.categories},
        risks=tuple(
            Risk(
                name=risk.name,
                score=_score_from(risk.score),
                measured=risk.measured,
                drivers=tuple(Driver(d.evidence, d.contribution) for d in risk.drivers),
            )
            for risk in message.risks
        ),
        recommendations=tuple(Recommendation(r.risk, r.action) for r in message.recommendations),
        risk_model_digest=message.risk_model_digest,
        scored_at=message.scored_at.ToDatetime(tzinfo=dt.UTC),
        cause_event_id=message.cause_event_id,
    )


class EventWriter:
    """Makes events of profiles.

    Args:
        ids: gives each event its id.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids

    def event(self, profile: RiskProfile) -> Event:
        """`RiskScored`."""
        return Event(
            id=self._ids.new(),
            source="vallum/risk",
            subject=f"{profile.reference.model}@{profile.reference.version}",
            key=profile.reference.model,
            time=profile.scored_at,
            message=risk_pb2.RiskScored(profile=profile_message(profile)),
        )
