"""Fields that must be there, and what they must be."""

from __future__ import annotations

import datetime as dt
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from vallum.registry.v1 import model_pb2
from vallum_common.errors import Invalid
from vallum_monitor.domain.models import ModelReference

Name = TypeVar("Name", bound=Enum)


def text(value: str, field: str) -> str:
    """A text that is not empty and that the database can keep.

    Raises:
        Invalid: it is not.
    """
    if not value:
        raise Invalid(f"{field!r} is empty; it must be given", field=field)
    return printable(value, field)


def printable(value: str, field: str) -> str:
    """A text that the database can keep; it may be empty.

    Raises:
        Invalid: it holds a zero character.
    """
    if "\x00" in value:
        raise Invalid(f"{field!r} is {value!r}; a zero character cannot be kept", field=field)
    return value


def moment(message: Message, field: str) -> dt.datetime:
    """A time, UTC.

    Raises:
        Invalid: it is not set, or not a time.
    """
    if not message.HasField(field):
        raise Invalid(f"{field!r} is not set; it must be given", field=field)
    stamp: Timestamp = getattr(message, field)
    try:
        return stamp.ToDatetime(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{field!r} is {stamp.seconds!r} seconds; that is not a time", field=field) from error


def reference(message: model_pb2.ModelReference) -> ModelReference:
    """Which bytes.

    Raises:
        Invalid: a part is missing.
    """
    return ModelReference(
        text(message.model, "model.model"),
        text(message.version, "model.version"),
        text(message.digest, "model.digest"),
    )


def named(names: type[Name], enum: Any, prefix: str, value: int, field: str) -> Name:
    """An enum of a contract as one of the domain, by its name.

    Raises:
        Invalid: it is not set or not known here.
    """
    known = {number: name.removeprefix(prefix) for name, number in enum.items() if number}
    if known.get(value) not in names.__members__:
        raise Invalid(f"{field!r} is {value!r}; it must be one of {list(names.__members__)}", field=field)
    return names[known[value]]


def share(value: float, field: str) -> float:
    """A number between 0 and 1.

    Raises:
        Invalid: it is not.
    """
    if not 0 <= value <= 1:
        raise Invalid(f"{field!r} is {value!r}; it must lie between 0 and 1", field=field)
    return value


def stamp(value: dt.datetime) -> Timestamp:
    """A time as the contracts write it."""
    message = Timestamp()
    message.FromDatetime(value)
    return message
