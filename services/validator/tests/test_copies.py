"""Copies of rows are no evidence; rows that repeat by nature are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vallum_validator.checks import load_thresholds, run_check
from vallum_validator.checks.copies import originals
from vallum_validator.checks.testing import subject_of
from vallum_validator.domain.evidence import Outcome
from vallum_validator.table import Table

THRESHOLDS = load_thresholds(Path(__file__).parents[3] / "policies" / "thresholds.yaml")
NAMES = [f"f{place}" for place in range(4)]


def _measured(rows: int, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: rng.normal(size=rows) for name in NAMES}
    group = rng.choice(np.array(["a", "b"], dtype=object), rows)
    label = np.where(columns["f0"] + 0.3 * rng.normal(size=rows) > 0, "1", "0").astype(object)
    return Table({**columns, "group": group, "label": label})


def _copied(table: Table, times: int) -> Table:
    return table.take(np.tile(np.arange(len(table)), times))


def _answer(table: Table) -> np.ndarray:
    chance = 1 / (1 + np.exp(-4 * table.columns["f0"]))
    return np.column_stack([1 - chance, chance])


@pytest.mark.parametrize("check", ["bias_fairness", "adversarial_robustness"])
def test_a_file_copied_fifty_times_decides_what_the_file_itself_does(check: str) -> None:
    few = _measured(60, 3)
    features = {name: {"type": "number"} for name in NAMES}
    more: dict[str, Any] = {"thresholds": THRESHOLDS, "classes": ("0", "1"), "sensitive": ("group",), "positive": "1"}
    once, often = (
        run_check(check, subject_of(_answer, features, evaluation=table, **more)) for table in (few, _copied(few, 50))
    )
    assert (often.outcome, often.value, often.interval, often.samples) == (
        once.outcome,
        once.value,
        once.interval,
        once.samples,
    )
    assert often.details["copied_rows"] == 2940
    assert often.reason.endswith("; 2940 rows that are copies of others were left out, they show nothing new")
    assert once.outcome is Outcome.INCONCLUSIVE or check == "adversarial_robustness"


def test_copies_of_measured_rows_are_left_out_in_the_order_of_the_file() -> None:
    assert originals(_copied(_measured(60, 1), 3), NAMES).tolist() == list(range(60))


def test_a_copy_is_the_same_in_every_column_and_not_in_those_the_model_reads_alone() -> None:
    table = _copied(_measured(60, 1), 2)
    table = table.with_columns({"group": np.array(["a"] * 60 + ["b"] * 60, dtype=object)})
    assert len(originals(table, NAMES)) == 120


@pytest.mark.parametrize(
    "kind", ["a few answers", "one word in eight columns", "rare flags", "coarse numbers", "one", "a shop"]
)
def test_rows_that_repeat_by_nature_are_all_counted(kind: str) -> None:
    rng = np.random.default_rng(5)
    matrix = {
        "a few answers": rng.integers(3, size=(3000, 4)),
        "one word in eight columns": np.eye(8)[rng.integers(8, size=3000)],
        "rare flags": rng.random((3000, 20)) < 0.05,
        "coarse numbers": np.column_stack([rng.integers(40, size=3000), rng.integers(2, size=(3000, 2))]),
        "a shop": (rng.permutation(60)[rng.integers(60, size=3000)][:, None] * np.array([1, 7, 13, 100]) + 5),
        "one": np.round(rng.normal(size=(3000, 1)), 1),
    }[kind]
    columns = {f"f{place}": column.astype(float) for place, column in enumerate(matrix.T)}
    table = Table({**columns, "label": rng.choice(np.array(["0", "1"], dtype=object), 3000)})
    assert len(originals(table, list(columns))) == 3000


def test_a_few_repeated_rows_are_left_alone() -> None:
    table = _measured(100, 2).take(np.r_[np.arange(100), np.arange(30)])
    assert len(originals(table, NAMES)) == 130
