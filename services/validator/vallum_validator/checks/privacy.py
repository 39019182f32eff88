"""`data_privacy`: whether an attacker who sees only answers can tell which rows the model was trained on.

The headline is the true positive rate at 1 % false positives of the worst attack: an average (AUC, accuracy) hides the
few rows that leak completely, and those are people. Attacks that fail prove nothing about stronger ones.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from vallum_common.errors import Invalid
from vallum_validator.checks.hardening import tell_less
from vallum_validator.checks.intervals import area_bounds, clopper_pearson
from vallum_validator.checks.leakage import Leakage, leakage
from vallum_validator.checks.membership import ATTACKS, References, Rows, attack, train_references
from vallum_validator.checks.sequential import outcome_below
from vallum_validator.checks.space import build_space
from vallum_validator.checks.thresholds import Privacy
from vallum_validator.checks.truth import Labelled, labelled, part
from vallum_validator.domain import CheckResult, Detail, Interval, Outcome
from vallum_validator.table import Subject

NAME = "data_privacy"

_BLIND_FEATURES = 64
"""Features the blind model looks at for each split; more only cost time."""


def check(subject: Subject) -> CheckResult:
    """Measure membership leakage.

    Raises:
        Invalid: a part of the bundle or the model is missing or unusable, rows are too few, or members and population
            are not of the same source; says which.
        PredictionFailed: the model gave no answer that can be trusted.
    """
    policy = subject.thresholds.data_privacy
    rng = np.random.default_rng([subject.seed, 2])
    limit = policy.true_positive_rate.at(subject.manifest.model.tier)
    rate, confidence = policy.false_positive_rate.value, policy.confidence.value
    for name in ("members", "population"):
        part(subject, name)
    members, population = (_sample(subject, name, rng) for name in ("members", "population"))
    rows = _rows(subject, members, population)
    source = _one_source(*rows, policy, rng)
    references = train_references(*rows, rng)
    found = leakage(attack(*rows, references, rng), rate, confidence)
    point = found.points[rate]
    allowed = math.log(limit / rate) if limit > rate else 0.0
    outcome = outcome_below(point.interval, limit)
    if found.epsilon > allowed:
        outcome = Outcome.FAIL
    failed = outcome is Outcome.FAIL
    return CheckResult(
        name=NAME,
        outcome=outcome,
        value=point.rate,
        interval=point.interval,
        confidence=confidence,
        samples=len(members) + len(population),
        method=f"membership-inference({','.join(ATTACKS)};worst-tpr@fpr={rate:g})+order-statistics+clopper-pearson",
        seed=subject.seed,
        reason=_reason(outcome, found, limit, rate, allowed),
        details=_details(subject, found, members, population)
        | source
        | {"hardening": _hardening(subject, rows, (members, population), references, point.rate) if failed else []},
    )


def _hardening(
    subject: Subject,
    rows: tuple[Rows, Rows],
    answered: tuple[Labelled, Labelled],
    references: References,
    before: float,
) -> list[Detail]:
    policy = subject.thresholds.data_privacy
    trials = tell_less(
        rows,
        answered,
        references,
        before=before,
        rate=policy.false_positive_rate.value,
        confidence=policy.confidence.value,
        rng=np.random.default_rng([subject.seed, 2, 1]),
    )
    return [trial.detail() for trial in trials]


def _sample(subject: Subject, name: str, rng: np.random.Generator) -> Labelled:
    policy = subject.thresholds.data_privacy
    rows = labelled(subject, name)
    if len(rows) < policy.least_rows.value:
        raise Invalid(f"data.{name} has {len(rows)} labelled rows; at least {policy.least_rows.value:.0f} are needed")
    most = int(policy.most_rows.value)
    return rows if len(rows) <= most else rows.take(np.sort(rng.permutation(len(rows))[:most]))


def _rows(subject: Subject, members: Labelled, population: Labelled) -> tuple[Rows, Rows]:
    if subject.predictor is None or not subject.predictor.features:
        raise Invalid("data.features is missing: without it there is nothing to compare rows by")
    space = build_space(subject.predictor.features, [members.table, population.table], radius=0.0)
    return _judged(members, space.learnable(members.table)), _judged(population, space.learnable(population.table))


def _judged(rows: Labelled, matrix: NDArray[np.float64]) -> Rows:
    if rows.probabilities is None:
        return Rows(matrix, rows.truth, rows.correct.astype(np.float64))
    known = rows.truth < rows.probabilities.shape[1]
    chance = rows.probabilities[np.arange(len(rows)), np.where(known, rows.truth, 0)]
    return Rows(matrix, rows.truth, np.where(known, chance, 0.0))


def _one_source(members: Rows, population: Rows, policy: Privacy, rng: np.random.Generator) -> dict[str, Detail]:
    """Return how alike the two parts are without the model; refuse them where they differ too much or too little."""
    confidence = policy.confidence.value
    repeated, natural = _overlap(members, population, confidence)
    if repeated.low > natural.high + policy.shift.value:
        raise Invalid(
            f"{repeated.low:.0%} or more of data.population are rows of data.members, while {natural.high:.0%} of the "
            f"members at most occur twice: the population must be rows the model was not trained on"
        )
    shift = _shift(members, population, rng, confidence)
    if shift.low > 0.5 + policy.shift.value:
        raise Invalid(
            f"data.members and data.population can be told apart without the model (AUC {shift.low:.2f} to "
            f"{shift.high:.2f}, at most {0.5 + policy.shift.value:.2f} would be right): they are not of the same source"
        )
    return {
        "shift_auc": {"low": shift.low, "high": shift.high},
        "population_rows_equal_to_a_member": {"low": repeated.low, "high": repeated.high},
    }


def _overlap(members: Rows, population: Rows, confidence: float) -> tuple[Interval, Interval]:
    """Return how much of the population occurs among the members, and of the members a second time among themselves.

    Rows of few coarse features repeat by nature, and then equally often in both.
    """
    keys = [[(row.tobytes(), int(label)) for row, label in zip(rows.matrix, rows.truth, strict=True)]
            for rows in (members, population)]  # fmt: skip
    count = Counter(keys[0])
    repeated = clopper_pearson(sum(key in count for key in keys[1]), len(population), confidence)
    natural = clopper_pearson(sum(count[key] > 1 for key in keys[0]), len(members), confidence)
    return Interval(float(repeated[0]), float(repeated[1])), Interval(float(natural[0]), float(natural[1]))


def _shift(members: Rows, population: Rows, rng: np.random.Generator, confidence: float) -> Interval:
    """Return the AUC interval of telling the two apart without the model; "blind" attacks that win show shift, not
    leakage.

    Source: Das, Zhang and Tramèr 2024, "Blind baselines beat membership inference attacks".
    """
    design = np.concatenate([np.column_stack([rows.matrix, rows.truth]) for rows in (members, population)])
    belongs = np.repeat([True, False], [len(members), len(population)])
    # A row that occurs on both sides tells nothing here and everything once it was memorised by the blind model.
    half = rng.random(len(design)) < 0.5
    scores = np.empty(len(design))
    for fold in (half, ~half):
        model = HistGradientBoostingClassifier(
            max_iter=40,
            max_leaf_nodes=8,
            max_features=min(1.0, _BLIND_FEATURES / design.shape[1]),
            early_stopping=False,
            random_state=int(rng.integers(2**31)),
        )
        scores[fold] = model.fit(design[~fold], belongs[~fold]).decision_function(design[fold])
    bounds = [area_bounds(scores[fold & belongs], scores[fold & ~belongs], confidence) for fold in (half, ~half)]
    return Interval(min(low for low, _ in bounds), max(high for _, high in bounds))


def _reason(outcome: Outcome, found: Leakage, limit: float, rate: float, allowed: float) -> str:
    point = found.points[rate]
    told = (
        f"the attack {found.worst!r} recognises {point.rate:.1%} of the training rows at {rate:.1%} false alarms "
        f"({point.interval.low:.1%} to {point.interval.high:.1%})"
    )
    if outcome is Outcome.PASS:
        return f"{told}: at most the {limit:.0%} policy allows; a stronger attack may recognise more"
    if point.interval.low > limit:
        return f"{told}: more than the {limit:.0%} policy allows"
    if outcome is Outcome.FAIL:
        return f"{told}; over all false alarm rates ε is at least {found.epsilon:.2f}, policy allows {allowed:.2f}"
    return f"{told}: too few rows to tell from the {limit:.0%} policy allows"


def _details(subject: Subject, found: Leakage, members: Labelled, population: Labelled) -> dict[str, Detail]:
    policy = subject.thresholds.data_privacy
    return {
        "threshold": {
            "true_positive_rate": policy.true_positive_rate.at(subject.manifest.model.tier),
            "false_positive_rate": policy.false_positive_rate.value,
            "source": policy.true_positive_rate.source,
        },
        "worst_attack": found.worst,
        "roc": [
            {"fpr": rate, "tpr": point.rate, "low": point.interval.low, "high": point.interval.high}
            for rate, point in found.points.items()
        ],
        "auc": {"value": found.area, "low": found.area_interval.low, "high": found.area_interval.high},
        "epsilon_at_least": found.epsilon,
        "members": len(members),
        "population": len(population),
        "accuracy_members": float(members.correct.mean()),
        "accuracy_population": float(population.correct.mean()),
        "label_only": members.probabilities is None,
        "label_mapping": dict(members.mapping),
    }
