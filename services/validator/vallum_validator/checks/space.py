"""The changes of a row that are possible in the world, as the manifest describes its features.

A row becomes a vector: numbers as they are, a boolean as 0 or 1, a category as its index. What an attacker may do to it
is a box for the features that can move a little (`graded`) and a short list of alternatives for those that can only
jump (`jumps`: categories, booleans, integers so coarse that one step is more than the radius). Immutable features,
missing values and values outside their range stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import Feature, FeatureType, canonical_text
from vallum_common.errors import Invalid
from vallum_validator.table import Column, Table, canonical_column

Matrix = NDArray[np.float64]

_LARGEST = 1e30
_CENTRAL = (5.0, 95.0)
"""Percentiles that bound a feature's span: the extremes of a long tail (capital gains) are no measure of "small"."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One feature as an attacker sees it.

    Args:
        name: of the feature.
        kind: integer, number, boolean or categorical.
        low: smallest possible value; for categories the first index.
        high: largest possible value; for categories the last index of those the manifest names.
        span: width of the central part of the data, the unit of "a small change"; 0 for a constant column.
        step: how far a graded feature may move; 0 where it may not.
        jumps: whether it can only change by a jump.
        vocabulary: categories by index, those the manifest does not name at the end.
    """

    name: str
    kind: FeatureType
    low: float
    high: float
    span: float
    step: float
    jumps: bool
    vocabulary: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The single jumps open to each of some rows.

    Args:
        columns: the column each option changes, shape (options,).
        values: what it would become, shape (rows, options).
        open: whether the option is a change and possible, shape (rows, options).
    """

    columns: NDArray[np.intp]
    values: Matrix
    open: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Space:
    """All features of a model, in order; turns tables into matrices of shape (rows, features) and back."""

    axes: tuple[Axis, ...]

    @property
    def graded(self) -> NDArray[np.intp]:
        """Columns that can move a little."""
        return np.flatnonzero([axis.step > 0 and not axis.jumps for axis in self.axes])

    @property
    def jumping(self) -> NDArray[np.intp]:
        """Columns that can change by a jump."""
        return np.flatnonzero([axis.jumps for axis in self.axes])

    def encode(self, table: Table) -> Matrix:
        """Return a table as a matrix; a missing number is NaN, a missing category is -1.

        Raises:
            Invalid: a column is missing, or a number or boolean column holds text.
        """
        columns = table.select([axis.name for axis in self.axes]).columns
        return np.column_stack([_encoded(axis, columns[axis.name]) for axis in self.axes])

    def learnable(self, table: Table) -> Matrix:
        """Return `encode` as our own models need it: within single precision, infinite becomes very large, missing very
        small. scikit-learn's boosting takes missing values, but no column in which a fold has nothing else."""
        return np.nan_to_num(np.clip(self.encode(table), -_LARGEST, _LARGEST), nan=-_LARGEST)

    def decode(self, matrix: Matrix) -> Table:
        """Return the table that `encode` would turn into this matrix."""
        return Table({axis.name: _decoded(axis, matrix[:, place]) for place, axis in enumerate(self.axes)})

    def box(self, matrix: Matrix) -> tuple[Matrix, Matrix]:
        """Return the lowest and highest vector each row may become by moving its graded features."""
        step = np.array([0.0 if axis.jumps else axis.step for axis in self.axes])
        low = np.array([axis.low for axis in self.axes])
        high = np.array([axis.high for axis in self.axes])
        # A value that already lies outside its range is not dragged inside: nobody knows what it means.
        inside = (matrix >= low) & (matrix <= high) & (step > 0)
        lowest = np.where(inside, np.maximum(matrix - step, low), matrix)
        highest = np.where(inside, np.minimum(matrix + step, high), matrix)
        return lowest, highest

    def alternatives(self, matrix: Matrix) -> Alternatives:
        """Return every single jump each row may take."""
        columns: list[int] = []
        values: list[Matrix] = []
        for place in self.jumping:
            axis, current = self.axes[place], matrix[:, place]
            if axis.kind is FeatureType.INTEGER:
                targets = [current - 1.0, current + 1.0]
            else:
                targets = [np.full(len(matrix), value) for value in np.arange(axis.low, axis.high + 1)]
            columns += [int(place)] * len(targets)
            values += targets
        places = np.array(columns, dtype=np.intp)
        options = np.stack(values, axis=1) if values else np.empty((len(matrix), 0))
        current = matrix[:, places]
        low = np.array([axis.low for axis in self.axes])[places]
        high = np.array([axis.high for axis in self.axes])[places]
        inside = (current >= low) & (current <= high) & (options >= low) & (options <= high)
        return Alternatives(places, options, inside & (options != current))

    def is_feasible(self, changed: Matrix, original: Matrix, discrete_changes: int) -> NDArray[np.bool_]:
        """Whether each changed row could happen in the world; the judge of an attack, written apart from the attack.

        Args:
            changed: shape (rows, features).
            original: the rows they came from, same shape.
            discrete_changes: how many jumping features may differ.
        """
        same = (changed == original) | (np.isnan(changed) & np.isnan(original))
        allowed = np.ones(len(changed), dtype=bool)
        jumped = np.zeros(len(changed), dtype=np.intp)
        for place, axis in enumerate(self.axes):
            values, origin, kept = changed[:, place], original[:, place], same[:, place]
            within = (values >= axis.low) & (values <= axis.high) & (origin >= axis.low) & (origin <= axis.high)
            if axis.jumps:
                jumped += ~kept
                whole = values == np.round(values)
                near = np.abs(values - origin) <= 1.0 if axis.kind is FeatureType.INTEGER else whole
                allowed &= kept | (within & whole & near)
            else:
                near = np.abs(values - origin) <= axis.step * (1 + 1e-9)
                whole = values == np.round(values) if axis.kind is FeatureType.INTEGER else np.True_
                allowed &= kept | (within & near & whole & (axis.step > 0))
        return allowed & (jumped <= discrete_changes)


def build_space(features: Mapping[str, Feature], tables: Sequence[Table], radius: float) -> Space:
    """Describe what may change.

    Args:
        features: from the manifest, in order.
        tables: data to take spans and unnamed bounds from; the first is the one that will be attacked.
        radius: how far a number may move, as a share of its span.

    Raises:
        Invalid: a number or boolean column holds text, or a feature has no column.
    """
    return Space(tuple(_axis(name, feature, tables, radius) for name, feature in features.items()))


def _axis(name: str, feature: Feature, tables: Sequence[Table], radius: float) -> Axis:
    columns = [table.select([name]).columns[name] for table in tables]
    if feature.type is FeatureType.CATEGORICAL:
        return _category(name, feature, columns)
    values = np.concatenate([_numbers(name, column) for column in columns])
    values = values[np.isfinite(values)]
    if feature.type is FeatureType.BOOLEAN:
        return Axis(name, feature.type, 0.0, 1.0, 1.0, 0.0, jumps=feature.mutable)
    observed = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    low = observed[0] if feature.min is None else float(feature.min)
    high = observed[1] if feature.max is None else float(feature.max)
    span = _span(values, low, high)
    step = radius * span if feature.mutable else 0.0
    if feature.type is FeatureType.NUMBER:
        return Axis(name, feature.type, low, high, span, step, jumps=False)
    whole = float(np.floor(step + 0.5))
    coarse = feature.mutable and whole < 1.0 and span > 0.0
    return Axis(name, feature.type, low, high, span, whole, jumps=coarse)


def _span(values: Matrix, low: float, high: float) -> float:
    if not len(values):
        return 0.0
    lower, upper = np.percentile(values, _CENTRAL)
    # A column that is mostly one value (a count that is nearly always zero) has no central width; its range stands in.
    width = upper - lower if upper > lower else values.max() - values.min()
    return float(min(width, max(high - low, 0.0)))


def _category(name: str, feature: Feature, columns: Sequence[Column]) -> Axis:
    named = [text for value in feature.values if (text := canonical_text(value)) is not None]
    seen = {value for column in columns for value in canonical_column(column) if value is not None}
    vocabulary = (*named, *sorted(seen - set(named)))
    return Axis(name, feature.type, 0.0, len(named) - 1.0, 1.0, 0.0, jumps=feature.mutable, vocabulary=vocabulary)


def _numbers(name: str, column: Column) -> Matrix:
    if column.dtype == np.float64:
        return np.asarray(column, dtype=np.float64)
    raise Invalid(f"column {name!r} holds text; the manifest says it is a number or boolean")


def _encoded(axis: Axis, column: Column) -> Matrix:
    if axis.kind is not FeatureType.CATEGORICAL:
        return _numbers(axis.name, column)
    index: dict[str | None, float] = {value: float(place) for place, value in enumerate(axis.vocabulary)}
    index[None] = -1.0
    texts = canonical_column(column)
    unknown = next((text for text in texts if text not in index), None)
    if unknown is not None:
        raise Invalid(f"column {axis.name!r} holds {unknown!r}, which none of the tables this space was built from has")
    return np.array([index[text] for text in texts])


def _decoded(axis: Axis, values: Matrix) -> Column:
    if axis.kind is not FeatureType.CATEGORICAL:
        return np.ascontiguousarray(values)
    words = np.array([*axis.vocabulary, None], dtype=object)
    return np.asarray(words[values.astype(np.intp)], dtype=object)
