"""The walk along the decision boundary that brings a point with another answer closer in the Euclidean norm.

Source: HopSkipJump (Chen, Jordan and Wainwright 2020). Ours: all step sizes in one call; pulling random coordinates
back, without which forests, whose boundaries are parallel to the axes, are overestimated by half; and beginning anew
from another row where a walk gains little: on a forest it ends in a valley, and which one is chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum_validator.checks.plain import SECTIONS, Means, Nearest, Origins, Plain, bisect, start
from vallum_validator.checks.space import Matrix

_CANDIDATES = 16
_LEG = 800
"""Queries after which it is decided whether a walk is worth going on with."""
_GAIN = 0.9
"""It is, where the distance has become at most this share of what it was."""
_AMONG = 64
"""Random rows whose nearest are the new beginnings: the same ones end in the same valley."""


def search_l2(plain: Plain, origins: Origins, means: Means) -> Nearest:
    """Return near points with another answer; needs labels only.

    Args:
        plain: the rows' space.
        origins: rows to start from.
        means: `queries` predictions are spent on each row, and up to a step more.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.
    """
    best, distance, begun = start(plain, origins, means, 2.0)
    walk = _Walk(best.copy(), distance.copy(), np.zeros(len(best), dtype=np.intp), np.full(len(best), begun))
    active = np.flatnonzero(np.isfinite(distance) & (distance > 0))
    legs = max(1, round((means.queries - begun) / _LEG))
    for due in np.linspace(begun, means.queries, legs + 1)[1:]:
        before = walk.distance.copy()
        for alike in [active[walk.steps[active] == steps] for steps in np.unique(walk.steps[active])]:
            _go_on(plain, origins, walk, alike, queries=due - walk.spent[alike].max(), rng=means.rng)
        better = walk.distance < distance
        best[better], distance[better] = walk.points[better], walk.distance[better]
        if due + begun < means.queries:
            _begin_anew(plain, origins, walk, active[walk.distance[active] > _GAIN * before[active]], means)
    return Nearest(best, np.where(np.isfinite(distance), distance, np.nan))


@dataclass(slots=True)
class _Walk:
    """Where the walk of each row is, how far from the row, its steps, and the queries of this walk and those before."""

    points: Matrix
    distance: Matrix
    steps: NDArray[np.intp]
    spent: NDArray[np.intp]


def _begin_anew(plain: Plain, origins: Origins, walk: _Walk, rows: NDArray[np.intp], means: Means) -> None:
    if not len(rows):
        return
    points, distance, cost = start(plain, origins.at(rows), means, 2.0, among=_AMONG)
    walk.spent[rows] += cost
    found = np.isfinite(distance)
    walk.points[rows[found]], walk.distance[rows[found]], walk.steps[rows[found]] = points[found], distance[found], 0


def _go_on(
    plain: Plain,
    origins: Origins,
    walk: _Walk,
    rows: NDArray[np.intp],
    *,
    queries: float,
    rng: np.random.Generator,
) -> None:
    """Take steps with these rows, which have taken equally many."""
    here, spent = origins.at(rows), 0
    while spent < queries:
        for along_boundary in (False, False, True):
            points, cost = (
                _boundary_step(plain, here, walk.points[rows], steps=int(walk.steps[rows[0]]), rng=rng)
                if along_boundary
                else _pull_back(plain, here, walk.points[rows], rng=rng)
            )
            length = np.linalg.norm(points - here.rows, axis=1)
            better = length < walk.distance[rows]
            walk.points[rows[better]], walk.distance[rows[better]] = points[better], length[better]
            spent += cost
        walk.steps[rows] += 1
    walk.spent[rows] += spent


def _pull_back(plain: Plain, origins: Origins, best: Matrix, *, rng: np.random.Generator) -> tuple[Matrix, int]:
    """Return the nearest flipping point among those with random coordinates moved back towards the row."""
    rows, own = origins.rows, origins.own
    shape = (len(rows), _CANDIDATES, rows.shape[1])
    share = np.maximum(0.5 ** rng.integers(0, 6, (len(rows), _CANDIDATES, 1)), 1.0 / rows.shape[1])
    kept = np.where(rng.random((len(rows), _CANDIDATES, 1)) < 0.5, 0.0, rng.random((len(rows), _CANDIDATES, 1)))
    factor = np.where(rng.random(shape) < share, kept, 1.0)
    candidates = rows[:, None] + factor * (best - rows)[:, None]
    flipped = plain.ask(candidates, own).flipped
    length = np.where(flipped, np.linalg.norm(candidates - rows[:, None], axis=2), np.inf)
    chosen = length.argmin(axis=1)
    at = np.arange(len(rows))
    found = np.isfinite(length[at, chosen])
    return np.where(found[:, None], candidates[at, chosen], best), _CANDIDATES


def _boundary_step(
    plain: Plain, origins: Origins, best: Matrix, *, steps: int, rng: np.random.Generator
) -> tuple[Matrix, int]:
    """Estimate the boundary's normal, step along it with every step size at once, and return to the boundary."""
    rows, own = origins.rows, origins.own
    length = np.linalg.norm(best - rows, axis=1)
    many = int(24 * np.sqrt(steps + 1))
    probe = rng.normal(size=(len(rows), many, rows.shape[1]))
    probe /= np.linalg.norm(probe, axis=2, keepdims=True)
    reach = (0.1 * length / (steps + 1) ** 0.25)[:, None, None]
    around = np.clip(best[:, None] + reach * probe, plain.low, plain.high)
    sign: Matrix = np.where(plain.ask(around, own).flipped, 1.0, -1.0)
    normal = ((sign - sign.mean(axis=1, keepdims=True))[:, :, None] * (around - best[:, None])).mean(axis=1)
    size = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.divide(normal, size, out=np.zeros_like(normal), where=size > 0)
    sizes = (length[:, None] * 0.5 ** np.arange(SECTIONS))[:, :, None] / np.sqrt(steps + 1)
    stepped = np.clip(best[:, None] + sizes * normal[:, None], plain.low, plain.high)
    flipped = plain.ask(stepped, own).flipped
    chosen = flipped.argmax(axis=1)
    points = np.where(flipped.any(axis=1, keepdims=True), stepped[np.arange(len(rows)), chosen], best)
    reached, spent = bisect(plain, origins, points, np.ones(len(rows), dtype=bool), rounds=2)
    return reached, many + SECTIONS + spent
