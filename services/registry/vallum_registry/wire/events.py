"""Events in and out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

from google.protobuf.message import Message

from vallum.compliance.v1 import decision_pb2
from vallum.monitor.v1 import events_pb2 as monitor_pb2
from vallum.registry.v1 import events_pb2
from vallum_common.bus.event import Event
from vallum_common.clock import Ids
from vallum_common.errors import Invalid
from vallum_registry.domain.corrections import Correction, CorrectionAction, CorrectionOutcome
from vallum_registry.domain.facts import CorrectionApplied, DeploymentChanged, Fact, ModelSubmitted
from vallum_registry.domain.models import MAX_REASON, Decision, ModelReference
from vallum_registry.domain.states import Verdict
from vallum_registry.wire.answers import deployment_state, file_messages, reference_message, timestamp
from vallum_registry.wire.requests import checked_sha256, checked_text, version_from

_SOURCE: Final = "vallum/registry"
_VERDICTS: Final = {getattr(decision_pb2, f"VERDICT_{verdict.name}"): verdict for verdict in Verdict}
_ACTIONS: Final = {getattr(monitor_pb2, f"CORRECTION_ACTION_{action.name}"): action for action in CorrectionAction}

_OUTCOMES: Final[Mapping[CorrectionOutcome, events_pb2.CorrectionOutcome]] = {
    outcome: getattr(events_pb2, f"CORRECTION_OUTCOME_{outcome.name}") for outcome in CorrectionOutcome
}


def decision_from(message: decision_pb2.ComplianceDecided) -> Decision:
    """A verdict.

    Raises:
        Invalid: it does not say on what, or what.
    """
    if not message.submission_id:
        raise Invalid("ComplianceDecided needs submission_id", field="submission_id")
    if message.verdict not in _VERDICTS:
        raise Invalid(f"ComplianceDecided has no known verdict: {message.verdict}", field="verdict")
    rules = ", ".join(reason.rule for reason in message.reasons) or "no rule fired"
    return Decision(
        submission_id=checked_text("submission_id", message.submission_id),
        digest=checked_sha256(message.model.digest),
        verdict=_VERDICTS[message.verdict],
        summary=_shortened(f"policy {message.policy_digest}: {rules}"),
        attestation=message.attestation,
    )


def correction_from(message: monitor_pb2.CorrectionRequested) -> Correction:
    """A correction.

    Raises:
        Invalid: it does not say of what, or what to do.
    """
    if not message.correction_id:
        raise Invalid("CorrectionRequested needs correction_id", field="correction_id")
    if message.action not in _ACTIONS:
        raise Invalid(f"CorrectionRequested has no known action: {message.action}", field="action")
    named = version_from(message.model)
    return Correction(
        correction_id=checked_text("correction_id", message.correction_id),
        alert_id=checked_text("alert_id", message.alert_id),
        reference=ModelReference(named.model, named.version, message.model.digest),
        environment=message.environment,
        action=_ACTIONS[message.action],
        reason=_shortened(message.reason),
    )


def _shortened(text: str) -> str:
    return checked_text("reason", text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 1]}…")


class EventWriter:
    """Makes events of facts.

    Args:
        ids: for the events.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids

    def event(self, fact: Fact) -> Event:
        """The event that tells a fact."""
        match fact:
            case ModelSubmitted():
                reference, time = fact.submission.reference, fact.submission.submitted_at
                return self._event(reference, time, _model_submitted(fact))
            case DeploymentChanged():
                return self._event(fact.deployment.reference, fact.deployment.changed_at, _deployment_changed(fact))
            case CorrectionApplied():
                return self._event(fact.correction.reference, fact.at, _correction_applied(fact))

    def _event(self, reference: ModelReference, time: dt.datetime, message: Message) -> Event:
        return Event(
            id=self._ids.new(),
            source=_SOURCE,
            subject=reference.name,
            key=reference.model,
            time=time,
            message=message,
        )


def _model_submitted(fact: ModelSubmitted) -> events_pb2.ModelSubmitted:
    submission = fact.submission
    return events_pb2.ModelSubmitted(
        submission_id=submission.submission_id,
        model=reference_message(submission.reference),
        manifest=fact.manifest,
        files=file_messages(submission.files),
        submitted_by=submission.submitted_by,
        submitted_at=timestamp(submission.submitted_at),
    )


def _deployment_changed(fact: DeploymentChanged) -> events_pb2.DeploymentChanged:
    deployment = fact.deployment
    return events_pb2.DeploymentChanged(
        deployment_id=deployment.deployment_id,
        model=reference_message(deployment.reference),
        environment=deployment.environment,
        state=deployment_state(deployment.state),
        other=None if fact.other is None else reference_message(fact.other),
        actor=fact.cause.actor,
        reason=fact.cause.reason,
        changed_at=timestamp(deployment.changed_at),
        submission_id=deployment.submission_id,
    )


def _correction_applied(fact: CorrectionApplied) -> events_pb2.CorrectionApplied:
    correction = fact.correction
    return events_pb2.CorrectionApplied(
        correction_id=correction.correction_id,
        model=reference_message(correction.reference),
        environment=correction.environment,
        outcome=_OUTCOMES[fact.outcome],
        reason=fact.reason,
        applied_at=timestamp(fact.at),
        alert_id=correction.alert_id,
    )
