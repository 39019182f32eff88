"""Configurations of `logging` as INI: what stands behind `args`, `kwargs` and `class` is evaluated as Python."""

from __future__ import annotations

from typing import Final

from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.named_code import inspect_target

_SECTION: Final = later(r"(?m)^\[(?:handler|formatter)_[^\]\n]*\]")
_EVALUATED: Final = later(r"(?mi)^(args|kwargs|class)[ \t]*[=:][ \t]*(.*(?:\n[ \t]+.*)*)")
_WORD: Final = r"(?:[A-Za-z][\w.]*|-?\d+(?:\.\d+)?|'[^'\\\n%]*'|\"[^\"\\\n%]*\")"
_OWN: Final = later(r"(?:logging\.)?(?:handlers\.)?(?:\w*Handler|Formatter)?\s*")
_LITERAL: Final = later(rf"(?:{_WORD}|[(\[{{](?:\s*{_WORD}\s*[,:]?)*+\s*[)\]}}])?\s*")
"""A name, a literal or a row of them."""


def inspect_logging(text: str, context: Context) -> None:
    """Report what `logging.config.fileConfig` would evaluate, where it is more than names and literals."""
    if not _SECTION.search(text):
        return
    for found in _EVALUATED.finditer(text):
        key, value = found[1], found[2].strip()
        if not _LITERAL.fullmatch(value) or "._" in value:
            context.report("config.program", f"logging evaluates {shown(found[0])}")
        elif key.lower() == "class" and not _OWN.fullmatch(value):
            inspect_target(value, context, key=key)
