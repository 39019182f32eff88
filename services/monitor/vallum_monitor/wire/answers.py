"""Answers out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from vallum.monitor.v1 import monitor_service_pb2 as messages
from vallum_monitor.domain.alerts import Alert
from vallum_monitor.domain.metrics import Metric
from vallum_monitor.wire.events import alert_message
from vallum_monitor.wire.fields import stamp


def watch_response(alert: Alert) -> messages.WatchAlertsResponse:
    """An alert for those who watch."""
    return messages.WatchAlertsResponse(alert=alert_message(alert))


def metrics_response(metrics: Mapping[str, Metric], computed_at: dt.datetime) -> messages.GetSecurityMetricsResponse:
    """The four metrics, each under its name."""
    told = {
        name: messages.Metric(value=metric.value, formula=metric.formula, inputs=metric.inputs)
        for name, metric in metrics.items()
    }
    return messages.GetSecurityMetricsResponse(**told, computed_at=stamp(computed_at))
