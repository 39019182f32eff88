"""npy arrays: a literal header, then raw numbers, or a pickle where the dtype holds objects."""

from __future__ import annotations

import ast
import math
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.scan import allowlist
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.pickled.judge import Judge
from vallum_validator.scan.pickled.streams import follow, probe
from vallum_validator.scan.reader import Reader

MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER: Final = 64 * 1024
_MAX_EMPTY: Final = 1_000_000
_DTYPE: Final = later(r"[<>|=]?([?biufcmMSUVOT])([0-9]{0,9})(\[.{1,20}\])?$")
_OBJECTS: Final = frozenset({"object", "object_"})
"""What else numpy reads as `O`, and never writes."""


def inspect_npy(data: memoryview, context: Context) -> str:
    """Check header and length; follow the pickle of an array of objects. Arrays may follow one another."""
    offset = 0
    while offset < len(data):
        if offset and bytes(data[offset : offset + 6]) != MAGIC:
            context.report("file.polyglot", f"{len(data) - offset} bytes follow the array", offset)
            break
        offset = _array(data, offset, context)
    return "npy"


def _array(data: memoryview, offset: int, context: Context) -> int:
    reader = Reader(data, offset + len(MAGIC))
    major = reader.number("B")
    reader.number("B")
    if major not in (1, 2, 3):
        raise Invalid(f"npy version {major} does not exist")
    length = reader.number("H" if major == 1 else "I")
    if length > _MAX_HEADER:
        raise Invalid(f"the npy header has {length} bytes, {_MAX_HEADER} at most are read")
    try:
        descr, shape = _header(reader.text(length, "utf-8" if major == 3 else "latin-1"))
        itemsize, objects = _size(descr, 0)
    except Invalid:
        # Some version of numpy may read it, and what follows is a pickle then.
        if probe(data[reader.offset :], context).acts:
            follow(data, reader.offset, Judge(context, allowlist.shipped()), context)
        raise
    if objects:
        return follow(data, reader.offset, Judge(context, allowlist.shipped()), context)
    if not itemsize and math.prod(shape) > _MAX_EMPTY:
        raise Invalid(f"an array of {math.prod(shape)} elements without bytes")
    start = reader.offset
    content = reader.take(math.prod(shape) * itemsize)
    kind = _DTYPE.match(descr) if isinstance(descr, str) else None
    context.budget.noted.typed(kind[1] if kind else "V", content, itemsize, start)
    return reader.offset


def _header(text: str) -> tuple[Any, tuple[int, ...]]:
    """What the elements are, and the shape."""
    try:
        header = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise Invalid(f"the npy header is no literal: {shown(text)}") from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise Invalid(f"the npy header must have descr, fortran_order and shape, got {shown(text)}")
    shape = header["shape"]
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise Invalid(f"the shape must be a tuple of sizes, got {shown(shape)}")
    return header["descr"], shape


def _size(descr: Any, depth: int) -> tuple[int, bool]:
    """Bytes per element, and whether it holds Python objects."""
    if isinstance(descr, str) and descr in _OBJECTS:
        return 8, True
    match = _DTYPE.match(descr) if isinstance(descr, str) else None
    if match:
        width = 4 if match[1] == "U" else 1
        return int(match[2] or (0 if match[1] in "SUV" else 1)) * width, match[1] == "O"
    if isinstance(descr, list) and depth < 10:
        fields = [_field(field, depth) for field in descr]
        return sum(size for size, _ in fields), any(objects for _, objects in fields)
    raise Invalid(f"dtype {shown(descr)} is not known")


def _field(field: Any, depth: int) -> tuple[int, bool]:
    if not isinstance(field, tuple) or len(field) not in (2, 3):
        raise Invalid(f"a field of a dtype must have a name and a type, got {shown(field)}")
    size, objects = _size(field[1], depth + 1)
    shape = field[2] if len(field) == 3 else ()
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise Invalid(f"the shape of a field must be a tuple of sizes, got {shown(shape)}")
    return size * math.prod(shape), objects
