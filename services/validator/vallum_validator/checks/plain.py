"""All-numeric rows, what a search for the nearest other answer is given, and the lines such searches move along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum_validator.checks.oracle import Answer, Oracle
from vallum_validator.checks.search import Pool
from vallum_validator.checks.space import Matrix

SECTIONS = 8
"""Points tried on a line at once: three bits in one call."""
_STARTS = 4
_POOL = 2_000


@dataclass(frozen=True, slots=True)
class Plain:
    """All-numeric rows in units in which every feature counts the same.

    Args:
        oracle: asks the model about rows in their own units.
        unit: size of the unit of each feature, shape (features,).
        low: smallest value of each feature, in units.
        high: largest value.
        whole: which features hold whole numbers only, shape (features,); `None` for none.
    """

    oracle: Oracle
    unit: Matrix
    low: Matrix
    high: Matrix
    whole: NDArray[np.bool_] | None = None

    def own_units(self, points: Matrix) -> Matrix:
        """Return points, shape (…, features), as rows in their own units; what is whole is rounded."""
        rows = points * self.unit
        return rows if self.whole is None else np.where(self.whole, np.round(rows), rows)

    def ask(self, points: Matrix, own: NDArray[np.intp]) -> Answer:
        """Ask about points of shape (rows, many, features); answers have shape (rows, many)."""
        rows, many, width = points.shape
        answer = self.oracle.ask(self.own_units(points).reshape(-1, width), np.repeat(own, many))
        return Answer(answer.flipped.reshape(rows, many), answer.margin.reshape(rows, many))


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest point found for each row.

    Args:
        points: in units, shape (rows, features); the row itself where the search could not start.
        distances: in the norm of the search; NaN where the search could not start.
    """

    points: Matrix
    distances: Matrix


@dataclass(frozen=True, slots=True)
class Origins:
    """Rows from which another answer is looked for.

    Args:
        rows: in units, shape (rows, features).
        own: the model's answer to each.
    """

    rows: Matrix
    own: NDArray[np.intp]

    def at(self, which: slice | NDArray[np.intp]) -> Origins:
        """Some of them."""
        return Origins(self.rows[which], self.own[which])


@dataclass(frozen=True, slots=True)
class Means:
    """What a search may use.

    Args:
        pool: rows with known answers, in units.
        queries: predictions to spend on each row.
        rng: every random choice.
    """

    pool: Pool
    queries: int
    rng: np.random.Generator


def start(
    plain: Plain, origins: Origins, means: Means, order: float, *, among: int = _POOL
) -> tuple[Matrix, Matrix, int]:
    """Return for each row the nearest point found on the lines to pool rows with another answer.

    Args:
        plain: the rows' space.
        origins: the rows.
        means: the pool.
        order: of the norm.
        among: of so many random rows of the pool the nearest are taken.

    Returns:
        The points, shape (rows, features), the row itself where no pool row has another answer; their distances in the
        norm `order`, infinite there; and the queries spent on each row.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.
    """
    rows, own, pool = origins.rows, origins.own, means.pool
    sample = means.rng.permutation(len(pool.matrix))[:among]
    others, classes = pool.matrix[sample], pool.predicted[sample]
    starts = np.repeat(rows[:, None], _STARTS, axis=1)
    usable = np.zeros((len(rows), _STARTS), dtype=bool)
    for place, row in enumerate(rows):
        foreign = np.flatnonzero(classes != own[place])
        near = foreign[np.argsort(np.linalg.norm(others[foreign] - row, ord=order, axis=1), kind="stable")[:_STARTS]]
        starts[place, : len(near)] = others[near]
        usable[place, : len(near)] = True
    lines = starts.reshape(-1, rows.shape[1])
    repeated = Origins(np.repeat(rows, _STARTS, axis=0), np.repeat(own, _STARTS))
    usable &= plain.ask(starts, own).flipped
    reached, spent = bisect(plain, repeated, lines, usable.reshape(-1), rounds=3)
    distance = np.linalg.norm(reached - repeated.rows, ord=order, axis=1).reshape(usable.shape)
    distance = np.where(usable, distance, np.inf)
    chosen = distance.argmin(axis=1)
    at = np.arange(len(rows))
    points = reached.reshape(starts.shape)[at, chosen]
    best = distance[at, chosen]
    return np.where(np.isfinite(best)[:, None], points, rows), best, _STARTS * (1 + spent)


def bisect(
    plain: Plain, origins: Origins, points: Matrix, active: NDArray[np.bool_], *, rounds: int
) -> tuple[Matrix, int]:
    """Move flipping points towards their origin as far as they keep flipping; return them and the queries per point.

    Args:
        plain: the rows' space.
        origins: one for each point.
        points: in units, shape (rows, features).
        active: which points to move, shape (rows,).
        rounds: each asks about all sections of the line that is left.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.
    """
    origin, own = origins.rows, origins.own
    points = points.copy()
    low, high = np.zeros(len(points)), np.ones(len(points))
    direction = points - origin
    rows = np.flatnonzero(active)
    for _ in range(rounds):
        if not len(rows):
            break
        shares = low[rows, None] + (high - low)[rows, None] * np.arange(1, SECTIONS) / SECTIONS
        flipped = plain.ask(origin[rows, None] + shares[:, :, None] * direction[rows, None], own[rows]).flipped
        first = np.where(flipped.any(axis=1), flipped.argmax(axis=1), SECTIONS - 1)
        ends = np.concatenate([low[rows, None], shares, high[rows, None]], axis=1)
        at = np.arange(len(rows))
        low[rows], high[rows] = ends[at, first], ends[at, first + 1]
    points[rows] = origin[rows] + high[rows, None] * direction[rows]
    return points, rounds * (SECTIONS - 1)
