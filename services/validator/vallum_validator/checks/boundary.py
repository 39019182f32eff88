"""How far all-numeric rows are from another answer, whatever may change: evidence beside the feasible attack.

Plain norms ignore that some features cannot change; they are what papers and other tools report, and they show
whether a model that withstood feasible changes did so with room to spare.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import FeatureType
from vallum_validator.checks.feasible import Pool
from vallum_validator.checks.nearest import Nearest, Plain, nearest_l2, nearest_linf
from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.smoothing import certify
from vallum_validator.checks.space import Matrix, Space
from vallum_validator.checks.thresholds import Robustness
from vallum_validator.checks.truth import Labelled
from vallum_validator.domain import Detail

_CURVE = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Radii at which the curve is told, in spans; they decide nothing."""


def boundary(
    oracle: Oracle,
    space: Space,
    rows: Labelled,
    chosen: NDArray[np.intp],
    policy: Robustness,
    *,
    radius: float,
    rng: np.random.Generator,
) -> dict[str, Detail]:
    """Return distances to another answer for some rows; empty where a feature is not a number.

    Args:
        oracle: the model.
        space: its features.
        rows: predicted rows.
        chosen: indices of rows to measure, already in random order.
        policy: how many rows and queries.
        radius: at which the smoothed model is tested, in spans.
        rng: every random choice.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.
    """
    if any(axis.kind not in (FeatureType.INTEGER, FeatureType.NUMBER) for axis in space.axes):
        return {}
    unit = np.array([axis.span or 1.0 for axis in space.axes])
    matrix = space.encode(rows.table) / unit
    whole = np.isfinite(matrix).all(axis=1)
    chosen = chosen[whole[chosen]][: int(policy.boundary_rows.value)]
    if not len(chosen):
        return {}
    plain = Plain(oracle, unit, matrix[whole].min(axis=0), matrix[whole].max(axis=0))
    pool = Pool(matrix[whole], rows.predicted[whole])
    points, own, queries = matrix[chosen], rows.predicted[chosen], int(policy.boundary_queries.value)
    linf = nearest_linf(plain, points, own, pool=pool, queries=queries, rng=rng)
    l2 = nearest_l2(plain, points, own, pool=pool, queries=queries, rng=rng)
    return {
        "boundary": {
            "unit": "central 90 % of each feature",
            "rows": len(chosen),
            "linf": _distances(linf),
            "l2": _distances(l2),
            "smoothed": _smoothed(plain, points, own, policy, radius, rng),
        }
    }


def _distances(found: Nearest) -> dict[str, Detail]:
    known = found.distances[np.isfinite(found.distances)]
    return {
        "median": float(np.median(known)) if len(known) else None,
        "not_evaluated": int(np.isnan(found.distances).sum()),
        "attacked": [{"radius": radius, "share": float(np.mean(known <= radius))} for radius in _CURVE if len(known)],
    }


def _smoothed(
    plain: Plain, points: Matrix, own: NDArray[np.intp], policy: Robustness, radius: float, rng: np.random.Generator
) -> dict[str, Detail]:
    sigma = policy.smoothing_sigma.value
    found = certify(
        plain,
        points,
        own,
        sigma=sigma,
        radius=radius,
        queries=int(policy.boundary_queries.value),
        confidence=1 - (1 - policy.confidence.value) / len(points),
        rng=rng,
    )
    return {
        "sigma": sigma,
        "l2_radius": radius,
        "certified": float(found.certified.mean()),
        "undecided": float(found.undecided.mean()),
        "of": "the model voting over noisy copies, not the model as submitted",
    }
