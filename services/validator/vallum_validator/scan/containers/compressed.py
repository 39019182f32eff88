"""Compressed streams: gzip, zlib, bzip2, xz, lzma, lz4, zstd and the oldest of joblib's own.

Streams that follow each other are read as one, as their libraries do: a pickle may begin in one and end in the next.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.containers.expand import Decompressor, Expansion, bzip2, gzip, xz, zlib_stream
from vallum_validator.scan.containers.frames import LZ4_MAGIC, ZSTD_MAGIC, Lz4, zstd_frame
from vallum_validator.scan.context import Context

AddStream = Callable[[Expansion, memoryview], int]
"""Appends what the stream at the beginning holds; returns how many bytes it took."""


def _by(begin: Callable[[], Decompressor]) -> AddStream:
    return lambda content, raw: content.add_stream(raw, begin())


def _zstd(content: Expansion, raw: memoryview) -> int:
    length, pieces = zstd_frame(raw)
    for piece in pieces:
        content.add(piece)
    return length


_ZFILE_LENGTH: Final = len("ZF") + len(hex(2**64))


def _zfile(content: Expansion, raw: memoryview) -> int:
    """joblib before 0.10, which today's still loads: the length in text, padded, then a zlib stream."""
    begin = _ZFILE_LENGTH
    if bytes(raw[begin : begin + 1]) == b" ":
        begin += 1
    return begin + content.add_stream(raw[begin:], zlib_stream())


_ZLIB_HEADS: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_TRIED: Final = 64 * 1024
_OPENERS: Final[Mapping[bytes, tuple[str, AddStream]]] = {
    b"\x1f\x8b": ("gzip", _by(gzip)),
    b"BZh": ("bzip2", _by(bzip2)),
    b"\xfd7zXZ\x00": ("xz", _by(xz)),
    b"\x5d\x00": ("lzma", _by(xz)),
    LZ4_MAGIC: ("lz4", _by(Lz4)),
    ZSTD_MAGIC: ("zstd", _zstd),
    b"ZF0x": ("zfile", _zfile),
    **dict.fromkeys(_ZLIB_HEADS, ("zlib", _by(zlib_stream))),
}
_SKIPPABLE: Final = frozenset(bytes([0x50 + low]) + b"\x2a\x4d\x18" for low in range(16))
"""Frames that lz4 and zstd pass over, whatever is in them."""


def _opener(data: memoryview) -> tuple[str, AddStream] | None:
    head = bytes(data[:6])
    return next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)


def is_compressed(data: memoryview) -> bool:
    """Whether the content begins like one of the compressed streams, and does not break off before its first byte."""
    if bytes(data[:2]) in _ZLIB_HEADS:
        return _gives_a_byte(data)
    return _opener(data) is not None or bytes(data[:4]) in _SKIPPABLE


def _gives_a_byte(data: memoryview) -> bool:
    """Whether anything comes out of zlib: two bytes are no magic, and one in some thousand headers of safetensors
    begins with them. Whoever reads a stream that is broken from its beginning gets nothing of it."""
    try:
        zlib.decompressobj().decompress(data[:_TRIED], 1)
    except zlib.error:
        return False
    return True


def inspect_compressed(data: memoryview, context: Context) -> str:
    """Expand every stream, one after the other, and inspect what they hold together.

    Returns:
        `joblib` where a pickle is inside, else the name of the compression.
    """
    begin = _skip(data, 0, context)
    opener = _opener(data[begin:])
    if opener is None:
        raise Invalid(f"no compressed stream begins with {bytes(data[begin : begin + 6])!r}")
    name, add = opener
    content = Expansion(context.budget)
    used = begin
    try:
        while used < len(data) and _opener(data[used:]) == opener:
            context.budget.enter()
            used = _skip(data, used + add(content, data[used:]), context)
    except Invalid as error:
        # Who loads it as it comes has run the pickle before the damage is seen.
        context.report("format.broken", f"{name}: {error.message}", used)
        used = len(data)
    if used != len(data) and not _is_padding(data[used:], name):
        context.report("file.polyglot", f"{len(data) - used} bytes follow the {name} stream", used)
        if is_compressed(data[used:]):
            context.inspect(data[used:], context.enter(f"{name} at {used}"))
    found = context.inspect(content.view(), context.enter(name))
    return "joblib" if found in ("pickle", "joblib") else name


def _skip(data: memoryview, offset: int, context: Context) -> int:
    while bytes(data[offset : offset + 4]) in _SKIPPABLE:
        length = int.from_bytes(data[offset + 4 : offset + 8], "little")
        if offset + 8 + length > len(data):
            raise Invalid(f"the frame to skip at offset {offset} is longer than the file")
        context.budget.enter()
        context.report("file.polyglot", f"{length} bytes lie in a frame that every reader skips", offset)
        offset += 8 + length
    return offset


def _is_padding(rest: memoryview, name: str) -> bool:
    return name == "xz" and len(rest) % 4 == 0 and len(rest) < 4096 and not any(rest)
