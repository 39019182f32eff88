"""The topics, read from the contracts: every message with the option `(vallum.options.v1.event)` names its own."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

import vallum
from vallum.options.v1 import options_pb2

DEFAULT_PARTITIONS: Final = 6
"""Enough for six processes of a service; more is a deployment's decision when it creates the topics."""
DEAD_SUFFIX: Final = ".dead"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and the one message type that travels on it.

    Args:
        name: e.g. `model-submitted`.
        message_type: the generated class.
        retention_ms: how long records are kept; `None` for ever.
        partitions: how many a fresh cluster gets.
    """

    name: str
    message_type: type[Message]
    retention_ms: int | None
    partitions: int = DEFAULT_PARTITIONS

    @property
    def dead(self) -> str:
        """Name of the topic for records that could not be understood."""
        return self.name + DEAD_SUFFIX


@functools.cache
def topics_by_name() -> Mapping[str, Topic]:
    """Every topic, by name, in the order of names.

    Raises:
        ValueError: two messages claim one topic, which a test of the contracts prevents.
    """
    topics: dict[str, Topic] = {}
    for file_name in _contract_files():
        for descriptor in descriptor_pool.Default().FindFileByName(file_name).message_types_by_name.values():
            option = _event_option(descriptor)
            if not option.topic:
                continue
            if option.topic in topics:
                raise ValueError(f"two messages travel on {option.topic!r}")
            topics[option.topic] = Topic(
                name=option.topic,
                message_type=message_factory.GetMessageClass(descriptor),
                retention_ms=option.retention_ms or None,
            )
    return dict(sorted(topics.items()))


def all_topics() -> tuple[Topic, ...]:
    """Every topic a platform needs; each also needs its dead-letter topic (`Topic.dead`)."""
    return tuple(topics_by_name().values())


def topic_of(message_type: type[Message]) -> Topic:
    """The topic on which a message travels.

    Raises:
        LookupError: the message is not an event.
    """
    name = _event_option(message_type.DESCRIPTOR).topic
    if not name:
        raise LookupError(f"{message_type.DESCRIPTOR.full_name} is not an event: its contract names no topic")
    return topics_by_name()[name]


def _event_option(descriptor: Any) -> options_pb2.Event:
    extensions = descriptor.GetOptions().Extensions  # the generated stubs do not type extensions
    option: options_pb2.Event = extensions[options_pb2.event]
    return option


@functools.cache
def _contract_files() -> tuple[str, ...]:
    modules = pkgutil.walk_packages(vallum.__path__, "vallum.")
    return tuple(importlib.import_module(m.name).DESCRIPTOR.name for m in modules if m.name.endswith("_pb2"))
