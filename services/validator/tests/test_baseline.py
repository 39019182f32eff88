"""Baselines count every row where the monitor will look for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vallum_common.bundle import Feature
from vallum_validator.baseline import BINS, baseline_of
from vallum_validator.domain.evidence import FeatureBaseline
from vallum_validator.table import Predictions, Table, canonical_column

NUMBER = {"a": Feature(type="number")}


def numeric(values: object) -> FeatureBaseline:
    column = np.asarray(values, dtype=np.float64)
    return baseline_of(Table({"a": column}), NUMBER, None, ())[0]


def test_deciles_of_a_hundred_numbers() -> None:
    baseline = numeric(np.arange(1, 101))
    assert baseline.edges == (10, 20, 30, 40, 50, 60, 70, 80, 90)
    assert baseline.counts == (9, 10, 10, 10, 10, 10, 10, 10, 10, 11)


@pytest.mark.parametrize(
    ("values", "edges", "counts"),
    [
        ([0, 0, 0, 1, 1], (1.0,), (3, 2)),
        ([5, 5, 5], (5.0, np.nextafter(5.0, 6.0)), (0, 3, 0)),
        ([0] * 19 + [7], (0.0, np.nextafter(0.0, 1.0)), (0, 19, 1)),
        ([1, np.nan, 3], (3.0,), (1, 1)),
        ([np.nan, np.nan], (), (0,)),
    ],
)
def test_edges_are_distinct_also_where_values_repeat(
    values: list[float], edges: tuple[float, ...], counts: tuple[int, ...]
) -> None:
    baseline = numeric(values)
    assert (baseline.edges, baseline.counts) == (edges, counts)


@given(arrays.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6) | st.just(float("nan"))))
def test_every_known_number_is_in_the_bin_its_edges_say(column: np.ndarray) -> None:
    baseline = numeric(column)
    known = column[~np.isnan(column)]
    edges = (-np.inf, *baseline.edges, np.inf)
    assert len(baseline.counts) == len(baseline.edges) + 1 <= BINS
    assert list(baseline.edges) == sorted(set(baseline.edges))
    for low, high, count in zip(edges[:-1], edges[1:], baseline.counts, strict=True):
        assert ((known >= low) & (known < high)).sum() == count


def test_categories_are_counted_and_all_else_is_other() -> None:
    column = canonical_column(["b", "a", "b", None])
    feature = Feature(type="categorical", values=("a", "b", "c"))
    baseline = baseline_of(Table({"f": column}), {"f": feature}, None, ())[0]
    assert (baseline.categories, baseline.counts, baseline.edges) == (("a", "b", "c"), (1, 2, 0, 1), ())


def test_predictions_have_a_baseline_of_their_own() -> None:
    table = Table({"a": np.array([1.0, 2.0, 3.0])})
    labels = canonical_column(["no", "yes", "no"])
    *_, baseline = baseline_of(table, NUMBER, Predictions(labels, None), ("no", "yes"))
    assert (baseline.name, baseline.categories, baseline.counts) == ("prediction", ("no", "yes"), (2, 1, 0))


def test_predicted_numbers_are_binned() -> None:
    table = Table({"a": np.array([1.0, 2.0])})
    values = np.array([0.5, 1.5])
    *_, baseline = baseline_of(table, NUMBER, Predictions(canonical_column(values), None, values), ())
    assert (baseline.edges, baseline.counts) == ((1.5,), (1, 1))
