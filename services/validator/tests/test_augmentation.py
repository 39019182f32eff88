"""A model that is easily attacked is trained otherwise, in the sandbox, and what that buys is measured."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.tree import DecisionTreeClassifier

from vallum_validator.checks import load_thresholds, run_check
from vallum_validator.checks.testing import subject_of
from vallum_validator.domain.evidence import CheckResult, Outcome
from vallum_validator.sandbox.process import Worker
from vallum_validator.sandbox.trainer import SandboxTrainer
from vallum_validator.table import Subject, Table

THRESHOLDS = load_thresholds(Path(__file__).parents[3] / "policies" / "thresholds.yaml")
FEATURES = {"x": {"type": "number"}, "n": {"type": "integer", "min": 0, "max": 40}}


def _rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers and a label that one in four times is wrong: a tree that learns it all is full of cracks."""
    rng = np.random.default_rng(seed)
    matrix = np.column_stack([rng.uniform(-1, 1, count), rng.integers(0, 41, count)])
    return matrix, (matrix[:, 0] > 0) ^ (rng.random(count) < 0.25)


def _table(count: int, seed: int) -> Table:
    matrix, label = _rows(count, seed)
    columns = {name: matrix[:, place].copy() for place, name in enumerate(FEATURES)}
    return Table({**columns, "label": np.array([str(int(each)) for each in label], dtype=object)})


@contextlib.contextmanager
def _training(path: Path, manifest: Any) -> Iterator[SandboxTrainer]:
    with Worker("the trainer", [path]) as worker:
        yield SandboxTrainer(worker, path, "joblib", manifest)


def _subject(folder: Path) -> Subject:
    matrix, label = _rows(400, 1)
    tree = DecisionTreeClassifier(random_state=0).fit(matrix, label.astype(int))
    joblib.dump(tree, folder / "model.joblib")
    subject = subject_of(
        lambda table: tree.predict_proba(np.column_stack([table.columns[name] for name in FEATURES])),
        FEATURES,
        thresholds=THRESHOLDS,
        classes=("0", "1"),
        evaluation=_table(400, 2),
        members=_table(400, 1),
    )
    return dataclasses.replace(
        subject, training=functools.partial(_training, folder / "model.joblib", subject.manifest)
    )


def _check(subject: Subject) -> CheckResult:
    return run_check("adversarial_robustness", subject)


def test_trained_otherwise_it_withstands_more_and_the_cost_is_told(tmp_path: Path) -> None:
    result = _check(_subject(tmp_path))
    assert result.outcome is Outcome.FAIL
    trials = {trial["measure"]: trial for trial in result.details["hardening"]}
    assert list(trials) == [
        "answer with the mean over 9 rows nearby",
        "train with moved and adversarial copies of the rows",
        "train with min_samples_leaf=20",
        "train with such copies and min_samples_leaf=20",
    ]
    for trial in trials.values():
        assert trial["before"] == result.value
        assert trial["low"] <= trial["after"] <= trial["high"]
    strict = trials["train with min_samples_leaf=20"]
    assert strict["after"] < 0.7 * strict["before"]
    assert strict["accuracy_after"] > strict["accuracy_before"]


def test_a_trainer_that_breaks_off_costs_recommendations_only(tmp_path: Path) -> None:
    subject = _subject(tmp_path)
    (tmp_path / "model.joblib").write_bytes(b"broken")
    result = _check(subject)
    assert result.outcome is Outcome.FAIL
    assert [trial["measure"] for trial in result.details["hardening"]] == ["answer with the mean over 9 rows nearby"]


def test_missing_values_cost_a_model_that_failed_neither_its_verdict_nor_advice(tmp_path: Path) -> None:
    # Copies were moved between bounds that are not there, and the FAIL became INCONCLUSIVE: "the check itself failed".
    def holed(count: int, seed: int) -> Table:
        table = _table(count, seed)
        x = np.where(np.random.default_rng(seed).random(count) < 0.1, np.nan, table.columns["x"])
        return table.with_columns({"x": x})

    subject = dataclasses.replace(_subject(tmp_path), evaluation=holed(400, 2), members=holed(400, 1))
    result = _check(subject)
    assert result.outcome is Outcome.FAIL
    assert "train with moved and adversarial copies of the rows" in {
        trial["measure"] for trial in result.details["hardening"]
    }
