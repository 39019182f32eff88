"""TFLite: which operators a model uses, and that its last byte belongs to something. Source: tensorflow, schema.fbs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context, shown

_CUSTOM: Final = 32
_KNOWN: Final = frozenset({"TFLite_Detection_PostProcess", "Mfcc", "AudioSpectrogram", "MaxPoolingWithArgmax2D"})
_MAX_TABLE: Final = 100_000


def inspect_tflite(data: memoryview, context: Context) -> str:
    """Report operators that are not built in. Source: tensorflow, lite/schema/schema.fbs."""
    root = _unsigned(data, 0)
    for code in _vector(data, root, 1):
        custom, builtin = _field(data, code, 1), _field(data, code, 3)
        old = _field(data, code, 0)
        number = max(_signed(data, builtin, 4) if builtin else 0, _signed(data, old, 1) if old else 0)
        if number == _CUSTOM:
            name = _text(data, custom) if custom else ""
            if name not in _KNOWN:
                context.report("tensorflow.operator-unknown", f"the model uses the custom operator {shown(name)}")
    return "tflite"


def _unsigned(data: memoryview, offset: int) -> int:
    if not 0 <= offset <= len(data) - 4:
        raise Invalid(f"offset {offset} lies outside the file")
    return int.from_bytes(data[offset : offset + 4], "little")


def _signed(data: memoryview, offset: int, width: int) -> int:
    if not 0 <= offset <= len(data) - width:
        raise Invalid(f"offset {offset} lies outside the file")
    return int.from_bytes(data[offset : offset + width], "little", signed=True)


def _field(data: memoryview, table: int, index: int) -> int:
    """Where a field of a table lies; 0 where it is left out."""
    layout = table - _signed(data, table, 4)
    if not 0 <= layout <= len(data) - 4:
        raise Invalid(f"the layout of the table at {table} lies outside the file")
    (size,) = struct.unpack_from("<H", data, layout)
    place = 4 + 2 * index
    if place + 2 > size:
        return 0
    if layout + place + 2 > len(data):
        raise Invalid(f"the layout of the table at {table} is cut")
    (offset,) = struct.unpack_from("<H", data, layout + place)
    return table + offset if offset else 0


def _vector(data: memoryview, table: int, index: int) -> Iterator[int]:
    field = _field(data, table, index)
    if not field:
        return
    start = field + _unsigned(data, field)
    count = _unsigned(data, start)
    if count > _MAX_TABLE:
        raise Invalid(f"{count} operator codes, {_MAX_TABLE} at most are read")
    for place in range(start + 4, start + 4 + 4 * count, 4):
        yield place + _unsigned(data, place)


def _text(data: memoryview, field: int) -> str:
    start = field + _unsigned(data, field)
    length = _unsigned(data, start)
    return str(data[start + 4 : start + 4 + min(length, 1000)], "utf-8", "replace")
