"""Text: UTF-8 without control characters. JSON, YAML and XML are looked into, other text is data."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, Final

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.configs import inspect_config

_MAX_JSON: Final = 128 * 1024**2
_BLOCK: Final = 1024**2
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_YAML_OBJECT: Final = re.compile(rb"!!python/|tag:yaml\.org,2002:python/|!<tag:[^>]*python|%TAG\s+\S+\s+tag:yaml")
_SHEBANG: Final = re.compile(rb"#!\s*/|<\?php|@echo off", re.IGNORECASE)
_XML_START: Final = re.compile(rb"\s*<(\?xml|!DOCTYPE|!--|[A-Za-z][\w.:-]*[\s>/])")
_PYTHON: Final = re.compile(
    rb"(?m)^(import [a-z_]\w*|from [a-z_][\w.]* import |def \w+\(.*\).*:|class \w+.*:)\s*(#.*)?$"
)


def is_text(data: memoryview) -> bool:
    """Whether all of it is UTF-8 (or UTF-16 with a mark) without control characters."""
    if bytes(data[:2]) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return _decodes(data, "utf-16")
    return _CONTROL.search(data) is None and _decodes(data, "utf-8")


def _decodes(data: memoryview, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for start in range(0, len(data), _BLOCK):
            decoder.decode(bytes(data[start : start + _BLOCK]))
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def load_json(data: memoryview) -> Any:
    """Parse JSON.

    Raises:
        Invalid: it is not JSON, or nested too deeply.
        Exhausted: it is larger than is parsed here.
    """
    if len(data) > _MAX_JSON:
        raise Exhausted(f"JSON of {len(data)} bytes, {_MAX_JSON} at most are parsed")
    try:
        return json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"no JSON: {shown(str(error))}") from error


def inspect_text(data: memoryview, context: Context) -> str:
    """Recognise the kind of text, and look into those kinds that can do something when they are loaded."""
    head = bytes(data[:4096])
    if _SHEBANG.match(head):
        context.report("file.program", "the text is a script", 0)
    tag = _YAML_OBJECT.search(data)
    if tag:
        context.report("text.yaml-object", f"holds the YAML tag {shown(tag[0])}", tag.start())
    if head.startswith(b"tree\nversion=v"):
        return "lightgbm"
    if head.lstrip()[:1] in (b"{", b"["):
        return _json_or_text(data, context)
    if _XML_START.match(head):
        return _inspect_xml(data, context)
    if _PYTHON.search(head) and context.depth == 0:
        context.report("file.program", "the text is a Python program", 0)
    return "text"


def _json_or_text(data: memoryview, context: Context) -> str:
    try:
        document = load_json(data)
    except Invalid:
        return "text"
    return inspect_config(document, context)


def _inspect_xml(data: memoryview, context: Context) -> str:
    external = re.search(rb"<!(?:DOCTYPE|ENTITY)[^>]*\b(?:SYSTEM|PUBLIC)\b[^>]*", data)
    declared = re.search(rb"<!(?:DOCTYPE|ENTITY)\b[^>]{0,80}", data)
    if external:
        context.report("text.xml-external", f"declares {shown(external[0])}", external.start())
    elif declared:
        context.report("text.xml-entity", f"declares {shown(declared[0])}", declared.start())
    return "xml"
