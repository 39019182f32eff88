"""XML, in which PMML describes models: no entities, no document type, no way to another file."""

from __future__ import annotations

import re
from typing import Final

from vallum_validator.scan.context import Context, shown

_START: Final = re.compile(rb"\s*<(\?xml|!DOCTYPE|!--|[A-Za-z][\w.:-]*[\s>/])")
_EXTERNAL: Final = re.compile(
    rb"<!(?:DOCTYPE|ENTITY)[^>]*\b(?:SYSTEM|PUBLIC)\b[^>]*|https?://www\.w3\.org/200[13]/XInclude[^\"']*|"
    rb"<xi:include[^>]*"
)
_DECLARED: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)\b[^>]{0,80}")
_STYLE: Final = re.compile(rb"<\?(?!xml\s)[\w:.-]+[^>]{0,80}")
_ENCODING: Final = re.compile(rb"<\?xml[^>]*\bencoding\s*=\s*[\"']([^\"']*)")
_ENCODINGS: Final = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii", b"utf-16", b"iso-8859-1", b"windows-1252"})
"""In which ASCII is ASCII. In UTF-7 or EBCDIC a declaration does not look like one."""


def is_xml(head: bytes) -> bool:
    """Whether text begins like XML."""
    return _START.match(head) is not None


def inspect_xml(data: memoryview, context: Context) -> str:
    """Report declarations, instructions and inclusions; a model has none."""
    external, declared = _EXTERNAL.search(data), _DECLARED.search(data)
    if external:
        context.report("text.xml-external", f"holds {shown(external[0])}", external.start())
    elif declared:
        context.report("text.xml-entity", f"declares {shown(declared[0])}", declared.start())
    instruction = _STYLE.search(data)
    if instruction:
        context.report("text.xml-entity", f"holds the instruction {shown(instruction[0])}", instruction.start())
    encoding = _ENCODING.search(data[:1024])
    if encoding and encoding[1].lower() not in _ENCODINGS:
        context.report("file.unsupported", f"the encoding {shown(encoding[1])} cannot be judged here", encoding.start())
    return "xml"
