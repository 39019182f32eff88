"""The topics a platform creates: those of the contracts, each with its dead letters."""

from __future__ import annotations

from typing import Final

from vallum_common.bus.topics import all_topics
from vallum_local.kafka import Topic

DEAD_LETTER_BYTES: Final = 2 * 1024 * 1024
"""A dead letter is its original, of at most 1 MB, with its reason added; as much as the relay sends."""


def platform_topics() -> tuple[Topic, ...]:
    """Every topic of the contracts, and beside it one partition for its dead letters, which are few."""
    live = (Topic(t.name, partitions=t.partitions, retention_ms=t.retention_ms) for t in all_topics())
    dead = (Topic(t.dead, max_record_bytes=DEAD_LETTER_BYTES) for t in all_topics())
    return (*live, *dead)
