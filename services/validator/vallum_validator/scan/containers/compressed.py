"""Compressed streams: gzip, zlib, bzip2, xz and lzma. joblib writes pickles into all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.containers.expand import Decompressor, bzip2, expand_one, gzip, xz, zlib_stream
from vallum_validator.scan.context import Context

_ZLIB_HEADS: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_OPENERS: Final[Mapping[bytes, tuple[str, Callable[[], Decompressor]]]] = {
    b"\x1f\x8b": ("gzip", gzip),
    b"BZh": ("bzip2", bzip2),
    b"\xfd7zXZ\x00": ("xz", xz),
    b"\x5d\x00\x00": ("lzma", xz),
    **dict.fromkeys(_ZLIB_HEADS, ("zlib", zlib_stream)),
}


def _opener(data: memoryview) -> tuple[str, Callable[[], Decompressor]] | None:
    head = bytes(data[:6])
    return next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)


def is_compressed(data: memoryview) -> bool:
    """Whether the content begins like one of the compressed streams."""
    return _opener(data) is not None


def inspect_compressed(data: memoryview, context: Context) -> str:
    """Expand every stream, one after the other, and inspect what they hold together.

    Returns:
        `joblib` where a pickle is inside, else the name of the compression.
    """
    opener = _opener(data)
    if opener is None:
        raise Invalid(f"no compressed stream begins with {bytes(data[:6])!r}")
    name, begin = opener
    content, used = expand_one(data, begin(), context.budget)
    if used != len(data):
        context.report("file.polyglot", f"{len(data) - used} bytes follow the {name} stream", used)
        if is_compressed(data[used:]):
            context.inspect(data[used:], context.enter(f"{name} at {used}"))
    found = context.inspect(content, context.enter(name))
    return "joblib" if found in ("pickle", "joblib") else name
