"""The exit codes of every command; apart from all that takes long to import."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from vallum_common.errors import Kind, VallumError


class Exit(IntEnum):
    """The exit codes of every command."""

    GOOD = 0
    NO = 1
    COULD_NOT_TELL = 2
    WRONG_USE = 3
    FAILED = 4


_EXITS: Final[Mapping[Kind, Exit]] = {
    Kind.INVALID: Exit.WRONG_USE,
    Kind.NOT_FOUND: Exit.WRONG_USE,
    Kind.DENIED: Exit.WRONG_USE,
    Kind.EXHAUSTED: Exit.WRONG_USE,
    Kind.CONFLICT: Exit.NO,
}


def exit_of(error: VallumError) -> Exit:
    """The exit code for an error of the closed list."""
    return _EXITS.get(error.kind, Exit.FAILED)


def visible(text: str) -> str:
    """Text that a terminal shows as it is: a hostile name may hold a line of its own, or what steers a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
