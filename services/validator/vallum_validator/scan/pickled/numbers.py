"""Numbers as protocols 0 and 1 write them: a line of digits."""

from __future__ import annotations

import re
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.scan.pickled.values import OPAQUE

_MAX_DIGITS: Final = 4300
"""Source: CPython, `sys.int_info.default_max_str_digits`, since 3.10.7."""
_KEPT: Final = 32
"""Characters of a number that is kept; no argument that matters is longer."""
_UNBOUNDED: Final = re.compile(rb"\s*[+-]?0[xXoObB]")


def as_number(text: bytes) -> Any:
    """The number, `OPAQUE` where it is long or none.

    Raises:
        Invalid: it has so many digits that the unpickler stops.
    """
    if len(text) <= _MAX_DIGITS or _UNBOUNDED.match(text):
        return _short(text)
    digits = len(text) - len(text.translate(None, b"0123456789"))
    if digits > _MAX_DIGITS:
        raise Invalid(f"a number of {digits} digits, where the unpickler stops: {_MAX_DIGITS} at most are read")
    return OPAQUE


def _short(text: bytes) -> Any:
    try:
        return int(text.rstrip(b"L"), 0) if len(text) < _KEPT else OPAQUE
    except ValueError:
        return OPAQUE
