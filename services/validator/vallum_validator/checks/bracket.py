"""The two sides of robustness under feasible changes: what an attack flipped, and what provably stays.

The truth lies between them for every row. A row that was both flipped and proved would be a contradiction: then the
proof is thrown away, for the flip was seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum_common.errors import Invalid
from vallum_validator.checks.boundary import CURVE
from vallum_validator.checks.certificate import Certifier
from vallum_validator.checks.feasible import attack_feasible
from vallum_validator.checks.intervals import clopper_pearson
from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.search import Pool, Reach
from vallum_validator.checks.space import Matrix, build_space
from vallum_validator.checks.truth import Labelled
from vallum_validator.domain.evidence import Detail


@dataclass(frozen=True, slots=True)
class Attacked:
    """Rows in random order, of which the first were attacked.

    Args:
        matrix: the rows, shape (rows, features).
        own: the model's answer to each.
        flipped: whether a feasible change flipped it, shape (rows attacked,).
    """

    matrix: Matrix
    own: NDArray[np.intp]
    flipped: NDArray[np.bool_]


def certified(certifier: Certifier, reach: Reach, attacked: Attacked, confidence: float) -> dict[str, Detail]:
    """Return how many rows provably cannot be flipped; a proof costs no query, so rows never attacked are tried, too.

    Args:
        certifier: proves.
        reach: what the attack could change.
        attacked: what it did.
        confidence: of the interval.

    Raises:
        Invalid: a row was proved and flipped; nothing the trees say can be used.
    """
    flipped = np.zeros(len(attacked.matrix), dtype=bool)
    flipped[: len(attacked.flipped)] = attacked.flipped
    found = certifier.within_reach(reach, attacked.matrix, attacked.own, flipped=flipped)
    if (wrong := int((found.proved & flipped).sum())) > 0:
        raise Invalid(f"{wrong} rows were flipped that the trees say cannot be; the trees are not those that answer")
    both = found.tried[: len(attacked.flipped)]
    count, hits = int(found.tried.sum()), int(found.proved.sum())
    low, high = clopper_pearson(hits, count, confidence)
    return {
        "fraction": hits / count,
        "interval": [float(low), float(high)],
        "confidence": confidence,
        "rows": count,
        "by_solver": found.by_solver,
        "undecided": int((found.tried & ~found.proved & ~flipped).sum()),
        "method": "leaf-boxes+veritas",
        "of": "the model as submitted",
        "attacked_rows": _side_by_side(attacked.flipped[both], found.proved[: len(both)][both]),
        **({"solver_stopped": certifier.stopped} if certifier.stopped else {}),
    }


def _side_by_side(flipped: NDArray[np.bool_], proved: NDArray[np.bool_]) -> dict[str, Detail]:
    """Both sides over the rows that were attacked and tried: only these shares add up to at most one for sure."""
    if not len(flipped):
        return {"rows": 0}
    return {"rows": len(flipped), "attacked": float(flipped.mean()), "certified": float(proved.mean())}


def feasible_curve(
    oracle: Oracle,
    reach: Reach,
    rows: Labelled,
    chosen: NDArray[np.intp],
    *,
    certifier: Certifier | None,
    rng: np.random.Generator,
) -> dict[str, Detail]:
    """Return the share of rows flipped and proved at each radius, both of the same rows; one that the budget of proofs
    does not reach is not proved. No proof at any radius where one was contradicted.

    Args:
        oracle: the model.
        reach: what may be changed beside the radius.
        rows: predicted rows.
        chosen: the rows to measure.
        certifier: proves answers; `None` for a model that is not made of trees.
        rng: every random choice.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.
    """
    matrix = reach.space.encode(rows.table)
    points, own = matrix[chosen], rows.predicted[chosen]
    flipped, contradicted = np.zeros(len(chosen), dtype=bool), False
    attacked: list[float] = []
    proved: list[float] = []
    for radius in CURVE:
        wider = Reach(build_space(oracle.features, [rows.table], radius), reach.discrete_changes, reach.queries)
        # What a smaller change flips, a larger may.
        left = np.flatnonzero(~flipped)
        pool = Pool(matrix, rows.predicted)
        found = attack_feasible(oracle, wider, points[left], own[left], pool=pool, rng=rng)
        flipped[left] = oracle.confirm(points[left], found, own[left])
        attacked.append(float(flipped.mean()))
        if certifier is not None:
            stays = certifier.within_reach(wider, points, own, flipped=flipped).proved
            contradicted |= bool((stays & flipped).any())
            proved.append(float(stays.mean()))
    curve: list[Detail] = [
        {"radius": radius, "attacked": share, "certified": proved[place] if proved and not contradicted else None}
        for place, (radius, share) in enumerate(zip(CURVE, attacked, strict=True))
    ]
    return {"rows": len(chosen), "points": curve}
