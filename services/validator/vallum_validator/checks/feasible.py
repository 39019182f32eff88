"""Searching for a change that could happen in the world and flips the answer.

A batched search over `Space`: rows of another answer pulled into the reach of the attacked row, every single change,
the best of them combined, then random search around the best so far. Needs nothing of the model but answers; margins
make it sharper. Whatever it finds is only a candidate: the caller confirms each flip and its feasibility.

Source: the phases follow CAA (Simonetto et al. 2024) and Square Attack (Andriushchenko et al. 2020); the pool start and
the joint best-sign step are ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vallum_validator.checks.few import join_few
from vallum_validator.checks.oracle import MAX_ELEMENTS, Oracle
from vallum_validator.checks.search import Pool, Reach, Search, Singles, single_changes
from vallum_validator.checks.space import Matrix

_POOL_STARTS = 8
_POOL_SIZE = 500
_ROUND = 16
"""Random candidates per row and round: few enough to learn from each round, many enough for one large call."""


def attack_feasible(
    oracle: Oracle, reach: Reach, rows: Matrix, own: NDArray[np.intp], *, pool: Pool, rng: np.random.Generator
) -> Matrix:
    """Return for each row a changed row that the model answers differently, or the row itself where none was found.

    Args:
        oracle: the model.
        reach: what may be changed and how much may be asked.
        rows: shape (rows, features).
        own: the model's answer to each.
        pool: rows with known answers, to start from.
        rng: every random choice.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.
    """
    size = max(1, MAX_ELEMENTS // max(1, rows.shape[1] * reach.queries))
    result = rows.copy()
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        search = Search(oracle, reach, rows[part], own[part], rng)
        if reach.fields is None:
            _from_pool(search, pool)
        singles = single_changes(search)
        if reach.fields is not None:
            join_few(search, singles, reach.fields)
        elif oracle.has_scores:
            _combine(search, singles)
        while reach.fields is None and search.spent < reach.queries and len(search.active):
            _random_round(search)
        result[part] = np.where(search.found[:, None], search.best, rows[part])
    return result


def _from_pool(search: Search, pool: Pool) -> None:
    """Start from the nearest rows with another answer, pulled into reach."""
    space, active = search.reach.space, search.active
    sample = search.rng.permutation(len(pool.matrix))[:_POOL_SIZE]
    others, classes = pool.matrix[sample], pool.predicted[sample]
    span = np.array([axis.span or 1.0 for axis in space.axes])
    starts = min(_POOL_STARTS, len(others))
    if not starts:
        return
    nearest = np.empty((len(active), starts), dtype=np.intp)
    for place, row in enumerate(active):
        gap = np.abs(others - search.rows[row]) / span
        gap[:, space.jumping] = gap[:, space.jumping] > 0
        distance = np.nan_to_num(gap, nan=1.0).sum(axis=1) + np.where(classes == search.own[row], 1e9, 0.0)
        nearest[place] = np.argsort(distance, kind="stable")[:starts]
    targets = others[nearest]
    candidates = np.clip(targets, search.low[active][:, None], search.high[active][:, None])
    missing = np.isnan(targets) | np.isnan(search.rows[active])[:, None]
    candidates = np.where(missing, search.rows[active][:, None], candidates)
    search.jump(active, candidates, search.reach.discrete_changes)
    _round_integers(search, candidates)
    search.try_all(active, candidates)


def _combine(search: Search, singles: Singles) -> None:
    """Join the most useful 1, 2, 4, … single moves, with and without the two most useful jumps."""
    left = np.flatnonzero(~search.found[singles.rows])
    active, margin, candidates = singles.rows[left], singles.margin[left], singles.candidates[left]
    pairs = singles.pairs
    if not len(active):
        return
    row = np.arange(len(active))
    sides = margin[:, : 2 * pairs].reshape(len(active), pairs, 2)
    order = np.argsort(sides.min(axis=2), axis=1)
    useful = 2 * np.arange(pairs) + sides.argmin(axis=2)
    jumps = np.argsort(margin[:, 2 * pairs :], axis=1)[:, :2] + 2 * pairs
    bases = [search.rows[active]] + [candidates[row, jumps[:, place]] for place in range(jumps.shape[1])]
    joined: list[Matrix] = []
    for base in bases:
        current = base.copy()
        for place in range(pairs):
            moved = candidates[row, useful[row, order[:, place]]]
            current = np.where((moved != search.rows[active]) & ~np.isnan(moved), moved, current)
            if place + 1 in (2, 4, 8, 16, 32, 64, 128, 256) or place + 1 == pairs:
                joined.append(current)
    if joined:
        search.try_all(active, np.stack(joined, axis=1))


def _random_round(search: Search) -> None:
    """Change a random, shrinking part of the best candidates to random corners and inner points of their boxes."""
    active = search.active
    left = search.reach.queries - search.spent
    many = min(_ROUND, left)
    candidates = np.repeat(search.best[active][:, None], many, axis=1)
    share = max(0.1, 0.6 * left / search.reach.queries)
    shape = (len(active), many, len(search.graded))
    low, high = (bound[active][:, None, search.graded] for bound in (search.low, search.high))
    corner = np.where(search.rng.random(shape) < 0.5, low, high)
    inner = low + (high - low) * search.rng.random(shape)
    value = np.where(search.rng.random(shape) < 0.8, corner, inner)
    change = search.rng.random(shape) < share
    candidates[:, :, search.graded] = np.where(change, value, candidates[:, :, search.graded])
    renewed = candidates.copy()
    search.jump(active, renewed, search.reach.discrete_changes)
    keep = search.rng.random((len(active), many, 1)) < 0.5
    candidates = np.where(keep, candidates, renewed)
    _round_integers(search, candidates)
    search.try_all(active, candidates)


def _round_integers(search: Search, candidates: Matrix) -> None:
    whole = [place for place in search.graded if search.reach.space.axes[place].kind == "integer"]
    candidates[:, :, whole] = np.round(candidates[:, :, whole])
