"""Decisions out: as a fact on Kafka and as answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import json_format, struct_pb2

from vallum.compliance.v1 import compliance_service_pb2, decision_pb2
from vallum.registry.v1 import model_pb2
from vallum_common.bus.event import Event
from vallum_common.clock import Ids
from vallum_common.errors import Invalid
from vallum_compliance.domain.decision import Decision, Evaluation, Judgement, Reason
from vallum_compliance.wire.times import timestamp

SOURCE: Final = "vallum/compliance"


def require_decision_name(request: compliance_service_pb2.GetDecisionRequest) -> None:
    """Refuse a request that names neither a submission nor a version.

    Raises:
        Invalid: so it is.
    """
    if not request.submission_id and not (request.model and request.version):
        raise Invalid("give submission_id, or model and version", field="submission_id")


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
        decided_at=timestamp(decision.decided_at),
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
