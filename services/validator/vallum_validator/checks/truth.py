"""Bringing the model's labels and the label column together, or saying that they do not fit; never a guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import Task
from vallum_common.errors import Invalid
from vallum_validator.checks.copies import originals
from vallum_validator.table import (
    Labels,
    Predictions,
    Predictor,
    Probabilities,
    Subject,
    Table,
    canonical_column,
    label_order,
)

MAX_CLASSES = 1_000
"""More distinct labels than this is an identifier or a measurement, not a class."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows with their true and their predicted class.

    Args:
        table: the rows that have a label.
        truth: index into `classes`, shape (rows,).
        predicted: index into `classes`, shape (rows,).
        probabilities: shape (rows, classes); `None` for a model that gives labels only.
        classes: the model's labels, in the model's order, then those only the data knows.
        mapping: model's label to the data's, where they are spelled differently; empty otherwise.
        unlabelled: rows that were left out because their label is missing.
        scores: in place of probabilities, see `Predictions.scores`.
        copied: rows that were left out because they are copies of others, where most are.
    """

    table: Table
    truth: NDArray[np.intp]
    predicted: NDArray[np.intp]
    probabilities: Probabilities | None
    classes: tuple[str, ...]
    mapping: Mapping[str, str]
    unlabelled: int
    scores: Probabilities | None = None
    copied: int = 0

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each row was predicted right."""
        return np.asarray(self.truth == self.predicted)

    @property
    def sureness(self) -> Probabilities | None:
        """See `Predictions.sureness`."""
        return self.scores if self.probabilities is None else self.probabilities

    @property
    def once(self) -> str:
        """What to add to a reason where rows were left out as copies."""
        return (
            f"; {self.copied} rows that are copies of others were left out, they show nothing new"
            if self.copied
            else ""
        )

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Labelled:
        """Return the named rows."""
        return Labelled(
            table=self.table.take(rows),
            truth=self.truth[rows],
            predicted=self.predicted[rows],
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            classes=self.classes,
            mapping=self.mapping,
            unlabelled=self.unlabelled,
            scores=None if self.scores is None else self.scores[rows],
            copied=self.copied,
        )


def runnable(subject: Subject) -> Predictor:
    """Return the predictor of a classifier.

    Raises:
        Invalid: the model could not be run, or is a regression, for which the asking check has no measure.
    """
    if subject.predictor is None:
        raise Invalid(subject.why_not_run or "the model could not be run")
    if subject.manifest.model.task is not Task.CLASSIFICATION:
        raise Invalid("the model is a regression; this check measures decisions between classes")
    return subject.predictor


def part(subject: Subject, name: str) -> Table:
    """Return the table `evaluation`, `members` or `population`.

    Raises:
        Invalid: it is missing or empty; says which and why.
    """
    table: Table | None = getattr(subject, name)
    if table is None:
        raise Invalid(f"data.{why_absent(subject, name)}")
    if len(table) == 0:
        raise Invalid(f"data.{name} has no rows")
    return table


def why_absent(subject: Subject, name: str) -> str:
    """Return why `evaluation`, `members`, `population` or `card` is not there, beginning with its name."""
    reason = subject.missing.get(name)
    return f"{name} is missing: the manifest does not name it" if reason is None else f"{name} cannot be used: {reason}"


def label_column(subject: Subject) -> str:
    """Return the name of the label column.

    Raises:
        Invalid: the manifest names no evaluation data, hence no label.
    """
    if subject.manifest.data.evaluation is None:
        raise Invalid("data.evaluation is missing: the manifest names no label column")
    return subject.manifest.data.evaluation.label


def labelled(subject: Subject, name: str = "evaluation", *, once: bool = True) -> Labelled:
    """Predict a part of the data and set each answer beside the true one.

    Args:
        subject: what is measured.
        name: of the part.
        once: leave out copies where most rows are; otherwise they count, as in a figure that was told of the file.

    Raises:
        Invalid: the part, its label column or the model is missing, no row has a label, or the model's labels and the
            column's do not correspond.
    """
    predictor = runnable(subject)
    table, column = part(subject, name), label_column(subject)
    if column not in table.columns:
        raise Invalid(f"data.{name} has no column {column!r}, the label")
    labels = canonical_column(table.columns[column])
    known = np.array([label is not None for label in labels], dtype=bool)
    if not known.any():
        raise Invalid(f"data.{name}: no row has a label in column {column!r}")
    table, labels = table.take(known), labels[known]
    kept = originals(table, list(predictor.features)) if once else np.arange(len(table))
    table, labels = table.take(kept), labels[kept]
    predictions = predictor.predict(table)
    classes, mapping = _classes(subject, predictor, predictions)
    index = {label: place for place, label in enumerate(classes)}
    return Labelled(
        table=table,
        truth=_positions(labels, index),
        predicted=_positions([mapping.get(label, label) for label in predictions.labels], index),
        probabilities=_widened(predictions.probabilities, len(classes)),
        classes=classes,
        mapping=mapping,
        unlabelled=int((~known).sum()),
        scores=_widened(predictions.scores, len(classes)),
        copied=int(known.sum()) - len(kept),
    )


def codes(predictions: Predictions, like: Labelled) -> NDArray[np.intp]:
    """Return the predicted labels of other rows as indices into `like.classes`; a label unknown there is -1."""
    index = {label: place for place, label in enumerate(like.classes)}
    return np.array([index.get(like.mapping.get(label, label), -1) for label in predictions.labels], dtype=np.intp)


def correspondence(model: Sequence[str], data: Sequence[str]) -> Mapping[str, str]:
    """Return which data label each of the model's labels means; empty where they are spelled alike.

    A model trained on labels encoded 0..k-1 (scikit-learn's LabelEncoder) means the sorted values of the column.

    Raises:
        Invalid: neither holds.
    """
    if set(data) <= set(model) or set(model) <= set(data):
        return {}
    ordered = sorted(data, key=label_order)
    if len(ordered) == len(model) and set(model) == {str(place) for place in range(len(model))}:
        return {str(place): label for place, label in enumerate(ordered)}
    if set(model) == {"false", "true"} and set(data) <= {"0", "1"}:
        return {"false": "0", "true": "1"}
    strange = sorted(set(data) - set(model), key=label_order)
    raise Invalid(
        f"the model's labels {_shown(sorted(model, key=label_order))} and the label column's {_shown(ordered)} "
        f"do not correspond: {strange[0]!r} is not one of the model's"
    )


def _classes(
    subject: Subject, predictor: Predictor, predictions: Predictions
) -> tuple[tuple[str, ...], Mapping[str, str]]:
    model = predictor.classes or tuple(sorted(set(predictions.labels.tolist()), key=label_order))
    data = _data_labels(subject)
    if len(data) > MAX_CLASSES:
        raise Invalid(f"the label column has {len(data)} distinct values; a classifier's has at most {MAX_CLASSES}")
    mapping = correspondence(model, data)
    classes = [mapping.get(label, label) for label in model]
    classes += sorted(set(data) - set(classes), key=label_order)
    return tuple(classes), mapping


def _data_labels(subject: Subject) -> list[str]:
    column = label_column(subject)
    tables = (subject.evaluation, subject.members, subject.population)
    found: set[str | None] = set()
    for table in tables:
        if table is not None and column in table.columns:
            found |= set(canonical_column(table.columns[column]).tolist())
    return [label for label in found if label is not None]


def _positions(labels: Labels | Sequence[str], index: Mapping[str, int]) -> NDArray[np.intp]:
    try:
        return np.array([index[label] for label in labels], dtype=np.intp)
    except KeyError as error:
        raise Invalid(f"the model answered {error.args[0]!r}, which is none of its classes {_shown(index)}") from error


def _widened(probabilities: Probabilities | None, classes: int) -> Probabilities | None:
    if probabilities is None or probabilities.shape[1] == classes:
        return probabilities
    wide = np.zeros((len(probabilities), classes))
    wide[:, : probabilities.shape[1]] = probabilities
    return wide


def _shown(labels: Sequence[str] | Mapping[str, int]) -> str:
    shown = [repr(label)[:40] for label in list(labels)[:5]]
    return "[" + ", ".join(shown) + (", …]" if len(labels) > 5 else "]")
