"""The one message form between a caller and its worker: a JSON head and flat arrays, never pickle.

Both sides use this module. The caller reads frames from a process that may be hostile, so everything about a frame is
checked before memory is taken for it: lengths, types, shapes, text, and that nothing is left over.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"

MAX_HEAD_BYTES: Final = 1024 * 1024
"""A head holds names and figures; rows travel as arrays."""
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""Callers ask for few enough rows that an honest answer is far smaller."""

ORIGINAL: Final = "original"
CONVERTED: Final = "converted"
TRAINED: Final = "trained"
"""Which of the models a worker may hold is asked: as submitted, as ONNX, or trained anew."""

_MAGIC: Final = b"VLM1"
_PREFIX: Final = struct.Struct("<4sIQ")
PREFIX_BYTES: Final = _PREFIX.size

_NUMBERS: Final[Mapping[str, np.dtype[Any]]] = {
    "float64": np.dtype("<f8"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
}
_TEXT: Final = "text"


class FrameInvalid(ValueError):
    """The bytes are not a frame; the message names what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Args:
        head: JSON-compatible.
        arrays: by name; float64, int64 or int32 of at most two dimensions, or a flat object array of str and None.
    """

    head: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame, prefix included.

    Raises:
        FrameInvalid: it would be larger than a reader accepts, or an array has a type that does not travel.
    """
    described: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, array in frame.arrays.items():
        kind, buffers = _pack(name, array)
        described.append(
            {"name": name, "kind": kind, "shape": list(array.shape), "bytes": [len(part) for part in buffers]}
        )
        parts += buffers
    head = json.dumps({"head": frame.head, "arrays": described}, allow_nan=False).encode()
    body = b"".join(parts)
    _check_size(len(head), len(body))
    return _PREFIX.pack(_MAGIC, len(head), len(body)) + head + body


def sizes(prefix: bytes) -> tuple[int, int]:
    """Return how many bytes of head and of body follow a prefix of `PREFIX_BYTES` bytes.

    Raises:
        FrameInvalid: it is not a prefix, or announces more than is accepted.
    """
    magic, head_bytes, body_bytes = _PREFIX.unpack(prefix)
    if magic != _MAGIC:
        raise FrameInvalid(f"a frame must begin with {_MAGIC!r}, got {magic!r}")
    _check_size(head_bytes, body_bytes)
    return head_bytes, body_bytes


def decode(head: bytes, body: bytes) -> Frame:
    """Return the frame whose prefix announced these two parts.

    Raises:
        FrameInvalid: anything about it is not exactly as `encode` writes it.
    """
    try:
        document = json.loads(head)
        described = [(str(one["name"]), one["kind"], tuple(one["shape"]), one["bytes"]) for one in document["arrays"]]
        values = document["head"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FrameInvalid(f"the head of a frame is not understood: {type(error).__name__}") from error
    if not isinstance(values, dict):
        raise FrameInvalid(f"the head of a frame must be a mapping, got {type(values).__name__}")
    arrays: dict[str, Array] = {}
    rest = memoryview(body)
    for name, kind, shape, lengths in described:
        buffers, rest = _split(rest, lengths)
        arrays[name] = _unpack(kind, shape, buffers)
    if len(rest):
        raise FrameInvalid(f"a frame has {len(rest)} bytes too many")
    return Frame(head=values, arrays=arrays)


def _check_size(head_bytes: int, body_bytes: int) -> None:
    if head_bytes > MAX_HEAD_BYTES or body_bytes > MAX_BODY_BYTES:
        raise FrameInvalid(
            f"a frame of {head_bytes} + {body_bytes} bytes is too large; at most {MAX_HEAD_BYTES} + {MAX_BODY_BYTES}"
        )


def _pack(name: str, array: Array) -> tuple[str, list[bytes]]:
    if array.dtype == object:
        return _TEXT, _pack_text(array)
    kind = array.dtype.name
    if kind not in _NUMBERS:
        raise FrameInvalid(f"array {name!r} of type {kind!r} does not travel; float64, int64, int32 and text do")
    return kind, [np.ascontiguousarray(array, dtype=_NUMBERS[kind]).tobytes()]


def _pack_text(array: Array) -> list[bytes]:
    """Distinct values once: ends of each in a run of UTF-8, the run, and which of them each row has (-1: missing)."""
    values = array.tolist()
    number = {value: index for index, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
    encoded = [value.encode("utf-8", "replace") for value in number]
    number[None] = -1
    ends = np.cumsum([len(one) for one in encoded], dtype="<i8") if encoded else np.empty(0, "<i8")
    codes = np.fromiter((number[value] for value in values), dtype="<i4", count=len(values))
    return [ends.tobytes(), b"".join(encoded), codes.tobytes()]


def _split(rest: memoryview, lengths: object) -> tuple[list[memoryview], memoryview]:
    buffers: list[memoryview] = []
    if not isinstance(lengths, list) or not lengths:
        raise FrameInvalid("an array must say how long its buffers are")
    for length in lengths:
        if type(length) is not int or not 0 <= length <= len(rest):
            raise FrameInvalid(f"a buffer of {length!r} bytes does not fit into the {len(rest)} that are left")
        buffers.append(rest[:length])
        rest = rest[length:]
    return buffers, rest


def _unpack(kind: object, shape: tuple[object, ...], buffers: list[memoryview]) -> Array:
    extents = tuple(size for size in shape if type(size) is int and size >= 0)
    if len(extents) != len(shape) or len(extents) > 2:
        raise FrameInvalid(f"an array has at most two dimensions, none negative, got {shape!r}")
    count = math.prod(extents)
    if kind == _TEXT and len(extents) == 1 and len(buffers) == 3:
        return _unpack_text(count, *buffers)
    dtype = _NUMBERS.get(str(kind))
    if dtype is None or len(buffers) != 1 or len(buffers[0]) != count * dtype.itemsize:
        raise FrameInvalid(f"an array of kind {kind!r} and shape {shape!r} does not have {len(buffers[0])} bytes")
    array: Array = np.frombuffer(buffers[0], dtype=dtype).reshape(extents)
    return array


def _unpack_text(count: int, ends: memoryview, run: memoryview, codes: memoryview) -> Array:
    if len(ends) % 8 or len(codes) != count * 4:
        raise FrameInvalid(f"a text array of {count} rows does not have {len(ends)} + {len(codes)} bytes")
    stops = np.frombuffer(ends, "<i8")
    which = np.frombuffer(codes, "<i4")
    starts = np.concatenate([np.zeros(1, "<i8"), stops])
    if (starts[1:] < starts[:-1]).any() or int(starts[-1]) != len(run):
        raise FrameInvalid("the values of a text array do not lie one after the other")
    if count and not -1 <= int(which.min()) <= int(which.max()) < len(stops):
        raise FrameInvalid("a text array points to a value that it does not have")
    values = np.empty(len(stops) + 1, dtype=object)
    text = bytes(run)
    try:
        values[:-1] = [text[start:stop].decode() for start, stop in zip(starts[:-1], stops, strict=True)]
    except UnicodeDecodeError as error:
        raise FrameInvalid(f"a text array is not UTF-8 (byte {error.start} of a value)") from error
    # Code -1 reaches the last place, which stays None.
    rows: Array = values[which]
    return rows
