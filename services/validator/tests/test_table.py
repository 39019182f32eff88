"""Tables keep their columns together, and a label has one spelling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum_common.bundle import Feature, canonical_text
from vallum_common.errors import Invalid
from vallum_validator.table import Table, canonical_column, categories, label_order


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (np.int64(1), "1"),
        (np.float32(1), "1"),
        ("1", "1"),
        ("1.0", "1"),
        ("-2.00", "-2"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (np.float32(0.1), "0.1"),
        (True, "true"),
        (np.True_, "true"),
        ("TRUE", "true"),
        ("False", "false"),
        (" >50K", " >50K"),
        ("01", "01"),
        ("1.5.0", "1.5.0"),
        (None, None),
        (float("nan"), None),
        ("nan", "nan"),
    ],
)
def test_a_label_has_one_spelling(value: Any, text: str | None) -> None:
    assert canonical_text(value) == text


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_infinity=False), st.text()))
def test_the_one_spelling_of_a_spelling_is_itself(value: Any) -> None:
    text = canonical_text(value)
    assert canonical_text(text) == text


def test_columns_of_every_type_become_text() -> None:
    assert canonical_column(np.array([1.0, np.nan, 2.5])).tolist() == ["1", None, "2.5"]
    assert canonical_column(np.array([True, False])).tolist() == ["true", "false"]
    assert canonical_column(np.array([3, 3], dtype=np.int32)).tolist() == ["3", "3"]
    assert canonical_column([True, 1, "1.0", None, float("nan")]).tolist() == ["true", "1", "1", None, None]


def test_labels_sort_as_their_originals_do() -> None:
    assert sorted(["10", "9", "b", "-1", "a"], key=label_order) == ["-1", "9", "10", "a", "b"]


def table() -> Table:
    return Table({"n": np.array([1.0, 2.0, 3.0]), "t": canonical_column(["a", "b", None])})


def test_rows_are_taken_in_the_order_given_or_by_mask() -> None:
    assert table().take(np.array([2, 0])).columns["n"].tolist() == [3.0, 1.0]
    assert table().take(np.array([False, True, True])).columns["t"].tolist() == ["b", None]


def test_columns_are_selected_and_replaced() -> None:
    assert list(table().select(["t", "n"]).columns) == ["t", "n"]
    changed = table().with_columns({"n": np.zeros(3), "z": np.ones(3)})
    assert (list(changed.columns), changed.columns["n"].tolist()) == (["n", "t", "z"], [0.0, 0.0, 0.0])
    assert table().columns["n"].tolist() == [1.0, 2.0, 3.0]


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(Invalid, match="no column 'x' in the table; it has 'n', 't'"):
        table().select(["x"])


@pytest.mark.parametrize(
    "columns",
    [
        {"a": np.zeros(2), "b": np.zeros(3)},
        {"a": np.zeros((2, 1))},
        {"a": np.zeros(2, dtype=np.int64)},
        {"a": np.array(["x"])},
    ],
)
def test_what_is_no_table_is_refused(columns: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        Table(columns)


def test_an_empty_table_has_no_rows() -> None:
    assert len(Table({})) == 0


def test_categories_are_canonical_and_distinct() -> None:
    assert categories(Feature(type="categorical", values=(1, True, "x"))) == ("1", "true", "x")
    with pytest.raises(Invalid, match="the same category, '1'"):
        categories(Feature(type="categorical", values=("1", "1.0")))
    with pytest.raises(Invalid, match="must have a value, got nan"):
        categories(Feature(type="categorical", values=("1", float("nan"))))
