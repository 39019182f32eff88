"""Events in: parse, call."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from google.protobuf.message import Message

from vallum.monitor.v1 import events_pb2 as monitor_pb2
from vallum.validator.v1 import events_pb2 as validator_pb2
from vallum_common.bus.consumer import Handler
from vallum_common.bus.event import Event
from vallum_common.database import Transaction
from vallum_risk import wire
from vallum_risk.service import RiskRegister, Unit


def handlers(register: RiskRegister, within: Callable[[Transaction], Unit]) -> Mapping[type[Message], Handler]:
    """What risk hears, and what it does then.

    Args:
        register: the use cases.
        within: makes a unit of a consumer's transaction.
    """

    async def validation_completed(transaction: Transaction, event: Event) -> None:
        assert isinstance(event.message, validator_pb2.ValidationCompleted)
        await register.record_validation(within(transaction), wire.evidence_from(event.message), cause=event.id)

    async def alert_raised(transaction: Transaction, event: Event) -> None:
        assert isinstance(event.message, monitor_pb2.AlertRaised)
        reference = wire.alert_from(event.message)
        if reference is not None:
            await register.record_alert(within(transaction), reference, cause=event.id)

    return {validator_pb2.ValidationCompleted: validation_completed, monitor_pb2.AlertRaised: alert_raised}
