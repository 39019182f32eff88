"""Web pages, and the HTML that Markdown is written with. A page is no model; a script in either is told."""

from __future__ import annotations

import re
from typing import Final

from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later

FRAGMENTS: Final = frozenset(
    {"a", "abbr", "audio", "b", "big", "blockquote", "br", "center", "code", "dd", "del", "details", "div", "dl", "dt",
     "em", "figcaption", "figure", "font", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "i", "iframe",
     "img", "ins", "kbd", "li", "mark", "nav", "ol", "p", "picture", "pre", "q", "s", "samp", "section", "small",
     "source", "span", "strong", "style", "sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "tt",
     "u", "ul", "video"}
)  # fmt: skip
"""With which Markdown begins where it begins with HTML."""
_PAGE: Final = later(
    rb"(?:\s++|(?s:<!--.*?-->))*+<(?:!doctype\s+html\b|(?:html|head|body|script)(?=[\s>/]))", re.IGNORECASE
)
_SHOWN_AS_TEXT: Final = later(
    r"(?ms)^[ \t]*+(```|~~~).*?(?:^[ \t]*+\1|\Z)|(?<!`)(`{1,8})(?!`)[^\n]{1,200}?(?<!`)\2(?!`)|<!--.*?(?:-->|\Z)"
)
"""Code and comments. What begins and does not end runs to the end, and so costs no second look."""
_LOOKED_AT: Final = 4 * 1024**2
HANDLER: Final = later(r"on[a-z]{3,30}", re.IGNORECASE)
"""The name of an attribute that is a script."""
SCRIPT_ADDRESS: Final = later(
    r"[\x00-\x20]*(?:j\s*a\s*v\s*a|v\s*b)\s*s\s*c\s*r\s*i\s*p\s*t\s*:|[\x00-\x20]*data:text/html", re.IGNORECASE
)
"""An address that is a script; browsers drop line ends and tabs in it."""
_ACTIVE: Final = later(
    r"<(?:script|object|embed|applet)(?=[\s>/])"
    r"|<[a-z][\w:-]*+(?:[\s/]++(?!on)[\w:.-]++(?:\s*=\s*(?:\"[^\"]{0,2000}\"|'[^']{0,2000}'|[^\s\"'>]++))?)*+"
    r"[\s/]++on[a-z]{3,30}\s{0,9}=(?=\s{0,9}[\"'\w])"
    r"|\b(?:href|src|action|data)\s{0,9}=\s{0,9}[\"']?\s{0,9}(?:java|vb)script:",
    re.IGNORECASE,
)


def is_page(data: memoryview) -> bool:
    """Whether it is a whole page: it begins with the document type, or an element, of one."""
    return _PAGE.match(data) is not None


def runs_script(data: memoryview) -> re.Match[str] | None:
    """The first thing that a browser would run, outside what Markdown shows as text."""
    text = str(data[:_LOOKED_AT], "utf-8", "replace")
    return _ACTIVE.search(_SHOWN_AS_TEXT.sub("", text)) if "<" in text else None


def inspect_page(data: memoryview, context: Context) -> str:
    """Report that it is a page, and what it would run in a browser."""
    context.report("text.page", "the text is a web page, not a model: is it the answer of a server?", 0)
    return inspect_fragment(data, context)


def inspect_fragment(data: memoryview, context: Context) -> str:
    """Report what a browser would run."""
    found = runs_script(data)
    if found:
        context.report("text.xml-script", f"holds what a browser runs: {shown(found[0][-80:])}")
    return "html"
