"""Jinja templates, as tokenizers and GGUF files carry them for chat. They run in the process that serves the model.

A chat template needs loops, conditions and a few filters, so that is what is allowed: its syntax tree is walked, and
every kind of node, filter, test and method that honest templates do without is reported. Names with underscores are the
way from a template to Python's internals (CVE-2024-34359), and so is every way to write such a name in pieces. Nothing
is ever rendered; Jinja is only asked for the tree.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later

if TYPE_CHECKING:
    from jinja2 import nodes  # only where a template is: Jinja takes longer to import than most scans take

MAX_TEMPLATE: Final = 256 * 1024
"""Characters. The longest published chat templates have about 30,000."""
_MAX_SEARCHED: Final = 1024**2
_MAX_BLOCKS: Final = 20_000
"""Bounds of text that is searched as a template: most of it stands outside its blocks."""
_BRACKETS: Final = (("{{", "}}"), ("{%", "%}"))
_ESCAPE: Final = later(
    r"__\w+|\.\s*_\w+|\[\s*['\"]_|\b(?:subclasses|mro|globals|builtins|getattr|import_module|popen|os\s*\.|sys\s*\.|"
    r"subprocess|func_globals|gi_frame|cr_frame|f_globals)\b"
)


_SPELLED: Final = later(
    r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{1,3})|(N\{LOW LINE\}))", re.IGNORECASE
)
"""How a character is written in a text of Jinja, which is one of Python."""
_REACHES: Final = later(
    r"__|\[|\\|\b(?:attr|attribute|first|format|groupby|join|last|map|max|min|random|reject|select|sort|sum|unique)\b"
)
"""Without any of these no name is looked up but those that are written."""
_BLOCK: Final = later(rb"\{[{%]")
_PADDING: Final = later(rb"[^{}#%'\"\\]{64,}+")
"""What is no part of any expression: text, comments, white space."""
_REACHES_FAR: Final = later(
    rb"\{[{%][^{}]{0,4000}?(?:__|\\(?:x5f|u005f|137)|~|\|\s*(?:attr|map|groupby|format)\b|\b(?:cycler|joiner|lipsum)\b)"
)
_PIECE: Final = 1024**2
_PLAIN_LOOKUP: Final = later(r"\[\s*(?:'[A-Za-z]\w*'|\"[A-Za-z]\w*\"|-?\d+)\s*\]")


def has_blocks(text: str) -> bool:
    """Whether text holds anything that Jinja would take for a program."""
    return "{%" in text or "{{" in text


def inspect_template(text: str, context: Context) -> None:
    """Report everything in a template that a chat template does not need."""
    if len(text) > MAX_TEMPLATE:
        context.report("template.suspicious", f"the template has {len(text)} characters")
        search_template(text, context)
        return
    tree = _tree(text)
    if isinstance(tree, str):
        context.report("template.suspicious", f"the template cannot be read: {tree}")
        search_template(text, context)
        return
    from vallum_validator.scan.formats.template_rules import objections

    try:
        for objection in objections(tree):
            rule = "template.escape" if objection.escapes else "template.suspicious"
            context.report(rule, f"line {objection.line} of the template {objection.what}")
    except RecursionError:
        context.report("template.suspicious", "an expression of the template is nested too deeply")


def search_template(text: str, context: Context) -> None:
    """Report an escape in text that may be a template or may only look like one."""
    plain = _spelled_out(text)
    for opening, closing in _BRACKETS:
        start = plain.find(opening)
        while start >= 0 and (end := plain.find(closing, start)) >= 0:
            escape = _ESCAPE.search(plain, start, end)
            if escape:
                offset = escape.start() if plain == text else None  # what is spelled out is shorter than the text
                context.report("template.escape", f"the template uses {shown(escape[0])}", offset)
            start = plain.find(opening, end)
    blocks = sum(text.count(opening) for opening, _ in _BRACKETS)
    if blocks <= _MAX_BLOCKS and len(text) <= _MAX_SEARCHED and _REACHES.search(_PLAIN_LOOKUP.sub("", text)):
        _search_tree(text, context)


def search_long(data: memoryview, context: Context) -> None:
    """Search text that is longer than any template, but would be rendered all the same: padding is left out."""
    if not _BLOCK.search(data):
        return
    kept, size = list[bytes](), 0
    for start in range(0, len(data), _PIECE):
        kept.append(_PADDING.sub(b"", data[start : start + _PIECE]))
        size += len(kept[-1])
        if size > _MAX_SEARCHED:
            found = _REACHES_FAR.search(data)
            if found:
                context.report("template.suspicious", f"a long template uses {shown(found[0][-40:])}", found.start())
            return
    search_template(str(b"".join(kept), "utf-8", "replace"), context)


def _search_tree(text: str, context: Context) -> None:
    """What an expression cannot find: a bracket inside a text (`{{ '}}' ~ … }}`), and a name that is put together."""
    tree = _tree(text)
    if isinstance(tree, str):
        return  # no template to any reader
    from vallum_validator.scan.formats.template_rules import objections

    for objection in objections(tree):
        if objection.escapes or objection.computes:
            rule = "template.escape" if objection.escapes else "template.suspicious"
            context.report(rule, f"line {objection.line} of the template {objection.what}")


def _spelled_out(text: str) -> str:
    """The text with the characters that it spells by number, so that `\\x5f` is found as `_`."""
    return _SPELLED.sub(_character, text) if "\\" in text else text


def _character(found: re.Match[str]) -> str:
    if found[5]:
        return "_"
    number = int(found[4], 8) if found[4] else int(found[1] or found[2] or found[3], 16)
    return chr(number) if number <= sys.maxunicode else found[0]


def _tree(text: str) -> nodes.Template | str:
    """The syntax tree, or why there is none."""
    from jinja2 import TemplateError

    from vallum_validator.scan.formats.template_rules import environment

    try:
        return environment().parse(text)
    except TemplateError as error:
        return shown(str(error))
    except RecursionError:
        return "it is nested too deeply"
