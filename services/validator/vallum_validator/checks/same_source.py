"""Whether members and population are of the same source: without the model they must look alike, or what an attack
finds is the difference of the two files and no leakage.

Source: Das, Zhang and Tramèr 2024, "Blind baselines beat membership inference attacks".
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from vallum_common.errors import Invalid
from vallum_validator.checks.intervals import area_bounds, clopper_pearson
from vallum_validator.checks.references import Rows
from vallum_validator.checks.thresholds import Privacy
from vallum_validator.domain.evidence import Detail, Interval

_BLIND_FEATURES: Final = 64
"""Features the blind model looks at for each split; more only cost time."""


def one_source(members: Rows, population: Rows, policy: Privacy, rng: np.random.Generator) -> dict[str, Detail]:
    """Return how alike the two parts are without the model; refuse them where they differ too much or too little.

    Args:
        members: rows the target was trained on.
        population: rows it was not.
        policy: how much they may differ.
        rng: of the blind model.

    Raises:
        Invalid: the population holds members, or the two can be told apart.
    """
    confidence = policy.confidence.value
    repeated, natural = _overlap(members, population, confidence)
    if repeated.low > natural.high + policy.shift.value:
        raise Invalid(
            f"at least {repeated.low:.0%} of data.population are rows of data.members, while at most "
            f"{natural.high:.0%} of the members occur twice: the population must be rows the model was not trained on"
        )
    shift = _shift(members, population, rng, confidence)
    if shift.low > 0.5 + policy.shift.value:
        raise Invalid(
            f"data.members and data.population can be told apart without the model (AUC {shift.low:.2f} to "
            f"{shift.high:.2f}, at most {0.5 + policy.shift.value:.2f} would be right): they are not of the same source"
        )
    return {
        "shift_auc": {"low": shift.low, "high": shift.high},
        "population_rows_equal_to_a_member": {"low": repeated.low, "high": repeated.high},
    }


def _overlap(members: Rows, population: Rows, confidence: float) -> tuple[Interval, Interval]:
    """Return how much of the population occurs among the members, and of the members a second time among themselves.

    Rows of few coarse features repeat by nature, and then equally often in both.
    """
    keys = [[(row.tobytes(), int(label)) for row, label in zip(rows.matrix, rows.truth, strict=True)]
            for rows in (members, population)]  # fmt: skip
    count = Counter(keys[0])
    repeated = clopper_pearson(sum(key in count for key in keys[1]), len(population), confidence)
    natural = clopper_pearson(sum(count[key] > 1 for key in keys[0]), len(members), confidence)
    return Interval(float(repeated[0]), float(repeated[1])), Interval(float(natural[0]), float(natural[1]))


def _shift(members: Rows, population: Rows, rng: np.random.Generator, confidence: float) -> Interval:
    """Return the AUC interval of telling the two apart without the model."""
    design = np.concatenate([np.column_stack([rows.matrix, rows.truth]) for rows in (members, population)])
    belongs = np.repeat([True, False], [len(members), len(population)])
    # A row that occurs on both sides tells nothing here and everything once it was memorised by the blind model.
    half = rng.random(len(design)) < 0.5
    scores = np.empty(len(design))
    for fold in (half, ~half):
        model = HistGradientBoostingClassifier(
            max_iter=40,
            max_leaf_nodes=8,
            max_features=min(1.0, _BLIND_FEATURES / design.shape[1]),
            early_stopping=False,
            random_state=int(rng.integers(2**31)),
        )
        scores[fold] = model.fit(design[~fold], belongs[~fold]).decision_function(design[fold])
    bounds = [area_bounds(scores[fold & belongs], scores[fold & ~belongs], confidence) for fold in (half, ~half)]
    return Interval(min(low for low, _ in bounds), max(high for _, high in bounds))
