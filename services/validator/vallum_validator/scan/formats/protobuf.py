"""The wire format of protocol buffers, walked without a schema and without building messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from vallum_common.errors import Invalid

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5
_MAX_VARINT: Final = 10


class Field(NamedTuple):
    """One field of a message.

    Args:
        number: as in the schema.
        wire: `VARINT`, `FIXED64`, `LENGTH` or `FIXED32`.
        value: of a varint.
        data: of a length-delimited or fixed field.
        offset: of the key inside the message.
        begin: of the data, or of what follows a varint.
    """

    number: int
    wire: int
    value: int
    data: memoryview
    offset: int
    begin: int

    @property
    def text(self) -> str:
        """The content as text. Raises: Invalid where it is none."""
        if self.wire != LENGTH:
            raise Invalid(f"field {self.number} at offset {self.offset} must be text")
        return str(self.data, "utf-8", "replace")


def varint(data: memoryview, offset: int) -> tuple[int, int]:
    """A base-128 integer and the offset behind it. Raises: Invalid where it is cut or too long."""
    value = 0
    for index in range(_MAX_VARINT):
        if offset + index >= len(data):
            break
        byte = data[offset + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, offset + index + 1
    raise Invalid(f"the varint at offset {offset} has no end")


def fields(data: memoryview) -> Iterator[Field]:
    """The fields of a message, in the order they are written.

    Raises:
        Invalid: a key, length or value is broken; groups, which no model format uses, are refused.
    """
    offset, size = 0, len(data)
    nothing = data[:0]
    while offset < size:
        start = offset
        key, offset = varint(data, offset)
        number, wire = key >> 3, key & 7
        value, end = 0, offset
        if wire == VARINT:
            value, offset = varint(data, offset)
            end = offset
        elif wire == LENGTH:
            length, offset = varint(data, offset)
            end = offset + length
        elif wire in (FIXED64, FIXED32):
            end = offset + (8 if wire == FIXED64 else 4)
        else:
            raise Invalid(f"wire type {wire} at offset {start} does not exist")
        if end > size or number == 0:
            raise Invalid(f"field {number} at offset {start} is longer than its message")
        yield Field(number, wire, value, data[offset:end] if wire != VARINT else nothing, start, offset)
        offset = end


def varints(field: Field) -> list[int]:
    """The integers of a repeated field, packed or one by one."""
    if field.wire == VARINT:
        return [field.value]
    found, offset = [], 0
    while offset < len(field.data):
        value, offset = varint(field.data, offset)
        found.append(value)
    return found
