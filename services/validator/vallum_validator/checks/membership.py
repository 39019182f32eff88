"""Membership inference: telling by a model's answer alone whether a row was in its training data.

Four attacks of different temper, because none dominates: the plain loss, the likelihood ratio against reference models
(RMIA), the ratio in units of the references' spread (LiRA, offline), and a regression of what the model says of rows it
has not seen (quantile attack). Reference models are ours, trained on the population, never on members; each row is
judged only by references that have not seen it, members and population alike, so that without leakage their scores are
exchangeable.

Source: Yeom et al. 2018 (loss); Zarifzadeh, Liu and Shokri 2024 (RMIA, offline form); Carlini et al. 2022 (LiRA,
offline); Bertran et al. 2023 (quantile regression). With one target model RMIA's pairwise test is monotone in its
ratio, which is what is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingRegressor, RandomForestClassifier

Floats = NDArray[np.float64]

_CLIP = 1e-4
"""Forests vote exactly 0 and 1; without clipping a logit would be infinite."""
_OFFLINE = 0.3
"""RMIA's `a` in p(x) = ((1 + a) p_out(x) + 1 - a) / 2, which stands in for models trained with x (its section 3)."""
_FOLDS = 3
_REFERENCES = 4
_TREES = 40


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows an attack judges.

    Args:
        matrix: shape (rows, features), numbers; missing is NaN.
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
        rng: folds, subsamples and seeds of the reference models.
    """
    names = ("loss", "rmia", "lira", "quantile")
    of_members = {name: np.zeros(len(members)) for name in names}
    of_population = {name: np.zeros(len(population)) for name in names}
    member_fold = rng.integers(_FOLDS, size=len(members))
    population_fold = rng.permutation(len(population)) % _FOLDS
    for fold in range(_FOLDS):
        known = population.take(population_fold != fold)
        judge = _Judge(known, rng)
        for rows, folds, result in ((members, member_fold, of_members), (population, population_fold, of_population)):
            judged = rows.take(folds == fold)
            for name, scores in judge.scores(judged).items():
                result[name][folds == fold] = scores
    return {name: Scores(of_members[name], of_population[name]) for name in names}


class _Judge:
    """Everything learned from one part of the population."""

    def __init__(self, known: Rows, rng: np.random.Generator) -> None:
        self.classes = np.unique(known.truth)
        self.references = [_reference(known, place, rng) for place in range(_REFERENCES)]
        score, design = _logit(known.own), _design(known)
        self.centre = _regressor(rng).fit(design, score)
        residual = np.abs(score - _out_of_sample(design, score, rng))
        self.spread = _regressor(rng).fit(design, residual)
        self.least_spread = max(float(np.mean(residual)) * 0.1, 1e-3)

    def scores(self, rows: Rows) -> Mapping[str, Floats]:
        own = _logit(rows.own)
        if not len(rows):
            return dict.fromkeys(("loss", "rmia", "lira", "quantile"), own)
        chances = np.stack([_chance(model, rows) for model in self.references])
        references = _logit(chances)
        population = ((1 + _OFFLINE) * chances.mean(axis=0) + 1 - _OFFLINE) / 2
        variance = references.var(axis=0, ddof=1)
        # With so few references a variance of its own per row is noise: half of it is everybody's.
        shrunk = 0.5 * variance + 0.5 * variance.mean()
        design = _design(rows)
        spread = np.maximum(self.spread.predict(design), self.least_spread)
        return {
            "loss": own,
            "rmia": np.log(np.clip(rows.own, _CLIP, None)) - np.log(population),
            "lira": (own - references.mean(axis=0)) / np.sqrt(shrunk + 1e-6),
            "quantile": (own - self.centre.predict(design)) / spread,
        }


def _reference(known: Rows, place: int, rng: np.random.Generator) -> RandomForestClassifier | ExtraTreesClassifier:
    seed = int(rng.integers(2**31))
    kind = (RandomForestClassifier, ExtraTreesClassifier)[place % 2]
    leaf = (1, 1, 5, 5)[place % 4]
    model = kind(_TREES, min_samples_leaf=leaf, random_state=seed, n_jobs=1)
    chosen = rng.random(len(known)) < 0.8
    return model.fit(known.matrix[chosen], known.truth[chosen])


def _chance(model: RandomForestClassifier | ExtraTreesClassifier, rows: Rows) -> Floats:
    probabilities = model.predict_proba(rows.matrix)
    place = np.searchsorted(model.classes_, rows.truth)
    place = np.minimum(place, len(model.classes_) - 1)
    known = model.classes_[place] == rows.truth
    return np.where(known, probabilities[np.arange(len(rows)), place], 0.0)


def _regressor(rng: np.random.Generator) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        max_iter=60,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        learning_rate=0.1,
        early_stopping=False,
        random_state=int(rng.integers(2**31)),
    )


def _out_of_sample(design: Floats, score: Floats, rng: np.random.Generator) -> Floats:
    half = rng.random(len(score)) < 0.5
    result = np.empty(len(score))
    for part in (half, ~half):
        result[part] = _regressor(rng).fit(design[~part], score[~part]).predict(design[part])
    return result


def _design(rows: Rows) -> Floats:
    return np.column_stack([rows.matrix, rows.truth])


def _logit(chance: Floats) -> Floats:
    clipped = np.clip(chance, _CLIP, 1 - _CLIP)
    logit: Floats = np.log(clipped / (1 - clipped))
    return logit
