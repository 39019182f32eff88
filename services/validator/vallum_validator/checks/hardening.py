"""What would help a model that failed, tried and measured: before, after, and what it costs in accuracy.

Recommendations, not verdicts: the submitted model stays what it is. Tried are measures around it (telling less, voting
over nearby rows) and, where it can be trained again and members are given, training it otherwise, inside the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import Feature, FeatureType, Task
from vallum_common.errors import Invalid
from vallum_validator.checks.leakage import leakage
from vallum_validator.checks.membership import attack
from vallum_validator.checks.references import OwnKind, References, Rows, chance_of, teach, train_references
from vallum_validator.checks.space import Matrix, Space
from vallum_validator.checks.truth import Labelled, codes
from vallum_validator.domain.evidence import Detail
from vallum_validator.table import Parameter, Predictions, Predictor, QueryLedger, Table, Trainer

COPIES: Final = 9
"""Votes of a smoothed model: odd, and few enough to serve."""
CANDIDATES: Final = 3
"""Stricter trainings tried: each costs as much as the check did."""


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


@dataclass(frozen=True, slots=True)
class Attacked:
    """A model under membership inference.

    Args:
        rows: members and population as the attacks judge them.
        answered: the same rows with their answers.
        references: of these rows.
    """

    rows: tuple[Rows, Rows]
    answered: tuple[Labelled, Labelled]
    references: References


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to become smaller.

    Args:
        before: true positive rate at `rate` as submitted.
        rate: false positive rate.
        confidence: of the bounds.
    """

    before: float
    rate: float
    confidence: float


def tell_less(attacked: Attacked, goal: Goal, rng: np.random.Generator) -> list[Trial]:
    """Try rounding the probabilities and giving labels only against membership inference; accuracy stays what it is.

    Args:
        attacked: the model as submitted.
        goal: what is to become smaller.
        rng: seeds of the attack.
    """
    accuracy = float(attacked.answered[1].correct.mean())
    trials = []
    for measure, told in (
        ("round probabilities to one decimal", [np.round(part.own, 1) for part in attacked.rows]),
        ("give labels without probabilities", [part.correct.astype(np.float64) for part in attacked.answered]),
    ):
        members, population = (
            Rows(part.matrix, part.truth, own) for part, own in zip(attacked.rows, told, strict=True)
        )
        point = leakage(attack(members, population, attacked.references, rng), goal.rate, goal.confidence).points
        found = point[goal.rate]
        trials.append(
            Trial(measure, goal.before, found.rate, found.interval.low, found.interval.high, accuracy, accuracy)
        )
    return trials


def train_otherwise(
    trainer: Trainer, classes: Sequence[str], attacked: Attacked, goal: Goal, rng: np.random.Generator
) -> list[Trial]:
    """Try stricter training on the given members: each candidate is trained, attacked with references trained the same
    way, and measured on the population.

    Args:
        trainer: of the model's kind.
        classes: of the model.
        attacked: the model as submitted.
        goal: what is to become smaller.
        rng: seeds of models and attacks.

    Returns:
        those that could be trained; empty where no parameter is known to help.
    """
    members, population = attacked.answered
    trials = []
    for change in stricter(trainer.parameters):
        try:
            teach(trainer, classes, members, seed=int(rng.integers(2**31)), change=change)
            chances = [chance_of(trainer, classes, part) for part in attacked.answered]
            right = codes(trainer.predict(population.table), population) == population.truth
            rows = tuple(Rows(part.matrix, part.truth, own) for part, own in zip(attacked.rows, chances, strict=True))
            learner = OwnKind(trainer, classes, attacked.answered, change)
            learner.models = max(2, learner.models // 2)
            references = train_references(rows[0], rows[1], rng, learner)
        except Invalid:
            # A parameter that cannot be set so, or a trainer that is gone: what was measured before stands.
            continue
        found = leakage(attack(rows[0], rows[1], references, rng), goal.rate, goal.confidence).points[goal.rate]
        trials.append(
            Trial(
                measure=f"train with {', '.join(f'{name}={value}' for name, value in change.items())}",
                before=goal.before,
                after=found.rate,
                low=found.interval.low,
                high=found.interval.high,
                accuracy_before=float(population.correct.mean()),
                accuracy_after=float(right.mean()),
            )
        )
    return trials


def stricter(parameters: Mapping[str, Parameter]) -> list[dict[str, Parameter]]:
    """Return changes of parameters that leave a model less to remember single rows by, the most telling first.

    Args:
        parameters: of the model by name; a nested one is known by the part behind the last `__`.
    """
    changes: list[dict[str, Parameter]] = []
    for known, tighten in _STRICTER.items():
        for name, value in parameters.items():
            tighter = tighten(value) if name.rpartition("__")[2] == known else value
            if tighter != value:
                changes.append({name: tighter})
    return changes[:CANDIDATES]


def _at_least(least: int) -> Callable[[Parameter], Parameter]:
    def tighten(value: Parameter) -> Parameter:
        if isinstance(value, float | str):
            return value
        return 5 * value if value and value >= least else least

    return tighten


def _at_most(most: int) -> Callable[[Parameter], Parameter]:
    return lambda value: value if isinstance(value, int) and 0 < value <= most else most


def _times(factor: float, least: float = 0.0) -> Callable[[Parameter], Parameter]:
    return lambda value: max(least, factor * value) if isinstance(value, int | float) else (least or value)


_STRICTER: Final[Mapping[str, Callable[[Parameter], Parameter]]] = {
    "min_samples_leaf": _at_least(20),
    "min_child_samples": _at_least(100),
    "min_child_weight": _at_least(20),
    "alpha": _times(100.0, 1.0),
    "C": _times(0.01),
    "n_neighbors": _at_least(25),
    "early_stopping": lambda _: True,
    "max_depth": _at_most(5),
    "max_leaf_nodes": _at_most(8),
    "num_leaves": _at_most(8),
    "l2_regularization": _times(10.0, 10.0),
    "reg_lambda": _times(10.0, 10.0),
}
"""What scikit-learn, XGBoost and LightGBM call it when a model is held back, and how much further each is turned."""


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

    @property
    def is_converted(self) -> bool:
        """Whether the model is."""
        return self._inner.is_converted

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
        if answer.sureness is None:
            return Predictions(_most_frequent(answer.labels.reshape(COPIES, -1)), None)
        mean = answer.sureness.reshape(COPIES, len(rows), -1).mean(axis=0)
        labels = np.array(self.classes, dtype=object)[mean.argmax(axis=1)]
        return Predictions(labels, mean) if answer.scores is None else Predictions(labels, None, scores=mean)


def _most_frequent(labels: NDArray[np.object_]) -> NDArray[np.object_]:
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    votes = np.stack([(codes.reshape(labels.shape) == place).sum(axis=0) for place in range(len(names))])
    return np.asarray(names.astype(object)[votes.argmax(axis=0)])
