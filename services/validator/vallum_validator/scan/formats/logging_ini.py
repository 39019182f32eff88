"""Configurations of `logging` as INI: what stands behind `args`, `kwargs` and `class` is evaluated as Python."""

from __future__ import annotations

import configparser
from contextlib import suppress
from io import StringIO
from typing import Final

from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.named_code import inspect_target
from vallum_validator.scan.formats.sections import Parser

_SECTIONS: Final = ("handler_", "formatter_")
_EVALUATED: Final = ("args", "kwargs", "class")
_WORD: Final = r"(?:[A-Za-z][\w.]*|-?\d+(?:\.\d+)?|'[^'\\\n%]*'|\"[^\"\\\n%]*\")"
_OWN: Final = later(r"(?:logging\.)?(?:handlers\.)?(?:\w*Handler|Formatter)?\s*")
_LITERAL: Final = later(rf"(?:{_WORD}|[(\[{{](?:\s*{_WORD}\s*[,:]?)*+\s*[)\]}}])?\s*")
"""A name, a literal or a row of them."""


def inspect_logging(text: str, context: Context) -> None:
    """Report what `logging.config.fileConfig` would evaluate, where it is more than names and literals."""
    if not any(f"[{section}" in text for section in _SECTIONS):
        return
    parser = Parser(strict=False)
    with suppress(configparser.Error):  # what it read before, or in spite of it, is judged
        parser.read_file(StringIO(text, newline=None))  # the line ends are those of a file
    for name in parser.sections():
        if name.startswith(_SECTIONS):
            for key in _EVALUATED:
                if key in parser[name]:
                    _evaluated(key, parser[name][key], context)


def _evaluated(key: str, value: str, context: Context) -> None:
    if not _LITERAL.fullmatch(value) or "._" in value:
        context.report("config.program", f"logging evaluates {shown(f'{key}={value}')}")
    elif key == "class" and not _OWN.fullmatch(value):
        inspect_target(value, context, key=key)
