"""What the checks measure with: tables, predictions, and the one way to ask a model anything.

A check sees a model only through `Predictor`, never as an object, a file or a session: whatever answers behind it may
be hostile and lives in another process. Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import Feature, FeatureType, Manifest, Task, canonical_text
from vallum_common.errors import Invalid

if TYPE_CHECKING:
    # Only for its name in a signature: `checks` imports this module.
    from vallum_validator.checks.thresholds import Thresholds

Column: TypeAlias = "NDArray[Any]"
Labels: TypeAlias = "NDArray[np.object_]"
Parameter: TypeAlias = "bool | int | float | str | None"
Probabilities: TypeAlias = "NDArray[np.float64]"


class PredictionFailed(Invalid):
    """The model gave no answer that can be trusted: it crashed, took too long, or answered nonsense.

    One line that names what it did; every check that needs the answer is INCONCLUSIVE with it.
    """


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length by name.

    Args:
        columns: a numeric column is float64 (missing = NaN), a text column an object array of str (missing = None).
    """

    columns: Mapping[str, Column]

    def __post_init__(self) -> None:
        lengths = {name: column.shape for name, column in self.columns.items()}
        if any(len(shape) != 1 for shape in lengths.values()) or len(set(lengths.values())) > 1:
            raise Invalid(f"the columns of a table must be flat and of equal length, got {lengths!r}")
        for name, column in self.columns.items():
            if column.dtype not in (np.dtype(np.float64), np.dtype(object)):
                raise Invalid(f"column {name!r} must be float64 or object (text), got {str(column.dtype)!r}")

    def __len__(self) -> int:
        return next((len(column) for column in self.columns.values()), 0)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Table:
        """Return the named rows, in the order given; a boolean mask keeps its true rows."""
        return Table({name: column[rows] for name, column in self.columns.items()})

    def select(self, names: Sequence[str]) -> Table:
        """Return the named columns, in the order given.

        Raises:
            Invalid: a column is not there.
        """
        absent = [name for name in names if name not in self.columns]
        if absent:
            raise Invalid(f"no column {absent[0]!r} in the table; it has {', '.join(map(repr, self.columns))}")
        return Table({name: self.columns[name] for name in names})

    def with_columns(self, columns: Mapping[str, Column]) -> Table:
        """Return the table with these columns instead of those of the same name, new names at the end."""
        return Table({**self.columns, **columns})


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model answered.

    Args:
        labels: canonical text, shape (rows,); for regression the number as text.
        probabilities: shape (rows, classes), in the order of `Predictor.classes`, each row summing to one; `None` for a
            model that gives labels only, and for regression.
        values: the predicted numbers of a regression, shape (rows,); `None` for classification.
        scores: of a model that tells decision values in place of probabilities, these squashed into [0, 1], shape
            (rows, classes): they say how sure an answer is and promise nothing; otherwise `None`.
    """

    labels: Labels
    probabilities: Probabilities | None
    values: NDArray[np.float64] | None = None
    scores: Probabilities | None = None

    @property
    def sureness(self) -> Probabilities | None:
        """How sure each answer is, as far as the model tells: all that an attacker who can rank needs."""
        return self.scores if self.probabilities is None else self.probabilities

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class QueryLedger:
    """What has been asked of a model so far.

    Args:
        rows: rows predicted.
        calls: messages sent to the worker.
        seconds: wall time spent waiting. It differs from run to run, so it never enters a `CheckResult`.
    """

    rows: int = 0
    calls: int = 0
    seconds: float = 0.0


class Predictor(Protocol):
    """Asks one model."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Canonical class labels in the order of `Predictions.probabilities`; empty before the first prediction."""

    @property
    def features(self) -> Mapping[str, Feature]:
        """The model's inputs as the manifest names them, in order."""

    @property
    def task(self) -> Task:
        """What the model predicts."""

    @property
    def ledger(self) -> QueryLedger:
        """What has been asked so far."""

    @property
    def is_converted(self) -> bool:
        """Whether `predict` asks a conversion, which may round otherwise than the model as submitted."""

    def predict(self, table: Table) -> Predictions:
        """Answer any number of rows; one big table is far cheaper than many small ones.

        Args:
            table: holds at least the feature columns; others are ignored and never reach the model.

        Raises:
            PredictionFailed: there is no answer that can be trusted.
        """

    def predict_original(self, table: Table) -> Predictions:
        """Answer by the model as it was submitted, where `predict` may ask a faster conversion of it.

        What counts against a model or for it row by row (an adversarial example) is confirmed here.

        Raises:
            PredictionFailed: there is no answer that can be trusted.
        """


class Trainer(Predictor, Protocol):
    """Trains models of the submitted one's kind, and asks the last that it trained."""

    @property
    def kind(self) -> str:
        """What is trained, e.g. `RandomForestClassifier`."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Its plain parameters by name, those of nested estimators as `step__name`."""

    @property
    def references(self) -> int:
        """How many models are worth training where their answers are averaged; fewer of a kind that is slow."""

    def train(
        self,
        table: Table,
        truth: NDArray[np.intp],
        *,
        seed: int,
        change: Mapping[str, Parameter],
        reference: bool = False,
    ) -> None:
        """Train one.

        Args:
            table: rows to learn from.
            truth: class of each row, an index into the model's classes, shape (rows,).
            seed: of the model.
            change: parameters that differ from the submitted model's.
            reference: whether it only serves in an average of several, and may be smaller.

        Raises:
            PredictionFailed: it could not be trained.
        """


class Prover(Protocol):
    """Tells how a model is built where that can be read, and searches it by a solver in a process of its own."""

    def structure(self) -> Mapping[str, NDArray[Any]]:
        """Return the trees the model is made of, as its worker told them: hostile until `read_structure` took them.

        Raises:
            Invalid: it is not made of trees that can be read; one line says why.
            PredictionFailed: the model broke off; nothing it said before counts.
        """

    def bound(self, searches: Mapping[str, NDArray[Any]], steps: int) -> Mapping[str, NDArray[Any]]:
        """Bound what trees can add up to; the arrays are those of `sandbox.program.bounds`.

        Raises:
            Invalid: the solver broke off.
        """


class TextHit(NamedTuple):
    """Where a reader of texts found personal data; never what it is.

    Args:
        text: index of the text.
        entity: what was found, in the reader's words.
        recogniser: of its own, which found it.
        score: how sure it is, in [0, 1].
    """

    text: int
    entity: str
    recogniser: str
    score: float


class TextReader(Protocol):
    """Looks for personal data in texts, beside our own search."""

    @property
    def versions(self) -> Mapping[str, str]:
        """What it is made of, by name."""

    def read(self, texts: Sequence[str], context: Sequence[str]) -> list[TextHit]:
        """Look through texts, each by itself.

        Args:
            texts: any.
            context: words about all of them, e.g. of the name of their column.

        Raises:
            Invalid: it gave no answer that can be read.
        """


@dataclass(frozen=True, slots=True)
class Subject:
    """What a check gets to measure.

    Args:
        manifest: of the submission.
        predictor: asks the model; `None` where it could not be run.
        why_not_run: one line why there is no predictor; empty where there is one.
        evaluation: feature columns, label and sensitive columns; `None` with a reason in `missing["evaluation"]`.
        members: rows the model was trained on.
        population: rows of the same source it was not trained on.
        missing: part (`evaluation`, `members`, `population`, `card`) to one line why it is not there.
        card: text of the model card.
        thresholds: the policy the outcome is judged by.
        seed: every random choice comes from it.
        training: opens a trainer of the model's kind, in a process of its own; `None` where it cannot be trained again.
        prover: what can be proved about the model beside asking it; `None` where nothing can.
        presidio: opens the second reader of personal data; `None` where policy does not ask for it.
    """

    manifest: Manifest
    predictor: Predictor | None
    why_not_run: str
    evaluation: Table | None
    members: Table | None
    population: Table | None
    missing: Mapping[str, str]
    card: str | None
    thresholds: Thresholds
    seed: int
    training: Callable[[], AbstractContextManager[Trainer]] | None = None
    prover: Prover | None = None
    presidio: Callable[[], AbstractContextManager[TextReader]] | None = None


def canonical_column(column: Column | Sequence[object]) -> Labels:
    """Return a column as canonical text, None where a value is missing; shape (rows,)."""
    if isinstance(column, np.ndarray) and column.dtype != object:
        distinct, places = np.unique(column, return_inverse=True)
        numbers: Labels = _objects([canonical_text(value) for value in distinct])[places]
        return numbers
    # Keyed by type as well: True equals 1 and is another label.
    keys = [(type(value), value) for value in column]
    spelling = {key: canonical_text(key[1]) for key in set(keys)}
    return _objects([spelling[key] for key in keys])


def _objects(values: Sequence[object]) -> Labels:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def label_order(label: str) -> tuple[bool, float, str]:
    """Return the key that sorts canonical labels as NumPy sorts the originals: numbers by value, then text."""
    try:
        return (False, float(label), label)
    except ValueError:
        return (True, 0.0, label)


def is_text(feature: Feature) -> bool:
    """Whether a feature's column in a `Table` holds canonical text (categorical) rather than numbers."""
    return feature.type is FeatureType.CATEGORICAL


def categories(feature: Feature) -> tuple[str, ...]:
    """Return the canonical text of a feature's `values`, in their order.

    Raises:
        Invalid: one is not finite, or two are the same category, e.g. "1" and "1.0".
    """
    odd = [value for value in feature.values if isinstance(value, float) and not np.isfinite(value)]
    if odd:
        raise Invalid(f"a category must have a value, got {odd[0]!r} in {list(feature.values)!r}")
    texts = tuple(str(canonical_text(value)) for value in feature.values)
    twice = [text for text in texts if texts.count(text) > 1] if len(set(texts)) < len(texts) else []
    if twice:
        raise Invalid(f"two of the values {list(feature.values)!r} are the same category, {twice[0]!r}")
    return texts
