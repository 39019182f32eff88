"""Runs of plain data, passed over by one regular expression instead of an opcode at a time.

A pickle of a million strings is four million opcodes, and Python takes a quarter of a microsecond for each; the
expression takes a quarter of that. It matches only opcodes that push data, note it in the memo, or close a list, dict
or tuple that was opened inside the run, so the run cannot touch what lies below it on the stack. Its values and memo
entries are worked out later, by the machine itself, if anything asks for one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

MIN_BYTES: Final = 64 * 1024
"""Below this the machine is done before the expressions are compiled."""
CHUNK: Final = 64 * 1024
"""A run is at most this long, so that working one out stays cheap."""
BYTES_PER_STEP: Final = 8
"""How many bytes of a run are charged as one opcode."""
_WORTH_IT: Final = 32
_LENGTHS: Final = 64
_MEMO: Final = rb"(?:\x94|q.|r.{4})?+"


@dataclass(slots=True, eq=False)
class Run:
    """Data between two offsets, and what is known of it by now.

    Args:
        start: of its first opcode.
        end: behind its last.
        memo_base: how many entries the memo had before it.
        values: what it leaves on the stack.
    """

    start: int
    end: int
    memo_base: int = 0
    values: list[Any] | None = None


def _counted(suffix: bytes = b"", lengths: int = _LENGTHS) -> bytes:
    """A length byte followed by as many bytes."""
    parts = (re.escape(bytes([count])) + suffix + b".{%d}" % count for count in range(lengths))
    return b"(?:" + b"|".join(parts) + b")"


def _token(memo: bytes) -> bytes:
    """An opcode that pushes data, with its note in the memo."""
    short = rb"[\x8cCU]" + _counted() + rb"|K.|h.|M..|[N\x88\x89]"
    long = rb"J.{4}|G.{8}|j.{4}|X" + _counted(rb"\x00\x00\x00") + rb"|\x8a" + _counted(lengths=17) + rb"|[\x8f)]"
    return b"(?:(?:" + short + b"|" + long + b")" + memo + rb"|[\]}]" + memo + rb"(?!\())"


@cache
def _run_expression() -> re.Pattern[bytes]:
    token = _token(_MEMO)
    # One token, or two or more of them packed by a tuple opcode that finds enough values right before it.
    more = token + token + rb"*+(?:[\x85-\x87]" + _MEMO + b")?+"
    level = b"(?>" + token + rb"(?:\x85" + _MEMO + b"|" + token + rb"(?:\x86" + _MEMO + b"|" + more + b")?+)?+)"
    opened = rb"\]" + _MEMO + rb"\(" + level + rb"*+e|}" + _MEMO + rb"\(" + level + rb"*+u|\(" + level + rb"*+[tld]"
    run = b"(?>" + level + b"|(?:" + opened + b")" + _MEMO + b")*+"
    return re.compile(run, re.DOTALL)


@cache
def _note_expression() -> re.Pattern[bytes]:
    return re.compile(b"(?:" + _token(b"") + rb"|[\x85-\x87(uetld\]}])(\x94|q.|r.{4})?+", re.DOTALL)


def match(data: memoryview, start: int, limit: int) -> Run | None:
    """The run between `start` and `limit`, or `None` where it is too short to be worth it."""
    found = _run_expression().match(data, start, min(start + CHUNK, limit))
    end = found.end() if found else start
    return Run(start, end) if end - start >= _WORTH_IT else None


def notes(data: memoryview, run: Run) -> int | None:
    """How many entries a run adds to the memo; `None` where it names their numbers itself."""
    found = _note_expression().findall(data, run.start, run.end)
    count: int = found.count(b"\x94")
    return count if count + found.count(b"") == len(found) else None
