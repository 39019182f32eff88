"""The audit log in and out: events as they were on Kafka, entries as they are replayed."""

from __future__ import annotations

import datetime as dt

from vallum.compliance.v1 import compliance_service_pb2
from vallum_common.bus.event import Event
from vallum_common.errors import Invalid
from vallum_compliance.domain.audit import AuditEvent, Entry, Selection
from vallum_compliance.wire.times import timestamp


def parse_audit_event(event: Event) -> AuditEvent:
    """What the audit log keeps of an event.

    Raises:
        Invalid: the event was not received from Kafka, so there is nothing to keep.
    """
    record = event.record
    if record is None:
        raise Invalid(f"event {event.id!r} has no record; only what was received from Kafka is audited")
    return AuditEvent(
        id=event.id,
        type=event.type,
        source=event.source,
        subject=event.subject,
        time=event.time,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        headers=tuple((name, None if value is None else value.decode()) for name, value in record.headers),
        data=record.value or b"",
    )


def parse_selection(request: compliance_service_pb2.ReplayRequest) -> Selection:
    """Which entries a replay shows.

    Raises:
        Invalid: the index is negative.
    """
    if request.from_index < 0:
        raise Invalid(f"from_index is {request.from_index!r}; the first entry has 0", field="from_index")
    since = request.since.ToDatetime(dt.UTC) if request.HasField("since") else None
    return Selection(request.from_index, since, request.model)


def replay_response(entry: Entry) -> compliance_service_pb2.ReplayResponse:
    """An entry of the audit log."""
    event = entry.event
    return compliance_service_pb2.ReplayResponse(
        index=entry.index,
        type=event.type,
        id=event.id,
        source=event.source,
        subject=event.subject,
        time=timestamp(event.time),
        data=event.data,
        topic=event.topic,
        recorded_at=timestamp(entry.recorded_at),
    )
