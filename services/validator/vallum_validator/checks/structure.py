"""The trees of a model, checked: what may be reasoned about, and what decides on which side a value falls.

They were read from a submitted file by a process that ran it, so everything about them is checked before it is used:
indices, that they are trees, that all numbers are numbers. Rounding is part of it: a model that compares in single
precision puts values beside a threshold on its other side, so each node holds the two ends between which that happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vallum_common.errors import Invalid
from vallum_validator.checks.intervals import Floats
from vallum_validator.checks.space import Matrix

Indices = NDArray[np.intp]

_MOST_NODES: Final = 4_000_000
_SINGLE: Final = float(np.finfo(np.float32).eps)
_DOUBLE: Final = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Columns:
    """What the trees split on; a column of a category is looked up in a table, any other is a feature's own number.

    Args:
        feature: index of each column's feature, shape (columns,).
        table: row of `tables` that gives its values, -1 for a number.
        tables: value of each category, and at the end of a missing one, shape (tables, categories + 1).
    """

    feature: Indices
    table: Indices
    tables: Floats

    def values(self, matrix: Matrix) -> Floats:
        """Return the columns of rows encoded by a `Space`, shape (rows, columns)."""
        values = matrix[:, self.feature].copy()
        for place in np.flatnonzero(self.table >= 0):
            code = matrix[:, self.feature[place]]
            known = (code >= 0) & (code < self.tables.shape[1] - 1)
            values[:, place] = self.tables[self.table[place], np.where(known, code, -1).astype(np.intp)]
        return values


@dataclass(frozen=True, slots=True)
class Structure:
    """An ensemble of trees whose leaves add up to a score for each class; the largest is the answer.

    Args:
        columns: what the nodes compare.
        roots: node each tree begins with, shape (trees,).
        left: child on the lower side, -1 for a leaf, shape (nodes,).
        right: the other child.
        column: which one each node compares.
        threshold: with what, in the unit of the trees; gives the order of a column's cuts.
        high: largest value that may go to the left, in the unit of the feature.
        low: smallest value that may go to the right.
        missing_left: whether a missing value goes to the left.
        value: what each leaf adds, shape (nodes, classes).
        base: score of each class before any tree.
        slack: how far rounding may move the lead of one class over another.
        levels: nodes by depth, each level's parents before it.
        classes: the labels as the model names them, `None` where it does not.
    """

    columns: Columns
    roots: Indices
    left: Indices
    right: Indices
    column: Indices
    threshold: Floats
    high: Floats
    low: Floats
    missing_left: NDArray[np.bool_]
    value: Floats
    base: Floats
    slack: float
    levels: tuple[Indices, ...]
    classes: tuple[str, ...] | None

    @property
    def leaf(self) -> NDArray[np.bool_]:
        """Whether each node is a leaf."""
        return self.left < 0

    def scores(self, matrix: Matrix) -> Floats:
        """Return the score of each class, shape (rows, classes); the sum of leaves, before any rounding of the model's.

        Args:
            matrix: rows encoded by a `Space`, shape (rows, features).
        """
        values = self.columns.values(matrix)
        total = np.repeat(self.base[None], len(matrix), axis=0)
        row = np.arange(len(matrix))
        for root in self.roots:
            node = np.full(len(matrix), root)
            for _ in range(len(self.levels) - 1):
                value = values[row, self.column[node]]
                lower = np.where(np.isnan(value), self.missing_left[node], value <= self.high[node])
                node = np.where(self.left[node] < 0, node, np.where(lower, self.left[node], self.right[node]))
            total += self.value[node]
        return total


def read_structure(arrays: Mapping[str, NDArray[Any]], widths: tuple[int, ...]) -> Structure:
    """Check what a worker told of a model's trees.

    Args:
        arrays: as `sandbox.program.trees.described` makes them.
        widths: number of categories of each feature, 0 for a number.

    Raises:
        Invalid: they are no ensemble of trees over these features; says what is wrong.
    """
    try:
        columns, units = _columns(arrays, widths)
        roots, left, right, column = (_whole(arrays[name]) for name in ("roots", "left", "right", "column"))
        missing_left = _whole(arrays["missing_left"])
        threshold, value, base = (arrays[name].astype(np.float64) for name in ("threshold", "value", "base"))
        strict, single, single_sums = (bool(flag) for flag in arrays["flags"])
        classes = tuple(str(label) for label in arrays["classes"]) if "classes" in arrays else None
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise Invalid(f"the model's trees were not told in full ({type(error).__name__}: {error})") from error
    count = len(left)
    flat = all(one.shape == (count,) for one in (right, column, missing_left, threshold))
    if not (flat and 0 < count <= _MOST_NODES and value.shape == (count, len(base)) and len(base) >= 2):
        raise Invalid(f"the model's {count} nodes do not have one of everything each")
    if not (np.isfinite(value).all() and np.isfinite(base).all()) or np.isnan(threshold).any():
        raise Invalid("a number in the model's trees is none")
    if count and not (column.min() >= 0 and column.max() < len(columns.feature)):
        raise Invalid("a node of the model's trees compares a column that does not exist")
    if classes is not None and len(classes) != len(base):
        raise Invalid(f"the model's trees name {len(classes)} classes and score {len(base)}")
    levels = _levels(roots, left, right)
    low, high = _ends(threshold, units[column], numbers=columns.table[column] < 0, strict=strict, single=single)
    largest = np.abs(np.where((left < 0)[:, None], value, 0.0)).max(axis=1)
    reach = np.abs(base).max() + sum(_largest_leaf(largest, roots, levels, left, right))
    rounding = _SINGLE if single_sums else _DOUBLE
    return Structure(
        *(columns, roots, left, right, column, threshold, high, low, missing_left != 0, value, base),
        slack=float(4 * rounding * (len(roots) + 2) * reach),
        levels=levels,
        classes=classes,
    )


def _whole(array: NDArray[Any]) -> Indices:
    if array.ndim != 1 or array.dtype.kind != "i":
        raise ValueError(f"an index array has type {array.dtype} and {array.ndim} dimensions")
    return array.astype(np.intp)


def _columns(arrays: Mapping[str, NDArray[Any]], widths: tuple[int, ...]) -> tuple[Columns, Floats]:
    """Return the columns, and of each its centre and scale, shape (columns, 2)."""
    feature, table = _whole(arrays["column_feature"]), _whole(arrays["column_table"])
    units = np.stack([arrays["column_centre"], arrays["column_scale"]], axis=1).astype(np.float64)
    tables = arrays["tables"].astype(np.float64)
    if tables.ndim != 2 or not len(feature) == len(table) == len(units) > 0:
        raise ValueError("columns without feature, table, centre and scale")
    if feature.min() < 0 or feature.max() >= len(widths) or table.min() < -1 or table.max() >= len(tables):
        raise ValueError("a column of a feature or table that does not exist")
    width = np.array(widths)[feature]
    if ((table < 0) != (width == 0)).any() or (width[table >= 0] > tables.shape[1] - 1).any():
        raise ValueError("a category without a table, or a number with one")
    if not (np.isfinite(units).all() and (units[:, 1] > 0).all()):
        raise ValueError("a column that is scaled by no number above zero")
    return Columns(feature, table, tables), units


def _levels(roots: Indices, left: Indices, right: Indices) -> tuple[Indices, ...]:
    """Return the nodes by depth; every node has at most one parent and a root has none, so there is no way round."""
    count = len(left)
    inner = left >= 0
    if ((right >= 0) != inner).any() or max(left.max(), right.max()) >= count or min(left.min(), right.min()) < -1:
        raise Invalid("a node of the model's trees has a child that does not exist")
    if not len(roots) or roots.min() < 0 or roots.max() >= count:
        raise Invalid("a tree of the model begins at a node that does not exist")
    pointed = np.bincount(np.concatenate([roots, left[inner], right[inner]]), minlength=count)
    if pointed.max() > 1:
        raise Invalid("a node of the model's trees is reached in two ways; then they are no trees")
    levels = [roots]
    while len(current := levels[-1][inner[levels[-1]]]):
        levels.append(np.concatenate([left[current], right[current]]))
    return tuple(levels)


def _ends(
    threshold: Floats, units: Floats, *, numbers: NDArray[np.bool_], strict: bool, single: bool
) -> tuple[Floats, Floats]:
    """Return the smallest value that may go to the right and the largest that may go to the left."""
    cut = threshold.copy()
    with np.errstate(over="ignore"):
        if single:
            # The value is rounded before it is compared: it goes to the left up to half way from the last number of
            # single precision that does to the next.
            below = cut.astype(np.float32)
            over = below.astype(np.float64) >= cut if strict else below.astype(np.float64) > cut
            below = np.where(over, np.nextafter(below, np.float32(-np.inf)), below)
            above = np.nextafter(below, np.float32(np.inf)).astype(np.float64)
            middle = np.where(np.isfinite(above), (below + above) / 2, np.inf)
            low = high = np.where(np.isneginf(cut), cut, middle)
        elif strict:
            low, high = cut, np.nextafter(cut, -np.inf)
        else:
            low, high = np.nextafter(cut, np.inf), cut
    plain = (units[:, 0] == 0) & (units[:, 1] == 1)
    if (scaled := numbers & ~plain).any():
        # How a scaler rounds is its own affair; this is wider than any of its ways.
        moved = units[:, 0] + cut / units[:, 1]
        room = 16 * (_SINGLE if single else _DOUBLE) * (np.abs(units[:, 0]) + np.abs(cut / units[:, 1]))
        low, high = np.where(scaled, moved - room, low), np.where(scaled, moved + room, high)
    return low, high


def _largest_leaf(
    largest: Floats, roots: Indices, levels: tuple[Indices, ...], left: Indices, right: Indices
) -> list[float]:
    below = largest.copy()
    for level in reversed(levels):
        inner = level[left[level] >= 0]
        below[inner] = np.maximum(below[left[inner]], below[right[inner]])
    return [float(one) for one in below[roots]]
