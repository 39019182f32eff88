"""Membership inference: telling by a model's answer alone whether a row was in its training data.

Eight attacks of different temper, because none dominates: the plain loss; how much likelier the answer is than
reference models find it, as a difference (difficulty) and as a ratio (RMIA); the same in units of the references'
spread (LiRA, offline); the ratio to, the difference from, and the excess over an upper quantile of, what a regression
expects this very target to say of a row it has not seen; and a learned one that weighs all of these, having been told
of other rows whether they were members. It knows more than most attackers do: it bounds what others might have found.

Source: Yeom et al. 2018 (loss); Watson et al. 2022 (difficulty); Zarifzadeh, Liu and Shokri 2024 (RMIA, offline form:
with one target model its pairwise test is monotone in the ratio computed here); Carlini et al. 2022 (LiRA, offline);
Bertran et al. 2023 (quantile; the two of the mean are ours); Shokri et al. 2017 (learned; theirs from shadow
models).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from vallum_validator.checks.references import FOLDS, Floats, Places, References, Rows

ATTACKS: Final = ("loss", "difficulty", "rmia", "lira", "regression", "residual", "quantile", "learned")
"""Names of the attacks."""

_CLIP: Final = 0.005
"""Forests vote exactly 0 and 1; without clipping one vote more or less would be worth as much as all the others. Half a
vote of a hundred trees."""
_OFFLINE: Final = 0.3
"""RMIA's `a` in p(x) = ((1 + a) p_out(x) + 1 - a) / 2, which stands in for models trained with x (its section 3)."""
_QUANTILE: Final = 0.9
"""Of what the target says of rows it has not seen. Higher ones leave the regression too few rows to learn from."""
_QUANTILE_FEATURES: Final = 16
"""A quantile costs ten times what a mean does."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How member-like each row looks to one attack; higher is more."""

    members: Floats
    population: Floats


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Members and, after them, population: everything attacks are made of; each array has a place for every row."""

    rows: Rows
    belongs: Places
    fold: Places
    chances: Floats
    features: Places


def attack(members: Rows, population: Rows, references: References, rng: np.random.Generator) -> Mapping[str, Scores]:
    """Return the scores of every attack by its name.

    Args:
        members: rows the target was trained on.
        population: rows of the same source it was not.
        references: of exactly these rows.
        rng: seeds of what is fitted.
    """
    evidence = _Evidence(
        rows=Rows(
            np.concatenate([members.matrix, population.matrix]),
            np.concatenate([members.truth, population.truth]),
            np.concatenate([members.own, population.own]),
        ),
        belongs=np.repeat([1, 0], [len(members), len(population)]),
        fold=np.concatenate(references.fold),
        chances=np.concatenate(references.chances, axis=1),
        features=references.features,
    )
    count = len(members)
    return {name: Scores(scores[:count], scores[count:]) for name, scores in _scores(evidence, rng).items()}


def _scores(evidence: _Evidence, rng: np.random.Generator) -> dict[str, Floats]:
    own, outside, logits = evidence.rows.own, evidence.chances.mean(axis=0), _logit(evidence.chances)
    typical = logits.mean(axis=0)
    variance = logits.var(axis=0, ddof=1) if len(logits) > 1 else np.zeros(len(own))
    # With so few references a variance of its own per row is noise: half of it is everybody's.
    spread = np.sqrt(0.5 * variance + 0.5 * variance.mean() + 1e-6)
    expected = _expected(evidence, outside, typical, rng)
    scores = {
        "loss": own,
        "difficulty": own - outside,
        "rmia": _log_ratio(own, outside),
        "lira": (_logit(own) - typical) / spread,
        "regression": _log_ratio(own, expected),
        "residual": own - expected,
        "quantile": own - _upper(evidence, outside, rng),
    }
    design = np.column_stack(
        [
            *scores.values(),
            _logit(own),
            typical,
            np.sqrt(variance),
            outside,
            expected,
            _logit(own) - _logit(expected),
            logits.min(axis=0),
            logits.max(axis=0),
            evidence.rows.truth,
        ]
    )
    return {**scores, "learned": _learned(evidence, design, rng)}


def _expected(evidence: _Evidence, outside: Floats, typical: Floats, rng: np.random.Generator) -> Floats:
    """Return what a regression on other rows' answers expects the target to say of each row."""
    design = np.column_stack([evidence.rows.matrix[:, evidence.features], evidence.rows.truth, outside, typical])
    return _foreseen(evidence, design, rng, loss="squared_error", max_iter=60)


def _upper(evidence: _Evidence, outside: Floats, rng: np.random.Generator) -> Floats:
    """Return what the target's answer would exceed once in ten times, had it not seen the row."""
    few = evidence.features[:_QUANTILE_FEATURES]
    design = np.column_stack([evidence.rows.matrix[:, few], evidence.rows.truth, outside])
    return _foreseen(evidence, design, rng, loss="quantile", quantile=_QUANTILE, max_iter=30)


def _foreseen(evidence: _Evidence, design: Floats, rng: np.random.Generator, **options: object) -> Floats:
    """Fit a regression of the target's answers on population rows of the other parts, for the rows of each part."""
    foreseen = np.empty(len(design))
    for part in range(FOLDS):
        here = evidence.fold == part
        known = ~here & (evidence.belongs == 0)
        model = HistGradientBoostingRegressor(
            max_leaf_nodes=15,
            min_samples_leaf=20,
            early_stopping=False,
            random_state=int(rng.integers(2**31)),
            **options,
        ).fit(design[known], evidence.rows.own[known])
        foreseen[here] = np.clip(model.predict(design[here]), 0.0, 1.0)
    return foreseen


def _learned(evidence: _Evidence, design: Floats, rng: np.random.Generator) -> Floats:
    """Fit on the other parts who was a member, by what all attacks see of a row; never by the row itself."""
    scores = np.empty(len(design))
    for part in range(FOLDS):
        here = evidence.fold == part
        model = HistGradientBoostingClassifier(
            max_iter=60,
            learning_rate=0.08,
            max_leaf_nodes=8,
            min_samples_leaf=40,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=int(rng.integers(2**31)),
        ).fit(design[~here], evidence.belongs[~here])
        scores[here] = model.decision_function(design[here])
    return scores


def _log_ratio(own: Floats, outside: Floats) -> Floats:
    ratio: Floats = np.log(np.maximum(own, 1e-4)) - np.log(((1 + _OFFLINE) * outside + 1 - _OFFLINE) / 2)
    return ratio


def _logit(chance: Floats) -> Floats:
    clipped = np.clip(chance, _CLIP, 1 - _CLIP)
    logit: Floats = np.log(clipped / (1 - clipped))
    return logit
