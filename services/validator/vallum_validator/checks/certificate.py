"""Which answers provably stay, whatever is changed within reach: the lower bracket of robustness, for trees.

A proof holds for the model as submitted, because the trees were compared with its answers first, and for a row only if
every change the attack may make is inside the boxes that were bounded. What neither leaf bound nor solver settles is
undecided, and counts as not certified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vallum_common.errors import Invalid
from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.search import Reach
from vallum_validator.checks.space import Matrix, Space
from vallum_validator.checks.structure import Indices, Structure, read_structure
from vallum_validator.checks.trees import Boxes, Search, judge_boxes, search_of
from vallum_validator.checks.truth import Labelled
from vallum_validator.table import Prover

_COMPARED: Final = 1_000
"""Rows of the data, and as many random ones, on which the trees must answer as the model does."""
_VISITS: Final = 20_000_000
"""Nodes looked at by the leaf bound: two seconds at most; rows beyond it are not tried."""
_BOXES_AT_ONCE: Final = 2_000
_SEARCHES: Final = 1_000
_STEPS: Final = 400
"""Searches handed to the solver, and steps of each: counted, so that the evidence repeats on a slower machine."""
_NODES_AT_ONCE: Final = 400_000


@dataclass(frozen=True, slots=True)
class Certified:
    """What was proved about rows.

    Args:
        proved: whether no change within reach flips the answer, shape (rows,).
        tried: whether the budget reached the row.
        by_solver: how many were proved only by the solver.
    """

    proved: NDArray[np.bool_]
    tried: NDArray[np.bool_]
    by_solver: int


class Certifier:
    """Proves answers of one model.

    Args:
        structure: its trees, the classes in the order of the answers.
        prover: runs the solver.
    """

    def __init__(self, structure: Structure, prover: Prover) -> None:
        self.structure = structure
        self._prover = prover
        self.searches_left = _SEARCHES
        self.stopped = ""

    def within_reach(self, reach: Reach, rows: Matrix, own: Indices, *, flipped: NDArray[np.bool_]) -> Certified:
        """Prove rows against every change that a feasible attack may make.

        Args:
            reach: what may be changed.
            rows: encoded, shape (rows, features), in random order: the budget ends somewhere.
            own: the answer to each.
            flipped: rows an attack has flipped already; no search is spent on them.
        """
        owner, boxes = _boxes_within(self.structure, reach, rows, own)
        tried, failing, visited = np.zeros(len(rows), dtype=bool), np.zeros(len(boxes), dtype=bool), 0
        open_classes = np.zeros((len(boxes), len(self.structure.base)), dtype=bool)
        starts = np.searchsorted(owner, np.arange(len(rows) + 1))
        row = 0
        while row < len(rows) and visited < _VISITS:
            # Whole rows, as many as make one portion.
            end = max(row + 1, int(np.searchsorted(starts, starts[row] + _BOXES_AT_ONCE, side="right")) - 1)
            part = slice(int(starts[row]), int(starts[end]))
            verdicts = judge_boxes(self.structure, Boxes(boxes.low[part], boxes.high[part], boxes.own[part]))
            open_classes[part], failing[part] = verdicts.open, verdicts.open.any(axis=1)
            visited += verdicts.visited
            tried[row:end] = True
            row = end
        before = tried & ~_any_by(failing, owner, len(rows))
        open_classes[flipped[owner]] = False
        failing &= ~self.solve(boxes, open_classes, owner)
        proved = tried & ~_any_by(failing, owner, len(rows))
        return Certified(proved, tried, int(proved.sum() - before.sum()))

    def within_radius(self, rows: Matrix, own: Indices, radius: Matrix) -> NDArray[np.bool_]:
        """Prove rows against any move of their numbers; what the leaf bound leaves open goes to the solver.

        Args:
            rows: encoded, shape (rows, features).
            own: the answer to each.
            radius: how far each number of each row may move, in its own unit, shape (rows, features).
        """
        columns = self.structure.columns
        free = np.where(columns.table < 0, 1.0, 0.0) * radius[:, columns.feature]
        values = columns.values(rows)
        boxes = Boxes(values - free, values + free, own)
        opened = judge_boxes(self.structure, boxes).open
        return np.asarray(~opened.any(axis=1) | self.solve(boxes, opened, np.arange(len(rows))))

    def solve(self, boxes: Boxes, opened: NDArray[np.bool_], owner: Indices) -> NDArray[np.bool_]:
        """Return which boxes the solver proves; owners with the fewest open boxes come first, while searches last."""
        wanted = np.flatnonzero(opened.any(axis=1))
        cost = np.bincount(owner[wanted], weights=opened[wanted].sum(axis=1), minlength=int(owner.max(initial=0)) + 1)
        wanted = wanted[np.lexsort((owner[wanted], cost[owner[wanted]]))]
        proved = np.zeros(len(boxes), dtype=bool)
        portion: list[tuple[int, Search]] = []
        for place in wanted[np.cumsum(opened[wanted].sum(axis=1)) <= self.searches_left]:
            others = np.flatnonzero(opened[place])
            portion += [(int(place), search_of(self.structure, boxes, int(place), int(other))) for other in others]
            self.searches_left -= len(others)
            if sum(len(search.nodes["left"]) for _, search in portion) > _NODES_AT_ONCE:
                self._settle(portion, proved)
                portion = []
        self._settle(portion, proved)
        return proved

    def _settle(self, portion: list[tuple[int, Search]], proved: NDArray[np.bool_]) -> None:
        if not portion or self.stopped:
            return
        searches = [search for _, search in portion]
        arrays = {name: np.concatenate([search.nodes[name] for search in searches]) for name in searches[0].nodes}
        need = np.array([search.need for search in searches])
        starts = np.cumsum([0, *(len(search.nodes["left"]) for search in searches)])
        try:
            answer = self._prover.bound({**arrays, "starts": starts, "need": need}, _STEPS)
        except Invalid as error:
            # A solver that broke off proves nothing, and says nothing against the model either.
            self.stopped = error.message
            return
        below = answer["upper"] < need
        places = np.array([place for place, _ in portion])
        proved[places] = True
        proved[places[~below]] = False


def certifier_of(
    prover: Prover | None, oracle: Oracle, space: Space, rows: Labelled, rng: np.random.Generator
) -> Certifier:
    """Read a model's trees and hold them against its answers.

    Args:
        prover: of the model.
        oracle: asks it.
        space: its features.
        rows: predicted rows.
        rng: chooses rows to compare.

    Raises:
        Invalid: there are no trees, or not those that answer; says why nothing can be proved.
        PredictionFailed: the model gave no answer that can be trusted.
    """
    if prover is None:
        raise Invalid("nothing is known of how the model is built")
    widths = tuple(len(feature.values) for feature in oracle.features.values())
    structure = _ordered(read_structure(prover.structure(), widths), rows)
    some = rng.permutation(len(rows))[:_COMPARED]
    known = space.encode(rows.table.take(some))
    made = _random_rows(space, known, rng)
    compared = np.concatenate([known, made])
    answers = structure.scores(compared).argmax(axis=1)
    flipped = oracle.strays(compared, answers)
    clear = _clear(structure, compared, answers)
    if (wrong := int((flipped & clear).sum())) or not clear.any():
        raise Invalid(f"the trees in the artefact answer otherwise than the model in {wrong} of {len(compared)} rows")
    return Certifier(structure, prover)


def _clear(structure: Structure, rows: Matrix, answers: Indices) -> NDArray[np.bool_]:
    """Which answers the trees leave no doubt about, ties and values that a scaler may round to either side included:
    half way between two whole numbers a tree was trained on often lies a third."""
    values, clear = structure.columns.values(rows), np.zeros(len(rows), dtype=bool)
    for start in range(0, len(rows), _BOXES_AT_ONCE):
        part = slice(start, start + _BOXES_AT_ONCE)
        clear[part] = ~judge_boxes(structure, Boxes(values[part], values[part], answers[part])).open.any(axis=1)
    return clear


def _ordered(structure: Structure, rows: Labelled) -> Structure:
    """The structure with its classes where the answers have theirs; a class only the data knows never wins."""
    from dataclasses import replace

    names = structure.classes or rows.classes[: len(structure.base)]
    spelled = [rows.mapping.get(name, name) for name in names]
    if not set(spelled) <= set(rows.classes) or len(set(spelled)) != len(spelled):
        raise Invalid(f"the trees name other classes than the model: {', '.join(spelled)[:80]}")
    order = [rows.classes.index(name) for name in spelled]
    value = np.zeros((len(structure.value), len(rows.classes)))
    base = np.full(len(rows.classes), structure.base.min() - 4 * np.abs(structure.value).sum() - 1.0)
    value[:, order], base[order] = structure.value, structure.base
    return replace(structure, value=value, base=base)


def _random_rows(space: Space, known: Matrix, rng: np.random.Generator) -> Matrix:
    """Rows of values that occur, put together at random, half of their numbers drawn between the ends of the range."""
    made = np.stack([rng.permutation(column) for column in known.T], axis=1)
    for place, axis in enumerate(space.axes):
        if axis.kind not in ("integer", "number"):
            continue
        drawn = rng.uniform(axis.low, axis.high, len(made))
        drawn = np.round(drawn) if axis.kind == "integer" else drawn
        made[:, place] = np.where(rng.random(len(made)) < 0.5, drawn, made[:, place])
    return made


def _boxes_within(structure: Structure, reach: Reach, rows: Matrix, own: Indices) -> tuple[Indices, Boxes]:
    """Return the boxes that together hold every feasible change, and the row each belongs to, ascending."""
    if reach.discrete_changes > 1:
        return _free_boxes(structure, reach.space, rows, own)
    owner, changed = np.arange(len(rows)), rows
    if reach.discrete_changes:
        options = reach.space.alternatives(rows)
        jumped, option = np.nonzero(options.open)
        copies = rows[jumped]
        copies[np.arange(len(jumped)), options.columns[option]] = options.values[jumped, option]
        owner = np.concatenate([owner, jumped])
        order = np.argsort(owner, kind="stable")
        owner, changed = owner[order], np.concatenate([rows, copies])[order]
    low, high = reach.space.box(changed)
    return owner, Boxes(structure.columns.values(low), structure.columns.values(high), own[owner])


def _free_boxes(structure: Structure, space: Space, rows: Matrix, own: Indices) -> tuple[Indices, Boxes]:
    """One box for each row, in which every feature that may jump may be anything: wider than several jumps."""
    low, high = space.box(rows)
    options = space.alternatives(rows)
    for place in np.unique(options.columns):
        mine = options.columns == place
        values = np.where(options.open[:, mine], options.values[:, mine], rows[:, [place]])
        low[:, place] = np.fmin(values.min(axis=1), rows[:, place])
        high[:, place] = np.fmax(values.max(axis=1), rows[:, place])
    lowest, highest = structure.columns.values(low), structure.columns.values(high)
    for column in np.flatnonzero(structure.columns.table >= 0):
        feature = structure.columns.feature[column]
        table = structure.columns.tables[structure.columns.table[column]][: int(space.axes[feature].high) + 1]
        moves = low[:, feature] < high[:, feature]
        lowest[moves, column], highest[moves, column] = np.nanmin(table), np.nanmax(table)
    return np.arange(len(rows)), Boxes(lowest, highest, own)


def _any_by(flags: NDArray[np.bool_], owner: Indices, count: int) -> NDArray[np.bool_]:
    return np.bincount(owner[flags], minlength=count) > 0
