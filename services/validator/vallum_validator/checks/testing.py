"""Test doubles of what a check needs: a model that is a formula, and a subject built around it. No process, no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml

from vallum_common.bundle import Feature, Task, parse_manifest
from vallum_validator.checks.thresholds import Thresholds
from vallum_validator.table import Predictions, QueryLedger, Subject, Table, canonical_column


@dataclass(slots=True)
class FormulaPredictor:
    """A `Predictor` that answers by a function, in this process.

    Args:
        features: from the manifest.
        classes: canonical labels, in the order of the probabilities; empty for a label-only model.
        answer: from a table to probabilities, shape (rows, classes), or to labels, shape (rows,).
    """

    features: Mapping[str, Feature]
    classes: tuple[str, ...]
    answer: Callable[[Table], Any]
    task: Task = Task.CLASSIFICATION
    ledger: QueryLedger = field(default_factory=QueryLedger)

    def predict(self, table: Table) -> Predictions:
        """Answer and count."""
        self.ledger = QueryLedger(self.ledger.rows + len(table), self.ledger.calls + 1)
        answer = np.asarray(self.answer(table))
        if answer.ndim == 1:
            return Predictions(canonical_column(answer.astype(object)), None)
        names = np.array(self.classes, dtype=object)
        return Predictions(names[answer.argmax(axis=1)], answer.astype(np.float64))

    def predict_original(self, table: Table) -> Predictions:
        """Answer the same: a formula has no conversion."""
        return self.predict(table)


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
    parts = {"evaluation": evaluation, "members": members, "population": population, "card": card}
    return Subject(
        manifest=manifest,
        predictor=FormulaPredictor(manifest.data.features, tuple(classes), answer, manifest.model.task),
        why_not_run="",
        evaluation=evaluation,
        members=members,
        population=population,
        missing={name: f"the test gives no {name}" for name, value in parts.items() if value is None},
        card=card,
        thresholds=thresholds,
        seed=seed,
    )
