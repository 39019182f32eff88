"""Entries of the audit log: events exactly as they were on Kafka, and the bytes a Merkle tree commits to.

The leaf holds the digest of an event's data instead of the data: a leaf stays small enough for a tile of a transparency
log (65,535 bytes), and a payload that must be erased by law can go while the log can still be verified.

Source: RFC 6962, section 2.1 (leaf hash); C2SP tlog-tiles (size of a log entry).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from dataclasses import dataclass

from vallum_compliance.domain.evidence import canonical_json


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """An event as it was heard: its place, bytes and headers on Kafka, and the attributes read from these.

    Args:
        id: of the event.
        type: full name of its message.
        source: who said it.
        subject: what it is about.
        time: when it happened, UTC.
        topic: where it travelled.
        partition: where it lay there.
        offset: where it lay in the partition.
        key: as received; the model id in UTF-8.
        headers: as received, in order, also one without a value; the bus takes none that is not UTF-8.
        data: the protobuf bytes as received.
    """

    id: str
    type: str
    source: str
    subject: str
    time: dt.datetime
    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: tuple[tuple[str, str | None], ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An event that is about to get its place in the log.

    Args:
        event: what was heard.
        recorded_at: when the log took it, UTC.
    """

    event: AuditEvent
    recorded_at: dt.datetime

    def leaf(self) -> bytes:
        """What the entry commits to: canonical JSON in UTF-8 of all that is kept but the index.

        The fields: `data_sha256` (hex), `headers` (pairs of name and text or null), `key` (base64 or null), `offset`,
        `partition`, `recorded_at` (RFC 3339, microseconds, `Z`), `topic`. Id, type, source, subject and time of the
        event are in its headers.
        """
        event = self.event
        document = {
            "data_sha256": hashlib.sha256(event.data).hexdigest(),
            "headers": event.headers,
            "key": None if event.key is None else base64.b64encode(event.key).decode(),
            "offset": event.offset,
            "partition": event.partition,
            "recorded_at": self.recorded_at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "topic": event.topic,
        }
        return canonical_json(document).encode()

    def leaf_hash(self) -> bytes:
        """SHA-256 of a zero byte and the leaf; the zero tells a leaf from an inner node."""
        return hashlib.sha256(b"\x00" + self.leaf()).digest()


@dataclass(frozen=True, slots=True)
class Entry(NewEntry):
    """An entry in its place.

    Args:
        index: from 0, without gaps.
    """

    index: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries to replay.

    Args:
        from_index: the first place that may be shown.
        since: leave out what the log took before; `None` for nothing.
        model: only events with this model id; empty for all.
    """

    from_index: int = 0
    since: dt.datetime | None = None
    model: str = ""
