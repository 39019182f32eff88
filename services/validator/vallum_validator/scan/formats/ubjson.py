"""UBJSON, in which XGBoost writes its models. Values are skipped one by one; the file must hold exactly one."""

from __future__ import annotations

from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context
from vallum_validator.scan.reader import Reader
from vallum_validator.scan.texts import Noted

_FIXED: Final = {
    b"Z": 0,
    b"T": 0,
    b"F": 0,
    b"N": 0,
    b"i": 1,
    b"U": 1,
    b"C": 1,
    b"I": 2,
    b"l": 4,
    b"d": 4,
    b"L": 8,
    b"D": 8,
}
_BYTES: Final = frozenset({b"i", b"U", b"C"})
"""What may be text."""
_LENGTH_CODES: Final = {b"i": "b", b"U": "B", b"I": "h", b"l": "i", b"L": "q"}
_MAX_DEPTH: Final = 64


def is_ubjson(data: memoryview) -> bool:
    """Whether it begins as XGBoost's writer begins: an object whose first key has a length of eight bytes."""
    head = bytes(data[:10])
    return head[:2] == b"{L" and head[2:9] == b"\0" * 7


def inspect_ubjson(data: memoryview, context: Context) -> str:
    """Walk to the end of the value."""
    reader = _Model(data, context.budget.noted)
    _value(reader, reader.magic(1), 0)
    if reader.left:
        context.report("file.polyglot", f"{reader.left} bytes follow the model", reader.offset)
    return "xgboost"


class _Model(Reader):
    """A reader that notes where arrays lie."""

    def __init__(self, data: memoryview, noted: Noted) -> None:
        super().__init__(data)
        self.noted = noted


def _length(reader: Reader) -> int:
    code = reader.magic(1)
    if code not in _LENGTH_CODES:
        raise Invalid(f"a length at offset {reader.offset - 1} has the type {code!r}")
    return reader.number(_LENGTH_CODES[code], ">")


def _value(reader: _Model, kind: bytes, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise Invalid(f"values are nested deeper than {_MAX_DEPTH} levels")
    if kind in _FIXED:
        reader.take(_FIXED[kind])
    elif kind in (b"S", b"H"):
        reader.take(_length(reader))
    elif kind == b"[":
        _array(reader, depth)
    elif kind == b"{":
        _object(reader, depth)
    else:
        raise Invalid(f"UBJSON type {kind!r} at offset {reader.offset - 1} is not known")


def _array(reader: _Model, depth: int) -> None:
    kind = reader.magic(1)
    if kind == b"$":
        element = reader.magic(1)
        if reader.magic(1) != b"#" or element not in _FIXED:
            raise Invalid(f"the typed array at offset {reader.offset} has no count or no plain type")
        length = _length(reader) * _FIXED[element]
        reader.take(length)
        (reader.noted.constant if element in _BYTES else reader.noted.number)(reader.offset - length, reader.offset)
        return
    if kind == b"#":
        count = _length(reader)
        if count > reader.left:
            raise Invalid(f"an array of {count} values in {reader.left} bytes")
        for _ in range(count):
            _value(reader, reader.magic(1), depth + 1)
        return
    while kind != b"]":
        _value(reader, kind, depth + 1)
        kind = reader.magic(1)


def _object(reader: _Model, depth: int) -> None:
    while (code := reader.magic(1)) != b"}":
        if code not in _LENGTH_CODES:
            raise Invalid(f"a key at offset {reader.offset - 1} has a length of type {code!r}")
        reader.take(reader.number(_LENGTH_CODES[code], ">"))
        _value(reader, reader.magic(1), depth + 1)
