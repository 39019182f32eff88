"""The topics a platform creates: those of the contracts, each with its dead letters."""

from __future__ import annotations

from vallum_common.bus.topics import all_topics
from vallum_local.kafka import Topic


def platform_topics() -> tuple[Topic, ...]:
    """Every topic of the contracts, and beside it one partition for its dead letters, which are few."""
    live = (Topic(t.name, partitions=t.partitions, retention_ms=t.retention_ms) for t in all_topics())
    dead = (Topic(t.dead) for t in all_topics())
    return (*live, *dead)
