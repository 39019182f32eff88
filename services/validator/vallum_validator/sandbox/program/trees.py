"""The trees of a model as plain numbers: what a certificate is made of, in the one form all formats come down to.

Every tree answers with a leaf, the leaves add up to a score for each class, and the largest score is the answer. What
does not fit into that (categorical splits, scores that are joined otherwise) is refused by name, never approximated:
the caller proves things about these numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum_validator.sandbox.frames import Array

NUMBER = -1
"""In place of a table: the column is made of a number."""


class NoTrees(ValueError):
    """The model is not an ensemble of trees that can be read, or is asked through something that cannot; says which."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column the trees split on, made of one feature: `(value - centre) * scale`.

    Args:
        feature: index of the feature.
        table: value for each of its categories and at the end for a missing one; `None` for a number.
        centre: subtracted first.
        scale: multiplied then, above zero.
    """

    feature: int
    table: tuple[float, ...] | None = None
    centre: float = 0.0
    scale: float = 1.0

    def then(self, centre: float, scale: float) -> Column:
        """Return the column after another subtraction and multiplication.

        Raises:
            NoTrees: it would turn around, vanish or be no number.
        """
        if not (np.isfinite(centre) and np.isfinite(scale) and scale > 0):
            raise NoTrees(f"a column is scaled by {scale!r} around {centre!r}")
        if self.table is not None:
            return Column(self.feature, tuple((value - centre) * scale for value in self.table))
        return Column(self.feature, None, self.centre + centre / self.scale, self.scale * scale)


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree; node 0 is the root.

    Args:
        left: child for a value on the lower side, -1 for a leaf.
        right: the other child.
        column: which one a node compares.
        threshold: what with.
        missing_left: whether a missing value goes to the left.
        value: what each leaf adds to each class, shape (nodes, classes).
    """

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    column: NDArray[np.intp]
    threshold: NDArray[np.float64]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Trees that add up.

    Args:
        trees: at least one.
        base: score of each class before any tree.
        strict: whether a value equal to the threshold goes to the right.
        single: whether values are rounded to single precision before they are compared.
        single_sums: whether scores are added up in single precision.
        classes: labels in the order of the scores; `None` where the model does not name them.
    """

    trees: Sequence[Tree]
    base: NDArray[np.float64]
    strict: bool = False
    single: bool = True
    single_sums: bool = False
    classes: Array | None = None


def one_score(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scores of two classes from one that is compared with zero, shape (nodes, 2)."""
    return np.stack([np.zeros(len(values)), values], axis=1)


def of_class(values: NDArray[np.float64], place: int, classes: int) -> NDArray[np.float64]:
    """Return the scores of a tree that speaks for one class only, shape (nodes, classes)."""
    scores = np.zeros((len(values), classes))
    scores[:, place] = values
    return scores


def described(columns: Sequence[Column], ensemble: Ensemble) -> Mapping[str, Array]:
    """Return the arrays that tell a structure."""
    sizes = np.array([len(tree.left) for tree in ensemble.trees])
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    children = {
        name: np.concatenate(
            [
                np.where(getattr(tree, name) >= 0, getattr(tree, name) + root, -1)
                for tree, root in zip(ensemble.trees, roots, strict=True)
            ]
        ).astype(np.int32)
        for name in ("left", "right")
    }
    tables = [column.table for column in columns if column.table is not None]
    width = max(map(len, tables), default=0)
    padded = [[*table[:-1], *[np.nan] * (width - len(table)), table[-1]] for table in tables]
    numbers = np.cumsum([column.table is not None for column in columns]) - 1
    arrays: dict[str, Array] = {
        "roots": roots.astype(np.int32),
        **children,
        "column": np.concatenate([tree.column for tree in ensemble.trees]).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in ensemble.trees]).astype(np.float64),
        "missing_left": np.concatenate([tree.missing_left for tree in ensemble.trees]).astype(np.int32),
        "value": np.concatenate([tree.value for tree in ensemble.trees]).astype(np.float64),
        "base": np.asarray(ensemble.base, dtype=np.float64),
        "column_feature": np.array([column.feature for column in columns], dtype=np.int32),
        "column_table": np.where([column.table is not None for column in columns], numbers, NUMBER).astype(np.int32),
        "column_centre": np.array([column.centre for column in columns], dtype=np.float64),
        "column_scale": np.array([column.scale for column in columns], dtype=np.float64),
        "tables": np.array(padded, dtype=np.float64).reshape(len(tables), width),
        "flags": np.array([ensemble.strict, ensemble.single, ensemble.single_sums], dtype=np.int32),
    }
    if ensemble.classes is not None:
        arrays["classes"] = ensemble.classes
    return arrays
