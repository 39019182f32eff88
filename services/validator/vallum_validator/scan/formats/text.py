"""Text: UTF-8 without control characters. JSON, YAML and XML are looked into, other text is data."""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from typing import Any, Final

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.context import shown
from vallum_validator.scan.expressions import later

_MAX_JSON: Final = 128 * 1024**2
_BLOCK: Final = 1024**2
_CONTROLS: Final = r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]"
_CONTROL: Final = later(_CONTROLS.encode())
_CONTROL_CHARACTER: Final = later(_CONTROLS)
_DECLARED: Final = later(
    rb"<\?xml\s[^>]{0,200}\bencoding\s*=\s*[\"'](iso-8859-\d{1,2}|windows-125\d)[\"']", re.IGNORECASE
)
"""XML in one byte for each character, all of which have ASCII in the place of ASCII."""


def is_text(data: memoryview) -> bool:
    """Whether all of it is UTF-8 (or UTF-16 with a mark, or XML that declares Latin) without control characters."""
    if bytes(data[:2]) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        # UTF-32 has the same mark, and zeros between its letters.
        return _decodes(data, "utf-16", refused=_CONTROL_CHARACTER)
    if _CONTROL.search(data) is not None:
        return False
    return _decodes(data, "utf-8") or (_DECLARED.match(data) is not None and _decodes(data, _declared(data)))


def as_utf8(data: memoryview) -> memoryview:
    """The text as loaders come to see it: without a mark, and in UTF-8."""
    if bytes(data[:2]) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        if len(data) > _MAX_JSON:
            raise Exhausted(f"UTF-16 text of {len(data)} bytes, {_MAX_JSON} at most are read")
        return memoryview(str(data, "utf-16").encode("utf-8", "surrogatepass"))
    if _DECLARED.match(data) and not _decodes(data, "utf-8"):
        if len(data) > _MAX_JSON:
            raise Exhausted(f"XML in {_declared(data)} of {len(data)} bytes, {_MAX_JSON} at most are read")
        return memoryview(str(data, _declared(data)).encode())
    mark = len(codecs.BOM_UTF8)
    return data[mark:] if bytes(data[:mark]) == codecs.BOM_UTF8 else data


def _declared(data: memoryview) -> str:
    found = _DECLARED.match(data)
    return str(found[1], "ascii") if found else "utf-8"


def _decodes(data: memoryview, encoding: str, *, refused: re.Pattern[str] | None = None) -> bool:
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
    except LookupError:
        return False  # a number that no encoding has
    try:
        for start in range(0, len(data), _BLOCK):
            text = decoder.decode(bytes(data[start : start + _BLOCK]))
            if refused and refused.search(text):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


class NotJson(Invalid):
    """The text is no JSON to any parser that keeps to the standard."""


def load_json(data: memoryview) -> Any:
    """Parse JSON.

    Raises:
        NotJson: it is not JSON.
        Invalid: it is nested too deeply, or an object names a key twice, of which parsers take one or the other.
        Exhausted: it is larger than is parsed here.
    """
    if len(data) > _MAX_JSON:
        raise Exhausted(f"JSON of {len(data)} bytes, {_MAX_JSON} at most are parsed")
    try:
        return json.loads(bytes(data), object_pairs_hook=_object)
    except ValueError as error:
        raise NotJson(f"no JSON: {shown(str(error))}") from error
    except RecursionError as error:
        raise Invalid("JSON that is nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise Invalid(f"an object has the key {shown(twice)} twice")
    return found
