"""Events in their form on Kafka, against the independent implementation of CloudEvents."""

from __future__ import annotations

import datetime as dt
import random

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from vallum.registry.v1 import events_pb2, model_pb2
from vallum_common.bus.event import Event, decode_event
from vallum_common.bus.record import OutgoingRecord, ReceivedRecord
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
        ({"ce_time": b"0001-01-01T00:00:00+14:00"}, "years 1 to 9999"),
        ({"ce_time": b"9999-12-31T23:59:59-14:00"}, "years 1 to 9999"),
        ({"ce_source": b"\xff"}, "UTF-8"),
        ({"ce_source": None}, "ce_source"),
    ],
)
def test_a_header_that_is_not_right_is_named(change: dict[str, bytes | None], said: str) -> None:
    written = record()
    headers = list({**dict(written.headers), **change}.items())
    with pytest.raises(Invalid, match=said):
        decode_event(EVENT.topic, key=written.key, value=written.value, headers=headers)


@pytest.mark.parametrize("value", [b"\xff\xff\xff", b"\x0a\xff"])
def test_a_value_that_is_no_such_message_is_invalid(value: bytes) -> None:
    with pytest.raises(Invalid, match=r"is not a vallum\.registry\.v1\.ModelSubmitted"):
        decode_event(EVENT.topic, key=b"", value=value, headers=record().headers)


def test_a_key_that_no_database_keeps_is_invalid() -> None:
    with pytest.raises(Invalid, match="zero character"):
        decode_event(EVENT.topic, key=b"a\x00b", value=record().value, headers=record().headers)


def test_a_header_without_a_value_that_nobody_needs_is_empty() -> None:
    headers = list({**dict(record().headers), "ce_subject": None, "anything": None}.items())
    read = decode_event(EVENT.topic, key=b"adult-income", value=record().value, headers=headers)
    assert (read.id, read.subject) == (EVENT.id, "")


def mutated(content: bytes, randomness: random.Random) -> bytes | None:
    """None, nothing, or the bytes with one to three of them changed, removed or doubled."""
    if randomness.random() < 0.05:
        return randomness.choice([None, b""])
    found = bytearray(content)
    for _ in range(randomness.randint(1, 3)):
        place = randomness.randrange(len(found) + 1)
        piece = randomness.choice([b"", randomness.randbytes(1), bytes(found[place : place + 2]) * 2])
        found[place : place + randomness.randint(0, 2)] = piece
    return bytes(found)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_record_holds_it_is_an_event_or_invalid(seed: int) -> None:
    randomness, written = random.Random(seed), record()
    times = [b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-23:59", b"2026-W01-1T24:00:00Z", b"20260101T0Z"]
    refused = 0
    for _ in range(2500):
        headers = dict(written.headers)
        headers["ce_time"] = randomness.choice([*times, headers["ce_time"]])
        for name in randomness.sample(sorted(headers), randomness.randint(0, 2)):
            headers[name] = mutated(headers[name], randomness)
        value = mutated(written.value, randomness) if randomness.random() < 0.5 else written.value
        try:
            read = decode_event(EVENT.topic, key=mutated(b"key", randomness), value=value, headers=headers.items())
        except Invalid:
            refused += 1
        else:
            assert read.id
            assert read.time.tzinfo is dt.UTC
    assert 0 < refused < 2500


def received(**change: object) -> ReceivedRecord:
    found = {"topic": "t", "partition": 0, "offset": 7, "key": b"k", "value": b"v", "headers": [("h", b"1")], **change}
    return ReceivedRecord(**found)


def dead(record: ReceivedRecord, reason: str = "no") -> OutgoingRecord:
    return record.dead_letter("t.dead", consumer="c", reason={"reason": reason})


def test_a_record_has_one_dead_letter_and_another_at_its_place_has_its_own() -> None:
    """A new cluster counts its offsets from the beginning."""
    assert dead(received()).record_id == dead(received(), "told otherwise").record_id
    others = [{"key": b"x"}, {"value": b"x"}, {"value": None}, {"headers": [("h", b"2")]}, {"headers": [("h", None)]}]
    others += [{"offset": 8}, {"partition": 1}, {"topic": "u"}]
    assert len({dead(received(**change)).record_id for change in [{}, *others]}) == len(others) + 1


def test_a_dead_letter_is_little_larger_than_its_original() -> None:
    headers = dict(dead(received(headers=[("h", None)]), "x" * 100_000).headers)
    assert headers["h"] is None
    assert headers["x-dead-reason"] == b"x" * 500


def test_every_event_of_the_contracts_has_a_topic_of_its_own() -> None:
    names = [topic.name for topic in all_topics()]
    assert {"model-submitted", "validation-completed", "risk-scored", "compliance-decided"} <= set(names)
    assert len({topic.message_type.DESCRIPTOR.full_name for topic in all_topics()}) == len(names)
    assert all(topic_of(topic.message_type) is topics_by_name()[topic.name] for topic in all_topics())


def test_a_message_that_is_no_event_has_no_topic() -> None:
    with pytest.raises(LookupError, match="is not an event"):
        topic_of(model_pb2.ModelReference)
