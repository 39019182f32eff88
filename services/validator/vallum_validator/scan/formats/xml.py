"""XML, in which PMML and OpenVINO describe models: parsed to its last byte, no entity expanded, no other file opened.

Much text begins with `<` and is no XML: model cards, vocabularies, logs. It is XML here where it says so, by a
declaration, a namespace or a root that loaders know, or where it is well-formed from one end to the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.pages import FRAGMENTS, inspect_fragment, inspect_page, is_page, runs_script
from vallum_validator.scan.formats.xml_kinds import INCLUSION, NAMES_GADGET, Judge, is_known_root

_FIRST: Final = later(rb"\s*+<[A-Za-z_:!?\x80-\xff]")
_SKIPPED: Final = later(rb"(?:\s++|(?s:<!--.*?-->))*+")
_DECLARES: Final = later(rb"<(?:\?[A-Za-z_:\x80-\xff]|!(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION|\[|--))")
_NAME: Final = later(rb"<([\w.:\x80-\xff-]++)")
_PIECE: Final = 64 * 1024
_MAX_TOKEN: Final = 1024**2
"""Bytes of one tag or comment: expat begins a token anew with every piece (CVE-2023-52425)."""
_MAX_DEPTH: Final = 2_000
_MAX_ATTRIBUTES: Final = 1_000
_MAX_ELEMENTS: Final = 50_000_000
_MAX_DECLARATIONS: Final = 1_000
_ENCODINGS: Final = later(r"(?:utf-?8|utf-?16(?:le|be)?|(?:us-)?ascii|iso-8859-\d{1,2}|windows-125\d)\Z", re.IGNORECASE)
"""In which ASCII is ASCII. In UTF-7 or EBCDIC a declaration does not look like one."""
_PUBLISHED: Final = later(r"-//(?:W3C|Apple(?: Computer)?|SPRING)//DTD [\w .+/-]{1,80}\Z")
_PUBLISHERS: Final = later(r"https?://www\.(?:w3\.org|apple\.com|springframework\.org)/[\w./-]{1,100}\Z")
_HARMLESS_INSTRUCTIONS: Final = frozenset({"xpacket", "xml-model"})
"""What drawing programs and editors leave: the frame of XMP metadata, the schema of a document."""


class _Enough(Exception):
    """Raised by a handler: nothing more is to be read."""


@dataclass(slots=True)
class _Opening:
    """The first tag, of which nothing more than that is read."""

    name: str = ""
    attributes: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: list[str]) -> None:
        """Note the root, and end."""
        self.name, self.attributes = name, attributes
        raise _Enough


def is_xml(data: memoryview) -> bool:
    """Whether the text, which is UTF-8 by now, is XML or HTML that must be looked into."""
    return _kind(data) != ""


def inspect_xml(data: memoryview, context: Context) -> str:
    """Read it to its end, and judge what it declares, what it is, and what its elements make a loader do."""
    kind = _kind(data)
    if kind != "xml":
        return (inspect_page if kind == "page" else inspect_fragment)(data, context)
    judge = Judge(context)
    parser = expat.ParserCreate("utf-8")
    _Reading(context, judge).listen(parser)
    try:
        _walk(data, parser)
    except Invalid as error:
        context.report("format.broken", f"xml: {error.message}", parser.ErrorByteIndex)
    judge.close()
    return "xml"


def _kind(data: memoryview) -> str:
    """`xml`, `page`, `fragment` where Markdown runs a script, and nothing for text that only begins alike."""
    if not _FIRST.match(data):
        return ""
    begin = _begin(data)
    if is_page(data):
        return "page"
    if _DECLARES.match(data, begin):
        return "xml"
    opening = _Opening()
    broken = _problem(data, opening.start)
    named = _NAME.match(data, begin)
    name = opening.name or (str(named[1], "utf-8", "replace") if named else "")
    if _has_namespace(opening) or is_known_root(name):
        return "xml"
    if name.lower() in FRAGMENTS:
        inside = _Depth()
        deep = isinstance(_problem(data, inside.start, inside.end), Exhausted)
        return "xml" if deep or inside.includes else "fragment" if runs_script(data) else ""
    broken = broken or _problem(data)
    ends = broken is None or isinstance(broken, Exhausted)
    return "xml" if ends or opening.attributes or NAMES_GADGET.search(data) else ""


def _begin(data: memoryview) -> int:
    """Where the first thing begins that is no comment."""
    skipped = _SKIPPED.match(data)
    return skipped.end() if skipped else 0


def _has_namespace(opening: _Opening) -> bool:
    return ":" in opening.name or any(key.partition(":")[0] == "xmlns" for key in opening.attributes[::2])


@dataclass(slots=True)
class _Depth:
    """How deep elements are nested, and whether other documents are included in any."""

    open: int = 0
    includes: bool = False

    def start(self, _name: str, attributes: list[str]) -> None:
        """One deeper. Raises: Exhausted where that is too deep."""
        self.open += 1
        if self.open > _MAX_DEPTH:
            raise Exhausted(f"elements are nested deeper than {_MAX_DEPTH} levels")
        self.includes = self.includes or any(map(INCLUSION.match, attributes))

    def end(self, _name: str) -> None:
        """One less."""
        self.open -= 1


def _problem(
    data: memoryview, start: Callable[[str, list[str]], None] | None = None, end: Callable[[str], None] | None = None
) -> Invalid | Exhausted | None:
    """Why the text is no XML, `None` where it is as far as the handlers want to know."""
    parser = expat.ParserCreate("utf-8")
    depth = _Depth()
    parser.ordered_attributes = True
    parser.StartElementHandler = start or depth.start
    parser.EndElementHandler = end or depth.end
    try:
        _walk(data, parser)
    except (Invalid, Exhausted) as error:
        return error
    return None


def _walk(data: memoryview, parser: expat.XMLParserType) -> None:
    """Feed the parser piece by piece.

    Raises:
        Invalid: the text is not well-formed, cut, or followed by something.
        Exhausted: a tag or comment is too long, or a handler said so.
    """
    try:
        for start in range(0, len(data), _PIECE):
            parser.Parse(bytes(data[start : start + _PIECE]), False)
            if start + _PIECE - max(parser.CurrentByteIndex, 0) > _MAX_TOKEN:
                raise Exhausted(f"a tag or comment is longer than {_MAX_TOKEN} bytes")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Invalid(f"not well-formed, {expat.ErrorString(error.code)} in line {error.lineno}") from error
    except _Enough:
        return


class _Reading:
    """What the parser comes to, judged as it comes.

    Args:
        context: where findings go.
        judge: of elements.
    """

    def __init__(self, context: Context, judge: Judge) -> None:
        self._context = context
        self._open = 0
        self._elements = 0
        self._element = judge.element
        self._declarations = 0
        self._offset: Callable[[], int] = lambda: 0

    def listen(self, parser: expat.XMLParserType) -> None:
        """Have the parser call the methods here. No handler resolves an entity."""
        parser.ordered_attributes = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._document_type
        parser.EndDoctypeDeclHandler = self._end_of_document_type
        parser.EntityDeclHandler = self._entity
        parser.ProcessingInstructionHandler = self._instruction
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        self._offset = lambda: parser.CurrentByteIndex

    def _declaration(self, version: str, encoding: str | None, _standalone: int) -> None:
        if encoding and not _ENCODINGS.match(encoding):
            self._context.report("file.unsupported", f"the encoding {shown(encoding)} cannot be judged here", 0)
        if version != "1.0":
            self._context.report("file.unsupported", f"XML {shown(version)} cannot be judged here", 0)

    def _document_type(self, name: str, system: str | None, public: str | None, internal: int) -> None:
        what = f"declares the document type {shown(name)}"
        published = _PUBLISHED.match(public or "") and _PUBLISHERS.match(system or "")
        if system and not published:
            self._context.report("text.xml-external", f"{what}, read from {shown(system)}", self._offset())
        elif internal or not (published or name.lower() == "html"):
            self._context.report("text.xml-entity", what, self._offset())

    def _entity(self, name: str, _parameter: int, _value: Any, _base: Any, system: str | None, *_more: Any) -> None:
        self._declarations += 1
        if self._declarations > _MAX_DECLARATIONS:
            raise Exhausted(f"more than {_MAX_DECLARATIONS} entities are declared")
        rule = "text.xml-external" if system else "text.xml-entity"
        source = f", read from {shown(system)}" if system else ""
        self._context.report(rule, f"declares the entity {shown(name)}{source}", self._offset())

    def _end_of_document_type(self) -> None:
        if self._declarations:
            raise _Enough  # what follows would have to be read with entities in it, and is not clean any more

    def _instruction(self, target: str, content: str) -> None:
        if target not in _HARMLESS_INSTRUCTIONS:
            what = f"holds the instruction {shown(f'{target} {content[:80]}')}"
            self._context.report("text.xml-entity", what, self._offset())

    def _start(self, name: str, attributes: list[str]) -> None:
        self._open += 1
        self._elements += 1
        if self._open > _MAX_DEPTH:
            raise Exhausted(f"elements are nested deeper than {_MAX_DEPTH} levels")
        if self._elements > _MAX_ELEMENTS:
            raise Exhausted(f"there are more than {_MAX_ELEMENTS} elements")
        if len(attributes) > 2 * _MAX_ATTRIBUTES:
            raise Exhausted(f"an element has {len(attributes) // 2} attributes, {_MAX_ATTRIBUTES} at most are read")
        self._element(name, attributes, self._open, self._offset)

    def _end(self, _name: str) -> None:
        self._open -= 1
