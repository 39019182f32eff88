"""Fields that must be set, and to what."""

from __future__ import annotations

from typing import Any

from vallum_common.errors import Invalid


def required(value: str, field: str) -> str:
    """A text, unless it is empty or cannot be kept.

    Raises:
        Invalid: so it is.
    """
    if not value:
        raise Invalid(f"{field!r} is empty; it must be given", field=field)
    if "\x00" in value:
        raise Invalid(f"{field} is {value!r}; a zero character cannot be kept", field=field)
    return value


def enum_name(enum: Any, prefix: str, value: int, field: str) -> str:
    """The name of a value of an enum, without what all names of it begin with.

    Raises:
        Invalid: nobody set it, or it is not known here.
    """
    known: dict[int, str] = {number: name.removeprefix(prefix) for name, number in enum.items()}
    if not known.get(value) or value == 0:  # the zero of an enum means that nobody set it
        raise Invalid(f"{field} is {known.get(value, value)!r}; it must be set to a known value", field=field)
    return known[value]
