"""The only translation between protobuf and the domain, both ways. Incomplete input is refused, naming the field."""

from vallum_monitor.wire.answers import metrics_response, watch_response
from vallum_monitor.wire.events import EventWriter
from vallum_monitor.wire.facts import (
    alert_from,
    correction_result_from,
    decision_from,
    deployment_from,
    observation_from,
    risk_from,
    validation_from,
)
from vallum_monitor.wire.requests import report_from, selection_from

__all__ = [
    "EventWriter",
    "alert_from",
    "correction_result_from",
    "decision_from",
    "deployment_from",
    "metrics_response",
    "observation_from",
    "report_from",
    "risk_from",
    "selection_from",
    "validation_from",
    "watch_response",
]
