"""Expressions that are compiled when they are first used: a scan of a small file would spend a tenth of its time on
those of formats that it is not in."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Later:
    """Whatever is asked of the expression, once compiled it is an attribute of this object, too."""

    def __init__(self, pattern: Any, flags: int) -> None:
        self._source = (pattern, flags)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what copies and pickles ask for, of an object that has no source yet
            raise AttributeError(name)
        value = getattr(re.compile(*self._source), name)  # `re` keeps what it has compiled
        setattr(self, name, value)
        return value


def later(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what can be used like `re.compile(pattern, flags)`, save as an argument of the functions of `re`."""
    return cast("re.Pattern[AnyStr]", _Later(pattern, flags))
