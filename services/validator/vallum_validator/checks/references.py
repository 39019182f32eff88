"""Reference models: what models that never saw a row say of it, lest a row's own difficulty is taken for leakage.

They are trained on the population alone, each on as many rows as the target had, and of the target's kind where it can
be trained again (in the sandbox, see `Trainer`); else they are forests of ours. Every row of the population trains
equally many of them and is judged by all the others; every member is judged by those that some row of the population is
judged by. Without leakage a member and a population row are therefore exchangeable, whatever the references are worth.

Source: Carlini et al. 2022 and Zarifzadeh, Liu and Shokri 2024 (offline references); balanced assignment is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from vallum_common.errors import Invalid
from vallum_validator.checks.truth import Labelled, codes
from vallum_validator.table import Parameter, Trainer

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

FOLDS: Final = 3
"""Parts of rows for everything that is fitted on some rows and asked about others."""
_REGRESSED_FEATURES: Final = 64
"""The regressions see the features a forest finds most useful: with hundreds, time would go to noise."""
_TREES: Final = 40
_KINDS: Final = (
    (RandomForestClassifier, 1),
    (ExtraTreesClassifier, 1),
    (RandomForestClassifier, 4),
    (ExtraTreesClassifier, 20),
)
"""References of ours and their smallest leaf: some that memorise and some that do not, as targets do."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows an attack judges.

    Args:
        matrix: shape (rows, features), numbers a forest can take; missing is NaN.
        truth: class of each row.
        own: probability the target gives that class, or what it tells in its place.
    """

    matrix: Floats
    truth: Places
    own: Floats

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: NDArray[np.bool_] | Places) -> Rows:
        """Return the named rows."""
        return Rows(self.matrix[rows], self.truth[rows], self.own[rows])


def judged(rows: Labelled, matrix: Floats) -> Rows:
    """Return rows with how sure their answer is of the true class; for a label-only model whether it is right.

    Args:
        rows: answered.
        matrix: the same rows as numbers.
    """
    if rows.sureness is None:
        return Rows(matrix, rows.truth, rows.correct.astype(np.float64))
    known = rows.truth < rows.sureness.shape[1]
    chance = rows.sureness[np.arange(len(rows)), np.where(known, rows.truth, 0)]
    return Rows(matrix, rows.truth, np.where(known, chance, 0.0))


@dataclass(frozen=True, slots=True)
class References:
    """What models that never saw a row would say of it: one column of evidence for any number of attacks.

    Args:
        fold: part of each member and of each population row, as a pair.
        chances: probability each reference gives the true class, shape (references, rows), as a pair.
        features: columns that tell most of the label.
        kind: what the references are, in words.
        models: how many were trained.
        rows: each on so many rows.
    """

    fold: tuple[Places, Places]
    chances: tuple[Floats, Floats]
    features: Places
    kind: str
    models: int
    rows: int


class Learner(Protocol):
    """Trains one reference after the other, and asks each."""

    @property
    def kind(self) -> str:
        """What it trains, in words."""

    @property
    def models(self) -> int:
        """How many are worth training."""

    def chances(self, known: Places, asked: tuple[Places, Places], seed: int) -> tuple[Floats, Floats]:
        """Train on the named population rows; return the chance of the true class of the named members and population
        rows.

        Raises:
            Invalid: it could not be trained.
        """


class Forests:
    """Learner of forests in this process, for targets that cannot be trained again.

    Args:
        members: judged, never learned from.
        population: learned from.
    """

    kind = "forests of ours"
    models = 8

    def __init__(self, members: Rows, population: Rows) -> None:
        self._rows = (members, population)

    def chances(self, known: Places, asked: tuple[Places, Places], seed: int) -> tuple[Floats, Floats]:
        """See `Learner`."""
        kind, leaf = _KINDS[seed % len(_KINDS)]
        rows = self._rows[1].take(known)
        model = kind(_TREES, min_samples_leaf=leaf, random_state=seed, n_jobs=1).fit(rows.matrix, rows.truth)
        first, second = (_chance(model, part.take(places)) for part, places in zip(self._rows, asked, strict=True))
        return first, second


class OwnKind:
    """Learner of models of the target's own kind, in the sandbox.

    Args:
        trainer: trains them.
        classes: those of the target.
        rows: members, which are judged and never learned from, and population.
        change: parameters that differ from the target's.
    """

    def __init__(
        self,
        trainer: Trainer,
        classes: Sequence[str],
        rows: tuple[Labelled, Labelled],
        change: Mapping[str, Parameter] | None = None,
    ) -> None:
        self._trainer = trainer
        self._classes = tuple(classes)
        self._rows = rows
        self._change = change or {}
        self.kind = f"the model's own kind ({trainer.kind})"
        self.models = trainer.references

    def chances(self, known: Places, asked: tuple[Places, Places], seed: int) -> tuple[Floats, Floats]:
        """See `Learner`."""
        teach(self._trainer, self._classes, self._rows[1].take(known), seed=seed, change=self._change, reference=True)
        first, second = (
            chance_of(self._trainer, self._classes, part.take(places))
            for part, places in zip(self._rows, asked, strict=True)
        )
        return first, second


def teach(
    trainer: Trainer,
    classes: Sequence[str],
    rows: Labelled,
    *,
    seed: int,
    change: Mapping[str, Parameter],
    reference: bool = False,
) -> None:
    """Train on rows of the classes that the model knows.

    Raises:
        PredictionFailed: it could not be trained.
    """
    known = rows.take(rows.truth < len(classes))
    trainer.train(known.table, known.truth, seed=seed, change=change, reference=reference)


def chance_of(trainer: Trainer, classes: Sequence[str], rows: Labelled) -> Floats:
    """Return the probability that what was trained last gives the true class of each row.

    Raises:
        Invalid: it does not know the classes the model knows.
    """
    answer = trainer.predict(rows.table)
    if trainer.classes != tuple(classes):
        raise Invalid(f"trained again, the model knows the classes {trainer.classes!r} instead of {tuple(classes)!r}")
    if answer.probabilities is None:
        return np.asarray(codes(answer, rows) == rows.truth, dtype=np.float64)
    known = rows.truth < answer.probabilities.shape[1]
    chance = answer.probabilities[np.arange(len(rows)), np.where(known, rows.truth, 0)]
    return np.where(known, chance, 0.0)


def train_references(
    members: Rows, population: Rows, rng: np.random.Generator, learner: Learner | None = None
) -> References:
    """Train references on parts of the population, and ask each about the rows it has not seen.

    Args:
        members: rows the target was trained on; judged, never learned from.
        population: rows of the same source it was not.
        rng: parts and seeds.
        learner: trains the references; forests of ours by default.

    Raises:
        Invalid: the learner could not train.
    """
    learner = learner or Forests(members, population)
    fold = (rng.permutation(len(members)) % FOLDS, rng.permutation(len(population)) % FOLDS)
    trains, share = _assigned(len(population), len(members), learner.models, rng)
    seen = (trains[rng.integers(len(population), size=len(members))], trains)
    chances = tuple(np.empty((learner.models - share, len(rows))) for rows in (members, population))
    filled = tuple(np.zeros(len(rows), dtype=np.intp) for rows in (members, population))
    used = 0
    for model in range(learner.models):
        known = rng.permutation(np.flatnonzero(trains[:, model]))[: len(members)]
        used = max(used, len(known))
        asked = (np.flatnonzero(~seen[0][:, model]), np.flatnonzero(~seen[1][:, model]))
        answers = learner.chances(np.sort(known), asked, model)
        for result, place, rows, answer in zip(chances, filled, asked, answers, strict=True):
            result[place[rows], rows] = answer
            place[rows] += 1
    return References(
        fold=fold,
        chances=(chances[0], chances[1]),
        features=_useful(population),
        kind=learner.kind,
        models=learner.models,
        rows=used,
    )


def _assigned(population: int, members: int, models: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], int]:
    """Return which references each row trains, shape (rows, references), and how many that is for every row.

    As many rows each as the target had, where the population has them, and never more than half of it.
    """
    share = max(1, round(models * min(0.5, members / population)))
    places = np.argsort(rng.random((population, models)), axis=1, kind="stable")[:, :share]
    trains = np.zeros((population, models), dtype=bool)
    np.put_along_axis(trains, places, True, axis=1)
    return trains, share


def _useful(population: Rows) -> Places:
    width = population.matrix.shape[1]
    if width <= _REGRESSED_FEATURES:
        return np.arange(width)
    forest = ExtraTreesClassifier(20, max_depth=8, random_state=0, n_jobs=1).fit(population.matrix, population.truth)
    return np.sort(np.argsort(-forest.feature_importances_, kind="stable")[:_REGRESSED_FEATURES])


def _chance(model: RandomForestClassifier | ExtraTreesClassifier, rows: Rows) -> Floats:
    """Return the probability a reference gives the true class; 0 for a class it has never seen."""
    probabilities = model.predict_proba(rows.matrix)
    place = np.minimum(np.searchsorted(model.classes_, rows.truth), len(model.classes_) - 1)
    known = model.classes_[place] == rows.truth
    return np.where(known, probabilities[np.arange(len(rows)), place], 0.0)
