"""The escapes of texts as protocol 0 writes them."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED: Final = {
    b"\\": b"\\", b"'": b"'", b'"': b'"', b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t",
    b"v": b"\v", b"\n": b"",
}  # fmt: skip


def unescaped(text: bytes) -> bytes:
    """The text that is written with the escapes of a Python string."""
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(found: re.Match[bytes]) -> bytes:
    """What an escape of a Python string stands for; a broken one, where the unpickler stops, stays as it is."""
    escape = found[1]
    if len(escape) == 3 and escape[:1] == b"x":
        return bytes([int(escape[1:], 16)])
    if escape[:1] in b"01234567":
        return bytes([int(escape, 8) & 255])
    return _ESCAPED.get(escape, found[0])
