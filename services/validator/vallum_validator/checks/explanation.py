"""What drives the answers: permutation importance with standard errors, and a small tree that imitates the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from vallum_validator.checks.intervals import Floats, clopper_pearson
from vallum_validator.checks.space import build_space
from vallum_validator.checks.truth import Labelled, codes
from vallum_validator.domain.evidence import Interval
from vallum_validator.table import Predictions, Predictor, Table

_ROWS_PER_CALL = 50_000
_DEPTH = 4
"""A tree of depth 4 has at most 16 rules: what a person can still read."""


@dataclass(frozen=True, slots=True)
class Importance:
    """How much worse the model answers when one feature is shuffled.

    Args:
        feature: its name; a categorical feature is shuffled as a whole, however it is encoded.
        loss: mean increase of the log loss, or of the error for a label-only model.
        standard_error: of `loss`, over rows.
    """

    feature: str
    loss: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How often a small tree gives the model's answer on rows it was not fitted to.

    Args:
        value: share of rows.
        interval: exact.
        majority: share the model's most frequent answer would reach.
        depth: of the tree.
    """

    value: float
    interval: Interval
    majority: float
    depth: int


def importances(predictor: Predictor, rows: Labelled, queries: int, rng: np.random.Generator) -> tuple[Importance, ...]:
    """Return the importance of every feature, the largest first.

    Args:
        predictor: the model.
        rows: predicted rows.
        queries: predictions to spend on all features together.
        rng: shuffles.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.

    Source: Breiman 2001; Fisher, Rudin and Dominici 2019 (model reliance), standard error by rows.
    """
    features = list(predictor.features)
    count = max(2, min(len(rows), queries // max(1, len(features))))
    rows = rows.take(np.sort(rng.permutation(len(rows))[:count]))
    before = _loss(rows, rows.predicted, rows.probabilities)
    together = max(1, _ROWS_PER_CALL // len(rows))
    found: list[Importance] = []
    for start in range(0, len(features), together):
        names = features[start : start + together]
        answers = predictor.predict(_shuffled(rows.table.select(features), names, rng))
        for place, name in enumerate(names):
            part = slice(place * len(rows), (place + 1) * len(rows))
            chances = None if answers.probabilities is None else answers.probabilities[part]
            predicted = codes(Predictions(answers.labels[part], chances), rows)
            increase = _loss(rows, predicted, chances) - before
            error = float(increase.std(ddof=1) / np.sqrt(len(rows)))
            found.append(Importance(name, float(increase.mean()), error))
    return tuple(sorted(found, key=lambda each: -each.loss))


def surrogate(predictor: Predictor, rows: Labelled, rng: np.random.Generator, confidence: float) -> Fidelity | None:
    """Fit a small tree to the model's answers on half of the rows and try it on the rest; `None` with too few rows."""
    half = rng.random(len(rows)) < 0.5
    if min(half.sum(), (~half).sum()) < 2:
        return None
    matrix = build_space(predictor.features, [rows.table], radius=0.0).learnable(rows.table)
    tree = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=5, random_state=int(rng.integers(2**31)))
    tree.fit(matrix[half], rows.predicted[half])
    same = int((tree.predict(matrix[~half]) == rows.predicted[~half]).sum())
    total = int((~half).sum())
    low, high = clopper_pearson(same, total, confidence)
    most = np.bincount(rows.predicted[half]).argmax()
    majority = float((rows.predicted[~half] == most).mean())
    return Fidelity(same / total, Interval(float(low), float(high)), majority, _DEPTH)


def _shuffled(table: Table, names: list[str], rng: np.random.Generator) -> Table:
    """Return one copy of the table for each name, with that column shuffled, below one another."""
    columns = {
        name: np.concatenate([rng.permutation(column) if name == each else column for each in names])
        for name, column in table.columns.items()
    }
    return Table(columns)


def _loss(rows: Labelled, predicted: NDArray[np.intp], probabilities: Floats | None) -> Floats:
    if probabilities is None:
        return np.asarray(predicted != rows.truth, dtype=np.float64)
    known = rows.truth < probabilities.shape[1]
    own = np.where(known, probabilities[np.arange(len(rows)), np.where(known, rows.truth, 0)], 0.0)
    loss: Floats = -np.log(np.clip(own, 1e-6, 1.0))
    return loss
