"""An event: a protobuf message in a CloudEvent, and its form on Kafka.

Source: CloudEvents 1.0.2, and its Kafka Protocol Binding 1.0.2 in binary content mode: attributes are `ce_*` headers,
the value is the protobuf bytes, the key is the model id so that the events of a model keep their order.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError, Message

from vallum_common.bus.topics import Topic, topic_of
from vallum_common.errors import Invalid

if TYPE_CHECKING:
    from vallum_common.bus.record import ReceivedRecord

CONTENT_TYPE: Final = "application/protobuf"
_REQUIRED: Final = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time")

Headers = Sequence[tuple[str, bytes | None]]
"""Kafka lets a header have no value; we write none such, but read and pass on whatever comes."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened.

    Args:
        id: unique for ever; by it a repeated event is recognised.
        source: the service that says so, e.g. `vallum/registry`.
        subject: what it is about, e.g. `adult-income@1.2.0`.
        key: the model id.
        time: when it happened, UTC.
        message: the fact.
        traceparent: W3C trace context of the cause; empty where unknown.
        record: the bytes it was read from, exactly as received; `None` for an event that was made here.
    """

    id: str
    source: str
    subject: str
    key: str
    time: dt.datetime
    message: Message
    traceparent: str = ""
    record: ReceivedRecord | None = field(default=None, compare=False, repr=False)

    @property
    def topic(self) -> Topic:
        """Where it travels, as its contract says."""
        return topic_of(type(self.message))

    @property
    def type(self) -> str:
        """Full name of the message, e.g. `vallum.registry.v1.ModelSubmitted`."""
        return self.message.DESCRIPTOR.full_name

    def headers(self) -> list[tuple[str, bytes]]:
        """The Kafka headers."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": self.id,
            "ce_source": self.source,
            "ce_type": self.type,
            "ce_subject": self.subject,
            "ce_time": self.time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
            "ce_dataschema": f"proto:{self.type}",
            "content-type": CONTENT_TYPE,
        }
        if self.traceparent:
            headers["traceparent"] = self.traceparent
        return [(name, value.encode()) for name, value in headers.items()]


def decode_event(
    topic: Topic, *, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]
) -> Event:
    """Read an event from a Kafka record.

    Raises:
        Invalid: an attribute is missing or malformed, the type is not the topic's, or the value is not that message.
    """
    try:
        attributes = {name.lower(): (content or b"").decode() for name, content in headers}
    except UnicodeDecodeError as error:
        raise Invalid(f"a header of an event on {topic.name!r} is not UTF-8 text") from error
    model = (key or b"").decode(errors="replace")
    if any("\x00" in text for text in (model, *attributes, *attributes.values())):
        # PostgreSQL keeps no such text: inbox and audit log would fail on it for ever.
        raise Invalid(f"the key or a header of an event on {topic.name!r} holds a zero character")
    missing = [name for name in _REQUIRED if not attributes.get(name)]
    if missing:
        raise Invalid(f"an event on {topic.name!r} lacks the headers {missing}")
    expected = topic.message_type.DESCRIPTOR.full_name
    if attributes["ce_type"] != expected:
        raise Invalid(f"an event on {topic.name!r} has the type {attributes['ce_type']!r}; {expected!r} travels there")
    if attributes["ce_specversion"] != "1.0":
        raise Invalid(f"an event on {topic.name!r} has CloudEvents version {attributes['ce_specversion']!r}, not '1.0'")
    time = _read_time(attributes["ce_time"])
    try:
        message = topic.message_type.FromString(value or b"")
    except DecodeError as error:
        raise Invalid(f"the value of event {attributes['ce_id']!r} is not a {expected}") from error
    return Event(
        id=attributes["ce_id"],
        source=attributes["ce_source"],
        subject=attributes.get("ce_subject", ""),
        key=model,
        time=time,
        message=message,
        traceparent=attributes.get("traceparent", ""),
    )


def _read_time(text: str) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise Invalid(f"ce_time {text!r} has no time zone")
        return time.astimezone(dt.UTC)
    except ValueError as error:
        raise Invalid(f"ce_time {text!r} is not RFC 3339") from error
    except OverflowError as error:
        raise Invalid(f"ce_time {text!r} lies outside the years 1 to 9999 in UTC") from error
