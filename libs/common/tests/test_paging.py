"""Pages: bounded sizes, and tokens that lead through a list without a gap, whatever callers send."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum_common.errors import Invalid
from vallum_common.rpc.paging import DEFAULT_PAGE, MAX_PAGE, Page, next_token, read_page


def test_nothing_asked_is_the_first_page_of_the_default_size() -> None:
    assert read_page(0, "") == Page(DEFAULT_PAGE, 0)


@given(st.integers(0, 60), st.integers(1, 7))
def test_tokens_lead_through_the_whole_list_once(length: int, size: int) -> None:
    entries, seen, token = list(range(length)), [], ""
    while True:
        page = read_page(size, token)
        found = entries[page.offset : page.offset + page.size]
        seen += found
        token = next_token(page, len(found))
        if not token:
            break
    assert seen == entries


@pytest.mark.parametrize("size", [-1, MAX_PAGE + 1])
def test_size_out_of_range_is_invalid(size: int) -> None:
    with pytest.raises(Invalid, match=f"page_size must be 0 to {MAX_PAGE}, got {size}"):
        read_page(size, "")


@pytest.mark.parametrize("token", ["x", "é", "====", base64.urlsafe_b64encode(b"-1").decode(), "AAAA", "/" * 5000])
def test_foreign_token_is_invalid(token: str) -> None:
    with pytest.raises(Invalid, match="not one this service gave"):
        read_page(0, token)


@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9_=-]{0,40}", fullmatch=True))
def test_any_token_is_a_page_or_invalid(token: str) -> None:
    with contextlib.suppress(Invalid):
        assert read_page(1, token).offset >= 0


def test_token_beyond_what_a_database_counts_is_invalid() -> None:
    """OFFSET is a bigint: a larger one would be our bug instead of the caller's mistake."""
    token = base64.urlsafe_b64encode(b"9" * 19).decode()
    with pytest.raises(Invalid, match="not one this service gave"):
        read_page(0, token)
