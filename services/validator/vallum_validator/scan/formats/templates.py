"""Jinja templates, as tokenizers and GGUF files carry them for chat. They run in the process that serves the model.

A chat template needs loops, conditions and a few filters, so that is what is allowed: its syntax tree is walked, and
every kind of node, filter, test and method that honest templates do without is reported. Names with underscores are the
way from a template to Python's internals (CVE-2024-34359), and so is every way to write such a name in pieces. Nothing
is ever rendered; Jinja is only asked for the tree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vallum_validator.scan.context import Context, shown

if TYPE_CHECKING:
    from jinja2 import nodes  # only where a template is: Jinja takes longer to import than most scans take

MAX_TEMPLATE: Final = 256 * 1024
"""Characters. The longest published chat templates have about 30,000."""
_BRACKETS: Final = (("{{", "}}"), ("{%", "%}"))
_ESCAPE: Final = re.compile(
    r"__\w+|\.\s*_\w+|\[\s*['\"]_|\b(?:subclasses|mro|globals|builtins|getattr|import_module|popen|os\s*\.|sys\s*\.|"
    r"subprocess|func_globals|gi_frame|cr_frame|f_globals)\b"
)


def has_blocks(text: str) -> bool:
    """Whether text holds anything that Jinja would take for a program."""
    return "{%" in text or "{{" in text


def inspect_template(text: str, context: Context) -> None:
    """Report everything in a template that a chat template does not need."""
    if len(text) > MAX_TEMPLATE:
        context.report("template.suspicious", f"the template has {len(text)} characters")
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
    for opening, closing in _BRACKETS:
        start = text.find(opening)
        while start >= 0 and (end := text.find(closing, start)) >= 0:
            escape = _ESCAPE.search(text, start, end)
            if escape:
                context.report("template.escape", f"the template uses {shown(escape[0])}", escape.start())
            start = text.find(opening, end)


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
