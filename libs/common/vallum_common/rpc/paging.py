"""Pages of a list: sizes with a bound, and tokens.

A token is an offset in base64: not a promise of its form to callers, and no secret. Whoever makes one up reads no more
than a list already gives.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from vallum_common.errors import Invalid

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 500
_MAX_OFFSET: Final = 2**31
"""Far behind the end of every list we keep, and still within what PostgreSQL counts."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list.

    Args:
        size: how many entries, 1 to `MAX_PAGE`.
        offset: how many to pass over.
    """

    size: int
    offset: int


def read_page(size: int, token: str) -> Page:
    """The page a caller asks for.

    Args:
        size: 0 means `DEFAULT_PAGE`.
        token: empty for the first page, else what `next_token` gave.

    Raises:
        Invalid: a size out of range, or a token that is not one of ours.
    """
    if not 0 <= size <= MAX_PAGE:
        raise Invalid(f"page_size must be 0 to {MAX_PAGE}, got {size}")
    try:
        offset = int(base64.urlsafe_b64decode(token.encode())) if token else 0
    except ValueError:
        offset = -1
    if not 0 <= offset <= _MAX_OFFSET:
        raise Invalid(f"page_token {token!r} is not one this service gave")
    return Page(size=size or DEFAULT_PAGE, offset=offset)


def next_token(page: Page, found: int) -> str:
    """The token of the next page; empty after the last."""
    return base64.urlsafe_b64encode(str(page.offset + found).encode()).decode() if found == page.size else ""
