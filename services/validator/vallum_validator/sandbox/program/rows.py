"""Rows as they reach the worker, and what a model of any format makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vallum_validator.sandbox.frames import Array

Scalar: TypeAlias = "str | bool | int | float"

CATEGORICAL = "categorical"
"""The type of a feature whose rows hold indices into `values`; every other type holds numbers."""


@dataclass(frozen=True, slots=True)
class Input:
    """A feature of the manifest.

    Args:
        name: of the column.
        type: `integer`, `number`, `boolean` or `categorical`.
        values: the categories as the manifest writes them.
    """

    name: str
    type: str
    values: tuple[Scalar, ...]


class Rows:
    """Rows to predict.

    Args:
        inputs: the features, in order.
        numbers: float64, shape (rows, numeric features), missing = NaN.
        codes: int32, shape (rows, categorical features): index in `values`, missing = -1.
    """

    def __init__(self, inputs: Sequence[Input], numbers: Array, codes: Array) -> None:
        self.inputs = tuple(inputs)
        self._numbers = numbers
        self._codes = codes
        self._place: dict[str, int] = {}
        for categorical in (False, True):
            names = [one.name for one in self.inputs if (one.type == CATEGORICAL) is categorical]
            self._place |= {name: place for place, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, name: str) -> NDArray[np.float64]:
        """Return a numeric feature, shape (rows,), missing = NaN."""
        return self._numbers[:, self._place[name]]

    def code(self, name: str) -> NDArray[np.int32]:
        """Return a categorical feature as index in its `values`, shape (rows,), missing = -1."""
        return self._codes[:, self._place[name]]

    def matrix(self) -> NDArray[np.float64]:
        """Return everything as numbers in the order of the features, a category as its index, missing = NaN."""
        if not self._codes.shape[1]:
            return self._numbers
        columns = [self.code(one.name) if one.type == CATEGORICAL else self.number(one.name) for one in self.inputs]
        matrix = np.stack(columns, axis=1).astype(np.float64)
        for place, one in enumerate(self.inputs):
            if one.type == CATEGORICAL:
                matrix[matrix[:, place] < 0, place] = np.nan
        return matrix


class Model(Protocol):
    """What the worker can ask."""

    def predict(self, rows: Rows) -> Mapping[str, Array | None]:
        """Return `labels` (rows,), and where the model gives them `probabilities` (rows, classes) and `classes`."""

    def structure(self) -> Mapping[str, Array]:
        """Return the trees the model is made of, see `trees.described`; raises `NoTrees` where it is not."""


def travelling(labels: Any) -> Array:
    """Return a flat array of labels in a type that travels: int64, float64 or text; truth becomes text."""
    array = np.asarray(labels)
    if array.dtype.kind == "b":
        array = np.where(array, "true", "false")
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        return array.astype(np.float64)
    text = np.empty(array.shape, dtype=object)
    text[...] = [_text(value) for value in array.ravel().tolist()]
    return text


def _text(value: object) -> str | None:
    # Labels of an object array may be numbers or truth values; a missing one stays missing.
    if value is None or value != value:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
