"""Where in content arrays lie, and which of them are texts. Arrays of numbers are not searched for credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

LARGE: Final = 64 * 1024
"""A constant of this many bytes is an array, or text that nobody wrote by hand."""
_NUMBERS: Final = frozenset("?biufcmM")
_NEAR: Final = 64
"""Bytes between the content of an array and the opcode that builds it."""
_WIDTHS: Final = {"S": 1, "U": 4}
_LOOKED_AT: Final = 8 * 1024**2
_MIN_CHARACTERS: Final = 8


@dataclass(frozen=True, slots=True)
class Texts:
    """An array of texts, each of which takes the same room.

    Args:
        data: the array.
        size: of an item, in bytes.
        width: of a character: 1, or 4 where numpy wrote it.
        offset: of the array in the content; `None` where it lies there in another notation.
        place: of what makes the array, told where `offset` is not known.
    """

    data: memoryview
    size: int
    width: int
    offset: int | None
    place: int

    @classmethod
    def of(cls, data: memoryview, kind: str, size: int, offset: int | None, *, place: int = 0) -> Texts | None:
        """The texts of a numpy array, by the letter of its type; `None` where it holds none that are worth a look."""
        width = _WIDTHS.get(kind, 0)
        return cls(data, size, width, offset, place) if width and size >= width * _MIN_CHARACTERS else None

    def lines(self) -> bytes:
        """Each in a line, as far as they are looked at."""
        raw = bytes(self.data[:_LOOKED_AT])
        if self.width > 1:
            # Of the four bytes of an ASCII character one is not zero, whatever their order is.
            raw = bytes(map(max, zip(*(raw[index :: self.width] for index in range(self.width)), strict=False)))
        length = self.size // self.width
        return b"\n".join(raw[start : start + length] for start in range(0, len(raw), length))

    def offset_of(self, position: int) -> int:
        """Where in the content a place in the lines is."""
        if self.offset is None:
            return self.place
        item, character = divmod(position, self.size // self.width + 1)
        return self.offset + item * self.size + character * self.width


@dataclass(slots=True)
class Noted:
    """What an inspector says of the arrays in its content. What is smaller than `LARGE` is searched sooner than noted.

    Args:
        numbers: ranges of arrays of numbers.
        constants: ranges of which it is not known what they hold.
        texts: arrays of texts.
    """

    numbers: list[tuple[int, int]] = field(default_factory=list)
    constants: list[tuple[int, int]] = field(default_factory=list)
    texts: list[Texts] = field(default_factory=list)

    def number(self, start: int, end: int) -> None:
        """Note an array of numbers."""
        if end - start >= LARGE:
            self.numbers.append((start, end))

    def constant(self, start: int, end: int) -> None:
        """Note what may be an array."""
        if end - start >= LARGE:
            self.constants.append((start, end))

    def typed(self, kind: str, data: memoryview, size: int, start: int) -> None:
        """Note a numpy array.

        Args:
            kind: letter of its type.
            data: the array.
            size: of an element.
            start: where it lies.
        """
        if kind in _NUMBERS:
            self.number(start, start + len(data))
        else:
            self.constant(start, start + len(data))
            texts = Texts.of(data, kind, size, start)
            self.texts += [texts] if texts else []

    def last(self, position: int) -> tuple[int, int] | None:
        """The constant that ends shortly before a place; it is not known for a constant any more."""
        if self.constants and 0 <= position - self.constants[-1][1] <= _NEAR:
            return self.constants.pop()
        return None
