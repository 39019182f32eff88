"""GGUF: typed metadata, then tensors. A chat template in the metadata is a program, and is looked at as one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.configs import inspect_strings
from vallum_validator.scan.formats.metadata import declare
from vallum_validator.scan.formats.templates import inspect_template
from vallum_validator.scan.reader import Reader

MAGIC: Final = b"GGUF"
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 7: "B", 10: "Q", 11: "q"}
_FLOATS: Final = {6: 4, 12: 8}
_WIDTHS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_MAX_ENTRIES: Final = 1_000_000
_MAX_DIMENSIONS: Final = 4
_MIN_ALIGNMENT: Final = 32
_ALIGNMENTS: Final = frozenset(1 << power for power in range(3, 17))
_TEMPLATE: Final = "chat_template"
_BLOCK: Final = later(rb"\{[{%]")
_BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""Weights in a block of a tensor type and bytes it takes. Source: ggml-org/llama.cpp, gguf-py, `GGML_QUANT_SIZES`."""


class Tensor(NamedTuple):
    """A tensor as the head of the file describes it.

    Args:
        name: of the tensor.
        shape: as written, the fastest dimension first.
        kind: number of its type.
        start: of its data in the file.
        size: of its data, in bytes.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    size: int


def inspect_gguf(data: memoryview, context: Context) -> str:
    """Read all metadata, and check that the tensors fill what follows it."""
    metadata, tensors, end_of_head = _read(data)
    declare(metadata, context)
    for key, value in metadata.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and _TEMPLATE in key:
                inspect_template(text, context.enter(key))
            elif isinstance(text, str):
                inspect_strings({key: text}, context.enter(key))
    alignment = _alignment(metadata)
    position = end_of_head
    for tensor in sorted(tensors, key=lambda tensor: tensor.start):
        gap = tensor.start - position
        if not 0 <= gap < alignment or any(data[position : tensor.start]):
            message = f"{shown(tensor.name)} begins at {tensor.start}, the one before ends at {position}"
            context.report("gguf.layout", message, tensor.start)
        position = tensor.start + tensor.size
        context.budget.noted.number(tensor.start, position)
    left = len(data) - position
    if not 0 <= left < alignment or any(data[position:]):
        context.report("gguf.layout", f"the tensors end at {position}, the file at {len(data)}", position)
    return "gguf"


def inventory(data: memoryview) -> Iterator[str]:
    """What is in the file, a line each: tensors with type, shape and place, and keys of the metadata."""
    metadata, tensors, _ = _read(data)
    for key in metadata:
        yield f"metadata {key}"
    for tensor in tensors:
        yield f"tensor {tensor.name} {tensor.kind} {list(tensor.shape)} {tensor.start}"


def _read(data: memoryview) -> tuple[dict[str, Any], list[Tensor], int]:
    """Metadata, tensors, and where the head ends."""
    reader = Reader(data, len(MAGIC))
    version = reader.number("I")
    if version not in (2, 3):
        raise Invalid(f"GGUF version {version} is not known")
    count, entries = _bounded(reader.number("Q")), _bounded(reader.number("Q"))
    metadata: dict[str, Any] = {}
    for _ in range(entries):
        key = _string(reader)
        if key in metadata:
            raise Invalid(f"the metadata has the key {shown(key)} twice")
        metadata[key] = _value(reader, reader.number("I"), 0)
    described = [_description(reader) for _ in range(count)]
    alignment = _alignment(metadata)
    begin = -(-reader.offset // alignment) * alignment
    names = {name for name, *_ in described}
    if len(names) != len(described):
        raise Invalid("two tensors have one name")
    return metadata, [_tensor(one, begin) for one in described], reader.offset


def _description(reader: Reader) -> tuple[str, tuple[int, ...], int, int]:
    name, dimensions = _string(reader), reader.number("I")
    if dimensions > _MAX_DIMENSIONS:
        raise Invalid(f"tensor {shown(name)} has {dimensions} dimensions, at most {_MAX_DIMENSIONS} are possible")
    shape = tuple(reader.number("Q") for _ in range(dimensions))
    return name, shape, reader.number("I"), reader.number("Q")


def _tensor(described: tuple[str, tuple[int, ...], int, int], begin: int) -> Tensor:
    name, shape, kind, offset = described
    if kind not in _BLOCKS:
        raise Invalid(f"tensor {shown(name)} has the type {kind}, which is not known")
    weights, size = _BLOCKS[kind]
    count = math.prod(shape)
    if (shape[0] if shape else count) % weights:
        raise Invalid(f"tensor {shown(name)} of shape {shown(shape)} has no whole number of blocks of {weights}")
    return Tensor(name, shape, kind, begin + offset, count // weights * size)


def _alignment(metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", _MIN_ALIGNMENT)
    if alignment not in _ALIGNMENTS:
        raise Invalid(f"general.alignment must be a power of two from 8 to 65536, got {shown(alignment)}")
    return int(alignment)


def _bounded(count: int) -> int:
    if count > _MAX_ENTRIES:
        raise Invalid(f"{count} entries, {_MAX_ENTRIES} at most are read")
    return count


def _string(reader: Reader) -> str:
    return str(reader.take(reader.number("Q")), "utf-8", "replace")


def _strings(reader: Reader, count: int) -> list[str]:
    """Those of an array that may be templates; a vocabulary has a hundred thousand others."""
    texts = [reader.take(reader.number("Q")) for _ in range(count)]
    return [str(text, "utf-8", "replace") for text in texts if _BLOCK.search(text)]


def _value(reader: Reader, kind: int, depth: int) -> Any:
    if kind in _SCALARS:
        return reader.number(_SCALARS[kind])
    if kind in _FLOATS:
        return reader.take(_FLOATS[kind])
    if kind == _STRING:
        return _string(reader)
    if kind == _ARRAY and depth < 4:
        inner, count = reader.number("I"), reader.number("Q")
        if inner in _WIDTHS:
            reader.take(count * _WIDTHS[inner])
        elif count > reader.left:
            raise Invalid(f"an array of {count} values in {reader.left} bytes")
        elif inner == _STRING:
            return _strings(reader, count)
        else:
            return [text for _ in range(count) for text in _value(reader, inner, depth + 1) or ()]
        return None
    raise Invalid(f"metadata type {kind} is not known")
