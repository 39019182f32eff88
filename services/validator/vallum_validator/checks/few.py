"""Changing few fields at once: which two or three of the single changes flip an answer together.

Margins of probabilities do not add up, but their logits nearly do: pairs and triples are asked in the order of the sum
of what each of their parts moved, and then the best one so far with one part exchanged.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vallum_validator.checks.search import Search, Singles
from vallum_validator.checks.space import Matrix

_ROUND: Final = 12
_ALMOST_ONE: Final = 1 - 1e-12


def join_few(search: Search, singles: Singles, fields: int) -> None:
    """Ask for the most promising changes of up to `fields` fields until the queries are spent.

    Args:
        search: rows that no single change flipped stay active.
        singles: every single change, tried.
        fields: at most so many features change.
    """
    if fields < 2 or not singles.candidates.shape[1]:
        return
    logit = np.arctanh(np.clip(singles.margin, -_ALMOST_ONE, _ALMOST_ONE))
    place_of = {int(row): place for place, row in enumerate(singles.rows)}
    queues = {
        int(row): _queue(search, singles.candidates[place_of[int(row)]], logit[place_of[int(row)]], int(row), fields)
        for row in search.active
    }
    asked = 0
    while search.spent < search.reach.queries and len(active := search.active):
        many = min(_ROUND, search.reach.queries - search.spent)
        candidates = np.repeat(search.rows[active][:, None], many, axis=1)
        for place, row in enumerate(active.tolist()):
            some = queues[row][asked : asked + many]
            candidates[place, : len(some)] = some
        asked += many
        if all(asked >= len(queues[row]) + many for row in active.tolist()):
            return
        search.try_all(active, candidates)


def _queue(search: Search, candidates: Matrix, logit: NDArray[np.float64], row: int, fields: int) -> Matrix:
    """Return joined changes of one row, the most promising first, shape (joined, features)."""
    original = search.rows[row]
    moved = (candidates != original) & ~np.isnan(candidates)
    real = np.flatnonzero(moved.any(axis=1))
    # As many of the most useful ones as make about twice the joined changes that can be asked.
    considered = next(count for count in range(fields + 1, 1_000) if comb(count, fields) > 2 * search.reach.queries)
    best = real[np.argsort(logit[real], kind="stable")][:considered]
    column = moved[best].argmax(axis=1)
    jumps = np.isin(column, search.reach.space.jumping)
    groups = [
        group
        for count in range(2, fields + 1)
        for group in combinations(range(len(best)), count)
        if len({int(column[one]) for one in group}) == count
        and sum(bool(jumps[one]) for one in group) <= search.reach.discrete_changes
    ]
    groups.sort(
        key=lambda group: sum(float(logit[best[one]]) for one in group) - (len(group) - 1) * float(logit[real].max())
    )
    joined = np.repeat(original[None], len(groups), axis=0)
    for place, group in enumerate(groups):
        for one in group:
            joined[place, column[one]] = candidates[best[one], column[one]]
    return joined
