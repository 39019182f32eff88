"""Explanations of single decisions: right where they can be worked out by hand, additive always, honest about error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum_validator.checks import load_thresholds
from vallum_validator.checks.shapley import Explanation, explain
from vallum_validator.checks.testing import FormulaPredictor, subject_of
from vallum_validator.checks.truth import labelled
from vallum_validator.table import Table

THRESHOLDS = load_thresholds(Path(__file__).parents[3] / "policies" / "thresholds.yaml")
NUMBERS: dict[str, dict[str, Any]] = {name: {"type": "number"} for name in ("a", "b", "unused")}


def _both(positive: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - positive, positive])


def _explained(
    answer: Callable[[Table], np.ndarray],
    table: Table,
    *,
    features: dict[str, dict[str, Any]] = NUMBERS,
    count: int = 3,
    queries: int = 12_000,
    seed: int = 0,
) -> tuple[tuple[Explanation, ...], FormulaPredictor]:
    table = table.with_columns({"label": np.array(["0", "1"] * (len(table) // 2), dtype=object)})
    subject = subject_of(answer, features, thresholds=THRESHOLDS, classes=("0", "1"), evaluation=table)
    rows = labelled(subject)
    assert isinstance(subject.predictor, FormulaPredictor)
    rng = np.random.default_rng(seed)
    return explain(subject.predictor, rows, count=count, queries=queries, rng=rng), subject.predictor


def _square(copies: int = 250) -> Table:
    """Every combination of two switches equally often."""
    a, b = np.tile([0.0, 0.0, 1.0, 1.0], copies), np.tile([0.0, 1.0, 0.0, 1.0], copies)
    return Table({"a": a, "b": b, "unused": np.arange(4.0 * copies)})


def test_two_switches_that_only_work_together_share_what_they_do() -> None:
    # Source: by hand. f = 1/20 + 4/5 ab; its mean over the square is 1/4, so (1, 1) stands 3/5 above it, half for each.
    (found,), _ = _explained(
        lambda t: _both(0.05 + 0.8 * t.columns["a"] * t.columns["b"]), _square(), count=1, queries=40_000
    )
    assert found.row % 4 == 3
    assert (found.answer, found.score) == (1, pytest.approx(0.85))
    assert np.all(np.abs(found.shares[:2] - 0.3) < 5 * found.standard_errors[:2])
    assert found.standard_errors.max() < 0.02


def test_of_a_sum_each_feature_gets_its_own_term() -> None:
    rng = np.random.default_rng(3)
    table = Table({name: rng.uniform(-1, 1, 400) for name in NUMBERS})
    found, _ = _explained(lambda t: _both(0.5 + 0.3 * t.columns["a"] - 0.1 * t.columns["b"]), table)
    for each in found:
        sign = 1 if each.answer == 1 else -1
        terms = [
            sign * weight * (table.columns[name][each.row] - table.columns[name].mean())
            for name, weight in (("a", 0.3), ("b", -0.1))
        ]
        assert np.all(np.abs(each.shares[:2] - terms) < 5 * each.standard_errors[:2])


def test_a_feature_the_model_ignores_gets_exactly_nothing() -> None:
    found, _ = _explained(lambda t: _both(0.1 + 0.8 * t.columns["a"]), _square())
    for each in found:
        assert each.shares[1] == each.shares[2] == 0.0
        assert each.standard_errors[1] == each.standard_errors[2] == 0.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), weights=st.tuples(*[st.floats(-3, 3)] * 3))
def test_shares_add_up_to_what_sets_the_decision_apart(seed: int, weights: tuple[float, float, float]) -> None:
    table = Table({name: np.random.default_rng(seed).normal(size=60) for name in NUMBERS})

    def answer(asked: Table) -> np.ndarray:
        total = sum(weight * asked.columns[name] for weight, name in zip(weights, NUMBERS, strict=True))
        return _both(1 / (1 + np.exp(-np.asarray(total) - asked.columns["a"] * asked.columns["b"])))

    found, _ = _explained(answer, table, queries=1_000, seed=seed)
    assert found
    for each in found:
        assert each.shares.sum() == pytest.approx(each.score - each.base, abs=1e-9)


def test_a_category_moves_as_a_whole() -> None:
    table = Table({"colour": np.array(["red", "green", "blue", "red"] * 50, dtype=object), "a": np.zeros(200)})
    features = {"colour": {"type": "categorical", "values": ["red", "green", "blue"]}, "a": {"type": "number"}}

    def answer(asked: Table) -> np.ndarray:
        assert set(asked.columns["colour"]) <= {"red", "green", "blue"}
        return _both(np.where(asked.columns["colour"] == "red", 0.9, 0.2))

    found, _ = _explained(answer, table, features=features)
    assert all(each.shares[1] == 0.0 for each in found)
    assert all(abs(each.shares[0]) > 0.1 for each in found)


def test_a_model_that_gives_labels_only_is_explained_by_its_labels() -> None:
    found, _ = _explained(lambda t: np.where(t.columns["a"] > 0.5, "1", "0"), _square())
    for each in found:
        assert each.score == 1.0
        assert each.base == pytest.approx(0.5, abs=0.1)
        assert each.shares == pytest.approx([1 - each.base, 0, 0])


def test_the_budget_is_kept_and_too_small_a_one_explains_nothing() -> None:
    _, predictor = _explained(lambda t: _both(t.columns["a"]), _square(), queries=1_000)
    assert predictor.ledger.rows <= 1_000 + len(_square())
    assert _explained(lambda t: _both(t.columns["a"]), _square(), queries=63)[0] == ()


def test_the_same_seed_gives_the_same_explanation_and_another_seed_agrees_within_its_error() -> None:
    rng = np.random.default_rng(5)
    table = Table({name: rng.normal(size=300) for name in NUMBERS})

    def answer(asked: Table) -> np.ndarray:
        return _both(1 / (1 + np.exp(-2 * asked.columns["a"] * asked.columns["b"])))

    first, again, other = (_explained(answer, table, seed=seed)[0] for seed in (1, 1, 2))
    for one, same, another in zip(first, again, other, strict=True):
        assert np.array_equal(one.shares, same.shares)
        together = np.hypot(one.standard_errors, another.standard_errors)
        assert np.all(np.abs(one.shares - another.shares) <= 5 * together)
