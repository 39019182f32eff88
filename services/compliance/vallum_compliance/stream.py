"""Events in: parse, call. Which event is heard by whom; the bus commits, retries and puts aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from google.protobuf.message import Message

from vallum.risk.v1.risk_pb2 import RiskScored
from vallum.validator.v1.events_pb2 import ValidationCompleted
from vallum_common.bus.consumer import BatchHandler, Handler
from vallum_common.bus.event import Event
from vallum_common.database import Transaction
from vallum_compliance import wire
from vallum_compliance.service import AuditLog, AuditUnit, Decisions, DecisionUnit


def decision_handlers(
    decisions: Decisions, within: Callable[[Transaction], DecisionUnit]
) -> Mapping[type[Message], Handler]:
    """What the consumer `compliance` does with each event.

    Args:
        decisions: the use cases.
        within: makes a unit of the bus's transaction.
    """

    async def validation_completed(transaction: Transaction, event: Event) -> None:
        assert isinstance(event.message, ValidationCompleted)
        await decisions.hear_validation(within(transaction), wire.parse_validation(event.message))

    async def risk_scored(transaction: Transaction, event: Event) -> None:
        assert isinstance(event.message, RiskScored)
        await decisions.hear_risk(within(transaction), wire.parse_risk(event.message))

    return {ValidationCompleted: validation_completed, RiskScored: risk_scored}


def audit_handler(log: AuditLog, within: Callable[[Transaction], AuditUnit]) -> BatchHandler:
    """What the consumer `audit` does with whatever was heard: it records a batch as one.

    Args:
        log: the audit log.
        within: makes a unit of the bus's transaction.
    """

    async def record(transaction: Transaction, events: Sequence[Event]) -> None:
        await log.append(within(transaction), [wire.parse_audit_event(event) for event in events])

    return record
