"""safetensors: a JSON header that must describe every byte behind it, without gap or overlap."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.configs import inspect_strings
from vallum_validator.scan.formats.metadata import declare
from vallum_validator.scan.formats.text import load_json
from vallum_validator.scan.reader import Reader

_MAX_HEADER: Final = 100_000_000
_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64,
    "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
"""Bits per element. Source: huggingface/safetensors, `tensor.rs`, enum Dtype."""
_METADATA: Final = "__metadata__"
_PARTS: Final = frozenset({"dtype", "shape", "data_offsets"})


def is_safetensors(data: memoryview) -> bool:
    """Whether a plausible header length is followed by a JSON object."""
    if len(data) < 10 or data[8] != ord("{"):
        return False
    return 2 <= int.from_bytes(data[:8], "little") <= min(_MAX_HEADER, len(data) - 8)


def inspect_safetensors(data: memoryview, context: Context) -> str:
    """Check that the tensors fill the file exactly, and look into the metadata."""
    header, rest = _header(data)
    metadata = header.pop(_METADATA, {})
    inspect_strings(metadata, context)
    declare(metadata, context)
    position, begin = 0, len(data) - len(rest)
    for start, end, name in sorted((*_extent(tensor, name), name) for name, tensor in header.items()):
        if start != position:
            context.report("safetensors.layout", f"{shown(name)} begins at {start}, the one before ends at {position}")
        position = max(position, end)
        context.budget.noted.number(begin + start, begin + end)
    if position != len(rest):
        message = f"the tensors end at {position}, {len(rest)} bytes are there"
        context.report("safetensors.layout", message, begin + min(position, len(rest)))
    return "safetensors"


def inventory(data: memoryview) -> Iterator[str]:
    """What is in the file, a line each: tensors with type and shape, keys of the metadata."""
    header, _ = _header(data)
    for key in header.pop(_METADATA, {}):
        yield f"metadata {key}"
    for name, tensor in header.items():
        yield f"tensor {name} {tensor['dtype']} {tensor['shape']}"


def _header(data: memoryview) -> tuple[dict[str, Any], memoryview]:
    """The header, and the bytes behind it."""
    reader = Reader(data)
    raw = reader.take(reader.number("Q"))
    header = load_json(raw)
    if not isinstance(header, dict):
        raise Invalid(f"the header must be an object, got {shown(header)}")
    metadata = header.get(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Invalid("__metadata__ must map text to text")
    return header, data[reader.offset :]


def _extent(tensor: Any, name: str) -> tuple[int, int]:
    try:
        (start, end), shape, bits = tensor["data_offsets"], tensor["shape"], _BITS[tensor["dtype"]]
    except (TypeError, KeyError, ValueError) as error:
        raise Invalid(
            f"tensor {shown(name)} is not described as dtype, shape and data_offsets: {shown(tensor)}"
        ) from error
    if set(tensor) != _PARTS:
        raise Invalid(f"tensor {shown(name)} has more than dtype, shape and data_offsets: {shown(tensor)}")
    if not all(type(value) is int and value >= 0 for value in (start, end, *shape)):
        raise Invalid(f"tensor {shown(name)} has offsets or a shape that are no sizes: {shown(tensor)}")
    if end - start != -(-math.prod(shape) * bits // 8):
        raise Invalid(f"tensor {shown(name)} has {end - start} bytes for the shape {shown(shape)} of {tensor['dtype']}")
    return start, end
