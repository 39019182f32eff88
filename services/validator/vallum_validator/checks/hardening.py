"""What would help a model that failed, tried and measured: before, after, and what it costs in accuracy.

Recommendations, not verdicts: the submitted model stays what it is. Only measures around a model are tried (telling
less, voting over nearby rows); better training is the submitter's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import Feature, FeatureType, Task
from vallum_validator.checks.leakage import leakage
from vallum_validator.checks.membership import References, Rows, attack
from vallum_validator.checks.space import Matrix, Space
from vallum_validator.checks.truth import Labelled
from vallum_validator.domain import Detail
from vallum_validator.table import Predictions, Predictor, QueryLedger, Table

COPIES = 9
"""Votes of a smoothed model: odd, and few enough to serve."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One measure, tried.

    Args:
        measure: what to do, as a recommendation.
        before: the check's value as submitted.
        after: with the measure.
        low: lower end of the interval of `after`.
        high: upper end.
        accuracy_before: as submitted.
        accuracy_after: with the measure.
    """

    measure: str
    before: float
    after: float
    low: float
    high: float
    accuracy_before: float
    accuracy_after: float

    def detail(self) -> dict[str, Detail]:
        """Return the trial as evidence."""
        return {name: getattr(self, name) for name in self.__slots__}


def tell_less(
    rows: tuple[Rows, Rows],
    labelled: tuple[Labelled, Labelled],
    references: References,
    *,
    before: float,
    rate: float,
    confidence: float,
    rng: np.random.Generator,
) -> list[Trial]:
    """Try rounding the probabilities and giving labels only against membership inference; accuracy stays what it is.

    Args:
        rows: members and population as the attack judged them.
        labelled: the same rows with their answers.
        references: of these rows.
        before: true positive rate at `rate` as submitted.
        rate: false positive rate.
        confidence: of the bounds.
        rng: seeds of the attack.
    """
    accuracy = float(labelled[1].correct.mean())
    trials = []
    for measure, told in (
        ("round probabilities to one decimal", [np.round(part.own, 1) for part in rows]),
        ("give labels without probabilities", [part.correct.astype(np.float64) for part in labelled]),
    ):
        members, population = (Rows(part.matrix, part.truth, own) for part, own in zip(rows, told, strict=True))
        point = leakage(attack(members, population, references, rng), rate, confidence).points[rate]
        trials.append(Trial(measure, before, point.rate, point.interval.low, point.interval.high, accuracy, accuracy))
    return trials


class VotingPredictor:
    """A model wrapped so that it answers with the mean over fixed small moves of the row: smoothing one could deploy.

    The moves are drawn once, so that the wrapped model gives the same answer to the same row.

    Args:
        inner: the model.
        space: which features move and how far.
        rng: draws the moves.
    """

    def __init__(self, inner: Predictor, space: Space, rng: np.random.Generator) -> None:
        self._inner = inner
        self._space = space
        step = np.array([0.0 if axis.jumps else axis.step for axis in space.axes])
        moves = rng.uniform(-1.0, 1.0, size=(COPIES, len(step))) * step
        whole = [axis.kind is FeatureType.INTEGER for axis in space.axes]
        self._moves: Matrix = np.where(whole, np.round(moves), moves)

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the model."""
        return self._inner.classes

    @property
    def features(self) -> Mapping[str, Feature]:
        """Those of the model."""
        return self._inner.features

    @property
    def task(self) -> Task:
        """That of the model."""
        return self._inner.task

    @property
    def ledger(self) -> QueryLedger:
        """What the model was asked, every copy counted."""
        return self._inner.ledger

    def predict(self, table: Table) -> Predictions:
        """Answer with the mean of the probabilities, or with the most frequent label where there are none.

        Raises:
            PredictionFailed: the model gave no answer that can be trusted.
        """
        return self._vote(self._inner.predict, table)

    def predict_original(self, table: Table) -> Predictions:
        """Answer the same by the model as it was submitted.

        Raises:
            PredictionFailed: the model gave no answer that can be trusted.
        """
        return self._vote(self._inner.predict_original, table)

    def _vote(self, predict: Callable[[Table], Predictions], table: Table) -> Predictions:
        rows = self._space.encode(table)
        low, high = self._space.box(rows)
        copies = np.clip(rows[None] + self._moves[:, None], low, high)
        answer = predict(self._space.decode(copies.reshape(-1, rows.shape[1])))
        if answer.probabilities is None:
            return Predictions(_most_frequent(answer.labels.reshape(COPIES, -1)), None)
        mean = answer.probabilities.reshape(COPIES, len(rows), -1).mean(axis=0)
        names = np.array(self.classes, dtype=object)
        return Predictions(names[mean.argmax(axis=1)], mean)


def _most_frequent(labels: NDArray[np.object_]) -> NDArray[np.object_]:
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    votes = np.stack([(codes.reshape(labels.shape) == place).sum(axis=0) for place in range(len(names))])
    return np.asarray(names.astype(object)[votes.argmax(axis=0)])
