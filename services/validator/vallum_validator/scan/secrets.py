"""Credentials and personal data that were left in an artefact: in its text, metadata, strings and configuration.

Arrays are not searched: they are most of the bytes, and hashing them is all the time there is. Small content and text
are searched whole; of the rest the ends, and everything that its format does not call an array.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from vallum_validator import personal
from vallum_validator.scan.context import Context
from vallum_validator.scan.secret_kinds import ELSEWHERE, NAMES, PLACEHOLDER, STARTS, WORDS

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
_LIKELY_BINARY: Final = re.compile(rb"[\x00-\x08\x0e-\x1f\x80-\xff]")
_MIN_CHARACTERS: Final = 8
_SPOKEN_AS_VOWELS: Final = "AEIOaeionx"
"""First letters of kinds that take "an": an AWS key, an npm token, an xAI key, but a US number."""
_PIECE: Final = 4 * 1024**2
_OVERLAP: Final = 4096


def search(parts: Iterable[tuple[int, memoryview]], context: Context) -> None:
    """Report each kind that is found, with its place and never with its value.

    Args:
        parts: of the content, with their offsets.
        context: where findings go.
    """
    left, told = TEXT_BYTES, set[str]()
    for offset, part in parts:
        for start in range(0, min(len(part), left), _PIECE):
            piece = bytes(part[start : min(start + _PIECE + _OVERLAP, left)])
            for rule, kind, place in _found(piece, PERSONAL_BYTES if not start else 0):
                if kind not in told:
                    told.add(kind)
                    article = "an" if kind[0] in _SPOKEN_AS_VOWELS else "a"
                    context.report(rule, f"holds what looks like {article} {kind}", offset + start + place)
        left -= min(len(part), left)


def ends(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """All of small content, beginning and end of larger content: metadata lies there."""
    if len(data) <= WHOLE_BYTES:
        yield 0, data
    else:
        yield 0, data[:END_BYTES]
        yield len(data) - END_BYTES, data[-END_BYTES:]


def between(data: memoryview, arrays: Iterable[tuple[int, int]]) -> Iterator[tuple[int, memoryview]]:
    """What lies between arrays, given as ranges."""
    position = 0
    for start, end in [*sorted(arrays), (len(data), len(data))]:
        if start > position:
            yield position, data[position:start]
        position = max(position, end)


def _found(piece: bytes, personal_bytes: int) -> Iterator[tuple[str, str, int]]:
    """Rule, kind and place of everything in a piece."""
    text, places = _strings(piece) if _LIKELY_BINARY.search(piece, 0, 4096) else (piece, None)
    if len(text) < _MIN_CHARACTERS:
        return
    for kind, start in _credentials(text):
        yield "secret.found", kind, _real(start, places)
    for hit in personal.find(str(text[:personal_bytes], "latin-1")):
        yield "personal.found", hit.kind, _real(hit.start, places)


def _credentials(text: bytes) -> Iterator[tuple[str, int]]:
    for begin in STARTS.finditer(text):
        word = _compiled(WORDS).match(text, begin.end())
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


_Places = tuple[list[int], list[int]]


def _strings(piece: bytes) -> tuple[bytes, _Places]:
    """The strings in binary content, one behind the other, and where each begins: among them, and really."""
    found, among, really, length = [], list[int](), list[int](), 0
    for match in _STRING.finditer(piece):
        among.append(length)
        really.append(match.start())
        found.append(match[0])
        length += len(match[0]) + 1
    return b"\n".join(found), (among, really)


def _real(place: int, places: _Places | None) -> int:
    if places is None:
        return place
    index = bisect_right(places[0], place) - 1
    return places[1][index] + place - places[0][index]
