"""Requests in."""

from __future__ import annotations

import hashlib
import uuid
from typing import Final

from vallum.monitor.v1 import monitor_service_pb2 as messages
from vallum_common.errors import Exhausted, Invalid
from vallum_monitor.domain.alerts import AlertSelection
from vallum_monitor.domain.traffic import Batch, Report
from vallum_monitor.wire.facts import columns_from
from vallum_monitor.wire.fields import moment, printable, text

MAX_BATCH_BYTES: Final = 1024 * 1024


def report_from(request: messages.ReportInferenceRequest) -> Report:
    """A report of traffic.

    Raises:
        Invalid: a field is missing, or the columns do not fit each other.
        Exhausted: it is too large.
    """
    if request.ByteSize() > MAX_BATCH_BYTES:
        raise Exhausted(
            f"batch {request.batch_id!r} has {request.ByteSize()} bytes; send at most {MAX_BATCH_BYTES} at once"
        )
    return Report(
        batch=Batch(
            batch_id=_uuid(request.batch_id),
            columns=columns_from(request.columns),
            predictions=request.predictions,
            clients=request.clients,
        ),
        model=text(request.model, "model"),
        version=text(request.version, "version"),
        environment=text(request.environment, "environment"),
        observed_at=moment(request, "observed_at") if request.HasField("observed_at") else None,
        digest=hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest(),
    )


def selection_from(request: messages.WatchAlertsRequest) -> AlertSelection:
    """Which alerts.

    Raises:
        Invalid: a field is malformed.
    """
    since = moment(request, "since") if request.HasField("since") else None
    return AlertSelection(model=printable(request.model, "model"), since=since)


def _uuid(value: str) -> str:
    try:
        return str(uuid.UUID(value))
    except ValueError as error:
        raise Invalid(f"'batch_id' is {value!r}; it must be a UUID", field="batch_id") from error
