"""How a batch falls into the bins and categories of a baseline, counted exactly as the validator counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import canonical_text
from vallum_common.errors import Invalid
from vallum_monitor.domain.models import FeatureBaseline
from vallum_monitor.domain.traffic import Column


def count(feature: FeatureBaseline, column: Column) -> tuple[int, ...]:
    """Rows of a column per bin or category.

    Args:
        feature: its baseline.
        column: numbers or texts. A missing number is in no bin, a missing text is another value than any category.

    Returns:
        As many counts as the baseline has.

    Raises:
        Invalid: the baseline is of numbers and a text is none.
    """
    if feature.is_numeric:
        numbers = _numbers(column)
        known = numbers[~np.isnan(numbers)]
        places = np.searchsorted(np.asarray(feature.edges), known, side="right")
        return tuple(np.bincount(places, minlength=len(feature.counts)).tolist())
    place = {category: index for index, category in enumerate(feature.categories)}
    counts = [0] * len(feature.counts)
    values: Iterable[object] = column.numbers if len(column.numbers) else column.texts
    for value, rows in Counter(values).items():
        counts[place.get(canonical_text(value) or "", -1)] += rows
    return tuple(counts)


def _numbers(column: Column) -> NDArray[np.float64]:
    if len(column.numbers):
        return np.asarray(column.numbers, dtype=np.float64)
    try:
        return np.array([float(text) if text else np.nan for text in column.texts])
    except ValueError as error:
        raise Invalid(f"column {column.name!r} should hold numbers, but {error}") from error
