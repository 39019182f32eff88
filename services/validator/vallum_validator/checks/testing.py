"""Test doubles of what a check needs: a model that is a formula, its trees where it has some, a subject around it.
No process, no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from vallum_common.bundle import Feature, Task, parse_manifest
from vallum_common.errors import Invalid
from vallum_validator.checks.thresholds import Thresholds
from vallum_validator.sandbox.program.bounds import bounds
from vallum_validator.sandbox.program.rows import Input
from vallum_validator.sandbox.program.tree_columns import first_columns, through
from vallum_validator.sandbox.program.tree_readers import read_trees
from vallum_validator.sandbox.program.trees import NoTrees, described
from vallum_validator.table import Predictions, Prover, QueryLedger, Subject, Table, canonical_column


@dataclass(slots=True)
class FormulaPredictor:
    """A `Predictor` that answers by a function, in this process.

    Args:
        features: from the manifest.
        classes: canonical labels, in the order of the probabilities; empty for a label-only model.
        answer: from a table to probabilities, shape (rows, classes), to labels, shape (rows,), or to `Predictions`.
        original: the same of the model as submitted, where `answer` is a conversion that differs.
    """

    features: Mapping[str, Feature]
    classes: tuple[str, ...]
    answer: Callable[[Table], Any]
    task: Task = Task.CLASSIFICATION
    ledger: QueryLedger = field(default_factory=QueryLedger)
    original: Callable[[Table], Any] | None = None

    @property
    def is_converted(self) -> bool:
        """Whether there is another original."""
        return self.original is not None

    def predict(self, table: Table) -> Predictions:
        """Answer and count."""
        return self._predict(self.answer, table)

    def predict_original(self, table: Table) -> Predictions:
        """Answer as the model as submitted does, and count."""
        return self._predict(self.original or self.answer, table)

    def _predict(self, formula: Callable[[Table], Any], table: Table) -> Predictions:
        self.ledger = QueryLedger(self.ledger.rows + len(table), self.ledger.calls + 1)
        told = formula(table)
        if isinstance(told, Predictions):
            return told
        answer = np.asarray(told)
        if answer.ndim == 1:
            return Predictions(canonical_column(answer.astype(object)), None)
        names = np.array(self.classes, dtype=object)
        return Predictions(names[answer.argmax(axis=1)], answer.astype(np.float64))


@dataclass(slots=True)
class InProcessProver:
    """A `Prover` of an estimator, in this process: its trees and the solver are those of the sandbox's worker.

    Args:
        estimator: fitted.
        features: from the manifest.
    """

    estimator: Any
    features: Mapping[str, Feature]

    def structure(self) -> Mapping[str, NDArray[Any]]:
        """Read them."""
        inputs = tuple(Input(name, one.type.value, tuple(one.values)) for name, one in self.features.items())
        steps = getattr(self.estimator, "steps", [("", self.estimator)])
        try:
            columns = through(steps[:-1], first_columns(inputs), inputs, list(self.features))
            return described(columns, read_trees(steps[-1][1]))
        except NoTrees as error:
            raise Invalid(str(error)) from error

    def bound(self, searches: Mapping[str, NDArray[Any]], steps: int) -> Mapping[str, NDArray[Any]]:
        """Search."""
        return bounds(searches, steps)


def subject_of(
    answer: Callable[[Table], Any],
    features: Mapping[str, Mapping[str, Any]],
    *,
    thresholds: Thresholds,
    classes: Sequence[str] = (),
    evaluation: Table | None = None,
    members: Table | None = None,
    population: Table | None = None,
    sensitive: Sequence[str] = (),
    positive: str | None = None,
    card: str | None = None,
    tier: str = "high",
    task: str = "classification",
    seed: int = 0,
    prover: Prover | None = None,
    missing: Mapping[str, str] | None = None,
) -> Subject:
    """Return a subject whose model is `answer` and whose label column is `label`."""
    document: dict[str, Any] = {
        "model": {"id": "m", "version": "1", "artifact": "m.onnx", "owner": "o", "tier": tier, "task": task},
        "data": {
            "evaluation": {"file": "e.parquet", "label": "label"},
            "sensitive": list(sensitive),
            "features": {name: dict(feature) for name, feature in features.items()},
        },
    }
    if positive is not None:
        document["data"]["evaluation"]["positive"] = positive
    manifest = parse_manifest(yaml.safe_dump(document, sort_keys=False).encode())
    return Subject(
        manifest=manifest,
        predictor=FormulaPredictor(manifest.data.features, tuple(classes), answer, manifest.model.task),
        why_not_run="",
        evaluation=evaluation,
        members=members,
        population=population,
        missing=missing or {},
        card=card,
        thresholds=thresholds,
        seed=seed,
        prover=prover,
    )
