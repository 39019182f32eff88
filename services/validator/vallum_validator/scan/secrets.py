"""Credentials and personal data that were left in an artefact: in its text, metadata, strings and configuration.

Arrays are not searched: they are most of the bytes, and hashing them is all the time there is. Small content and text
are searched whole; of the rest the ends, and everything that its format does not call an array. Arrays of text are
searched, too: where the format does not say what an array is of, a few samples do.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final, NamedTuple

from vallum_validator import personal
from vallum_validator.scan.context import Context
from vallum_validator.scan.secret_kinds import (
    ELSEWHERE,
    NAMES,
    PLACEHOLDER,
    STARTS,
    STARTS_IN_BINARY,
    WORDS,
    WORDS_IN_BINARY,
)
from vallum_validator.scan.texts import Noted

WHOLE_BYTES: Final = 2 * 1024**2
"""Content up to this is searched whole."""
END_BYTES: Final = 256 * 1024
"""At each end of larger content."""
TEXT_BYTES: Final = 64 * 1024**2
"""At most this much of text, or of what is no array in other content."""
PERSONAL_BYTES: Final = 1024**2
"""Personal data is looked for in this much: it takes longer, and one hit says all."""
_AROUND: Final = 200
_MAX_TRIES: Final = 20_000
_STRING: Final = re.compile(rb"[\t\n\r -~]{8,}")
_WIDE: Final = (
    (re.compile(rb"(?:\0\0\0[\t\n\r -~]){8,}"), 4),
    (re.compile(rb"(?:\0[\t\n\r -~]){8,}"), 2),
    (re.compile(rb"(?:\\u0000\\u0000\\u0000[\t\n\r -~]){8,}"), 19),
    (re.compile(rb"(?:\\x00\\x00\\x00[\t\n\r -~]){8,}"), 13),
)
"""UCS-4, in which numpy keeps text, UTF-16, UCS-4 as pickles of protocol 0 write it; and the bytes of a character.
Zeros come first, which are quickly looked for: in little-endian order the first character stands before them."""
_SAMPLE: Final = re.compile(rb"[\t\n\r\w .,:;/\\\"'=+-]{24}|(?:\0\0\0[\w ]){8}|(?:\0[\w ]){8}|[\w .,:;/-]{8,40}\0{8}")
_SAMPLE_BYTES: Final = 64
_SAMPLES: Final = 16
_LIKELY_BINARY: Final = re.compile(rb"[\x00-\x08\x0e-\x1f\x80-\xff]")
_MIN_CHARACTERS: Final = 8
_SPOKEN_AS_VOWELS: Final = "AEIOaeionx"
"""First letters of kinds that take "an": an AWS key, an npm token, an xAI key, but a US number."""
_PIECE: Final = 4 * 1024**2
_OVERLAP: Final = 4096


def search(parts: Iterable[tuple[int, memoryview]], context: Context, *, numbers: bool = False) -> None:
    """Report each kind that is found, with its place and never with its value.

    Args:
        parts: of the content, with their offsets.
        context: where findings go.
        numbers: whether arrays of numbers are among them. Small integers read as text of one, two or four bytes a
            character, with addresses in it: then only credentials in plain text are looked for.
    """
    left, told = TEXT_BYTES, set[str]()
    for offset, part in parts:
        for start in range(0, min(len(part), left), _PIECE):
            piece = bytes(part[start : min(start + _PIECE + _OVERLAP, left)])
            for rule, kind, place in _found(piece, 0 if start or numbers else PERSONAL_BYTES, wide=not numbers):
                if kind not in told:
                    told.add(kind)
                    _tell(rule, kind, offset + start + place, context)
        left -= min(len(part), left)


def search_around(data: memoryview, context: Context) -> None:
    """Search content whose arrays were noted in the budget, and forget them.

    Args:
        data: all of it.
        context: where findings go, and whose budget knows the arrays.
    """
    noted, context.budget.noted = context.budget.noted, Noted()
    if len(data) <= WHOLE_BYTES:
        search([(0, data)], context, numbers=bool(noted.numbers))
    if len(data) > WHOLE_BYTES or noted.numbers:
        search(between(data, noted), context)
    for texts in noted.texts:
        for rule, kind, place in _found(texts.lines(), PERSONAL_BYTES):
            _tell(rule, kind, texts.offset_of(place), context)


def _tell(rule: str, kind: str, offset: int, context: Context) -> None:
    article = "an" if kind[0] in _SPOKEN_AS_VOWELS else "a"
    context.report(rule, f"holds what looks like {article} {kind}", offset)


def ends(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """All of small content, beginning and end of larger content: metadata lies there."""
    if len(data) <= WHOLE_BYTES:
        yield 0, data
    else:
        yield 0, data[:END_BYTES]
        yield len(data) - END_BYTES, data[-END_BYTES:]


def between(data: memoryview, noted: Noted) -> Iterator[tuple[int, memoryview]]:
    """What lies between arrays, and those constants that are text."""
    position = 0
    numbers = [(start, end, False) for start, end in noted.numbers]
    constants = [(start, end, True) for start, end in noted.constants]
    for start, end, unknown in [*sorted(numbers + constants), (len(data), len(data), False)]:
        if start > position:
            yield position, data[position:start]
        if unknown and start >= position and is_textual(data[start:end]):
            yield start, data[start:end]
        position = max(position, end)


def is_textual(constant: memoryview) -> bool:
    """Whether half of some samples look like words: numbers and pictures hardly ever do."""
    samples = min(_SAMPLES, 2 + len(constant) // 1024**2)
    step = max(1, len(constant) // samples)
    places = range(0, len(constant) - _SAMPLE_BYTES, step)
    return 2 * sum(_SAMPLE.search(constant, at, at + _SAMPLE_BYTES) is not None for at in places) >= len(places) > 0


def _found(piece: bytes, personal_bytes: int, *, wide: bool = True) -> Iterator[tuple[str, str, int]]:
    """Rule, kind and place of everything in a piece."""
    binary = _LIKELY_BINARY.search(piece, 0, 4096) is not None
    text, places = _strings(piece, wide=wide) if binary else (piece, None)
    if len(text) < _MIN_CHARACTERS:
        return
    for kind, start in _credentials(text, binary=binary):
        yield "secret.found", kind, _real(start, places)
    for hit in personal.find(str(text[:personal_bytes], "latin-1")):
        yield "personal.found", hit.kind, _real(hit.start, places)


def _credentials(text: bytes, *, binary: bool) -> Iterator[tuple[str, int]]:
    starts, words = (STARTS_IN_BINARY, WORDS_IN_BINARY) if binary else (STARTS, WORDS)
    for begin in starts.finditer(text):
        word = _compiled(words).match(text, begin.end())
        if word and word.lastindex and not PLACEHOLDER.search(word[0]):
            yield NAMES[word.lastindex - 1], word.start()
    for name, anchors, whole in ELSEWHERE:
        for place in _places(text, anchors):
            found = _compiled(whole).search(text, max(0, place - _AROUND), place + _AROUND)
            if found and not PLACEHOLDER.search(found[0]):
                yield name, found.start()
                break


@cache
def _compiled(expression: bytes) -> re.Pattern[bytes]:
    return re.compile(expression)


def _places(text: bytes, anchors: tuple[bytes, ...]) -> Iterator[int]:
    for anchor in anchors:
        place, tries = text.find(anchor), 0
        while place >= 0 and tries < _MAX_TRIES:
            yield place
            tries += 1
            place = text.find(anchor, place + len(anchor))


class _Place(NamedTuple):
    """A string in binary content: where it begins among the strings, and really, and the bytes of a character."""

    among: int
    really: int
    width: int


def _strings(piece: bytes, *, wide: bool) -> tuple[bytes, list[_Place]]:
    """The strings in binary content, one behind the other, and where each begins."""
    found, places, length = list[bytes](), list[_Place](), 0
    for really, width, text in _each(piece, wide=wide):
        places.append(_Place(length, really, width))
        found.append(text)
        length += len(text) + 1
    return b"\n".join(found), places


def _each(piece: bytes, *, wide: bool) -> Iterator[tuple[int, int, bytes]]:
    for match in _STRING.finditer(piece):
        yield match.start(), 1, match[0]
    for expression, width in _WIDE if wide else ():
        for match in expression.finditer(piece):
            before = match.start() - 1
            # In little-endian order the first character stands before its zeros, and so before the match.
            first = piece[before : match.start()] if before >= 0 and 32 <= piece[before] < 127 else b""
            start = before if first else before + width
            yield start, width, first + match[0][width - 1 :: width]


def _real(place: int, places: list[_Place] | None) -> int:
    if places is None:
        return place
    found = places[bisect_right(places, place, key=lambda one: one.among) - 1]
    return found.really + (place - found.among) * found.width
