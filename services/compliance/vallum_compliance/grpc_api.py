"""RPC in: parse, call, answer. Decides nothing; the interceptor turns errors into statuses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from vallum.compliance.v1 import compliance_service_pb2 as messages
from vallum.compliance.v1 import compliance_service_pb2_grpc as services
from vallum_compliance import wire
from vallum_compliance.service import AuditLog, Decisions


class ComplianceApi(services.ComplianceServiceServicer):
    """Policies and verdicts.

    Args:
        decisions: the use cases.
    """

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions

    async def GetDecision(
        self, request: messages.GetDecisionRequest, context: grpc.aio.ServicerContext
    ) -> messages.GetDecisionResponse:
        """The decision on a submission, or the newest one on a version."""
        wire.require_decision_name(request)
        decision = await self._decisions.get(
            submission_id=request.submission_id, model=request.model, version=request.version
        )
        return messages.GetDecisionResponse(
            decision=wire.decision_message(decision), scan_attestation=decision.scan_attestation
        )

    async def EvaluatePolicy(
        self, request: messages.EvaluatePolicyRequest, context: grpc.aio.ServicerContext
    ) -> messages.EvaluatePolicyResponse:
        """What the policy in force says of the recorded input of a submission."""
        evaluation = await self._decisions.evaluate(wire.required(request.submission_id, "submission_id"))
        return wire.evaluation_response(evaluation)


class AuditApi(services.AuditServiceServicer):
    """The audit log.

    Args:
        log: the audit log.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def Replay(
        self, request: messages.ReplayRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[messages.ReplayResponse]:
        """Entries in order; with `follow` until the caller's deadline."""
        async for entry in self._log.replay(wire.parse_selection(request), follow=request.follow):
            yield wire.replay_response(entry)
