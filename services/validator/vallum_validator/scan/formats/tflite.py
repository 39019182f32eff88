"""TFLite: which operators a model uses, and that its last byte belongs to something.

A flatbuffer is a web of offsets, so not every byte between can be called explained without knowing every table; what
lies behind the furthest thing that is reached is. Source: tensorflow, compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.tensorflow import DENIED

_CUSTOM: Final = 32
_KNOWN: Final = frozenset({"TFLite_Detection_PostProcess", "Mfcc", "AudioSpectrogram", "MaxPoolingWithArgmax2D"})
_FLEX: Final = "Flex"
"""What an operator of TensorFlow is called here, with its own name behind."""
_MAX_TABLE: Final = 1_000_000
_PADDING: Final = 64
_CODES, _SUBGRAPHS, _DESCRIPTION, _BUFFERS, _METADATA = 1, 2, 3, 4, 6


def inspect_tflite(data: memoryview, context: Context) -> str:
    """Report operators that are not built in, and bytes behind the model."""
    buffer = _Flatbuffer(data)
    root = buffer.unsigned(0)
    for code in buffer.tables(root, _CODES):
        old = buffer.field(code, 0)
        new = buffer.field(code, 3)
        number = max(buffer.signed(new, 4) if new else 0, buffer.signed(old, 1) if old else 0)
        name = buffer.text(code, 1)
        if number == _CUSTOM and name not in _KNOWN:
            known = "denied" if name.startswith(_FLEX) and name.removeprefix(_FLEX) in DENIED else "unknown"
            context.report(f"tensorflow.operator-{known}", f"the model uses the custom operator {shown(name)}")
    buffer.text(root, _DESCRIPTION)
    for table in buffer.tables(root, _BUFFERS):
        context.budget.noted.constant(*buffer.range_of(table, 0))
        _outside(buffer, table)
    for table in buffer.tables(root, _METADATA):
        buffer.text(table, 0)
    for graph in buffer.tables(root, _SUBGRAPHS):
        buffer.text(graph, 4)
        for tensor in buffer.tables(graph, 0):
            buffer.text(tensor, 3)
        for operator in buffer.tables(graph, 3):
            buffer.bytes_of(operator, 5)
    if len(data) - buffer.reached > _PADDING:
        message = f"{len(data) - buffer.reached} bytes follow the model"
        context.report("file.polyglot", message, buffer.reached)
    return "tflite"


def _outside(buffer: _Flatbuffer, table: int) -> None:
    """Models of more than 2 GB keep data behind the flatbuffer; the buffer says where."""
    offset, size = buffer.field(table, 1), buffer.field(table, 2)
    if offset and size:
        start, length = (int.from_bytes(buffer.data[place : place + 8], "little") for place in (offset, size))
        if start > 1:
            buffer.reach(start + length)


@dataclass(slots=True)
class _Flatbuffer:
    """A flatbuffer, and how far into it was read.

    Args:
        data: all of it.
        reached: the offset behind the furthest thing.
    """

    data: memoryview
    reached: int = 0

    def reach(self, end: int) -> None:
        """Note that something ends there. Raises: Invalid where that is outside."""
        if not 0 <= end <= len(self.data):
            raise Invalid(f"offset {end} lies outside the file")
        self.reached = max(self.reached, end)

    def unsigned(self, offset: int) -> int:
        """Four bytes."""
        self.reach(offset + 4)
        return int.from_bytes(self.data[offset : offset + 4], "little")

    def signed(self, offset: int, width: int) -> int:
        """As many bytes, with a sign."""
        self.reach(offset + width)
        return int.from_bytes(self.data[offset : offset + width], "little", signed=True)

    def field(self, table: int, index: int) -> int:
        """Where a field of a table lies; 0 where it is left out."""
        layout = table - self.signed(table, 4)
        if not 0 <= layout <= len(self.data) - 4:
            raise Invalid(f"the layout of the table at {table} lies outside the file")
        (size,) = struct.unpack_from("<H", self.data, layout)
        place = 4 + 2 * index
        if place + 2 > size:
            return 0
        self.reach(layout + size)
        (offset,) = struct.unpack_from("<H", self.data, layout + place)
        return table + offset if offset else 0

    def range_of(self, table: int, index: int) -> tuple[int, int]:
        """Where a vector of bytes lies; nowhere where it is left out."""
        field = self.field(table, index)
        if not field:
            return 0, 0
        start = field + self.unsigned(field)
        length = self.unsigned(start)
        self.reach(start + 4 + length)
        return start + 4, start + 4 + length

    def bytes_of(self, table: int, index: int) -> memoryview:
        """A vector of bytes; empty where it is left out."""
        start, end = self.range_of(table, index)
        return self.data[start:end]

    def text(self, table: int, index: int) -> str:
        """A text; empty where it is left out."""
        return str(self.bytes_of(table, index)[:1000], "utf-8", "replace")

    def tables(self, table: int, index: int) -> Iterator[int]:
        """The tables of a vector."""
        field = self.field(table, index)
        if not field:
            return
        start = field + self.unsigned(field)
        count = self.unsigned(start)
        if count > _MAX_TABLE:
            raise Invalid(f"{count} tables, {_MAX_TABLE} at most are read")
        self.reach(start + 4 + 4 * count)
        for place in range(start + 4, start + 4 + 4 * count, 4):
            yield place + self.unsigned(place)
