"""GGUF: typed metadata, then tensors. A chat template in the metadata is a program, and is looked at as one."""

from __future__ import annotations

import math
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.templates import inspect_template
from vallum_validator.scan.reader import Reader

MAGIC: Final = b"GGUF"
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 7: "B", 10: "Q", 11: "q"}
_FLOATS: Final = {6: 4, 12: 8}
_STRING, _ARRAY = 8, 9
_MAX_ENTRIES: Final = 1_000_000
_MAX_DIMENSIONS: Final = 8
_MIN_ALIGNMENT: Final = 32


def inspect_gguf(data: memoryview, context: Context) -> str:
    """Read all metadata and the place of every tensor."""
    reader = Reader(data, 4)
    version = reader.number("I")
    if version not in (2, 3):
        raise Invalid(f"GGUF version {version} is not known")
    tensors, entries = _bounded(reader.number("Q")), _bounded(reader.number("Q"))
    alignment = _MIN_ALIGNMENT
    for _ in range(entries):
        key = _string(reader)
        value = _value(reader, reader.number("I"), 0)
        if key == "general.alignment" and isinstance(value, int):
            alignment = value
        if isinstance(value, str) and ("chat_template" in key or "{%" in value or "{{" in value):
            inspect_template(value, context.enter(key))
    _tensors(reader, tensors, alignment)
    return "gguf"


def _tensors(reader: Reader, count: int, alignment: int) -> None:
    last = 0
    for _ in range(count):
        name, dimensions = _string(reader), reader.number("I")
        if dimensions > _MAX_DIMENSIONS:
            raise Invalid(f"tensor {shown(name)} has {dimensions} dimensions")
        shape = [reader.number("Q") for _ in range(dimensions)]
        reader.number("I")
        offset = reader.number("Q")
        # The smallest known type has one and a half bits per weight.
        last = max(last, offset + math.prod(shape) // 8)
    if alignment not in {1 << power for power in range(3, 17)}:
        raise Invalid(f"general.alignment must be a power of two from 8 to 65536, got {alignment}")
    begin = -(-reader.offset // alignment) * alignment
    if count and begin + last > len(reader.data):
        raise Invalid(f"tensors reach to {begin + last}, the file ends at {len(reader.data)}")


def _bounded(count: int) -> int:
    if count > _MAX_ENTRIES:
        raise Invalid(f"{count} entries, {_MAX_ENTRIES} at most are read")
    return count


def _string(reader: Reader) -> str:
    return str(reader.take(reader.number("Q")), "utf-8", "replace")


def _value(reader: Reader, kind: int, depth: int) -> Any:
    if kind in _SCALARS:
        return reader.number(_SCALARS[kind])
    if kind in _FLOATS:
        return reader.take(_FLOATS[kind])
    if kind == _STRING:
        return _string(reader)
    if kind == _ARRAY and depth < 4:
        inner, count = reader.number("I"), reader.number("Q")
        if count > reader.left:
            raise Invalid(f"an array of {count} values in {reader.left} bytes")
        for _ in range(count):
            _value(reader, inner, depth + 1)
        return None
    raise Invalid(f"metadata type {kind} is not known")
