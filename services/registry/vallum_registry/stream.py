"""Events in: parse, call."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from google.protobuf.message import Message

from vallum.compliance.v1 import decision_pb2
from vallum.monitor.v1 import events_pb2
from vallum_common.bus.consumer import Handler
from vallum_common.bus.event import Event
from vallum_common.database import Transaction
from vallum_registry import wire
from vallum_registry.service.decisions import Decisions
from vallum_registry.service.ports import Unit


def handlers(decisions: Decisions, within: Callable[[Transaction], Unit]) -> Mapping[type[Message], Handler]:
    """What the registry hears, and what it does then.

    Args:
        decisions: the use cases.
        within: makes a unit of a consumer's transaction.
    """

    async def compliance_decided(transaction: Transaction, event: Event) -> None:
        assert isinstance(event.message, decision_pb2.ComplianceDecided)
        await decisions.decide(within(transaction), wire.decision_from(event.message))

    async def correction_requested(transaction: Transaction, event: Event) -> None:
        assert isinstance(event.message, events_pb2.CorrectionRequested)
        await decisions.correct(within(transaction), wire.correction_from(event.message))

    return {
        decision_pb2.ComplianceDecided: compliance_decided,
        events_pb2.CorrectionRequested: correction_requested,
    }
