"""Configurations of `logging` as INI: what stands behind `args`, `kwargs` and `class` is evaluated as Python."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.named_code import inspect_target

_SECTION: Final = re.compile(r"(?m)^\[(?:handler|formatter)_[^\]\n]*\]")
_EVALUATED: Final = re.compile(r"(?mi)^(args|kwargs|class)[ \t]*[=:][ \t]*(.*(?:\n[ \t]+.*)*)")
_WORD: Final = r"(?:[A-Za-z][\w.]*|-?\d+(?:\.\d+)?|'[^'\\\n%]*'|\"[^\"\\\n%]*\")"
_OWN: Final = re.compile(r"(?:logging\.)?(?:handlers\.)?(?:\w*Handler|Formatter)?\s*")


@cache
def _literal() -> re.Pattern[str]:
    """A name, a literal or a row of them; compiled where there is such a file, for it takes a while."""
    return re.compile(rf"(?:{_WORD}|[(\[{{](?:\s*{_WORD}\s*[,:]?)*+\s*[)\]}}])?\s*")


def inspect_logging(text: str, context: Context) -> None:
    """Report what `logging.config.fileConfig` would evaluate, where it is more than names and literals."""
    if not _SECTION.search(text):
        return
    for found in _EVALUATED.finditer(text):
        key, value = found[1], found[2].strip()
        if not _literal().fullmatch(value) or "._" in value:
            context.report("config.program", f"logging evaluates {shown(found[0])}")
        elif key.lower() == "class" and not _OWN.fullmatch(value):
            inspect_target(value, context, key=key)
