"""The smallest change of any kind that flips an answer: how far the decision boundary is, in the L-infinity and L2
norm.

Both searches start from known rows with another answer and walk the line between (a row that has no such start is "not
evaluated", never "robust"), then work on all rows at once, a few large calls each. Distances are upper bounds of the
truth; every point returned was seen to flip the model as submitted.

Source: Square Attack (Andriushchenko et al. 2020) for accepting random moves by margin in `nearest_linf`; `walk` names
that of `nearest_l2`. Ours: the start from a pool; the descent that follows where the model has scores; and, where a
conversion was searched, asking the model as submitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vallum_validator.checks.descent import descend
from vallum_validator.checks.oracle import MAX_ELEMENTS
from vallum_validator.checks.plain import SECTIONS, Means, Nearest, Origins, Plain, bisect, start
from vallum_validator.checks.space import Matrix
from vallum_validator.checks.walk import search_l2

_RANDOM = 0.1
"""Share of the queries that go to random moves before the descent, where the model has scores to descend by."""
_CANDIDATES = 16
_FURTHER = (0.0, 0.001, 0.01, 0.1)
"""How much further out, as shares of the distance, a point is tried again that flips a conversion but not the model."""
_INSIDE = (0.1, 0.6)
"""Share of the moves that end inside the ball, at the beginning and at the end of a search."""


def nearest_linf(plain: Plain, origins: Origins, means: Means) -> Nearest:
    """Return near points with another answer in the maximum norm.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.
    """
    return _nearest(_search_linf, plain, origins, means, order=np.inf)


def nearest_l2(plain: Plain, origins: Origins, means: Means) -> Nearest:
    """Return near points with another answer in the Euclidean norm; needs labels only.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.
    """
    return _nearest(search_l2, plain, origins, means, order=2.0)


_Search = Callable[[Plain, Origins, Means], Nearest]


def _nearest(search: _Search, plain: Plain, origins: Origins, means: Means, *, order: float) -> Nearest:
    size = max(1, MAX_ELEMENTS // (origins.rows.shape[1] * 128))
    parts = [search(plain, origins.at(slice(at, at + size)), means) for at in range(0, len(origins.rows), size)]
    found = Nearest(np.concatenate([part.points for part in parts]), np.concatenate([part.distances for part in parts]))
    return _as_asked(plain, origins.rows, _confirmed(plain, origins, found, order), order)


def _confirmed(plain: Plain, origins: Origins, found: Nearest, order: float) -> Nearest:
    """The points that flip the model as submitted; a row of which no such point is known was not evaluated."""
    rows, own = origins.rows, origins.own
    points, known = found.points.copy(), np.zeros(len(rows), dtype=bool)
    for further in _FURTHER:
        left = np.flatnonzero(np.isfinite(found.distances) & ~known)
        tried = found.points[left] + further * (found.points[left] - rows[left])
        flips = plain.oracle.confirm(plain.own_units(rows[left]), plain.own_units(tried), own[left])
        points[left[flips]] = tried[flips]
        known[left[flips]] = True
    distances = np.linalg.norm(points - rows, ord=order, axis=1)
    return Nearest(np.where(known[:, None], points, rows), np.where(known, distances, np.nan))


def _as_asked(plain: Plain, rows: Matrix, found: Nearest, order: float) -> Nearest:
    """The points that were really asked: a whole number is further away than the fraction that was rounded to it."""
    if plain.whole is None:
        return found
    points = plain.own_units(found.points) / plain.unit
    distances = np.linalg.norm(points - rows, ord=order, axis=1)
    return Nearest(points, np.where(np.isnan(found.distances), np.nan, distances))


def _search_linf(plain: Plain, origins: Origins, means: Means) -> Nearest:
    if not plain.oracle.has_scores:
        return _random_linf(plain, origins, means)
    first = int(_RANDOM * means.queries)
    found = _random_linf(plain, origins, replace(means, queries=first))
    return descend(plain, origins, found, replace(means, queries=means.queries - first))


def _random_linf(plain: Plain, origins: Origins, means: Means) -> Nearest:
    rows, own = origins.rows, origins.own
    best, distance, spent = start(plain, origins, means, np.inf)
    active = np.flatnonzero(np.isfinite(distance) & (distance > 0))
    base, base_margin = best.copy(), np.full(len(rows), np.inf)
    shrink, stale = np.full(len(rows), 0.9), np.zeros(len(rows), dtype=np.intp)
    while spent + _CANDIDATES <= means.queries and len(active):
        radius = (distance * shrink)[active]
        inside = _INSIDE[0] + (_INSIDE[1] - _INSIDE[0]) * (spent / means.queries)
        moved = _moved(rows[active], base[active], radius, inside=inside, rng=means.rng)
        candidates = np.clip(moved, plain.low, plain.high)
        answer = plain.ask(candidates, own[active])
        spent += _CANDIDATES
        at = np.arange(len(active))
        chosen = np.where(answer.flipped, answer.margin - 4.0, answer.margin).argmin(axis=1)
        points, flips = candidates[at, chosen], answer.flipped[at, chosen]
        won, lost = active[flips], active[~flips]
        if len(won):
            reached, _ = bisect(plain, origins.at(won), points[flips], np.ones(len(won), dtype=bool), rounds=1)
            spent += SECTIONS - 1
            best[won] = base[won] = reached
            distance[won] = np.abs(reached - rows[won]).max(axis=1)
            base_margin[won], stale[won] = np.inf, 0
        closer = answer.margin[at, chosen][~flips] <= base_margin[lost]
        base[lost[closer]] = points[~flips][closer]
        base_margin[lost[closer]] = answer.margin[at, chosen][~flips][closer]
        stale[lost] += 1
        # A ball in which nothing is found for a while is left for one closer to the best point so far.
        tired = lost[stale[lost] >= 4]
        shrink[tired] = 1 - np.maximum(0.5 * (1 - shrink[tired]), 0.004)
        base[tired], base_margin[tired], stale[tired] = best[tired], np.inf, 0
    return Nearest(best, np.where(np.isfinite(distance), distance, np.nan))


def _moved(rows: Matrix, base: Matrix, radius: Matrix, *, inside: float, rng: np.random.Generator) -> Matrix:
    """Return candidates on the ball: the base point pulled into it, with some coordinates sent to a face or into it.

    `inside` is the share of moves that end inside the ball. At first most go to faces, where a smooth model changes
    most; later more and more into the ball, for a forest may answer otherwise in the midst of it.
    """
    shape = (len(rows), _CANDIDATES, rows.shape[1])
    offset = np.clip((base - rows) / radius[:, None], -1, 1)[:, None]
    share = np.maximum(0.4 ** rng.integers(0, 5, (len(rows), _CANDIDATES, 1)), 1.0 / rows.shape[1])
    face = np.where(rng.random(shape) < 0.5, -1.0, 1.0)
    value = np.where(rng.random(shape) < inside, rng.uniform(-1.0, 1.0, shape), face)
    offset = np.where(rng.random(shape) < share * 0.7, value, offset)
    return rows[:, None] + radius[:, None, None] * offset
