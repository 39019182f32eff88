"""Tags of YAML: which are of YAML itself, which make a loader build an object or call a function."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from vallum_validator.scan.expressions import later

_CORE: Final = frozenset(
    {"!", *(f"tag:yaml.org,2002:{name}" for name in (
        "binary", "bool", "float", "int", "map", "merge", "null", "omap", "pairs", "seq", "set", "str", "timestamp",
        "value",
    ))}
)  # fmt: skip
"""Source: YAML 1.2.2, chapter 10, and the type repository of YAML 1.1."""
_NO_TYPE: Final = later(r"(?:!|tag:yaml\.org,2002:)[^\w/:<%]")
"""`![a](b)` is an image in Markdown, `!=` a comparison, `!!!` a shout: no application has a type of that name."""
_OTHER_FAMILIES: Final = (
    *("ruby/", "perl/", "php/", "js/function", "java.", "javax.", "com.sun.", "com.mchange."),
    *(f"org.{name}." for name in ("springframework", "apache", "codehaus", "hibernate")),
)
"""What the gadgets of other languages' loaders begin with."""
_BUILDS: Final = later(
    r"(?:!|2002:)(?:python/(?!(?:none|bool|str|unicode|bytes|int|long|float|complex|list|tuple|dict)(?![\w/:.]))|"
    + "|".join(map(re.escape, _OTHER_FAMILIES))
    + ")"
)
_CALLS: Final = later(r"!(?:new|apply(?:ref)?|name|module|call):([\w.]+)")
"""HyperPyYAML, in which SpeechBrain's models are written."""


def _spelled(*words: str) -> bytes:
    """An expression for any of the words, each character as it is or as a URI escapes it."""
    return b"(?:%s)" % b"|".join(
        b"".join(b"(?:%s|%%(?i:%02x))" % (re.escape(letter.encode()), ord(letter)) for letter in word) for word in words
    )


_FAMILIES: Final = _spelled("python/", *_OTHER_FAMILIES)
_WRITTEN: Final = later(
    rb"(?:!(?:[\w-]{0,50}!)?(?:%b|(?:new|apply(?:ref)?|name|module|call):)|(?:!<[^\s>]{0,80}?)?%b%b)[^\s,\[\]{}>]{0,300}"
    % (_FAMILIES, _spelled("2002:"), _FAMILIES)
)


def is_plain(tag: str) -> bool:
    """Whether the tag is one of YAML's own, or no tag but what text for people looks like."""
    return tag in _CORE or _NO_TYPE.match(tag) is not None


def builds(tag: str) -> bool:
    """Whether loaders that know the tag run code when they build what it says."""
    return _BUILDS.search(tag) is not None


def called(tag: str) -> tuple[str, str] | None:
    """For a tag that calls what it names: how it says so, and the name."""
    call = _CALLS.match(tag)
    return (tag[: call.start(1)], call[1]) if call else None


def written(data: memoryview) -> Iterator[tuple[str, int]]:
    """Tags that build or call something, as they stand in the bytes, whatever is around them, with their offsets."""
    for found in _WRITTEN.finditer(data):
        tag = unquote(str(found[0], "utf-8", "replace"))
        if builds(tag) or called(tag):
            yield tag, found.start()
