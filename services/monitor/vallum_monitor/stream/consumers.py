"""What the consumers `monitor` and `monitor-correction` do with each event. They know nothing of each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from google.protobuf.message import Message

from vallum.compliance.v1.decision_pb2 import ComplianceDecided
from vallum.monitor.v1.events_pb2 import AlertRaised, InferenceObserved
from vallum.registry.v1.events_pb2 import CorrectionApplied, DeploymentChanged
from vallum.risk.v1.risk_pb2 import RiskScored
from vallum.validator.v1.events_pb2 import ValidationCompleted
from vallum_common.bus.consumer import Handler
from vallum_common.bus.event import Event
from vallum_common.database import Transaction
from vallum_monitor import wire
from vallum_monitor.service.correcting import Correcting
from vallum_monitor.service.detection import Detection
from vallum_monitor.service.knowledge import Knowledge
from vallum_monitor.service.ports import Unit

Within = Callable[[Transaction], Unit]
"""Makes a unit of the bus's transaction."""

Fact = TypeVar("Fact")


def knowledge_handlers(knowledge: Knowledge, within: Within) -> Mapping[type[Message], Handler]:
    """Facts that are kept."""
    return {
        DeploymentChanged: _handler(wire.deployment_from, knowledge.deployment_changed, within),
        ValidationCompleted: _handler(wire.validation_from, knowledge.validation_completed, within),
        RiskScored: _handler(wire.risk_from, knowledge.risk_scored, within),
        ComplianceDecided: _handler(wire.decision_from, knowledge.compliance_decided, within),
        CorrectionApplied: _handler(wire.correction_result_from, knowledge.correction_applied, within),
    }


def correction_handlers(correcting: Correcting, within: Within) -> Mapping[type[Message], Handler]:
    """Alerts that may ask for a correction."""
    return {AlertRaised: _handler(wire.alert_from, correcting.alert_raised, within)}


def detection_handlers(detection: Detection, within: Within) -> Mapping[type[Message], Handler]:
    """Traffic for the detectors; Faust brings it."""
    return {InferenceObserved: _handler(wire.observation_from, detection.observe, within)}


def _handler(parse: Callable[..., Fact], call: Callable[[Unit, Fact], Awaitable[None]], within: Within) -> Handler:
    async def handle(transaction: Transaction, event: Event) -> None:
        await call(within(transaction), parse(event.message))

    return handle
