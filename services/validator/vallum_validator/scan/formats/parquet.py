"""Parquet: a table of data. Magic at both ends, and a footer that is one complete thrift structure."""

from __future__ import annotations

from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context
from vallum_validator.scan.formats.protobuf import varint

MAGIC: Final = b"PAR1"
_FIXED: Final = {1: 0, 2: 0, 3: 1, 7: 8, 13: 16}
_INTEGERS: Final = frozenset({4, 5, 6})
_BINARY, _LIST, _SET, _MAP, _STRUCT = 8, 9, 10, 11, 12
_MAX_DEPTH: Final = 32


def inspect_parquet(data: memoryview, context: Context) -> str:
    """Check the frame of the file and that its footer can be read to the end."""
    length = int.from_bytes(data[-8:-4], "little")
    if len(data) < 12 or bytes(data[-4:]) != MAGIC or not 0 < length <= len(data) - 12:
        raise Invalid(f"a parquet file ends with the length of its footer and PAR1, got {bytes(data[-8:])!r}")
    footer = data[len(data) - 8 - length : len(data) - 8]
    end = _struct(footer, 0, 0)
    if end != length:
        context.report("file.polyglot", f"{length - end} bytes follow the footer", len(data) - 8 - length + end)
    return "parquet"


def _struct(data: memoryview, offset: int, depth: int) -> int:
    while True:
        head = _byte(data, offset)
        offset += 1
        if head == 0:
            return offset
        if head >> 4 == 0:
            _, offset = varint(data, offset)
        offset = _value(data, offset, head & 15, depth)


def _value(data: memoryview, offset: int, kind: int, depth: int) -> int:
    if depth > _MAX_DEPTH:
        raise Invalid(f"the footer is nested deeper than {_MAX_DEPTH} levels")
    if kind in _FIXED:
        return offset + _FIXED[kind]
    if kind in _INTEGERS:
        return varint(data, offset)[1]
    if kind == _BINARY:
        length, offset = varint(data, offset)
        return _within(data, offset + length)
    if kind in (_LIST, _SET):
        return _items(data, offset, depth)
    if kind == _MAP:
        return _pairs(data, offset, depth)
    if kind == _STRUCT:
        return _struct(data, offset, depth + 1)
    raise Invalid(f"thrift type {kind} at offset {offset} of the footer does not exist")


def _items(data: memoryview, offset: int, depth: int) -> int:
    head = _byte(data, offset)
    count, offset = head >> 4, offset + 1
    if count == 15:
        count, offset = varint(data, offset)
    _within(data, offset + count)
    for _ in range(count):
        # In a list a boolean takes a byte; in a field it is part of the head.
        offset = _within(data, offset + 1) if head & 15 in (1, 2) else _value(data, offset, head & 15, depth + 1)
    return offset


def _pairs(data: memoryview, offset: int, depth: int) -> int:
    count, offset = varint(data, offset)
    if not count:
        return offset
    kinds = _byte(data, offset)
    _within(data, offset + count)
    offset += 1
    for _ in range(count):
        offset = _value(data, _value(data, offset, kinds >> 4, depth + 1), kinds & 15, depth + 1)
    return offset


def _byte(data: memoryview, offset: int) -> int:
    return data[_within(data, offset + 1) - 1]


def _within(data: memoryview, end: int) -> int:
    if end > len(data):
        raise Invalid(f"the footer is cut at {len(data)} bytes, {end} are needed")
    return end
