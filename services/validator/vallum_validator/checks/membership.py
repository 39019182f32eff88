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
_KINDS = (
    (RandomForestClassifier, 1),
    (ExtraTreesClassifier, 1),
    (RandomForestClassifier, 4),
    (ExtraTreesClassifier, 4),
)
"""Reference models and their smallest leaf: some that memorise and some that do not, as targets do."""
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


@dataclass(frozen=True, slots=True)
class References:
    """What models that never saw a row would say of it: one column of evidence for any number of attacks.

    Args:
        fold: which part each population row, and each member, was judged in, as a pair.
        chances: probability each reference gives the true class, shape (references, rows), as a pair.
        features: columns the references of each part found most useful.
    """

    fold: tuple[NDArray[np.intp], NDArray[np.intp]]
    chances: tuple[Floats, Floats]
    features: tuple[NDArray[np.intp], ...]


def train_references(members: Rows, population: Rows, rng: np.random.Generator) -> References:
    """Train references on the population, part by part, and ask each about the rows of the part it has not seen.

    Args:
        members: rows the target was trained on; judged, never learned from.
        population: rows of the same source it was not.
        rng: parts and seeds.
    """
    folds = tuple(rng.permutation(len(rows)) % _FOLDS for rows in (members, population))
    chances = tuple(np.empty((len(_KINDS), len(rows))) for rows in (members, population))
    features = []
    for part in range(_FOLDS):
        known = population.take(folds[1] != part)
        models = [
            kind(_TREES, min_samples_leaf=leaf, random_state=int(rng.integers(2**31)), n_jobs=1).fit(
                known.matrix, known.truth
            )
            for kind, leaf in _KINDS
        ]
        useful = np.mean([model.feature_importances_ for model in models], axis=0)
        features.append(np.sort(np.argsort(-useful, kind="stable")[:_REGRESSED_FEATURES]))
        for rows, fold, result in zip((members, population), folds, chances, strict=True):
            judged = rows.take(fold == part)
            for place, model in enumerate(models):
                result[place, fold == part] = _chance(model, judged)
    return References((folds[0], folds[1]), (chances[0], chances[1]), tuple(features))


def attack(members: Rows, population: Rows, references: References, rng: np.random.Generator) -> Mapping[str, Scores]:
    """Return the scores of every attack by its name.

    Args:
        members: rows the target was trained on.
        population: rows of the same source it was not.
        references: of exactly these rows.
        rng: seeds of the regression.
    """
    expected = _expected(members, population, references, rng)
    of_members, of_population = (
        _scores(rows, chances, outside)
        for rows, chances, outside in zip((members, population), references.chances, expected, strict=True)
    )
    return {name: Scores(of_members[name], of_population[name]) for name in ATTACKS}


def _expected(
    members: Rows, population: Rows, references: References, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return what a regression on other rows' answers expects the target to say of each row."""
    expected = (np.empty(len(members)), np.empty(len(population)))
    for part, features in enumerate(references.features):
        known = population.take(references.fold[1] != part)
        model = HistGradientBoostingRegressor(
            max_iter=60,
            max_leaf_nodes=15,
            min_samples_leaf=20,
            early_stopping=False,
            random_state=int(rng.integers(2**31)),
        ).fit(_design(known, features), known.own)
        for rows, fold, result in zip((members, population), references.fold, expected, strict=True):
            here = fold == part
            result[here] = np.clip(model.predict(_design(rows.take(here), features)), 0.0, 1.0)
    return expected


def _scores(rows: Rows, chances: Floats, expected: Floats) -> Mapping[str, Floats]:
    logits = _logit(chances)
    variance = logits.var(axis=0, ddof=1)
    # With so few references a variance of its own per row is noise: half of it is everybody's.
    spread = np.sqrt(0.5 * variance + 0.5 * variance.mean() + 1e-6)
    return {
        "loss": rows.own,
        "difficulty": rows.own - chances.mean(axis=0),
        "rmia": _log_ratio(rows.own, chances.mean(axis=0)),
        "lira": (_logit(rows.own) - logits.mean(axis=0)) / spread,
        "regression": _log_ratio(rows.own, expected),
    }


def _design(rows: Rows, features: NDArray[np.intp]) -> Floats:
    return np.column_stack([rows.matrix[:, features], rows.truth])


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
