"""What can be proved about an ensemble of trees from its structure: no change within a reach flips the answer.

The bound is the simplest sound one: every tree may answer with its worst leaf that the changed row can reach,
independently of the others. What it leaves open is handed to a solver as the few leaves that are left.

Source: Chen, Zhang, Si, Li, Boning and Hsieh 2019, "Robustness verification of tree-based models", level 1. Ours: the
largest radius without a search over it, and boxes with categories beside the maximum norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum_validator.checks.intervals import Floats
from vallum_validator.checks.space import Matrix
from vallum_validator.checks.structure import Indices, Structure

_ROWS_AT_ONCE = 32
_SHRINK = 1 - 1e-9
"""Distances of an attack are rounded, too: a radius gives way by more than that."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """What rows may become, in the columns of the trees.

    Args:
        low: shape (boxes, columns); NaN for a value that is missing and stays so.
        high: same shape.
        own: class whose answer is to be kept, shape (boxes,).
    """

    low: Floats
    high: Floats
    own: Indices

    def __len__(self) -> int:
        return len(self.own)

    def take(self, places: Indices | NDArray[np.bool_]) -> Boxes:
        """Return some of them."""
        return Boxes(self.low[places], self.high[places], self.own[places])


def certified_radius(structure: Structure, rows: Matrix, own: Indices, unit: Matrix) -> Floats:
    """Return for each row a radius in the maximum norm within which its class certainly stays the answer.

    Args:
        structure: the trees.
        rows: encoded by a `Space`, shape (rows, features); categories and missing values stay as they are.
        own: the class each row gets.
        unit: size of each feature's unit, shape (features,).

    Returns:
        shape (rows,), in units; 0 where nothing is certified, infinite where no number changes the answer.
    """
    leaves, ends = _leaves_by_tree(structure)
    radius = np.empty(len(rows))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        distance = _distances(structure, rows[part], unit)[:, leaves]
        for place, (away, mine) in enumerate(zip(distance, own[part], strict=True), start=start):
            radius[place] = _SHRINK * _radius(structure, structure.value[leaves], ends, away, int(mine))
    return radius


def _leaves_by_tree(structure: Structure) -> tuple[Indices, Indices]:
    """Return all leaves, tree after tree, and where each tree's end."""
    tree = np.zeros(len(structure.left), dtype=np.intp)
    tree[structure.roots] = np.arange(len(structure.roots))
    for level in structure.levels:
        inner = level[~structure.leaf[level]]
        tree[structure.left[inner]] = tree[structure.right[inner]] = tree[inner]
    reached = np.concatenate(structure.levels)
    leaves = reached[structure.leaf[reached]]
    leaves = leaves[np.argsort(tree[leaves], kind="stable")]
    return leaves, np.cumsum(np.bincount(tree[leaves], minlength=len(structure.roots)))


def _distances(structure: Structure, rows: Matrix, unit: Matrix) -> Floats:
    """Return how far each row is from each node's box, shape (rows, nodes)."""
    values = structure.columns.values(rows)
    size = np.where(structure.columns.table < 0, unit[structure.columns.feature], 0.0)
    distance = np.zeros((len(rows), len(structure.left)))
    for level in structure.levels[:-1]:
        node = level[~structure.leaf[level]]
        value, scale = values[:, structure.column[node]], size[structure.column[node]]
        with np.errstate(divide="ignore", invalid="ignore"):
            # A category has no size: it is on one side for good, and infinitely far from the other.
            to_left = np.where(value <= structure.high[node], 0.0, (value - structure.high[node]) / scale)
            to_right = np.where(value >= structure.low[node], 0.0, (structure.low[node] - value) / scale)
        gone, missing = np.isnan(value), structure.missing_left[node]
        to_left = np.where(gone, np.where(missing, 0.0, np.inf), to_left)
        to_right = np.where(gone, np.where(missing, np.inf, 0.0), to_right)
        distance[:, structure.left[node]] = np.maximum(distance[:, node], to_left)
        distance[:, structure.right[node]] = np.maximum(distance[:, node], to_right)
    return distance


def _radius(structure: Structure, value: Floats, ends: Indices, distance: Floats, own: int) -> float:
    near = np.isfinite(distance)
    gain = np.delete(value - value[:, [own]], own, axis=1)
    lead = np.delete(structure.base - structure.base[own], own)
    order = np.argsort(distance, kind="stable")
    # As the ball grows, each tree's worst reachable leaf only gets worse: walk through the leaves by distance and keep
    # a running worst per tree; the certificate ends where the total comes near zero.
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    steps = np.zeros((len(order), gain.shape[1]))
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        within = start + np.argsort(rank[start:end], kind="stable")
        within = within[near[within]]
        steps[rank[within]] = np.diff(np.maximum.accumulate(gain[within], axis=0), axis=0, prepend=0.0)
    total = lead + np.cumsum(steps, axis=0)
    # Leaves at the same distance are reached together; the sum counts only once all of them are in.
    reached = distance[order]
    last = np.append(reached[1:] != reached[:-1], True) & np.isfinite(reached)
    crossed = np.flatnonzero(last & (total >= -structure.slack).any(axis=1))
    return float(reached[crossed[0]]) if len(crossed) else float("inf")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the leaf bound says of boxes.

    Args:
        open: whether each class may overtake the box's own, shape (boxes, classes); a row without any is proved.
        visited: nodes looked at: what it cost.
    """

    open: NDArray[np.bool_]
    visited: int


def judge_boxes(structure: Structure, boxes: Boxes) -> Verdicts:
    """Bound every box by its worst reachable leaves."""
    trees = len(structure.roots)
    box = np.repeat(np.arange(len(boxes)), trees)
    key = np.arange(len(boxes) * trees)
    node = np.tile(structure.roots, len(boxes))
    found: list[tuple[Indices, Indices]] = []
    visited = 0
    while len(node):
        visited += len(node)
        leaf = structure.leaf[node]
        found.append((key[leaf], node[leaf]))
        box, key, node = box[~leaf], key[~leaf], node[~leaf]
        left, right = _sides(structure, boxes.low, boxes.high, node, box)
        box, key = np.concatenate([box[left], box[right]]), np.concatenate([key[left], key[right]])
        node = np.concatenate([structure.left[node[left]], structure.right[node[right]]])
    keys, leaves = (np.concatenate([one[place] for one in found]) for place in (0, 1))
    order = np.argsort(keys, kind="stable")
    keys, leaves = keys[order], leaves[order]
    own = boxes.own[keys // trees]
    gain = structure.value[leaves] - structure.value[leaves, own][:, None]
    # Each tree of each box reaches one leaf at least, so every key occurs.
    worst = np.maximum.reduceat(gain, np.flatnonzero(np.diff(keys, prepend=-1)))
    total = worst.reshape(len(boxes), trees, -1).sum(axis=1) + structure.base - structure.base[boxes.own][:, None]
    overtaken = total >= -structure.slack
    overtaken[np.arange(len(boxes)), boxes.own] = False
    return Verdicts(overtaken, visited)


def _sides(
    structure: Structure, low: Floats, high: Floats, node: Indices, box: Indices
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether a box can go to the left and to the right at a node."""
    column = structure.column[node]
    lowest, highest = low[box, column], high[box, column]
    missing = np.isnan(lowest)
    left = np.where(missing, structure.missing_left[node], lowest <= structure.high[node])
    right = np.where(missing, ~structure.missing_left[node], highest >= structure.low[node])
    return left, right


@dataclass(frozen=True, slots=True)
class Search:
    """The leaves a box can reach, as a solver takes them.

    Args:
        nodes: `root`, `left`, `right`, `column`, `threshold` and `gain` of each node.
        need: what the gains must stay below for the box's own class to stay the answer.
    """

    nodes: Mapping[str, NDArray[Any]]
    need: float


def search_of(structure: Structure, boxes: Boxes, place: int, other: int) -> Search:
    """Return what is left of the trees inside one box, where another class may overtake its own."""
    mine = int(boxes.own[place])
    current = _settled(structure, boxes, place, structure.roots)
    leaf = structure.leaf[current]
    lead = float(structure.base[other] - structure.base[mine])
    lead += float((structure.value[current[leaf], other] - structure.value[current[leaf], mine]).sum())
    current = current[~leaf]
    nodes, children = [current], []
    count = len(current)
    while len(current):
        forked = ~structure.leaf[current]
        inner = current[forked]
        both = np.concatenate([structure.left[inner], structure.right[inner]])
        current = _settled(structure, boxes, place, both)
        ends = np.full((2, len(forked)), -1)
        ends[:, forked] = count + np.arange(len(current)).reshape(2, -1)
        children.append(ends)
        nodes.append(current)
        count += len(current)
    every = np.concatenate(nodes)
    ends = np.concatenate([*children, np.empty((2, 0), dtype=np.intp)], axis=1).astype(np.int32)
    gain = structure.value[every, other] - structure.value[every, mine]
    told = {
        "root": (np.arange(len(every)) < len(nodes[0])).astype(np.int32),
        "left": ends[0],
        "right": ends[1],
        "column": structure.column[every].astype(np.int32),
        "threshold": structure.threshold[every],
        "gain": np.where(structure.leaf[every], gain, 0.0),
    }
    return Search(told, -lead - structure.slack)


def _settled(structure: Structure, boxes: Boxes, place: int, node: Indices) -> Indices:
    """Go on from nodes while there is one way only."""
    node = node.copy()
    moving = np.arange(len(node))
    while len(moving := moving[~structure.leaf[node[moving]]]):
        left, right = _sides(structure, boxes.low, boxes.high, node[moving], np.full(len(moving), place))
        moving, left = moving[left != right], left[left != right]
        node[moving] = np.where(left, structure.left[node[moving]], structure.right[node[moving]])
    return node
