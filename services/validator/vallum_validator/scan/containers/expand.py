"""Decompression that stops at a limit, into memory while it is small and into an unnamed file when it is not."""

from __future__ import annotations

import bz2
import lzma
import mmap
import struct
import tempfile
import zlib
from typing import Final, Protocol

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Budget

_BLOCK: Final = 1024**2
_INPUT_BLOCK: Final = 64 * 1024
_IN_MEMORY: Final = 32 * 1024**2
_MOST_MEMORY: Final = 256 * 1024**2
"""What an LZMA stream may ask for."""


class Decompressor(Protocol):
    """What `bz2`, `lzma` and our wrapper of `zlib` have in common."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Bytes behind the end of the stream."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether more input is needed before more output comes."""
        ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """The next bytes of output, at most `max_length`."""
        ...


class Deflate:
    """`zlib` with the interface of the other decompressors.

    Args:
        window: as `wbits` of `zlib.decompressobj`.
    """

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        """Bytes behind the end of the stream."""
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        """Whether more input is needed before more output comes."""
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """The next bytes of output, at most `max_length`."""
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(max_length, 0))


def expand(raw: memoryview, decompressor: Decompressor, budget: Budget) -> memoryview:
    """Everything a compressed stream holds.

    Args:
        raw: one stream, from its first byte to its last.

    Raises:
        Invalid: the stream is damaged, ends early or is followed by other bytes.
        Exhausted: it expands to more than the budget allows.
    """
    content, used = expand_one(raw, decompressor, budget)
    if used != len(raw):
        raise Invalid(f"{len(raw) - used} bytes follow the compressed stream")
    return content


def expand_one(raw: memoryview, decompressor: Decompressor, budget: Budget) -> tuple[memoryview, int]:
    """One stream at the beginning of `raw`: its content, and how many bytes it took."""
    content = Expansion(budget)
    used = content.add_stream(raw, decompressor)
    return content.view(), used


class Expansion:
    """What was expanded so far, from one stream or from several that are read as one.

    Args:
        budget: that every byte is taken from.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the map over it

    def add(self, output: bytes) -> None:
        """Append bytes. Raises: Exhausted when they are more than the budget allows."""
        self._budget.expand(len(output))
        self._spool.write(output)

    def add_stream(self, raw: memoryview, decompressor: Decompressor) -> int:
        """Append what the stream at the beginning of `raw` holds; returns how many bytes it took.

        Raises:
            Invalid: the stream is damaged or ends early.
            Exhausted: it expands to more than the budget allows.
        """
        fed = 0
        while not decompressor.eof:
            block = b""
            if decompressor.needs_input:
                block = bytes(raw[fed : fed + _INPUT_BLOCK])
                fed += len(block)
                if not block:
                    raise Invalid(f"the compressed stream ends early, after {fed} bytes")
            try:
                output = decompressor.decompress(block, _BLOCK)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
                raise Invalid(f"the compressed stream is damaged: {error}") from error
            self.add(output)
        return fed - len(decompressor.unused_data)

    def view(self) -> memoryview:
        """All of it, in memory while it is small and as a map of an unnamed file when it is not."""
        size = self._spool.tell()
        if size <= _IN_MEMORY:
            self._spool.seek(0)
            return memoryview(self._spool.read())
        self._spool.flush()
        return memoryview(mmap.mmap(self._spool.fileno(), size, access=mmap.ACCESS_READ))


def gzip() -> Decompressor:
    """A decompressor of one gzip member."""
    return Deflate(16 + zlib.MAX_WBITS)


def zlib_stream() -> Decompressor:
    """A decompressor of a zlib stream."""
    return Deflate(zlib.MAX_WBITS)


def raw_deflate() -> Decompressor:
    """A decompressor of deflate without any header, as zip has it."""
    return Deflate(-zlib.MAX_WBITS)


def bzip2() -> Decompressor:
    """A decompressor of one bzip2 stream."""
    return bz2.BZ2Decompressor()


def xz() -> Decompressor:
    """A decompressor of xz and of the older lzma format, within 256 MiB of memory."""
    return lzma.LZMADecompressor(memlimit=_MOST_MEMORY)


_ZIP_LZMA: Final = struct.Struct("<2xHBI")
"""How a zip member begins that is compressed with LZMA: a version, and the size of the properties; then these."""
_PROPERTY_BYTES: Final = 5


def zip_lzma(raw: memoryview, size: int, budget: Budget) -> memoryview:
    """The content of a zip member that is compressed with LZMA, as far as the size that is written for it.

    Raises:
        Invalid: the properties are not those of LZMA, or the stream is damaged.
        Exhausted: it expands to more than the budget allows.
    """
    if len(raw) < _ZIP_LZMA.size:
        raise Invalid(f"a zip member of {len(raw)} bytes is too short for LZMA")
    width, _, dictionary = _ZIP_LZMA.unpack_from(raw)
    if width != _PROPERTY_BYTES or dictionary > _MOST_MEMORY:
        raise Invalid(f"LZMA has properties of {width} bytes and a dictionary of {dictionary}")
    # The same stream as the older lzma format has it: the properties, the size, and what follows.
    head = bytes(raw[4 : 4 + width]) + size.to_bytes(8, "little")
    content = Expansion(budget)
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MOST_MEMORY)
    content.add(decompressor.decompress(head, 0))
    used = content.add_stream(raw[_ZIP_LZMA.size :], decompressor)
    if used != len(raw) - _ZIP_LZMA.size:
        raise Invalid(f"{len(raw) - _ZIP_LZMA.size - used} bytes follow the compressed stream")
    return content.view()
