"""Parquet: a table. Magic at both ends, a footer that can be read to its end, and nothing beside the columns."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.protobuf import varint
from vallum_validator.scan.pickled.streams import inspect_pickle, probe

MAGIC: Final = b"PAR1"
_FIXED: Final = {1: 0, 2: 0, 3: 1, 7: 8, 13: 16}
_INTEGERS: Final = frozenset({4, 5, 6})
_BINARY, _LIST, _SET, _MAP, _STRUCT = 8, 9, 10, 11, 12
_BASE64: Final = later(rb"[A-Za-z0-9+/]{64,}+")
_PICKLED_TYPE: Final = b"arrow.py_extension_type"
_PICKLE: Final = later(rb"\x80[\x02-\x05]|c(?=[a-z_]+\n)")
_MAX_DEPTH: Final = 32
_ROW_GROUPS, _COLUMNS, _FILE_PATH, _COPY, _COLUMN = 4, 1, 1, 2, 3
_PACKED_SIZE, _DATA, _INDEX, _DICTIONARY = 7, 9, 10, 11
_RANGES: Final = ((4, 5), (6, 7))
"""Fields of a column chunk with offset and length of its indexes. Source: apache/parquet-format, parquet.thrift."""
_BLOOM: Final = (14, 15)


def inspect_parquet(data: memoryview, context: Context) -> str:
    """Check the frame of the file, its footer, and that columns and their indexes fill what is before it."""
    length = int.from_bytes(data[-8:-4], "little")
    if len(data) < 12 or bytes(data[-4:]) != MAGIC or not 0 < length <= len(data) - 12:
        raise Invalid(f"a parquet file ends with the length of its footer and PAR1, got {bytes(data[-8:])!r}")
    begin = len(data) - 8 - length
    footer, end = _struct(data[begin : len(data) - 8], 0, 0)
    if end != length:
        context.report("file.polyglot", f"{length - end} bytes follow the footer", begin + end)
    _extensions(data[begin : len(data) - 8], context)
    position = len(MAGIC)
    for start, stop in sorted([*_ranges(footer, context), *_copies(footer, data), (begin, begin)]):
        if start > position:
            message = f"{start - position} bytes belong to no column"
            context.report("file.polyglot", message, position)
        position = max(position, stop)
        context.budget.noted.constant(start, stop)
    if position > begin:
        context.report("format.broken", f"a column ends at {position}, the footer begins at {begin}", begin)
    return "parquet"


def _extensions(footer: memoryview, context: Context) -> None:
    """pyarrow up to 14.0.0 unpickled what it took for a type of its own in the schema (CVE-2023-47248)."""
    for found in _BASE64.finditer(footer):
        for shift in range(4):  # what stands before it, a length, may look like a letter of it
            written = found[0][shift:]
            schema = base64.b64decode(written[: len(written) // 4 * 4])
            if _PICKLED_TYPE in schema:
                what = "the schema has a type that old versions of pyarrow unpickle"
                context.report("file.unsupported", what, found.start())
                _pickles(memoryview(schema), context.enter("schema"))


def _pickles(schema: memoryview, context: Context) -> None:
    for found in _PICKLE.finditer(schema):
        if probe(schema[found.start() :], context).acts:
            inspect_pickle(schema[found.start() :], context)


def _ranges(footer: dict[int, Any], context: Context) -> Iterator[tuple[int, int]]:
    """Where columns and what belongs to them lie."""
    for group in _list(footer, _ROW_GROUPS):
        for chunk in _list(group, _COLUMNS):
            if not isinstance(chunk, dict):
                raise Invalid("a column of a parquet file is no structure")
            if _FILE_PATH in chunk:
                context.report("config.file", f"a column is read from {shown(chunk[_FILE_PATH])}")
            for offset, size in _RANGES:
                yield from _range(chunk, (offset,), size)
            column = chunk.get(_COLUMN)
            if isinstance(column, dict):
                yield from _range(column, (_DICTIONARY, _INDEX, _DATA), _PACKED_SIZE)
                yield from _range(column, _BLOOM[:1], _BLOOM[1])


def _copies(footer: dict[int, Any], data: memoryview) -> Iterator[tuple[int, int]]:
    """Where what the footer says of a column stands behind the column once more, as writers had it until 2024."""
    for group in _list(footer, _ROW_GROUPS):
        for chunk in _list(group, _COLUMNS):
            place = chunk.get(_COPY) if isinstance(chunk, dict) else None
            if isinstance(place, int) and len(MAGIC) <= place < len(data):
                with suppress(Invalid):  # it may be the offset of a page
                    copy, end = _struct(data, place, 0)
                    if copy == chunk.get(_COLUMN) or copy.items() <= chunk.items():
                        yield place, end


def _range(fields: dict[int, Any], offsets: tuple[int, ...], size: int) -> Iterator[tuple[int, int]]:
    starts = [value for offset in offsets if isinstance(value := fields.get(offset), int) and value > 0]
    if starts and isinstance(fields.get(size), int):
        yield min(starts), min(starts) + fields[size]


def _list(fields: Any, number: int) -> list[Any]:
    found = fields.get(number, []) if isinstance(fields, dict) else []
    return found if isinstance(found, list) else []


def _struct(data: memoryview, offset: int, depth: int) -> tuple[dict[int, Any], int]:
    """The fields of a thrift structure by number, and the offset behind it."""
    fields: dict[int, Any] = {}
    number = 0
    while True:
        head = _byte(data, offset)
        offset += 1
        if head == 0:
            return fields, offset
        if head >> 4:
            number += head >> 4
        else:
            raw, offset = varint(data, offset)
            number = _signed(raw)
        fields[number], offset = _value(data, offset, head & 15, depth)


def _value(data: memoryview, offset: int, kind: int, depth: int) -> tuple[Any, int]:
    if depth > _MAX_DEPTH:
        raise Invalid(f"the footer is nested deeper than {_MAX_DEPTH} levels")
    if kind in _FIXED:
        return None, _within(data, offset + _FIXED[kind])
    if kind in _INTEGERS:
        raw, offset = varint(data, offset)
        return _signed(raw), offset
    if kind == _BINARY:
        length, offset = varint(data, offset)
        return bytes(data[offset : offset + length]), _within(data, offset + length)
    if kind in (_LIST, _SET):
        return _items(data, offset, depth)
    if kind == _MAP:
        return None, _pairs(data, offset, depth)
    if kind == _STRUCT:
        return _struct(data, offset, depth + 1)
    raise Invalid(f"thrift type {kind} at offset {offset} of the footer does not exist")


def _signed(raw: int) -> int:
    return (raw >> 1) ^ -(raw & 1)


def _items(data: memoryview, offset: int, depth: int) -> tuple[list[Any], int]:
    head = _byte(data, offset)
    count, offset = head >> 4, offset + 1
    if count == 15:
        count, offset = varint(data, offset)
    _within(data, offset + count)
    found = []
    for _ in range(count):
        if head & 15 in (1, 2):
            # In a list a boolean takes a byte; in a field it is part of the head.
            offset = _within(data, offset + 1)
        else:
            value, offset = _value(data, offset, head & 15, depth + 1)
            found.append(value)
    return found, offset


def _pairs(data: memoryview, offset: int, depth: int) -> int:
    count, offset = varint(data, offset)
    if not count:
        return offset
    kinds = _byte(data, offset)
    _within(data, offset + count)
    offset += 1
    for _ in range(count):
        for kind in (kinds >> 4, kinds & 15):
            _, offset = _value(data, offset, kind, depth + 1)
    return offset


def _byte(data: memoryview, offset: int) -> int:
    return data[_within(data, offset + 1) - 1]


def _within(data: memoryview, end: int) -> int:
    if end > len(data):
        raise Invalid(f"the footer is cut at {len(data)} bytes, {end} are needed")
    return end
