"""Membership inference: telling by a model's answer alone whether a row was in its training data.

Five attacks of different temper, because none dominates: the plain loss; how much likelier the answer is than reference
models find it, as a difference (difficulty) and as a ratio (RMIA); the same in units of the references' spread (LiRA,
offline); and the ratio to what a regression expects this very target to say of a row it has not seen. The reference
models are ours, trained on the population, never on members; each row is judged only by references that have not seen
it, members and population alike, so that without leakage their scores are exchangeable.

Source: Yeom et al. 2018 (loss); Watson et al. 2022 (difficulty); Zarifzadeh, Liu and Shokri 2024 (RMIA, offline form:
with one target model its pairwise test is monotone in the ratio computed here); Carlini et al. 2022 (LiRA, offline);
Bertran et al. 2023 (a regression in place of references; theirs is of quantiles, ours of the mean, put into RMIA's
ratio).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingRegressor, RandomForestClassifier

Floats = NDArray[np.float64]

ATTACKS = ("loss", "difficulty", "rmia", "lira", "regression")
"""Names of the attacks."""

_CLIP = 0.01
"""Forests vote exactly 0 and 1; without clipping one vote more or less would be worth as much as all the others."""
_OFFLINE = 0.3
"""RMIA's `a` in p(x) = ((1 + a) p_out(x) + 1 - a) / 2, which stands in for models trained with x (its section 3)."""
_FOLDS = 3
_TREES = 40
_REGRESSED_FEATURES = 64
"""The regression sees the features the references found most useful: with hundreds, time would go to noise."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows an attack judges.

    Args:
        matrix: shape (rows, features), numbers a forest can take; missing is NaN.
        truth: class of each row.
        own: probability the target gives that class.
    """

    matrix: Floats
    truth: NDArray[np.intp]
    own: Floats

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Rows:
        """Return the named rows."""
        return Rows(self.matrix[rows], self.truth[rows], self.own[rows])


@dataclass(frozen=True, slots=True)
class Scores:
    """How member-like each row looks to one attack; higher is more."""

    members: Floats
    population: Floats


def attack(members: Rows, population: Rows, rng: np.random.Generator) -> Mapping[str, Scores]:
    """Return the scores of every attack by its name.

    Args:
        members: rows the target was trained on.
        population: rows of the same source it was not.
        rng: folds and seeds of the reference models.
    """
    of_members = {name: np.zeros(len(members)) for name in ATTACKS}
    of_population = {name: np.zeros(len(population)) for name in ATTACKS}
    member_fold = rng.permutation(len(members)) % _FOLDS
    population_fold = rng.permutation(len(population)) % _FOLDS
    for fold in range(_FOLDS):
        judge = _Judge(population.take(population_fold != fold), rng)
        for rows, folds, result in ((members, member_fold, of_members), (population, population_fold, of_population)):
            here = folds == fold
            for name, scores in judge.scores(rows.take(here)).items():
                result[name][here] = scores
    return {name: Scores(of_members[name], of_population[name]) for name in ATTACKS}


class _Judge:
    """Everything learned from one part of the population."""

    def __init__(self, known: Rows, rng: np.random.Generator) -> None:
        self.references = [
            kind(_TREES, min_samples_leaf=leaf, random_state=int(rng.integers(2**31)), n_jobs=1).fit(
                known.matrix, known.truth
            )
            for kind, leaf in (
                (RandomForestClassifier, 1),
                (ExtraTreesClassifier, 1),
                (RandomForestClassifier, 4),
                (ExtraTreesClassifier, 4),
            )
        ]
        useful = np.mean([model.feature_importances_ for model in self.references], axis=0)
        self.features = np.sort(np.argsort(-useful, kind="stable")[:_REGRESSED_FEATURES])
        self.regression = HistGradientBoostingRegressor(
            max_iter=60,
            max_leaf_nodes=15,
            min_samples_leaf=20,
            early_stopping=False,
            random_state=int(rng.integers(2**31)),
        ).fit(self._design(known), known.own)

    def scores(self, rows: Rows) -> Mapping[str, Floats]:
        chances = np.stack([_chance(model, rows) for model in self.references])
        logits = _logit(chances)
        variance = logits.var(axis=0, ddof=1)
        # With so few references a variance of its own per row is noise: half of it is everybody's.
        spread = np.sqrt(0.5 * variance + 0.5 * variance.mean() + 1e-6)
        expected = np.clip(self.regression.predict(self._design(rows)), 0.0, 1.0)
        return {
            "loss": rows.own,
            "difficulty": rows.own - chances.mean(axis=0),
            "rmia": _log_ratio(rows.own, chances.mean(axis=0)),
            "lira": (_logit(rows.own) - logits.mean(axis=0)) / spread,
            "regression": _log_ratio(rows.own, expected),
        }

    def _design(self, rows: Rows) -> Floats:
        return np.column_stack([rows.matrix[:, self.features], rows.truth])


def _chance(model: RandomForestClassifier | ExtraTreesClassifier, rows: Rows) -> Floats:
    """Return the probability a reference gives the true class; 0 for a class it has never seen."""
    probabilities = model.predict_proba(rows.matrix)
    place = np.minimum(np.searchsorted(model.classes_, rows.truth), len(model.classes_) - 1)
    known = model.classes_[place] == rows.truth
    return np.where(known, probabilities[np.arange(len(rows)), place], 0.0)


def _log_ratio(own: Floats, outside: Floats) -> Floats:
    ratio: Floats = np.log(np.maximum(own, 1e-4)) - np.log(((1 + _OFFLINE) * outside + 1 - _OFFLINE) / 2)
    return ratio


def _logit(chance: Floats) -> Floats:
    clipped = np.clip(chance, _CLIP, 1 - _CLIP)
    logit: Floats = np.log(clipped / (1 - clipped))
    return logit
