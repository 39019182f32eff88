"""Text that shows what a call of something unlisted is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from vallum_validator.scan.pickled.values import Container

_PAYLOAD: Final = re.compile(
    r"__import__|\bimport\s+\w|\bexec\s*\(|\beval\s*\(|\bos\s*\.\s*\w|subprocess|/bin/|\bbash\b|\bsh\s+-c|powershell|cmd\.exe|"
    r"\b(?:curl|wget|nc|touch|rm|chmod|python3?|id|whoami|cat|echo|calc)\b[\s./>|;-]|https?://|\bopen\s*\(|/etc/passwd|/dev/tcp|"
    r"\blambda\b"
)
_PATH: Final = re.compile(r"(?:/|~|\.\.?/|[A-Za-z]:[\\/])[^\n\0]{3,4000}")
"""No honest pickle gives the constructor of something unlisted the place of a file."""
_DEPTH: Final = 5
_MAX_LOOKED_AT: Final = 1000


def is_payload(text: str) -> bool:
    """Whether the text is a command, a program, or the place of a file."""
    return _PAYLOAD.search(text) is not None or _PATH.fullmatch(text) is not None


def texts_in(value: Any) -> Iterator[str]:
    """The text in a value, as deep and as much as a payload is usually wrapped."""
    level, seen = [value], 0
    for _ in range(_DEPTH):
        below: list[Any] = []
        for item in level:
            seen += 1
            if seen > _MAX_LOOKED_AT:
                return
            if isinstance(item, str):
                yield item
            elif isinstance(item, bytes):
                yield str(item, "latin-1")
            elif isinstance(item, tuple | Container):
                below += item if isinstance(item, tuple) else item.contents()
        level = below
