"""How far all-numeric rows are from another answer, whatever may change: evidence beside the feasible attack.

Plain norms ignore that some features cannot change; they are what papers and other tools report, and they show
whether a model that withstood feasible changes did so with room to spare.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import FeatureType
from vallum_validator.checks.certificate import Certifier
from vallum_validator.checks.intervals import Floats
from vallum_validator.checks.nearest import nearest_l2, nearest_linf
from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.plain import Means, Nearest, Origins, Plain
from vallum_validator.checks.search import Pool
from vallum_validator.checks.smoothing import certify
from vallum_validator.checks.space import Space
from vallum_validator.checks.thresholds import Robustness
from vallum_validator.checks.trees import certified_radius
from vallum_validator.checks.truth import Labelled
from vallum_validator.domain.evidence import Detail

CURVE = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Radii at which the curves are told, in spans; they decide nothing."""
_TOUCHING = 1 + 1e-9
"""A flip on the edge of a certified ball is none inside it."""


def boundary(
    oracle: Oracle,
    space: Space,
    rows: Labelled,
    chosen: NDArray[np.intp],
    policy: Robustness,
    *,
    radius: float,
    certifier: Certifier | None,
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
        certifier: proves answers of a model made of trees; `None` for any other, which is smoothed instead.
        rng: every random choice.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.
    """
    if any(axis.kind not in (FeatureType.INTEGER, FeatureType.NUMBER) for axis in space.axes):
        return {}
    unit = np.array([axis.span or 1.0 for axis in space.axes])
    matrix = space.encode(rows.table) / unit
    complete = np.isfinite(matrix).all(axis=1)
    chosen = chosen[complete[chosen]][: int(policy.boundary_rows.value)]
    if not len(chosen):
        return {}
    whole = np.array([axis.kind is FeatureType.INTEGER for axis in space.axes])
    low, high = matrix[complete].min(axis=0), matrix[complete].max(axis=0)
    plain = Plain(oracle, unit, low, high, whole if whole.any() else None)
    origins = Origins(matrix[chosen], rows.predicted[chosen])
    means = Means(Pool(matrix[complete], rows.predicted[complete]), int(policy.boundary_queries.value), rng)
    found = {"linf": nearest_linf(plain, origins, means), "l2": nearest_l2(plain, origins, means)}
    proved = {} if certifier is None else {"linf": _proved(certifier, plain, origins, found["linf"])}
    if proved and (proved["linf"] > found["linf"].distances * _TOUCHING).any():
        # A flip was seen where none can be: nothing the trees say can be used.
        proved = {}
    # A ball in the Euclidean norm lies inside the box of the same radius, so what holds there holds here.
    proved |= {"l2": proved["linf"]} if proved else {}
    told: dict[str, Detail] = {
        "unit": "central 90 % of each feature",
        "rows": len(chosen),
        **{norm: both_sides(nearest, proved.get(norm)) for norm, nearest in found.items()},
    }
    if certifier is None:
        told["smoothed"] = _smoothed(plain, origins, policy, radius=radius, rng=rng)
    return {"boundary": told}


def _proved(certifier: Certifier, plain: Plain, origins: Origins, nearest: Nearest) -> Floats:
    """Return for each row a radius within which its answer is proved: exact leaf bound, then each radius of the curve
    that lies between it and the nearest flip by the solver."""
    rows, own = plain.own_units(origins.rows), origins.own
    proved = certified_radius(certifier.structure, rows, own, plain.unit)
    for radius in CURVE:
        asked = np.flatnonzero((proved < radius) & ~(nearest.distances <= radius))
        if len(asked):
            moves = np.broadcast_to(radius * plain.unit, (len(asked), len(plain.unit)))
            holds = certifier.within_radius(rows[asked], own[asked], moves)
            proved[asked[holds]] = radius
    return proved


def both_sides(found: Nearest, proved: Floats | None) -> dict[str, Detail]:
    """Return medians and shares over the same rows: those the attack could start from, or all where there is none.

    A row without a start is not evaluated, which is neither flipped nor withstood; its proof would set a share of all
    rows beside a share of some, and the two could add up to more than one.

    Args:
        found: distances to the nearest flip.
        proved: radius within which each answer is proved, same shape; `None` where nothing is.
    """
    started = np.isfinite(found.distances)
    known = found.distances[started]
    held = None if proved is None else proved[started] if len(known) else proved
    curve: list[Detail] = [
        {
            "radius": radius,
            "attacked": float(np.mean(known <= radius)) if len(known) else None,
            "certified": None if held is None else float(np.mean(held >= radius)),
        }
        for radius in CURVE
    ]
    return {
        "median": float(np.median(known)) if len(known) else None,
        "certified_median": _median(held),
        "rows": len(known) if len(known) or proved is None else len(proved),
        "not_evaluated": int((~started).sum()),
        "curve": curve,
    }


def _median(radii: Floats | None) -> float | None:
    return None if radii is None or not np.isfinite(np.median(radii)) else float(np.median(radii))


def _smoothed(
    plain: Plain, origins: Origins, policy: Robustness, *, radius: float, rng: np.random.Generator
) -> dict[str, Detail]:
    sigma = policy.smoothing_sigma.value
    found = certify(
        plain,
        origins.rows,
        origins.own,
        sigma=sigma,
        radius=radius,
        queries=int(policy.boundary_queries.value),
        confidence=1 - (1 - policy.confidence.value) / len(origins.rows),
        rng=rng,
    )
    return {
        "sigma": sigma,
        "l2_radius": radius,
        "certified": float(found.certified.mean()),
        "undecided": float(found.undecided.mean()),
        "of": "the model voting over noisy copies, not the model as submitted",
    }
