"""Reading numbers and slices out of hostile bytes, with every length checked before it is believed."""

from __future__ import annotations

import struct
from typing import Final

from vallum_common.errors import Invalid

_LITTLE: Final = {"B": 1, "H": 2, "I": 4, "Q": 8, "b": 1, "h": 2, "i": 4, "q": 8, "f": 4, "d": 8}


class Reader:
    """A cursor over bytes. Every method raises `Invalid` instead of reading past the end.

    Args:
        data: the bytes.
        offset: where to begin.
    """

    __slots__ = ("data", "offset")

    def __init__(self, data: memoryview, offset: int = 0) -> None:
        self.data = data
        self.offset = offset

    def take(self, count: int) -> memoryview:
        """The next `count` bytes, without copying them."""
        start, end = self.offset, self.offset + count
        if count < 0 or end > len(self.data):
            raise Invalid(f"{count} bytes are needed at offset {start}, {len(self.data) - start} are left")
        self.offset = end
        return self.data[start:end]

    def magic(self, count: int) -> bytes:
        """The next `count` bytes, copied, to compare with."""
        return bytes(self.take(count))

    def number(self, code: str, order: str = "<") -> int:
        """The next integer in the notation of `struct`."""
        raw = self.take(_LITTLE[code])
        return int(struct.unpack(order + code, raw)[0])

    def text(self, count: int, encoding: str = "utf-8") -> str:
        """The next `count` bytes as text."""
        start = self.offset
        try:
            return str(self.take(count), encoding)
        except UnicodeDecodeError as error:
            raise Invalid(f"text at offset {start} is not {encoding}: {error.reason}") from error

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return len(self.data) - self.offset
