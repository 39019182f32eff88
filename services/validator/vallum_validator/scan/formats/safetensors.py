"""safetensors: a JSON header that must describe every byte behind it, without gap or overlap."""

from __future__ import annotations

import math
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.text import load_json
from vallum_validator.scan.reader import Reader

_MAX_HEADER: Final = 100_000_000
_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64,
    "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
"""Bits per element. Source: huggingface/safetensors, `tensor.rs`, enum Dtype."""


def is_safetensors(data: memoryview) -> bool:
    """Whether a plausible header length is followed by a JSON object."""
    if len(data) < 10 or data[8] != ord("{"):
        return False
    return 2 <= int.from_bytes(data[:8], "little") <= min(_MAX_HEADER, len(data) - 8)


def inspect_safetensors(data: memoryview, context: Context) -> str:
    """Check that the tensors fill the file exactly."""
    reader = Reader(data)
    header = load_json(reader.take(reader.number("Q")))
    if not isinstance(header, dict):
        raise Invalid(f"the header must be an object, got {shown(header)}")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Invalid("__metadata__ must map text to text")
    position = 0
    for start, end, name in sorted((*_extent(tensor, name), name) for name, tensor in header.items()):
        if start != position:
            context.report("safetensors.layout", f"{shown(name)} begins at {start}, the one before ends at {position}")
        position = max(position, end)
    if position != reader.left:
        message = f"the tensors end at {position}, {reader.left} bytes are there"
        context.report("safetensors.layout", message, reader.offset + min(position, reader.left))
    return "safetensors"


def _extent(tensor: Any, name: str) -> tuple[int, int]:
    try:
        (start, end), shape, bits = tensor["data_offsets"], tensor["shape"], _BITS[tensor["dtype"]]
    except (TypeError, KeyError, ValueError) as error:
        raise Invalid(
            f"tensor {shown(name)} is not described as dtype, shape and data_offsets: {shown(tensor)}"
        ) from error
    if not all(type(value) is int and value >= 0 for value in (start, end, *shape)):
        raise Invalid(f"tensor {shown(name)} has offsets or a shape that are no sizes: {shown(tensor)}")
    if end - start != -(-math.prod(shape) * bits // 8):
        raise Invalid(f"tensor {shown(name)} has {end - start} bytes for the shape {shown(shape)} of {tensor['dtype']}")
    return start, end
