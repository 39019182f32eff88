"""zstd and lz4: frames whose window the file itself chooses, so that it is asked before anything is expanded.

Their libraries are loaded when the first such file comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.reader import Reader

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"
MAX_WINDOW: Final = 128 * 1024**2
"""Above this the zstd command refuses too, unless it is told otherwise. Source: RFC 8878, 3.1.1.1.2 and zstd(1)."""
_BLOCK: Final = 1024**2
_MAX_HEADER: Final = 18
_RUN_LENGTH, _RESERVED = 1, 3


def zstd_frame(raw: memoryview) -> tuple[int, Iterator[bytes]]:
    """The length of the frame at the beginning of `raw`, and what it holds, piece by piece.

    Raises:
        Invalid: it is no frame, ends early or needs a dictionary; also while the pieces are read.
        Exhausted: it asks for a larger window than is given.
    """
    import zstandard

    head = bytes(raw[:_MAX_HEADER])
    try:
        parameters = zstandard.get_frame_parameters(head)
        begin = zstandard.frame_header_size(head)
    except zstandard.ZstdError as error:
        raise Invalid(f"the zstd frame is damaged: {error}") from error
    if parameters.window_size > MAX_WINDOW:
        raise Exhausted(f"a zstd frame asks for a window of {parameters.window_size} bytes, {MAX_WINDOW} is the most")
    if parameters.dict_id:
        raise Invalid(f"a zstd frame needs the dictionary {parameters.dict_id}, which is not in the file")
    try:
        length = _end_of_blocks(raw, begin) + (4 if parameters.has_checksum else 0)
    except Invalid:
        length = len(raw)  # whoever loads it has read all pieces before the last one fails
    return length, _zstd_pieces(raw[:length])


def _end_of_blocks(raw: memoryview, begin: int) -> int:
    reader = Reader(raw, begin)
    while True:
        header = int.from_bytes(reader.take(3), "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind == _RESERVED:
            raise Invalid(f"the zstd block at offset {reader.offset - 3} is of the reserved kind")
        reader.take(1 if kind == _RUN_LENGTH else size)
        if last:
            return reader.offset


def _zstd_pieces(frame: memoryview) -> Iterator[bytes]:
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(frame)
    try:
        while piece := reader.read(_BLOCK):
            yield piece
        _end_of_blocks(frame, zstandard.frame_header_size(bytes(frame[:_MAX_HEADER])))
    except zstandard.ZstdError as error:
        raise Invalid(f"the zstd frame is damaged: {error}") from error


class Lz4:
    """One lz4 frame, with the interface of the other decompressors. Its blocks are of four mebibytes at most."""

    def __init__(self) -> None:
        from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

        self._inner = LZ4FrameDecompressor()

    @property
    def eof(self) -> bool:
        """Whether the end of the frame was reached."""
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        """Bytes behind the end of the frame."""
        return self._inner.unused_data or b""

    @property
    def needs_input(self) -> bool:
        """Whether more input is needed before more output comes."""
        return bool(self._inner.needs_input)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """The next bytes of output, at most `max_length`."""
        try:
            return bytes(self._inner.decompress(data, max_length))
        except RuntimeError as error:
            raise ValueError(str(error)) from error
