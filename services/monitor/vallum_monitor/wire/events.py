"""Our facts as events."""

from __future__ import annotations

import datetime as dt
from typing import Final

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from vallum.monitor.v1 import events_pb2
from vallum.registry.v1 import model_pb2
from vallum_common.bus.event import Event
from vallum_common.clock import Ids
from vallum_monitor.domain.alerts import Alert, Correction
from vallum_monitor.domain.facts import Fact
from vallum_monitor.domain.models import ModelReference
from vallum_monitor.domain.traffic import Observation
from vallum_monitor.wire.fields import stamp

SOURCE: Final = "vallum/monitor"


class EventWriter:
    """Makes events of facts.

    Args:
        ids: for the events. Never derived from a batch id, which its sender chooses: whoever could choose the id of an
            event could have another one with the same id taken for a repetition.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids

    def event(self, fact: Fact) -> Event:
        """The event that tells of a fact."""
        match fact:
            case Observation():
                return self._event(fact.reference, fact.observed_at, _inference_observed(fact))
            case Alert():
                return self._event(fact.reference, fact.raised_at, alert_message(fact))
            case Correction():
                return self._event(fact.reference, fact.requested_at, _correction_requested(fact))

    def _event(self, reference: ModelReference, time: dt.datetime, message: Message) -> Event:
        return Event(
            id=self._ids.new(), source=SOURCE, subject=reference.name, key=reference.model, time=time, message=message
        )


def alert_message(alert: Alert) -> events_pb2.AlertRaised:
    """An alert as it is told."""
    return events_pb2.AlertRaised(
        alert_id=alert.alert_id,
        model=_reference(alert.reference),
        environment=alert.environment,
        detector=alert.detector,
        severity=f"SEVERITY_{alert.severity.name}",
        confirmed=alert.confirmed,
        message=alert.message,
        evidence=json_format.ParseDict(dict(alert.evidence), Struct()),
        raised_at=stamp(alert.raised_at),
        deployment_id=alert.deployment_id,
    )


def _inference_observed(observation: Observation) -> events_pb2.InferenceObserved:
    batch = observation.batch
    return events_pb2.InferenceObserved(
        batch_id=batch.batch_id,
        model=_reference(observation.reference),
        environment=observation.environment,
        rows=batch.rows,
        columns=[
            events_pb2.Column(name=column.name, numbers=column.numbers, texts=column.texts) for column in batch.columns
        ],
        predictions=batch.predictions,
        observed_at=stamp(observation.observed_at),
        clients=batch.clients,
    )


def _correction_requested(correction: Correction) -> events_pb2.CorrectionRequested:
    return events_pb2.CorrectionRequested(
        correction_id=correction.correction_id,
        model=_reference(correction.reference),
        environment=correction.environment,
        action=f"CORRECTION_ACTION_{correction.action.name}",
        reason=correction.reason,
        alert_id=correction.alert_id,
        requested_at=stamp(correction.requested_at),
        policy_digest=correction.policy_digest,
    )


def _reference(reference: ModelReference) -> model_pb2.ModelReference:
    return model_pb2.ModelReference(model=reference.model, version=reference.version, digest=reference.digest)
