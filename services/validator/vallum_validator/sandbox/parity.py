"""Whether a converted model may stand in for the original: the rows it is tried on, and when answers are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import Feature, FeatureType
from vallum_validator.table import Column, Predictions, Table, categories

RANDOM_ROWS: Final = 2_000
"""Rows besides the evaluation data on which a converted model has to answer as the original."""
TOLERANCE: Final = 1e-4
"""How far probabilities and values may differ, relative where they are large: converted models compute in float32."""

_BEYOND: Final = 0.1
"""How far beyond the column's ends random numbers reach, as a share of its width."""


def random_rows(table: Table, features: Mapping[str, Feature], rng: np.random.Generator) -> Table:
    """Return rows no data has: half of them shuffled column by column, half drawn from all the features allow.

    Args:
        table: real rows.
        features: the model's inputs.
        rng: every random choice.
    """
    half = RANDOM_ROWS // 2
    columns = {}
    for name, feature in features.items():
        column = table.columns[name]
        shuffled = column[rng.integers(len(column), size=half)]
        columns[name] = np.concatenate([shuffled, _drawn(column, feature, half, rng)])
    return Table(columns)


def _drawn(column: Column, feature: Feature, count: int, rng: np.random.Generator) -> Column:
    if feature.type is FeatureType.CATEGORICAL:
        return np.array(categories(feature), dtype=object)[rng.integers(len(feature.values), size=count)]
    if feature.type is FeatureType.BOOLEAN:
        return rng.integers(2, size=count).astype(np.float64)
    known = column[np.isfinite(column)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    reach = _BEYOND * (high - low)
    numbers = rng.uniform(low - reach, high + reach, size=count)
    return np.round(numbers) if feature.type is FeatureType.INTEGER else numbers


def differing(original: Predictions, converted: Predictions) -> NDArray[np.bool_]:
    """Return which rows are answered otherwise by the two, shape (rows,).

    A label may differ only where the original itself is torn between its two likeliest classes.
    """
    first, second = (one.probabilities if one.values is None else one.values for one in (original, converted))
    if (first is None) is not (second is None):
        return np.ones(len(original), dtype=bool)
    other = np.asarray(original.labels != converted.labels)
    if first is None or second is None:
        return other
    far = ~np.isclose(first, second, rtol=TOLERANCE, atol=TOLERANCE).reshape(len(original), -1).all(axis=1)
    if original.values is not None:
        return np.asarray(far)
    ranked = np.sort(first, axis=1)
    torn = ranked[:, -1] - ranked[:, -2] <= 2 * TOLERANCE
    return np.asarray(far | (other & ~torn))
