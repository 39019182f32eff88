"""One spelling of labels and categories, to compare what a model answers, a table holds and traffic brings."""

from __future__ import annotations

import math
import re
from numbers import Integral, Real
from typing import Final

_WHOLE_NUMBER: Final = re.compile(r"(-?[0-9]+)\.0+")
_TRUTH: Final = frozenset({"true", "false"})


def canonical_text(value: object) -> str | None:
    """The one spelling of a label or category: 1, 1.0 and "1.0" are "1"; True and "TRUE" are "true".

    Other text stays as it is, spaces included. Missing (None, NaN) is None. NumPy's scalars are spelled like Python's.
    """
    if value is None:
        return None
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, Real) and not isinstance(value, Integral):
        number = float(value)
        if math.isnan(number):
            return None
        return str(int(number)) if number.is_integer() else str(value)
    text = str(value)
    if text.lower() in _TRUTH:
        return text.lower()
    whole = _WHOLE_NUMBER.fullmatch(text)
    return whole.group(1) if whole else text
