"""What kind of text it is, and what each kind can do when it is loaded: JSON, YAML, XML, programs, native models."""

from __future__ import annotations

import re
from typing import Final

from vallum_common.errors import Exhausted
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.configs import inspect_config
from vallum_validator.scan.formats.lightgbm import MAGIC as LIGHTGBM_MAGIC
from vallum_validator.scan.formats.lightgbm import inspect_lightgbm
from vallum_validator.scan.formats.logging_ini import inspect_logging
from vallum_validator.scan.formats.metadata import declare_front_matter
from vallum_validator.scan.formats.sections import documents
from vallum_validator.scan.formats.templates import (
    MAX_TEMPLATE,
    has_blocks,
    inspect_template,
    search_long,
    search_template,
)
from vallum_validator.scan.formats.text import NotJson, as_utf8, load_json
from vallum_validator.scan.formats.textproto import inspect_textproto
from vallum_validator.scan.formats.xml import inspect_xml, is_xml
from vallum_validator.scan.formats.yaml import inspect_yaml

_HEAD: Final = 4096
_LOOKED_AT: Final = 1024**2
"""Bytes in which programs and templates are looked for; data in text is longer, programs are not."""
_SHEBANG: Final = later(rb"#!\s*/|<\?php|@echo off", re.IGNORECASE)
_FENCED: Final = later(r"(?ms)^[ \t]*+(```|~~~).*?^[ \t]*+\1")
_PYTHON: Final = later(
    r"(?m)^(?:import [A-Za-z_][\w., ]*+|from [\w.]+ import [^\n]+|(?:async )?def \w+\([^\n]*|class \w+[(:][^\n]*|"
    r"@\w[\w.]*+(?:\([^\n]*)?)[ \t]*+(?:#[^\n]*)?$|^(?:import [A-Za-z_][\w., ]*+|from [\w.]+ import [\w., ]*+);|"
    r"^(?:\w+ = )?(?:__import__|exec|eval)\([^\n]*['\"(][^\n]*\)"
)
_COMMAND: Final = later(rb"\|[ \t\r]*+(?:\n|\Z)")
_NO_PAIR: Final = later(rb"(?m)^[ \t]*+\S*+[ \t\r]*+$")
_LOGGING: Final = later(rb"\[(?:handler|formatter)_")
_REQUIREMENT: Final = later(
    r"[A-Za-z0-9][\w.-]*(\[[\w, -]+\])?\s*(([=<>!~]=|[<>]|===)\s*[\w.*+-]+[\s,]*)+(\s*[;#].*)?$"
)
_MAX_REQUIREMENT: Final = 300
_FLAG: Final = later(r"(-r|-c|-e|--\w[\w-]*)[ =]\S+$")


def inspect_text(data: memoryview, context: Context) -> str:
    """Recognise the kind of text, and look into those kinds that can do something when they are loaded."""
    data = as_utf8(data)
    head = bytes(data[:_HEAD])
    if _SHEBANG.match(head):
        context.report("file.program", "the text is a script", 0)
    if head.lstrip()[:1] in (b"{", b"["):
        try:
            return inspect_config(load_json(data), context)
        except NotJson:
            pass  # a log may begin like this, too, and so may YAML
    _configuration(data, context)
    inspect_textproto(data, context)
    if head.startswith(LIGHTGBM_MAGIC):
        return inspect_lightgbm(data, context)
    if is_xml(data):
        return inspect_xml(data, context)
    _prose(str(data[:_LOOKED_AT], "utf-8", "replace"), context)
    _commands(data, context)
    if len(data) > _LOOKED_AT:
        _rest(data, context)
    return "text"


def _configuration(data: memoryview, context: Context) -> None:
    """What it is to readers of YAML, TOML and INI; what is too much for those does not hide the rest."""
    try:
        if inspect_yaml(data, context):  # whatever else it is: a YAML loader reads any text that it is given
            for document in documents(str(data, "utf-8", "replace")):
                inspect_config(document, context)
    except Exhausted as error:
        context.report("limit.reached", error.message)


def _prose(text: str, context: Context) -> None:
    """Text that is for people, unless it is a program."""
    declare_front_matter(text, context)
    inspect_logging(text, context)
    outside = _FENCED.sub("", text)
    line = _PYTHON.search(outside)
    if line:
        context.report("file.program", f"the text is a Python program: {shown(line[0])}")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if lines and all(map(_is_requirement, lines)):
        context.report("file.program", f"the text makes an installer fetch code: {shown(lines[0])}")
    if has_blocks(text):
        whole = "{%" in text and len(text) <= MAX_TEMPLATE and outside == text
        (inspect_template if whole else search_template)(text, context)


def _commands(data: memoryview, context: Context) -> None:
    """Kaldi's tables name a file in each line, or a command that writes to a pipe; its readers take no other lines."""
    command = _COMMAND.search(data)
    if command is None:
        return
    other = _NO_PAIR.search(data)
    if other is None or other.start() == len(data):  # behind the last line end there is none
        context.report("file.program", "a line is a command to readers of Kaldi's tables", command.start())


def _rest(data: memoryview, context: Context) -> None:
    """What a loader would still run behind so much text that nobody wrote it."""
    search_long(data, context)
    found = _LOGGING.search(data, _LOOKED_AT)
    if found:
        inspect_logging(str(data[found.start() : found.start() + _LOOKED_AT], "utf-8", "replace"), context)
        context.report("limit.reached", f"a configuration of logging lies behind {_LOOKED_AT} bytes of text")


def _is_requirement(line: str) -> bool:
    return len(line) <= _MAX_REQUIREMENT and bool(_REQUIREMENT.match(line) or _FLAG.match(line))
