"""A record on its way to Kafka, as the outbox keeps it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from vallum_common.bus.event import Event, Headers

_DEAD_LETTERS: Final = uuid.UUID("6f1a9f6e-3c1c-5f55-9a43-2f6a1de7c0d5")
_REASON_CHARACTERS: Final = 500
"""A reason may quote what it complains of; a dead letter must stay little larger than its original."""


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """Bytes for a topic.

    Args:
        record_id: unique in an outbox; the same record noted twice is sent once.
        topic: name of the topic.
        key: decides the partition, and so the order; `None` for any.
        value: the bytes.
        headers: Kafka headers.
    """

    record_id: str
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @classmethod
    def of_event(cls, event: Event, *, traceparent: str) -> OutgoingRecord:
        """The record of an event; its id is the event's."""
        traced = replace(event, traceparent=traceparent)
        return cls(
            record_id=event.id,
            topic=event.topic.name,
            key=event.key.encode(),
            value=event.message.SerializeToString(deterministic=True),
            headers=traced.headers(),
        )


@dataclass(frozen=True, slots=True)
class ReceivedRecord:
    """A record as it came from Kafka.

    Args:
        topic: name of the topic it was read from.
        partition: where it lies there.
        offset: where it lies in the partition.
        key: as received.
        value: as received.
        headers: as received.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    def dead_letter(self, dead_topic: str, *, consumer: str, reason: Mapping[str, str]) -> OutgoingRecord:
        """The original bytes and headers for the dead-letter topic, with where they lay and why they went there.

        Args:
            dead_topic: name of the dead-letter topic.
            consumer: the consumer that gave up.
            reason: further headers, `x-dead-` is put before each name; each is cut to 500 characters.
        """
        place = f"{self.topic}:{self.partition}:{self.offset}"
        told = {"consumer": consumer, "topic": self.topic, "partition": str(self.partition), "offset": str(self.offset)}
        notes = {name: text[:_REASON_CHARACTERS] for name, text in {**told, **reason}.items()}
        return OutgoingRecord(
            record_id=str(uuid.uuid5(_DEAD_LETTERS, f"{consumer}:{place}:{self._digest()}")),
            topic=dead_topic,
            key=self.key,
            value=self.value,
            headers=[*self.headers, *((f"x-dead-{name}", text.encode()) for name, text in notes.items())],
        )

    def _digest(self) -> str:
        """Tells apart what lies at the same place of two clusters."""
        content = (self.key, self.value, [tuple(header) for header in self.headers])
        return hashlib.sha256(repr(content).encode(errors="surrogatepass")).hexdigest()
