"""What an estimator is made of: pipelines, unions, ensembles and searches hold others inside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def parts_of(estimator: Any) -> Iterator[Any]:
    """Yield the estimator and those inside it, by whatever attribute scikit-learn's containers hold them."""
    pending, seen = [estimator], 0
    while pending and seen < 100_000:
        part = pending.pop()
        seen += 1
        yield part
        for name in ("steps", "transformers_", "estimators_", "calibrated_classifiers_", "_predictors"):
            pending.extend(_flat(getattr(part, name, None)))
        for name in ("estimator", "estimator_", "best_estimator_", "final_estimator_"):
            pending.extend(_flat(getattr(part, name, None)))


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist()
    if isinstance(value, list | tuple):
        for one in value:
            yield from _flat(one)
    elif value is not None and not isinstance(value, str | type):
        yield value
