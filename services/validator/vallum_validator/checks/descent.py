"""Coordinate descent in a ball of the maximum norm: how a point with another answer is brought closer.

Each step asks what every value of some coordinates alone would change, and then about the best of them together: a
forest answers to a few thresholds only, which random moves of many coordinates at once rarely all meet.

Ours. Where the ball holds no flip for a while, a larger one is tried: from a row with another answer, the best point so
far or where the descent stood, with some coordinates thrown to the faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vallum_validator.checks.oracle import Answer
from vallum_validator.checks.plain import Means, Nearest, Origins, Plain
from vallum_validator.checks.search import Pool
from vallum_validator.checks.space import Matrix

_COORDINATES = 24
_LEVELS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
"""Where in the ball a coordinate is tried, in radii from the row."""
_TOGETHER = np.array([1, 2, 4, 8, 16, _COORDINATES])
_SHARES = np.array([0.5, 0.7, 0.8, 0.87, 0.93, 0.97, 0.99])
"""Smaller balls that a flipping point is clipped to, in shares of its distance."""
_LAST = 4
_PATIENCE = 3
_SHRINK = 0.9
_LARGER, _LEAST = 0.6, 0.02
"""By what the gap between the ball and the best distance is multiplied when nothing flips, and the least it becomes."""
_ELSEWHERE = 0.6
"""Share of new beginnings that start from a random row with another answer: nearby ones end in the same valley."""
_THROWN = 0.15


def descend(plain: Plain, origins: Origins, found: Nearest, means: Means) -> Nearest:
    """Return points that flip, at most as far away as those that were found; needs a model with scores.

    Args:
        plain: the rows' space.
        origins: one for each point that was found.
        found: distances in the maximum norm; rows without a point are passed over.
        means: `queries` predictions are spent on each row at most.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.
    """
    active = np.flatnonzero(found.distances > 0)
    origins = origins.at(active)
    state = _State.at(found.points[active], found.distances[active])
    last = min(_LAST, means.queries // len(_SHARES))
    step = min(_COORDINATES, found.points.shape[1]) * len(_LEVELS) + 1 + len(_TOGETHER)
    left = float(means.queries - last * len(_SHARES))
    while len(active) and left >= step + len(_SHARES):
        taken = _step(plain, origins, state, means.rng)
        _advance(plain, origins, state, taken, means)
        left -= step + len(_SHARES) * float(taken.flips.mean())  # only points that flip are clipped
    for _ in range(last):
        state.best = _clipped(plain, origins, state.best)
    points, distances = found.points.copy(), found.distances.copy()
    points[active], distances[active] = state.best, np.abs(state.best - origins.rows).max(axis=1)
    return Nearest(points, distances)


@dataclass(slots=True)
class _State:
    """The nearest flip of each row, where its descent stands, the size of its ball, and for how long in vain."""

    best: Matrix
    distance: Matrix
    base: Matrix
    shrink: Matrix
    stale: NDArray[np.intp]

    @staticmethod
    def at(points: Matrix, distances: Matrix) -> _State:
        """Where it begins."""
        return _State(
            points.copy(),
            distances.copy(),
            points.copy(),
            np.full(len(points), _SHRINK),
            np.zeros(len(points), dtype=np.intp),
        )


class _Step(NamedTuple):
    """The best point asked about for each row: whether it flips, and else whether it is better than the last."""

    points: Matrix
    flips: NDArray[np.bool_]
    better: NDArray[np.bool_]


def _step(plain: Plain, origins: Origins, state: _State, rng: np.random.Generator) -> _Step:
    rows, own = origins.rows, origins.own
    radius = (state.distance * state.shrink)[:, None]
    here = np.clip(rows + np.clip(state.base - rows, -radius, radius), plain.low, plain.high)
    chosen = np.argsort(rng.random(rows.shape), axis=1)[:, :_COORDINATES]
    values = np.take_along_axis(rows, chosen, 1)[:, :, None] + radius[:, :, None] * _LEVELS
    values = np.clip(values, plain.low[chosen][:, :, None], plain.high[chosen][:, :, None])
    columns = np.repeat(chosen, len(_LEVELS), axis=1)[:, :, None]
    alone = np.concatenate([here[:, None], _changed(here, columns, values.reshape(columns.shape))], axis=1)
    answers = plain.ask(alone, own)
    gain = (answers.margin[:, :1] - answers.margin[:, 1:]).reshape(values.shape)
    together = _together(here, chosen, values, gain)
    return _best(np.concatenate([alone, together], axis=1), answers, plain.ask(together, own))


def _changed(here: Matrix, columns: NDArray[np.intp], values: Matrix) -> Matrix:
    """Return each point with values in columns, both (rows, many, changes), replaced: shape (rows, many, features)."""
    points = np.repeat(here[:, None], values.shape[1], axis=1)
    np.put_along_axis(points, np.broadcast_to(columns, values.shape), values, axis=2)
    return points


def _together(here: Matrix, chosen: NDArray[np.intp], values: Matrix, gain: Matrix) -> Matrix:
    """Return each row's point with the coordinates that gain most at their best values: the first, the first two, …"""
    level = gain.argmax(axis=2)[:, :, None]
    best, gains = np.take_along_axis(values, level, 2)[:, :, 0], np.take_along_axis(gain, level, 2)[:, :, 0]
    rank = np.argsort(np.argsort(-gains, axis=1), axis=1)
    used = (rank[:, None] < _TOGETHER[:, None]) & (gains > 0)[:, None]
    return _changed(here, chosen[:, None], np.where(used, best[:, None], np.take_along_axis(here, chosen, 1)[:, None]))


def _best(points: Matrix, alone: Answer, together: Answer) -> _Step:
    """The flip with the best margin, or else the point with the best: the first point is where the descent stands."""
    flipped = np.concatenate([alone.flipped, together.flipped], axis=1)
    margin = np.concatenate([alone.margin, together.margin], axis=1)
    chosen = np.where(flipped, margin - 4.0, margin).argmin(axis=1)
    at = np.arange(len(points))
    return _Step(points[at, chosen], flipped[at, chosen], margin[at, chosen] < margin[:, 0])


def _advance(plain: Plain, origins: Origins, state: _State, step: _Step, means: Means) -> None:
    """Take a step; where there was no gain for a while, begin again in a larger ball."""
    rng = means.rng
    won, lost = np.flatnonzero(step.flips), np.flatnonzero(~step.flips)
    state.best[won] = state.base[won] = _clipped(plain, origins.at(won), step.points[won])
    state.distance[won] = np.abs(state.best[won] - origins.rows[won]).max(axis=1)
    state.base[lost] = step.points[lost]
    state.stale = np.where(step.flips | step.better, 0, state.stale + 1)
    tired = np.flatnonzero(state.stale >= _PATIENCE)
    state.shrink[tired] = 1 - np.maximum(_LARGER * (1 - state.shrink[tired]), _LEAST)
    state.stale[tired] = 0
    again = np.where(rng.random((len(tired), 1)) < 0.5, state.best[tired], state.base[tired])
    elsewhere = rng.random(len(tired)) < _ELSEWHERE
    again[elsewhere] = _foreign(means.pool, origins.own[tired[elsewhere]], rng)
    radius = (state.distance * state.shrink)[tired, None]
    faces = origins.rows[tired] + radius * rng.choice([-1.0, 1.0], again.shape)
    state.base[tired] = np.where(rng.random(again.shape) < _THROWN, faces, again)


def _foreign(pool: Pool, own: NDArray[np.intp], rng: np.random.Generator) -> Matrix:
    """Return for each answer a random row with another one."""
    places = [rng.choice(np.flatnonzero(pool.predicted != answer)) for answer in own]
    return pool.matrix[np.array(places, dtype=np.intp)]


def _clipped(plain: Plain, origins: Origins, points: Matrix) -> Matrix:
    """Return the points clipped to the smallest ball in which they still flip.

    A forest answers to thresholds: drawing in only the coordinates that reach furthest keeps more of its answers than
    shortening all of them does.
    """
    if not len(points):
        return points
    offset = (points - origins.rows)[:, None]
    radius = np.abs(offset).max(axis=2, keepdims=True) * _SHARES[:, None]
    smaller = np.concatenate([origins.rows[:, None] + np.clip(offset, -radius, radius), points[:, None]], axis=1)
    flipped = plain.ask(smaller[:, :-1], origins.own).flipped
    first = np.where(flipped.any(axis=1), flipped.argmax(axis=1), -1)
    return smaller[np.arange(len(points)), first]
