"""What scikit-learn's preparation makes of the features before the trees see them, as far as it is one column of one
feature: passed on, scaled, one-hot or ordinal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vallum_validator.sandbox.program.rows import CATEGORICAL, Input, Scalar
from vallum_validator.sandbox.program.trees import Column, NoTrees


def first_columns(inputs: Sequence[Input]) -> list[Column]:
    """Return each feature as it reaches an estimator; a category that is text has no number yet."""
    return [
        Column(place, (*map(_number, one.values), np.nan) if one.type == CATEGORICAL else None)
        for place, one in enumerate(inputs)
    ]


def _number(value: Scalar) -> float:
    return np.nan if isinstance(value, str) else float(value)


def prepared(step: Any, columns: Sequence[Column], inputs: Sequence[Input], names: Sequence[str]) -> list[Column]:
    """Return the columns after one step of a pipeline.

    Args:
        step: a fitted transformer, or `passthrough`.
        columns: before it.
        inputs: the features.
        names: of the columns, as the step may refer to them.

    Raises:
        NoTrees: it does anything else.
    """
    kind = type(step).__name__
    if step is None or step == "passthrough" or (kind == "FunctionTransformer" and step.func is None):
        return list(columns)
    if kind == "ColumnTransformer":
        return _side_by_side(step, columns, inputs, names)
    if kind == "Pipeline":
        return through(step.steps, columns, inputs, names)
    if kind in ("StandardScaler", "MinMaxScaler", "RobustScaler", "MaxAbsScaler"):
        return _scaled(step, kind, columns)
    if kind == "OneHotEncoder" and step.drop is None and not getattr(step, "_infrequent_enabled", False):
        groups = zip(columns, step.categories_, strict=True)
        return [_indicator(column, inputs, category) for column, group in groups for category in group.tolist()]
    if kind == "OrdinalEncoder":
        groups = zip(columns, step.categories_, strict=True)
        return [_ordinal(column, inputs, group.tolist()) for column, group in groups]
    raise NoTrees(f"{kind} stands before the trees")


def through(
    steps: Sequence[tuple[str, Any]], columns: Sequence[Column], inputs: Sequence[Input], names: Sequence[str]
) -> list[Column]:
    """Return the columns after steps one after the other; see `prepared`."""
    current = list(columns)
    for _, step in steps:
        current = prepared(step, current, inputs, names)
        # What a step makes has no names; the next can only mean places.
        names = [""] * len(current)
    return current


def _side_by_side(step: Any, columns: Sequence[Column], inputs: Sequence[Input], names: Sequence[str]) -> list[Column]:
    made: list[Column] = []
    for _, transformer, chosen in step.transformers_:
        if transformer == "drop":
            continue
        places = _places(chosen, names)
        some = [columns[place] for place in places]
        made += prepared(transformer, some, inputs, [names[place] for place in places])
    return made


def _places(chosen: Any, names: Sequence[str]) -> list[int]:
    if isinstance(chosen, slice):
        return list(range(len(names)))[chosen]
    listed = [chosen] if isinstance(chosen, str | int) else list(chosen)
    if listed and all(isinstance(one, bool | np.bool_) for one in listed):
        return [int(place) for place in np.flatnonzero(listed)]
    return [list(names).index(one) if isinstance(one, str) else int(one) for one in listed]


def _scaled(step: Any, kind: str, columns: Sequence[Column]) -> list[Column]:
    count = len(columns)
    centre, scale = np.zeros(count), np.ones(count)
    if kind == "StandardScaler":
        centre = step.mean_ if step.with_mean else centre
        scale = 1 / step.scale_ if step.with_std else scale
    elif kind == "RobustScaler":
        centre = step.center_ if step.with_centering else centre
        scale = 1 / step.scale_ if step.with_scaling else scale
    elif kind == "MaxAbsScaler":
        scale = 1 / step.scale_
    elif step.clip:
        raise NoTrees("a MinMaxScaler that clips stands before the trees")
    else:
        centre, scale = -step.min_ / step.scale_, step.scale_
    return [column.then(float(c), float(s)) for column, c, s in zip(columns, centre, scale, strict=True)]


def _meaning(column: Column, inputs: Sequence[Input]) -> tuple[Scalar, ...]:
    one = inputs[column.feature]
    if one.type != CATEGORICAL:
        raise NoTrees(f"feature {one.name!r} is a number that is encoded like a category")
    return one.values


def _indicator(column: Column, inputs: Sequence[Input], category: Any) -> Column:
    values = _meaning(column, inputs)
    return Column(column.feature, (*[float(value == category) for value in values], float(category is None)))


def _ordinal(column: Column, inputs: Sequence[Input], categories: list[Any]) -> Column:
    values = _meaning(column, inputs)
    codes = [float(categories.index(value)) if value in categories else np.nan for value in values]
    return Column(column.feature, (*codes, np.nan))
