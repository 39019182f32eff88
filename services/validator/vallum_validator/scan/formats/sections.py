"""Configurations in TOML and INI: spaCy, jsonargparse and hydra's relatives read them as they read YAML."""

from __future__ import annotations

import configparser
import json
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from typing import Any, Final

from vallum_common.errors import Exhausted
from vallum_validator.scan.expressions import later

_SECTION: Final = later(r"(?m)^[ \t]*+\[{1,2}[^\[\]\n]{1,200}\]{1,2}[ \t]*+(?:[#;].*)?$")
_ASSIGNMENT: Final = later(r"(?m)^[ \t]*+[\w.@'\"\\-]{1,200}[ \t]*+=")
_OPTION: Final = later(r"(?P<option>[^=:]*)(?P<vi>[=:])(?P<value>.*)")
_MAX_PARTS: Final = 64
_LONG_NAME: Final = later(rf"(?:[\w'\"-]++[ \t]*+\.[ \t]*+){{{_MAX_PARTS}}}")
_BEGINS: Final = later(r"\ufeff?(?:\s|[#;][^\n]*+(?:\n|\Z))*+(?:\[|[^\n]*=)")
"""Whatever its first line is, a section or a value: no reader of either goes on behind another one."""
_MAX_READ: Final = 1024**2
"""Characters."""


class Parser(configparser.RawConfigParser):
    """What `configparser` reads, in time that grows with the text: its own expression squares a line of blanks."""

    OPTCRE = _OPTION


class _AsWritten(Parser):
    """As spaCy reads: names are not made small."""

    def optionxform(self, optionstr: str) -> str:
        """The name of an option as it is written."""
        return optionstr


def documents(text: str) -> Iterator[dict[str, Any]]:
    """What the text is as TOML and as INI, of which it may be both; nothing where it is neither.

    Raises:
        Exhausted: a name has so many parts that reading it takes the square of them, or it is too long to be read.
    """
    if not (_ASSIGNMENT.search(text) and _BEGINS.match(text)):
        return
    if _LONG_NAME.search(text):
        raise Exhausted(f"a name of {_MAX_PARTS} parts or more, of which TOML keeps every beginning")
    if len(text) > _MAX_READ:
        raise Exhausted(f"TOML or INI of more than {_MAX_READ} characters")
    import tomllib  # most text does without

    with suppress(ValueError, RecursionError):  # a number of more than 4,300 digits is a plain ValueError
        yield tomllib.loads(text)
    if _SECTION.search(text):
        yield _ini(text)


def _ini(text: str) -> dict[str, Any]:
    parser = _AsWritten(strict=False)
    with suppress(configparser.Error):  # what it read before, or in spite of it, counts
        parser.read_file(StringIO(text, newline=None))
    return {name: {key: _value(value) for key, value in parser[name].items()} for name in parser.sections()}


def _value(text: str) -> Any:
    """As spaCy reads a value: JSON where it is JSON, else text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
