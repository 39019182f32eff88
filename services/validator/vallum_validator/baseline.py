"""How the evaluation data and the model's answers to it were distributed: what drift will be measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import Feature
from vallum_validator.domain.evidence import FeatureBaseline
from vallum_validator.table import Column, Predictions, Table, categories, is_text

BINS: Final = 10
"""Most bins of a numeric column. Source: deciles, as the population stability index is usually computed (Siddiqi 2006,
Credit Risk Scorecards, ch. 10)."""

PREDICTION: Final = "prediction"
"""Name of the baseline of the model's own answers."""


def baseline_of(
    table: Table, features: Mapping[str, Feature], predictions: Predictions | None, classes: Sequence[str]
) -> tuple[FeatureBaseline, ...]:
    """Return the distribution of every feature and, where there are any, of the predictions.

    Args:
        table: the evaluation data.
        features: the model's inputs, in order.
        predictions: of the rows of `table`.
        classes: canonical labels of the model.
    """
    found = [
        _categorical(name, table.columns[name], categories(feature))
        if is_text(feature)
        else _numeric(name, table.columns[name])
        for name, feature in features.items()
    ]
    if predictions is not None and predictions.values is not None:
        found.append(_numeric(PREDICTION, predictions.values))
    elif predictions is not None:
        found.append(_categorical(PREDICTION, predictions.labels, classes))
    return tuple(found)


def _categorical(name: str, column: Column, values: Sequence[str]) -> FeatureBaseline:
    """Rows per value; a missing value is an "other" one, because a category that goes missing is drift too."""
    place = {value: index for index, value in enumerate(values)}
    codes = np.array([place.get(value, len(values)) for value in column.tolist()], dtype=np.intp)
    counts = np.bincount(codes, minlength=len(values) + 1)
    return FeatureBaseline(name=name, categories=tuple(values), edges=(), counts=tuple(counts.tolist()))


def _numeric(name: str, column: NDArray[np.float64]) -> FeatureBaseline:
    """Rows per bin between quantiles that are values of the column; missing values are in no bin."""
    known = column[~np.isnan(column)]
    edges = _edges(known)
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    return FeatureBaseline(name=name, categories=(), edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _edges(known: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(known):
        return np.empty(0)
    inner = np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf")
    # Nothing lies below the smallest value, so it bounds no bin.
    edges = np.unique(inner[inner > known.min()])
    if len(edges):
        return edges
    # Nine tenths of the column are one value: one bin for it, one for what is above, one for what is below.
    return np.array([known.min(), np.nextafter(known.min(), np.inf)])
