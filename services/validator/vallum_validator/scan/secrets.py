"""Credentials and personal data that were left in an artefact: in its text, metadata and configuration.

Every kind is anchored by a literal that is searched with `find`, so that a file without any costs a few passes at
memory speed; the expression decides only around a hit. Of a large file only the ends are searched, where
metadata lies: see `SEARCHED_BYTES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vallum_validator.scan.context import Context

_AROUND: Final = 400
SEARCHED_BYTES: Final = 1024**2
"""At most this much of binary content is searched, from its beginning and from its end: metadata lies there, and the
search must stay small beside the hash."""
SEARCHED_TEXT: Final = 64 * 1024**2
"""At most this much of text."""
_MAX_TRIES: Final = 2000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of secret.

    Args:
        name: for the report.
        anchor: a literal that every one holds.
        expression: that a real one matches.
        rule: what is reported.
    """

    name: str
    anchor: bytes
    expression: re.Pattern[bytes]
    rule: str = "secret.found"


def _kind(name: str, anchor: bytes, expression: bytes, rule: str = "secret.found") -> Kind:
    return Kind(name, anchor, re.compile(expression), rule)


_EMAIL: Final = rb"\b[A-Za-z0-9._+-]{2,40}@[a-z]+\.[a-z]{2,3}\b"

KINDS: Final = (
    _kind("private key", b"PRIVATE KEY", rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----\\?[\r\nn]"),
    _kind("AWS access key", b"AKIA", rb"(?<![A-Z0-9])AKIA[A-Z2-7]{16}(?![A-Z0-9])"),
    _kind("AWS temporary key", b"ASIA", rb"(?<![A-Z0-9])ASIA[A-Z2-7]{16}(?![A-Z0-9])"),
    _kind("GitHub token", b"ghp_", rb"\bghp_[A-Za-z0-9]{36}\b"),
    _kind("GitHub token", b"github_pat_", rb"\bgithub_pat_[A-Za-z0-9_]{60,}\b"),
    _kind("GitLab token", b"glpat-", rb"\bglpat-[A-Za-z0-9_-]{20,}"),
    _kind("Hugging Face token", b"hf_", rb"\bhf_[A-Za-z0-9]{34,}\b"),
    _kind("OpenAI key", b"sk-", rb"\bsk-(?:proj-)?[A-Za-z0-9_-]{40,}\b"),
    _kind("Slack token", b"xox", rb"\bxox[abprs]-[0-9]{8,}-[A-Za-z0-9-]{10,}"),
    _kind("Google key", b"AIza", rb"\bAIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _kind("Stripe key", b"k_live_", rb"\b[sr]k_live_[A-Za-z0-9]{20,}\b"),
    _kind("JSON web token", b"eyJ", rb"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"),
    _kind("password in an address", b"://", rb"\b[a-z][a-z0-9+]{2,12}://[^\s/:@\"'<>]{1,60}:[^\s/:@\"'<>{}$]{3,60}@\w"),
    *(_kind("e-mail address", anchor, _EMAIL, "personal.found") for anchor in (b"@gmail.", b"@outlook.", b"@yahoo.")),
)  # fmt: skip


def search(data: memoryview, context: Context, *, text: bool) -> None:
    """Report each kind that is found, with its place and never with its value."""
    for start, part in _parts(data, SEARCHED_TEXT if text else SEARCHED_BYTES):
        for kind in KINDS:
            for offset in _hits(part, kind):
                context.report(kind.rule, f"holds what looks like a {kind.name}", start + offset)


def _parts(data: memoryview, limit: int) -> Iterator[tuple[int, bytes]]:
    if len(data) <= limit:
        yield 0, bytes(data)
        return
    half = limit // 2
    yield 0, bytes(data[:half])
    yield len(data) - half, bytes(data[-half:])


def _hits(part: bytes, kind: Kind) -> Iterator[int]:
    position = part.find(kind.anchor)
    tries = 0
    while position >= 0 and tries < _MAX_TRIES:
        begin = max(0, position - _AROUND)
        found = kind.expression.search(part, begin, position + _AROUND)
        if found:
            yield found.start()
            return
        tries += 1
        position = part.find(kind.anchor, position + 1)
