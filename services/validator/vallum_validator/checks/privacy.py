"""`data_privacy`: whether an attacker who sees only answers can tell which rows the model was trained on.

The headline is the true positive rate at 1 % false positives of the worst attack: an average (AUC, accuracy) hides the
few rows that leak completely, and those are people. Attacks that fail prove nothing about stronger ones.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace

import numpy as np

from vallum_common.errors import Invalid, VallumError
from vallum_validator.checks.hardening import Attacked, Goal, tell_less, train_otherwise
from vallum_validator.checks.leakage import Leakage, curve, leakage, loss_tail
from vallum_validator.checks.membership import ATTACKS, attack
from vallum_validator.checks.personal_data import personal_data, with_personal_data
from vallum_validator.checks.presidio import second_reading, with_second_reading
from vallum_validator.checks.references import OwnKind, References, Rows, judged, train_references
from vallum_validator.checks.same_source import one_source
from vallum_validator.checks.sequential import outcome_below
from vallum_validator.checks.space import build_space
from vallum_validator.checks.truth import Labelled, labelled, part, runnable, why_absent
from vallum_validator.domain.evidence import CheckResult, Detail, Outcome
from vallum_validator.table import Subject, Trainer

NAME = "data_privacy"


def check(subject: Subject) -> CheckResult:
    """Measure membership leakage, and count personal data in what was submitted.

    Without members, what little the other rows tell of leakage is told, and that is INCONCLUSIVE.
    """
    policy = subject.thresholds.data_privacy.personal_data
    found = personal_data(subject)
    try:
        result = _membership(subject)
    except Invalid as error:
        # Nothing of the model could be measured; what its data hold is true all the same.
        result = CheckResult(NAME, Outcome.INCONCLUSIVE, seed=subject.seed, reason=error.message)
    limit = policy.at(subject.manifest.model.tier)
    result = with_personal_data(result, found, limit, policy.source)
    second = second_reading(subject, found)
    return with_second_reading(result, second, limit) if second else result


def _membership(subject: Subject) -> CheckResult:
    """Raises Invalid where a part or the model is missing or unusable, rows are too few, or members and population are
    not of the same source."""
    if subject.predictor is not None:
        # That it is a regression is told before any file that is missing: none would help.
        runnable(subject)
    if subject.members is None:
        return _without_members(subject)
    for name in ("members", "population"):
        part(subject, name)
    rng = np.random.default_rng([subject.seed, 2])
    answered = (_sample(subject, "members", rng), _sample(subject, "population", rng))
    rows = _rows(subject, *answered)
    source = one_source(*rows, subject.thresholds.data_privacy, rng)
    with contextlib.ExitStack() as stack:
        trainer, why_none = _trainer(subject, stack)
        references, why_ours = _references(subject, trainer, rows, answered)
        attacked = Attacked(rows, answered, references)
        result = _judged(subject, attacked, rng)
        details = {**result.details, **source, "references": _told(references, why_none or why_ours)}
        if result.outcome is Outcome.FAIL:
            details["hardening"] = _hardening(subject, attacked, trainer, result.value or 0.0)
    return replace(result, details=details)


def _judged(subject: Subject, attacked: Attacked, rng: np.random.Generator) -> CheckResult:
    policy = subject.thresholds.data_privacy
    limit = policy.true_positive_rate.at(subject.manifest.model.tier)
    rate, confidence = policy.false_positive_rate.value, policy.confidence.value
    attacks = attack(*attacked.rows, attacked.references, rng)
    found = leakage(attacks, rate, confidence)
    point = found.points[rate]
    allowed = math.log(limit / rate) if limit > rate else 0.0
    outcome = outcome_below(point.interval, limit)
    if found.epsilon > allowed:
        outcome = Outcome.FAIL
    return CheckResult(
        name=NAME,
        outcome=outcome,
        value=point.rate,
        interval=point.interval,
        confidence=confidence,
        samples=sum(map(len, attacked.rows)),
        method=f"membership-inference({','.join(ATTACKS)};worst-tpr@fpr={rate:g})+order-statistics+clopper-pearson",
        seed=subject.seed,
        reason=_reason(outcome, found, limit, rate, allowed)
        + "".join(sorted({part.once for part in attacked.answered})),
        details=_details(subject, found, *attacked.answered)
        | {"roc": curve(attacks[found.worst], confidence), "hardening": []},
    )


def _without_members(subject: Subject) -> CheckResult:
    """What rows that were not trained on tell alone: how many of them a memorising model would give away."""
    name = "evaluation" if subject.population is None else "population"
    why = f"data.{why_absent(subject, 'members')}"
    try:
        rows = labelled(subject, name)
    except Invalid as error:
        raise type(error)(f"{why}; {error.message}") from error
    confidence = subject.thresholds.data_privacy.confidence.value
    tail = loss_tail(int((~rows.correct).sum()), len(rows), confidence)
    return CheckResult(
        name=NAME,
        outcome=Outcome.INCONCLUSIVE,
        confidence=confidence,
        seed=subject.seed,
        method="loss-tail(limited)",
        reason=(
            f"{why}; limited evidence: if the model answers its training rows right, {tail.rate:.1%} of the others "
            f"({tail.interval.low:.1%} to {tail.interval.high:.1%} of data.{name}) are recognised as not among them"
        ),
        details={
            "evidence": "limited",
            "assumes": "the model answers every training row right",
            "loss_tail": {"share": tail.rate, "low": tail.interval.low, "high": tail.interval.high},
            "rows": len(rows),
            "part": name,
        },
    )


def _trainer(subject: Subject, stack: contextlib.ExitStack) -> tuple[Trainer | None, str]:
    """The trainer, running until the stack ends, or why there is none."""
    if subject.training is None:
        return None, "the artefact does not keep how it was trained"
    try:
        return stack.enter_context(subject.training()), ""
    except VallumError as error:
        return None, error.message


def _references(
    subject: Subject, trainer: Trainer | None, rows: tuple[Rows, Rows], answered: tuple[Labelled, Labelled]
) -> tuple[References, str]:
    """References of the model's own kind, or ours and why."""
    why = ""
    if trainer is not None and subject.predictor is not None:
        try:
            own_kind = OwnKind(trainer, subject.predictor.classes, answered)
            return train_references(*rows, np.random.default_rng([subject.seed, 2, 2]), own_kind), ""
        except Invalid as error:
            why = error.message
    return train_references(*rows, np.random.default_rng([subject.seed, 2, 3])), why


def _told(references: References, why_ours: str) -> dict[str, Detail]:
    return {
        "kind": references.kind,
        "models": references.models,
        "rows_each": references.rows,
        "not_of_the_models_kind": why_ours,
    }


def _hardening(subject: Subject, attacked: Attacked, trainer: Trainer | None, before: float) -> list[Detail]:
    policy = subject.thresholds.data_privacy
    goal = Goal(before, policy.false_positive_rate.value, policy.confidence.value)
    trials = tell_less(attacked, goal, np.random.default_rng([subject.seed, 2, 1]))
    if trainer is not None and subject.predictor is not None:
        classes = subject.predictor.classes
        trials += train_otherwise(trainer, classes, attacked, goal, np.random.default_rng([subject.seed, 2, 4]))
    return [trial.detail() for trial in trials]


def _sample(subject: Subject, name: str, rng: np.random.Generator) -> Labelled:
    policy = subject.thresholds.data_privacy
    rows = labelled(subject, name)
    if len(rows) < policy.least_rows.value:
        raise Invalid(f"data.{name} has {len(rows)} labelled rows; at least {policy.least_rows.value:.0f} are needed")
    most = int((policy.most_rows if name == "members" else policy.most_population).value)
    return rows if len(rows) <= most else rows.take(np.sort(rng.permutation(len(rows))[:most]))


def _rows(subject: Subject, members: Labelled, population: Labelled) -> tuple[Rows, Rows]:
    if subject.predictor is None or not subject.predictor.features:
        raise Invalid("data.features is missing: without it there is nothing to compare rows by")
    space = build_space(subject.predictor.features, [members.table, population.table], radius=0.0)
    return judged(members, space.learnable(members.table)), judged(population, space.learnable(population.table))


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
        return f"{told}; told either way, member or not, ε is at least {found.epsilon:.2f}, policy allows {allowed:.2f}"
    return f"{told}: too few rows to tell it from the {limit:.0%} that policy allows"


def _details(subject: Subject, found: Leakage, members: Labelled, population: Labelled) -> dict[str, Detail]:
    policy = subject.thresholds.data_privacy
    return {
        "threshold": {
            "true_positive_rate": policy.true_positive_rate.at(subject.manifest.model.tier),
            "false_positive_rate": policy.false_positive_rate.value,
            "source": policy.true_positive_rate.source,
        },
        "worst_attack": found.worst,
        "worst_at": [
            {"fpr": rate, "tpr": point.rate, "low": point.interval.low, "high": point.interval.high}
            for rate, point in found.points.items()
        ],
        "auc": {"value": found.area, "low": found.area_interval.low, "high": found.area_interval.high},
        "epsilon_at_least": found.epsilon,
        "members": len(members),
        "population": len(population),
        "copied_rows": members.copied + population.copied,
        "accuracy_members": float(members.correct.mean()),
        "accuracy_population": float(population.correct.mean()),
        "label_only": members.sureness is None,
        "label_mapping": dict(members.mapping),
    }
