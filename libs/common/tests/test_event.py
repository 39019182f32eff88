"""Events in their form on Kafka, against the independent implementation of CloudEvents."""

from __future__ import annotations

import datetime as dt

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from vallum.registry.v1 import events_pb2, model_pb2
from vallum_common.bus.event import Event, decode_event
from vallum_common.bus.record import OutgoingRecord
from vallum_common.bus.topics import all_topics, topic_of, topics_by_name
from vallum_common.errors import Invalid
from vallum_common.testing import START

REFERENCE = model_pb2.ModelReference(model="adult-income", version="1.2.0", digest="ab" * 32)
EVENT = Event(
    id="0190b1c2-0000-7000-8000-000000000001",
    source="vallum/registry",
    subject="adult-income@1.2.0",
    key="adult-income",
    time=START,
    message=events_pb2.ModelSubmitted(submission_id="s-1", model=REFERENCE),
    traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
)


def record() -> OutgoingRecord:
    return OutgoingRecord.of_event(EVENT, traceparent=EVENT.traceparent)


def test_what_is_written_is_read_back() -> None:
    written = record()
    read = decode_event(EVENT.topic, key=written.key, value=written.value, headers=written.headers)
    assert read == EVENT


def test_the_independent_implementation_reads_ours() -> None:
    written = record()
    message = KafkaMessage(headers=dict(written.headers), key=written.key, value=written.value)
    theirs = from_binary(message, JSONFormat(), CloudEvent)
    assert theirs.get_id() == EVENT.id
    assert theirs.get_type() == "vallum.registry.v1.ModelSubmitted"
    assert theirs.get_subject() == EVENT.subject
    assert theirs.get_time() == EVENT.time
    assert theirs.get_datacontenttype() == "application/protobuf"
    # It hands out bytes as text where they happen to be UTF-8.
    data = theirs.get_data()
    assert events_pb2.ModelSubmitted.FromString(data.encode() if isinstance(data, str) else data) == EVENT.message


def test_ours_reads_the_independent_implementation() -> None:
    attributes = {
        "id": "their-id",
        "source": "elsewhere",
        "type": EVENT.type,
        "subject": EVENT.subject,
        "time": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        "specversion": "1.0",
        "datacontenttype": "application/protobuf",
        "partitionkey": "adult-income",
    }
    message = to_binary(CloudEvent(attributes, EVENT.message.SerializeToString()), JSONFormat())
    read = decode_event(EVENT.topic, key=b"adult-income", value=message.value, headers=list(message.headers.items()))
    assert (read.id, read.source, read.time.year, read.message) == ("their-id", "elsewhere", 2026, EVENT.message)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ce_id": b""}, "ce_id"),
        ({"ce_type": b"vallum.risk.v1.RiskScored"}, "travels there"),
        ({"ce_specversion": b"0.3"}, "0.3"),
        ({"ce_time": b"yesterday"}, "RFC 3339"),
        ({"ce_time": b"2026-01-01T00:00:00"}, "no time zone"),
        ({"ce_source": b"\xff"}, "UTF-8"),
    ],
)
def test_a_header_that_is_not_right_is_named(change: dict[str, bytes], said: str) -> None:
    written = record()
    headers = list({**dict(written.headers), **change}.items())
    with pytest.raises(Invalid, match=said):
        decode_event(EVENT.topic, key=written.key, value=written.value, headers=headers)


@pytest.mark.parametrize("value", [b"\xff\xff\xff", b"\x0a\xff"])
def test_a_value_that_is_no_such_message_is_invalid(value: bytes) -> None:
    with pytest.raises(Invalid, match=r"is not a vallum\.registry\.v1\.ModelSubmitted"):
        decode_event(EVENT.topic, key=b"", value=value, headers=record().headers)


def test_every_event_of_the_contracts_has_a_topic_of_its_own() -> None:
    names = [topic.name for topic in all_topics()]
    assert {"model-submitted", "validation-completed", "risk-scored", "compliance-decided"} <= set(names)
    assert len({topic.message_type.DESCRIPTOR.full_name for topic in all_topics()}) == len(names)
    assert all(topic_of(topic.message_type) is topics_by_name()[topic.name] for topic in all_topics())


def test_a_message_that_is_no_event_has_no_topic() -> None:
    with pytest.raises(LookupError, match="is not an event"):
        topic_of(model_pb2.ModelReference)
