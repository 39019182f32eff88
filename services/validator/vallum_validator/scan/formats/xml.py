"""XML, in which PMML describes models: no entities, no document type, no way to another file."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from vallum_validator.scan.context import Context, shown

_START: Final = re.compile(rb"\s*<(\?xml|!DOCTYPE|!--|[A-Za-z][\w.:-]*[\s>/])")
_INCLUSION: Final = re.compile(rb"https?://www\.w3\.org/200[13]/XInclude|<xi:include")
_DECLARED: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)\b[^>]{0,1000}")
_EXTERNAL: Final = re.compile(rb"\b(?:SYSTEM|PUBLIC)\b")
_MAX_DECLARATIONS: Final = 1000
"""The first declaration costs the file its CLEAN; the others may only make it worse."""
_STYLE: Final = re.compile(rb"<\?(?!xml\s)[\w:.-]+[^>]{0,80}")
_ENCODING: Final = re.compile(rb"<\?xml[^>]*\bencoding\s*=\s*[\"']([^\"']*)")
_ENCODINGS: Final = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii", b"utf-16", b"iso-8859-1", b"windows-1252"})
"""In which ASCII is ASCII. In UTF-7 or EBCDIC a declaration does not look like one."""


def is_xml(head: bytes) -> bool:
    """Whether text begins like XML."""
    return _START.match(head) is not None


def inspect_xml(data: memoryview, context: Context) -> str:
    """Report declarations, instructions and inclusions; a model has none."""
    inclusion = _INCLUSION.search(data)
    if inclusion:
        context.report("text.xml-external", f"holds {shown(inclusion[0])}", inclusion.start())
    for declared in islice(_DECLARED.finditer(data), _MAX_DECLARATIONS):
        rule = "text.xml-external" if _EXTERNAL.search(declared[0]) else "text.xml-entity"
        context.report(rule, f"declares {shown(declared[0])}", declared.start())
    instruction = _STYLE.search(data)
    if instruction:
        context.report("text.xml-entity", f"holds the instruction {shown(instruction[0])}", instruction.start())
    encoding = _ENCODING.search(data[:1024])
    if encoding and encoding[1].lower() not in _ENCODINGS:
        context.report("file.unsupported", f"the encoding {shown(encoding[1])} cannot be judged here", encoding.start())
    return "xml"
