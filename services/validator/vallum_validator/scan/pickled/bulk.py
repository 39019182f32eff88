"""Runs of plain data, passed over by one regular expression instead of an opcode at a time.

A pickle of a million strings is four million opcodes, and Python takes a quarter of a microsecond for each; the
expression takes a tenth of that. It matches only opcodes that push data, note it in the memo, or pack it into
containers that were opened inside the run, so a run cannot touch what lies below it on the stack, and names, calls and
changes nothing. Its values and memo entries are worked out later, by the machine itself, if anything asks for one.

Inside a mark no values are counted: where an opcode finds too few there, the real unpickler stops with an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from vallum_validator.scan.pickled.values import Container, Run

MIN_BYTES: Final = 1024**2
"""Below this the machine is done before the expressions are compiled."""
CHUNK: Final = 64 * 1024
"""A run is at most this long, so that working one out stays cheap."""
_WORTH_IT: Final = 8
"""A run of a lower cost is followed sooner than it is kept."""
_LENGTHS: Final = 64
_MAX_MORE: Final = 64
_MEMO: Final = rb"(?:\x94|q.|r.{4})?+"
_EMPTY: Final = {0x5D: "list", 0x7D: "dict", 0x8F: "set"}
_WIDTHS: Final = {**dict.fromkeys(b"\x8cCU", 1), **dict.fromkeys(b"XBT", 4), 0x8D: 8, 0x8E: 8}
"""How many bytes the length of a text has."""
_NOTE_WIDTHS: Final = {0x94: 1, ord("q"): 2, ord("r"): 5}
_PLAIN_INDICES: Final = 256
"""Memo indices below this are written in one byte."""


def _counted(suffix: bytes = b"", lengths: int = _LENGTHS) -> bytes:
    """A length byte followed by as many bytes."""
    parts = (re.escape(bytes([count])) + suffix + b".{%d}" % count for count in range(lengths))
    return b"(?:" + b"|".join(parts) + b")"


def _scalar(memo: bytes) -> bytes:
    """An opcode that pushes one value, with its note in the memo."""
    short = rb"[\x8cCU]" + _counted() + rb"|K.|h.|M..|[N\x88\x89)]|J.{4}|G.{8}|j.{4}"
    long = b"X" + _counted(rb"\x00\x00\x00") + rb"|\x8a" + _counted(lengths=17)
    return b"(?:(?:" + short + b"|" + long + b")" + memo + b")"


def _container(item: bytes) -> bytes:
    """A container with everything in it; `item` is what may be in it."""
    marked = rb"\((?:" + item + rb"|[\x85-\x87]" + _MEMO + b")*+"
    one = b"(?:" + _scalar(_MEMO) + item + b"s|" + item + b"a)"
    opened = rb"[\]}\x8f]" + _MEMO + b"(?:(?:" + marked + rb"[eu\x90])++|" + one + rb"|(?![(a]))"
    return b"(?>" + opened + b"|" + marked + rb"[tld\x91]" + _MEMO + b")"


def _nested() -> bytes:
    """A container in which are scalars and containers of scalars."""
    scalar = _scalar(_MEMO)
    return _container(b"(?>" + scalar + b"|" + _container(scalar) + b")")


@cache
def _single_expression() -> re.Pattern[bytes]:
    return re.compile(rb"(?=[\]}\x8f])" + _nested(), re.DOTALL)


@cache
def _run_expression() -> re.Pattern[bytes]:
    scalar = _scalar(_MEMO)
    # One value, or two or more of them packed by a tuple opcode that finds enough values right before it.
    more = scalar + scalar + b"{0,%d}+(?:" % _MAX_MORE + rb"[\x85-\x87]" + _MEMO + b")?+"
    level = b"(?>" + scalar + rb"(?:\x85" + _MEMO + b"|" + scalar + rb"(?:\x86" + _MEMO + b"|" + more + b")?+)?+)"
    return re.compile(b"((?>" + level + b"|" + _nested() + b"))*+", re.DOTALL)


@cache
def _note_expression() -> re.Pattern[bytes]:
    return re.compile(b"(?:" + _scalar(b"") + rb"|[\x85-\x87(uetldas\]}\x8f-\x91])(\x94|q.|r.{4})?+", re.DOTALL)


@cache
def _fetch_expression() -> re.Pattern[bytes]:
    fetches = rb"(?:h(.)|j(.{4})|\Z)"
    return re.compile(
        b"(?:(?!h|j)" + _scalar(b"") + rb"|[\x85-\x87(uetldas\]}\x8f-\x91]|\x94|q.|r.{4})*+" + fetches, re.DOTALL
    )


def fetches(data: memoryview, run: Run) -> Iterator[tuple[int, int]]:
    """Where a run reads the memo, and which entry."""
    begin = run.start
    for text, end in (*((text, end) for text, _, end in run.long_texts), (run.end, run.end)):
        while begin < text:
            found = _fetch_expression().match(data, begin, text)
            if found is None:
                raise RuntimeError(f"bytes {begin} to {text} match as a run, and are none")
            begin = found.end()
            if found[1] or found[2]:
                yield begin, int.from_bytes(found[1] or found[2], "little")
        begin = end


def match(data: memoryview, start: int, limit: int, *, single: bool) -> Run | None:
    """The run between `start` and `limit`, or `None` where it is too short to be worth it.

    Args:
        data: all bytes of the pickle.
        start: where the run begins.
        limit: where it must end.
        single: whether it may be one container only, which then has a stand-in.
    """
    limit = min(start + CHUNK, limit)
    run = Run(start, start)
    if single:
        found = _single_expression().match(data, start, limit)
        run.end = found.end() if found else start
        run.stand_in = Container(_EMPTY.get(data[start], ""), run=run)
    else:
        while True:
            found = _run_expression().match(data, run.end, limit)
            begin = found.end() if found else run.end
            body, run.end = _long_text(data, begin, limit)
            if body == begin:
                # What follows may read the last values, for which not all of the run is to be worked out.
                last = found.start(1) if found else -1
                run.end = last if last > start else begin
                break
            run.long_texts.append((begin, body, run.end))
    return run if run.cost >= _WORTH_IT else None


def _long_text(data: memoryview, start: int, limit: int) -> tuple[int, int]:
    """Where a text that is too long for the expression ends, and its note in the memo; `start` where there is none."""
    width = _WIDTHS.get(data[start]) if start < limit else None
    if width is None:
        return start, start
    begin = start + 1 + width
    length = int.from_bytes(data[start + 1 : begin], "little")
    body = begin + length
    if length < _LENGTHS or body >= limit:
        return start, start
    end = body + _NOTE_WIDTHS.get(data[body], 0)
    return (body, end) if end <= limit else (start, start)


def notes(data: memoryview, run: Run) -> int | None:
    """How many entries a run adds to the memo; `None` where it names other numbers than the next ones."""
    found: list[bytes] = []
    begin = run.start
    for text, body, end in run.long_texts:
        found += _note_expression().findall(data, begin, text)
        found.append(bytes(data[body:end]))
        begin = end
    found += _note_expression().findall(data, begin, run.end)
    count: int = found.count(b"\x94")
    named = len(found) - found.count(b"") - count
    if not named:
        return count
    if count or run.memo_base < _PLAIN_INDICES:
        return None
    numbers = b"".join(found)
    expected = b"".join(b"r%b" % index.to_bytes(4, "little") for index in range(run.memo_base, run.memo_base + named))
    return named if numbers == expected else None
