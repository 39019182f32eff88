"""What a search for a feasible change works on: what may be changed, the best candidate of each row so far, and the
single changes every strategy begins with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.space import Matrix, Space


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows whose answers are already known.

    Args:
        matrix: shape (rows, features).
        predicted: class of each.
    """

    matrix: Matrix
    predicted: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Reach:
    """What the attacker may do.

    Args:
        space: the features.
        discrete_changes: how many jumps a row may take.
        queries: predictions to spend on each row.
        fields: how many features may change in all; `None` for any number.
    """

    space: Space
    discrete_changes: int
    queries: int
    fields: int | None = None

    def holds(self, changed: Matrix, original: Matrix) -> NDArray[np.bool_]:
        """Whether each changed row could happen in the world and is within reach; see `Space.is_feasible`."""
        differs = (changed != original) & ~(np.isnan(changed) & np.isnan(original))
        few = differs.sum(axis=1) <= (changed.shape[1] if self.fields is None else self.fields)
        return np.asarray(few & self.space.is_feasible(changed, original, self.discrete_changes))


class Search:
    """State of the search for a batch of rows: the best candidate so far and whether it flips."""

    def __init__(self, oracle: Oracle, reach: Reach, rows: Matrix, own: NDArray[np.intp], rng: np.random.Generator):
        self.oracle, self.reach, self.rows, self.own, self.rng = oracle, reach, rows, own, rng
        self.low, self.high = reach.space.box(rows)
        self.graded = reach.space.graded
        self.options = reach.space.alternatives(rows)
        self.best = rows.copy()
        self.margin = np.full(len(rows), np.inf)
        self.found = np.zeros(len(rows), dtype=bool)
        self.spent = 0

    @property
    def active(self) -> NDArray[np.intp]:
        """Rows that nothing has flipped yet."""
        return np.flatnonzero(~self.found)

    def try_all(self, active: NDArray[np.intp], candidates: Matrix) -> Matrix:
        """Ask about candidates of shape (active, many, features), keep the best; return their margins."""
        many = candidates.shape[1]
        answer = self.oracle.ask(candidates.reshape(-1, candidates.shape[2]), np.repeat(self.own[active], many))
        margin = answer.margin.reshape(len(active), many)
        # A flip beats every margin: a model may decide by a cut-off other than the largest probability.
        rank = np.where(answer.flipped.reshape(margin.shape), margin - 4.0, margin)
        chosen = rank.argmin(axis=1)
        row = np.arange(len(active))
        better = rank[row, chosen] <= self.margin[active]
        self.best[active[better]] = candidates[row[better], chosen[better]]
        self.margin[active[better]] = rank[row[better], chosen[better]]
        self.found[active] |= answer.flipped.reshape(margin.shape).any(axis=1)
        self.spent += many
        return margin

    def jump(self, active: NDArray[np.intp], candidates: Matrix, count: int) -> None:
        """Change up to `count` discrete features at random in each candidate, starting from the original ones."""
        many = candidates.shape[1]
        jumping = self.reach.space.jumping
        candidates[:, :, jumping] = self.rows[active][:, None, jumping]
        open_options = self.options.open[active]
        if count == 0 or not open_options.any():
            return
        for _ in range(count):
            keys = np.where(open_options[:, None, :], self.rng.random((len(active), many, open_options.shape[1])), -1.0)
            pick = keys.argmax(axis=2)
            row, place = np.nonzero(np.take_along_axis(open_options, pick, axis=1))
            chosen = pick[row, place]
            candidates[row, place, self.options.columns[chosen]] = self.options.values[active[row], chosen]


@dataclass(frozen=True, slots=True)
class Singles:
    """Every single change of some rows, tried.

    Args:
        rows: indices of the rows in the search, shape (active,).
        candidates: shape (active, many, features): both ends of each graded feature first, then the jumps.
        margin: of each, shape (active, many).
        pairs: how many graded features there are among them.
    """

    rows: NDArray[np.intp]
    candidates: Matrix
    margin: Matrix
    pairs: int


def single_changes(search: Search) -> Singles:
    """Try every single change, or a random share of them where half of the queries do not suffice."""
    active = search.active
    most = search.reach.queries // 2
    options = search.options
    graded = search.graded
    if 2 * len(graded) > most:
        graded = np.sort(search.rng.permutation(graded)[: most // 2])
    jumps = np.arange(len(options.columns)) if search.reach.discrete_changes else np.arange(0)
    room = max(0, most - 2 * len(graded))
    if len(jumps) > room:
        jumps = np.sort(search.rng.permutation(jumps)[:room])
    many = 2 * len(graded) + len(jumps)
    candidates = np.repeat(search.rows[active][:, None], many, axis=1)
    for place, column in enumerate(graded):
        candidates[:, 2 * place, column] = search.low[active, column]
        candidates[:, 2 * place + 1, column] = search.high[active, column]
    for place, option in enumerate(jumps, start=2 * len(graded)):
        is_open = options.open[active, option]
        candidates[is_open, place, options.columns[option]] = options.values[active[is_open], option]
    margin = search.try_all(active, candidates) if candidates.size else np.empty((len(active), many))
    return Singles(active, candidates, margin, len(graded))
