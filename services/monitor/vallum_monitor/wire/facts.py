"""Facts of others, and our own as they come back from Kafka."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import json_format

from vallum.compliance.v1 import decision_pb2
from vallum.monitor.v1 import events_pb2 as monitor_pb2
from vallum.registry.v1 import events_pb2 as registry_pb2
from vallum.registry.v1 import model_pb2
from vallum.risk.v1 import risk_pb2
from vallum.validator.v1 import events_pb2 as validator_pb2
from vallum.validator.v1 import evidence_pb2
from vallum_common.errors import Invalid
from vallum_monitor.domain.alerts import Alert, CorrectionOutcome, CorrectionResult
from vallum_monitor.domain.models import (
    Decision,
    Deployment,
    DeploymentState,
    FeatureBaseline,
    RiskScore,
    Severity,
    Validation,
)
from vallum_monitor.domain.traffic import Batch, Column, Observation
from vallum_monitor.wire.fields import moment, named, printable, reference, share, text

_CONCLUSIVE = (evidence_pb2.CHECK_OUTCOME_PASS, evidence_pb2.CHECK_OUTCOME_FAIL)
_APPROVALS = (decision_pb2.VERDICT_APPROVED, decision_pb2.VERDICT_APPROVED_WITH_CONDITIONS)


def deployment_from(message: registry_pb2.DeploymentChanged) -> Deployment:
    """A deployment.

    Raises:
        Invalid: a field is missing.
    """
    return Deployment(
        deployment_id=text(message.deployment_id, "deployment_id"),
        reference=reference(message.model),
        environment=text(message.environment, "environment"),
        state=named(DeploymentState, model_pb2.DeploymentState, "DEPLOYMENT_STATE_", message.state, "state"),
        changed_at=moment(message, "changed_at"),
        submission_id=text(message.submission_id, "submission_id"),
    )


def validation_from(message: validator_pb2.ValidationCompleted) -> Validation:
    """A validation.

    Raises:
        Invalid: a field is missing, or the baseline does not fit itself.
    """
    return Validation(
        submission_id=text(message.submission_id, "submission_id"),
        reference=reference(message.model),
        checks=len(message.checks),
        conclusive=sum(check.outcome in _CONCLUSIVE for check in message.checks),
        baseline=tuple(map(_feature, message.baseline)),
    )


def _feature(message: evidence_pb2.FeatureBaseline) -> FeatureBaseline:
    return FeatureBaseline(
        name=text(message.name, "baseline.name"),
        categories=tuple(printable(category, "baseline.categories") for category in message.categories),
        edges=tuple(message.edges),
        counts=tuple(message.counts),
    )


def risk_from(message: risk_pb2.RiskScored) -> RiskScore:
    """The overall risk.

    Raises:
        Invalid: a field is missing or impossible.
    """
    profile = message.profile
    if not profile.overall.HasField("interval"):
        raise Invalid("'profile.overall.interval' is not set; it must be given", field="profile.overall.interval")
    return RiskScore(
        submission_id=text(profile.submission_id, "profile.submission_id"),
        upper_bound=share(profile.overall.interval.high, "profile.overall.interval.high"),
        probability_high=share(profile.overall.probability_high, "profile.overall.probability_high"),
        scored_at=moment(profile, "scored_at"),
    )


def decision_from(message: decision_pb2.ComplianceDecided) -> Decision:
    """A decision.

    Raises:
        Invalid: a field is missing.
    """
    if message.verdict == decision_pb2.VERDICT_UNSPECIFIED:
        raise Invalid("'verdict' is not set; it must be given", field="verdict")
    return Decision(
        submission_id=text(message.submission_id, "submission_id"),
        reference=reference(message.model),
        allows_deployment=message.verdict in _APPROVALS,
        decided_at=moment(message, "decided_at"),
    )


def correction_result_from(message: registry_pb2.CorrectionApplied) -> CorrectionResult:
    """What became of a correction.

    Raises:
        Invalid: a field is missing.
    """
    outcome = named(
        CorrectionOutcome, registry_pb2.CorrectionOutcome, "CORRECTION_OUTCOME_", message.outcome, "outcome"
    )
    return CorrectionResult(text(message.correction_id, "correction_id"), outcome, moment(message, "applied_at"))


def observation_from(message: monitor_pb2.InferenceObserved) -> Observation:
    """A batch that was answered.

    Raises:
        Invalid: a field is missing, or the columns do not fit each other.
    """
    batch = Batch(
        batch_id=text(message.batch_id, "batch_id"),
        columns=columns_from(message.columns),
        predictions=message.predictions,
        clients=message.clients,
    )
    if batch.rows != message.rows:
        raise Invalid(f"{batch} says that it has {message.rows} rows, but its columns have {batch.rows}", field="rows")
    return Observation(
        batch=batch,
        reference=reference(message.model),
        environment=text(message.environment, "environment"),
        observed_at=moment(message, "observed_at"),
    )


def columns_from(messages: Sequence[monitor_pb2.Column]) -> tuple[Column, ...]:
    """Columns of a batch; their entries are not copied."""
    return tuple(Column(column.name, column.numbers, column.texts) for column in messages)


def alert_from(message: monitor_pb2.AlertRaised) -> Alert:
    """An alert.

    Raises:
        Invalid: a field is missing.
    """
    return Alert(
        alert_id=text(message.alert_id, "alert_id"),
        deployment_id=text(message.deployment_id, "deployment_id"),
        reference=reference(message.model),
        environment=text(message.environment, "environment"),
        detector=text(message.detector, "detector"),
        severity=named(Severity, evidence_pb2.Severity, "SEVERITY_", message.severity, "severity"),
        confirmed=message.confirmed,
        message=printable(message.message, "message"),
        evidence=json_format.MessageToDict(message.evidence),
        raised_at=moment(message, "raised_at"),
    )
