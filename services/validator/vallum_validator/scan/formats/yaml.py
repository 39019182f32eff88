"""YAML: which objects its tags ask for, and what the document makes a loader fetch or run.

A tag has many spellings (`!!python/…`, `!<tag:…>`, `p%79thon`, a `%TAG` of the file's own), and so has a key (escapes,
flow style, an alias), so both are taken from the events of PyYAML's parser, and nothing is ever constructed. It takes
seconds for a megabyte and most text is for people: it is asked only about a document that holds something which could
be a tag, an escape or a key that matters, and that is not plainly prose. Tags that build objects are searched in
the bytes as well, because other parsers read what it refuses.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from vallum_common.errors import Exhausted
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.configs import KEYS, TOGETHER, WORDS, inspect_config
from vallum_validator.scan.formats.named_code import inspect_target
from vallum_validator.scan.formats.yaml_tags import builds, called, is_plain, written

if TYPE_CHECKING:
    from vallum_validator.scan.formats.yaml_nodes import Document  # PyYAML with it, which most text does without

_MAX_READ: Final = 512 * 1024
"""Characters of one text that PyYAML reads: they take up to three seconds. Honest text that looks suspicious has a
hundredth of it."""
_LEAST_READ: Final = 64
"""Characters that a document counts at least."""
_MAX_DOCUMENTS: Final = 100_000
_LOOKED_AT: Final = 1024**2
_PIECE: Final = 4 * 1024**2
_OVERLAP: Final = 64
_NEAR_END: Final = 4096

_TAG: Final = later(rb"!(?:(?<=[\s\[{,:?\-\x85\xa8\xa9\xbf]!)|(?<=\A!))[^\s]")
"""Where a tag may begin: after white space, an indicator, or the last byte of a mark or line break beyond ASCII."""
_ESCAPE: Final = later(rb"\\(?:[xX][0-7]|u00[0-7]|U000000[0-7]|[\r\n]|\xc2\x85|\xe2\x80[\xa8\xa9])")
"""An escape that spells a letter of ASCII, or joins two lines."""
_ODD_BREAK: Final = rb"(?:\xc2\x85|\xe2\x80[\xa8\xa9])"
_MARKER: Final = later(
    rb"(?:---|\.\.\.)(?=[ \t\r\n]|%b|\Z)(?:(?<=[\r\n]...)|(?<=\xc2\x85...)|(?<=\xe2\x80[\xa8\xa9]...))" % _ODD_BREAK
)
_HANDLE_LINE: Final = later(rb"%TAG[ \t](?:(?<=[\r\n].....)|(?<=\xc2\x85.....)|(?<=\xe2\x80[\xa8\xa9].....))")
_BETWEEN: Final = rb"(?:\s|%b|#(?:[^\r\n\xc2\xe2]|(?!%b)[\xc2\xe2])*+)*+" % (_ODD_BREAK, _ODD_BREAK)
"""White space and comments."""
_DIRECTIVE: Final = later(rb"(?:---|\.\.\.)?%b%%" % _BETWEEN)
_FIRST_LINE: Final = later(rb"(?:---(?=\s|%b))?%b([^\r\n]*+)" % (_ODD_BREAK, _BETWEEN))
_PLAIN: Final = later(rb"(?!\xef\xbb\xbf|[\-?:,\[\]{}#&*!|>'\"%%@`])(?!.*:(?:\s|%b|\Z))" % _ODD_BREAK, re.DOTALL)
"""A first line that makes the document one plain scalar, however long: it holds no key and no tag."""
_MARK: Final = "\ufeff"
_BLANKS: Final = str.maketrans(f"\t{_MARK}", "  ")
_VERSION: Final = later("^%(?=YAML)", re.MULTILINE)
"""What libyaml passes over where PyYAML's parser in Python stops: tabs, the mark of an encoding inside the text, and
what stands behind a version."""

_HANDLE: Final = later(rb"%TAG[ \t]+[^\r\n]{1,200}")
_TARGET: Final = later(
    rb"(?m)(?:^|[\r\[{,]|%b)[ \t\-?]*+(?:[&!]\S*+[ \t]++)*+['\"]?_target_['\"]?\s*+:[ \t]*+"
    rb"(?:[&!]\S*+[ \t]++)*+['\"]?([\w.]*)" % _ODD_BREAK
)
_REMOTE: Final = later(
    rb"(?mi)^[ \t\-{,]*+['\"]?(trust_remote_code['\"]?[ \t]*:[ \t]*['\"]?(?:true|yes|on)|auto_map['\"]?[ \t]*:)"
)
_NODE: Final = later(rb"(?:(?<=[\s\[,{:-])|^)([&*])([\w-]+)")
_MAX_EXPANDED: Final = 100_000


def inspect_yaml(data: memoryview, context: Context) -> bool:
    """Look into text that may be YAML, document by document; text that is none loses nothing.

    Returns:
        whether there is anything in the text that matters to configurations, in YAML or in another notation.

    Raises:
        Exhausted: aliases expand without end, or documents that must be read are too large to be.
    """
    suspicious = _suspicious(data)
    if suspicious:
        reader = _Reader(context)
        reader.search(data)
        for start, end in _documents(data):
            document = data[start:end]
            if _suspicious(document):
                reader.read(document, start)
    _check_aliases(data)
    return suspicious


def _suspicious(data: memoryview) -> bool:
    """Whether anything in the text could be a tag, an escape in a key, or a key or value that matters."""
    missing = {word for words in TOGETHER for word in words}
    for start in range(0, len(data), _PIECE):
        piece = bytes(data[start : start + _PIECE + _OVERLAP])
        if any(word in piece for word in WORDS) or any(sign.search(piece) for sign in (_TAG, _ESCAPE, *KEYS)):
            return True
        missing = {word for word in missing if word not in piece}
        if any(missing.isdisjoint(words) for words in TOGETHER):
            return True
    return False


def _documents(data: memoryview) -> Iterator[tuple[int, int]]:
    """Where each document of the stream begins and ends, with the directives in front of it.

    Each is read on its own: a loader may have built the first ones when it comes to one that it refuses. Directives
    behind a document that no `...` ends may be text of that one or begin the next, which is then read with them, too.
    """
    begin = piece = 0
    late: re.Match[bytes] | None = None
    for end in _ends(data):
        if end < len(data) and _DIRECTIVE.match(data, piece, end):
            piece = end
            continue
        yield begin, end
        if late:
            yield late.start(), end
        late = _HANDLE_LINE.search(data, piece, end)
        begin, piece = (end + 3 if bytes(data[end : end + 3]) == b"..." else end), end


def _ends(data: memoryview) -> Iterator[int]:
    for count, marker in enumerate(_MARKER.finditer(data)):
        if count == _MAX_DOCUMENTS:
            raise Exhausted(f"YAML of more than {_MAX_DOCUMENTS} documents")
        yield marker.start()
    yield len(data)


class _Reader:
    """Reads the documents of one text.

    Args:
        context: where findings go.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._left = _MAX_READ
        self._told: set[int] = set()

    def search(self, data: memoryview) -> None:
        """Report the tags that build objects, wherever they stand in the bytes."""
        for tag, offset in written(data):
            if builds(tag):
                self._told.add(offset)
            self._tag(tag, offset)

    def read(self, data: memoryview, start: int) -> None:
        """Report what the document at that offset asks for.

        Raises:
            Exhausted: it is too large to be read.
        """
        line = _FIRST_LINE.match(data)
        if line and line[1] and _PLAIN.match(line[1]):
            self._refused(data, start)
            return
        text, cut = str(data[: self._left], "utf-8", "ignore"), len(data) > self._left
        read = self._parse(text, text, start, cut=cut)
        if _MARK in text or not read:
            read = self._parse(_VERSION.sub("#", text.translate(_BLANKS)), text, start, cut=cut) or read
        if not read:
            self._refused(data, start)
        elif cut:
            raise _too_large()

    def _parse(self, reading: str, text: str, start: int, *, cut: bool) -> bool:
        """Judge the documents of a reading of text as far as PyYAML comes, and tell whether it comes to the end."""
        from vallum_validator.scan.formats.yaml_nodes import NotYaml, compose

        end = len(text)
        try:
            for document in compose(reading):
                self._judge(document, text, start)
        except NotYaml as error:
            end = error.place
            if cut and end > len(text) - _NEAR_END:
                raise _too_large() from error
            return False
        finally:
            self._left = max(self._left - max(end, _LEAST_READ), 0)
        return True

    def _judge(self, document: Document, text: str, start: int) -> None:
        place = 0
        for tag, node in document.tags:
            mark = text.index("!", node)  # an anchor may stand before it
            start, place = start + len(text[place:mark].encode()), mark
            told = start in self._told or is_plain(tag)
            if not told and (document.whole or builds(tag) or called(tag)):
                self._tag(tag, start)
        for content in document.binary:
            self._binary(content)
        for node in (document.root, *document.others):
            if isinstance(node, dict | list):
                inspect_config(node, self._context)

    def _binary(self, content: str) -> None:
        try:
            data = base64.b64decode(content.encode())
        except ValueError:
            return  # loaders refuse it, too
        if data:
            self._context.inspect(memoryview(data), self._context.enter("!!binary"))

    def _tag(self, tag: str, offset: int) -> None:
        call = called(tag)
        if call:
            inspect_target(call[1], self._context, offset, key=call[0])
        else:
            rule = "text.yaml-object" if builds(tag) else "text.yaml-tag"
            self._context.report(rule, f"holds the YAML tag {shown(tag)}", offset)

    def _refused(self, data: memoryview, start: int) -> None:
        """Search text that PyYAML does not read, or that is for people, for lines that read like a configuration."""
        handle = _HANDLE.search(data)
        if handle:
            what = f"holds the YAML directive {shown(handle[0])}"
            self._context.report("text.yaml-tag", what, start + handle.start())
        remote = _REMOTE.search(data)
        if remote:
            self._context.report("config.remote-code", f"holds {shown(remote[1])}", start + remote.start(1))
        for target in _TARGET.finditer(data):
            if target[1]:
                inspect_target(str(target[1], "utf-8"), self._context, start + target.start(1))
            else:
                self._context.report("config.remote-code", "holds the key _target_", start + target.start())


def _too_large() -> Exhausted:
    return Exhausted(f"YAML of more than {_MAX_READ} characters that must be read")


def _check_aliases(data: memoryview) -> None:
    sizes: dict[bytes, int] = {}
    anchor = b""
    for mark, name in _NODE.findall(data[:_LOOKED_AT]):
        if mark == b"&":
            anchor = name
            sizes[anchor] = 1
        elif anchor and name in sizes:
            sizes[anchor] += sizes[name]
            if sizes[anchor] > _MAX_EXPANDED:
                raise Exhausted(f"YAML aliases expand to more than {_MAX_EXPANDED} nodes")
