"""Jinja templates, as tokenizers and GGUF files carry them for chat. They run in the process that serves the model.

A chat template needs loops, conditions and a few filters. Names with underscores around them are the way from a
template to Python's internals (CVE-2024-34359), so they are refused wherever they stand inside a block, and so is every
way to write such a name in pieces.
"""

from __future__ import annotations

import re
from typing import Final

from vallum_validator.scan.context import Context, shown

_BLOCK: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_ESCAPE: Final = re.compile(
    r"__\w+|\.\s*_\w+|\[\s*['\"]_|\b(?:subclasses|mro|globals|builtins|getattr|import_module|popen|os\s*\.|sys\s*\.|"
    r"subprocess|func_globals|gi_frame|cr_frame|f_globals)\b"
)
_DETOUR: Final = re.compile(
    r"\|\s*attr\b|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\b(?:lipsum|cycler|joiner|self|request|config|url_for|"
    r"get_flashed_messages)\b\s*[.(\[]|\{%-?\s*(?:include|import|from|extends)\b"
)


def inspect_template(text: str, context: Context) -> None:
    """Report what reaches for Python's internals."""
    for block in _BLOCK.finditer(text):
        escape, detour = _ESCAPE.search(block[0]), _DETOUR.search(block[0])
        if escape:
            context.report("template.escape", f"the template uses {shown(escape[0])}", block.start())
        elif detour:
            context.report("template.suspicious", f"the template uses {shown(detour[0])}", block.start())
