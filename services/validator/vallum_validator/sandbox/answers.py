"""What a model's raw answers mean: labels, probabilities and the order of the classes, or why they mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax

from vallum_common.bundle import Task
from vallum_validator.sandbox.frames import Array
from vallum_validator.table import (
    Labels,
    PredictionFailed,
    Predictions,
    Probabilities,
    canonical_column,
    label_order,
)

SUM_TOLERANCE: Final = 1e-3
"""How far the probabilities of a row may be from one in sum; ONNX models compute in float32."""

MAX_CLASSES: Final = 10_000

_AGREE: Final = 0.99
"""Share of rows whose highest decision value must be that of their label; the others may stand on a tie."""
_LARGEST: Final = 1e30


class Answers:
    """Reads raw answers; what the first ones teach about the classes holds for all later ones.

    Args:
        task: what the model predicts.
        data_labels: canonical labels that occur in the data; a hint for the order of unnamed probability columns.
    """

    def __init__(self, task: Task, data_labels: Sequence[str]) -> None:
        self._task = task
        self._data = sorted(set(data_labels), key=label_order)
        self._settled = False
        self._columns = 0
        self._scores = False
        self._scale: float | None = None
        self.classes: tuple[str, ...] = ()

    def read(self, parts: Sequence[Mapping[str, Array]], rows: int) -> Predictions:
        """Return the meaning of the answers to one table.

        Args:
            parts: the raw arrays, one mapping per message, in order of the rows.
            rows: how many were asked.

        Raises:
            PredictionFailed: they cannot be trusted; one line says what is wrong.
        """
        raw = _joined(parts, "labels", rows)
        if self._task is Task.REGRESSION:
            return _regression(raw)
        probabilities = _joined(parts, "probabilities", rows)
        labels = None if raw is None else _labels(raw)
        names = _names(parts)
        if labels is None and probabilities is None:
            raise PredictionFailed("the model gave neither labels nor probabilities")
        if labels is None and probabilities is not None and _are_labels(probabilities):
            labels, probabilities = _labels(probabilities.reshape(-1)), None
        scores: Probabilities | None = None
        if probabilities is not None:
            told = probabilities
            probabilities = self._probabilities(told, has_labels=labels is not None)
            if probabilities is None and labels is not None:
                scores = self._squashed(told, labels, names)
        if not self._settled:
            self._settle(labels, probabilities, names)
        elif probabilities is not None and probabilities.shape[1] != self._columns:
            raise PredictionFailed(
                f"the model gave {probabilities.shape[1]} probabilities after {self._columns} before"
            )
        if labels is None and probabilities is not None:
            labels = np.array(self.classes, dtype=object)[probabilities.argmax(axis=1)]
        if labels is None:
            raise PredictionFailed("the model gave no labels")
        if probabilities is not None and not set(labels.tolist()) <= set(self.classes):
            strange = next(label for label in labels.tolist() if label not in self.classes)
            raise PredictionFailed(f"the model answered {strange[:80]!r}, which is none of its classes")
        return Predictions(labels=labels, probabilities=probabilities, scores=scores)

    def _squashed(self, raw: Array, labels: Labels, names: Labels | None) -> Probabilities | None:
        """Decision values in [0, 1], in the order of the classes; `None` where they do not rank the classes."""
        columns = np.clip(np.concatenate([-raw, raw], axis=1) if raw.shape[1] == 1 else raw, -_LARGEST, _LARGEST)
        if not self._settled:
            ranked = np.sort(columns, axis=1)
            scale = float(np.median(ranked[:, -1] - ranked[:, -2])) or 1.0
            order = _order_of_scores(labels, columns, None if names is None else names.tolist(), self._data)
            if order is not None:
                self._scale, self._columns, self.classes = scale, columns.shape[1], order
        if self._scale is None:
            return None
        if columns.shape[1] != self._columns:
            raise PredictionFailed(f"the model gave {columns.shape[1]} decision values after {self._columns} before")
        chances: Probabilities = softmax(columns / self._scale, axis=1)
        return chances

    def _probabilities(self, raw: Array, *, has_labels: bool) -> Probabilities | None:
        """Checked probabilities, two columns at least; `None` for decision scores beside labels."""
        if raw.dtype != np.float64 or raw.ndim != 2 or not 1 <= raw.shape[1] <= MAX_CLASSES:
            raise PredictionFailed(f"the probabilities have shape {raw.shape}, not (rows, classes)")
        if np.isnan(raw).any():
            raise PredictionFailed("the model gave a probability that is NaN")
        if not self._settled and has_labels:
            self._scores = _are_scores(raw)
        if self._scores:
            # A margin classifier's converter puts its decision values where probabilities belong.
            return None
        if raw.shape[1] == 1:
            raw = np.concatenate([1.0 - raw, raw], axis=1)
        if raw.min() < -SUM_TOLERANCE or raw.max() > 1 + SUM_TOLERANCE:
            raise PredictionFailed(f"the model gave probabilities between {raw.min():.6g} and {raw.max():.6g}")
        sums = raw.sum(axis=1)
        worst = int(np.abs(sums - 1).argmax())
        if abs(sums[worst] - 1) > SUM_TOLERANCE:
            raise PredictionFailed(f"the model gave probabilities that sum to {sums[worst]:.6g}, not to one")
        checked: Probabilities = np.clip(raw, 0.0, 1.0)
        return checked

    def _settle(self, labels: Labels | None, probabilities: Probabilities | None, names: Labels | None) -> None:
        given = () if names is None else tuple(names.tolist())
        if None in given or len(set(given)) != len(given):
            raise PredictionFailed("the model does not name its classes, or names one twice")
        seen = set() if labels is None else set(labels.tolist())
        if probabilities is None:
            # Where there are decision values, they have told the order already.
            self.classes = self.classes or given or _classes_of_labels(seen, self._data)
        else:
            self._columns = probabilities.shape[1]
            if given and len(given) != self._columns:
                raise PredictionFailed(f"the model names {len(given)} classes and gives {self._columns} probabilities")
            self.classes = given or _classes_of_columns(labels, probabilities, self._data)
        self._settled = True


def _order_of_scores(
    labels: Labels, columns: Array, names: Sequence[str] | None, data: Sequence[str]
) -> tuple[str, ...] | None:
    """Classes in the order of the decision values' columns; `None` where the highest is not the label's own (those of
    one class against another, say)."""
    if len(set(labels.tolist())) > columns.shape[1] or (names is not None and len(names) != columns.shape[1]):
        return None
    order = tuple(names) if names is not None else _classes_of_columns(labels, softmax(columns, axis=1), data)
    agrees = np.array(order, dtype=object)[columns.argmax(axis=1)] == labels
    return order if agrees.mean() >= _AGREE else None


def _joined(parts: Sequence[Mapping[str, Array]], name: str, rows: int) -> Array | None:
    arrays = [part[name] for part in parts if name in part]
    if not arrays:
        return None
    if len(arrays) != len(parts) or len({(array.ndim, array.shape[1:], array.dtype) for array in arrays}) > 1:
        raise PredictionFailed(f"the model gave {name} of different kinds to rows asked together")
    whole = np.concatenate(arrays)
    if len(whole) != rows:
        raise PredictionFailed(f"the model gave {len(whole)} {name} to {rows} rows")
    return whole


def _regression(raw: Array | None) -> Predictions:
    if raw is None or raw.ndim != 1 or raw.dtype == object:
        raise PredictionFailed("a regression model must give one number per row")
    values = raw.astype(np.float64)
    if not np.isfinite(values).all():
        raise PredictionFailed("the model gave a value that is NaN or infinite")
    return Predictions(labels=canonical_column(values), probabilities=None, values=values)


def _labels(raw: Array) -> Labels:
    if raw.ndim != 1:
        raise PredictionFailed(f"the labels have shape {raw.shape}, not one per row")
    labels = canonical_column(raw)
    if any(label is None for label in labels.tolist()):
        raise PredictionFailed("the model gave a label that is NaN")
    return labels


def _names(parts: Sequence[Mapping[str, Array]]) -> Labels | None:
    arrays = [part.get("classes") for part in parts]
    first = arrays[0] if arrays else None
    if first is None:
        return None
    if any(array is None or array.ndim != 1 or array.tolist() != first.tolist() for array in arrays):
        raise PredictionFailed("the model named different classes to rows asked together")
    return canonical_column(first)


def _are_labels(values: Array) -> bool:
    """Whether the only output, a float, is the label itself: whole numbers of which one is no probability."""
    if values.ndim != 2 or values.shape[1] != 1 or not np.isfinite(values).all():
        return False
    return bool((values == np.trunc(values)).all() and ((values < 0) | (values > 1)).any())


def _are_scores(values: Array) -> bool:
    negative = bool((values < -SUM_TOLERANCE).any())
    return negative and bool((np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE).any())


def _classes_of_labels(seen: set[str], data: Sequence[str]) -> tuple[str, ...]:
    """Classes of a model that gives labels only: those of the data, where all that were seen are among them."""
    whole_numbers = [str(place) for place in range(len(data))]
    for candidate in (list(data), whole_numbers):
        if seen and seen <= set(candidate):
            return tuple(candidate)
    return tuple(sorted(seen, key=label_order))


def _classes_of_columns(labels: Labels | None, probabilities: Probabilities, data: Sequence[str]) -> tuple[str, ...]:
    """Name unnamed probability columns.

    Every converter known writes them in sorted order of the labels; that is taken where the answers bear it out: where
    a label is given, its column must be higher than on average. Otherwise the answers decide.
    """
    count = probabilities.shape[1]
    whole_numbers = [str(place) for place in range(count)]
    if labels is None:
        return tuple(whole_numbers)
    seen = sorted(set(labels.tolist()), key=label_order)
    either = sorted({*seen, *data}, key=label_order)
    if len(seen) > count:
        raise PredictionFailed(f"the model gave {len(seen)} different labels and {count} probabilities")
    candidates = [one for one in (list(data), whole_numbers, either) if len(one) == count and set(seen) <= set(one)]
    lift = np.stack([probabilities[labels == label].mean(axis=0) for label in seen]) - probabilities.mean(axis=0)
    rows, columns = linear_sum_assignment(lift, maximize=True)
    best = float(lift[rows, columns].sum())
    for names in candidates:
        if sum(lift[row, names.index(label)] for row, label in enumerate(seen)) >= best - 1e-9:
            return tuple(names)
    place = {int(column): seen[row] for row, column in zip(rows, columns, strict=True)}
    others = iter([name for name in (candidates[0] if candidates else []) if name not in seen])
    return tuple(place.get(column) or next(others, f"unknown class {column}") for column in range(count))
