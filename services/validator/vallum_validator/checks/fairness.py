"""`bias_fairness`: whether groups of people get the answer that matters at comparable rates.

The verdict is on disparate impact (the four-fifths rule), with intervals that pay for every group looked at; error-rate
gaps are measured beside it and judged where policy sets a limit. Which criterion is just is not a question of
statistics: with unequal base rates they exclude each other (Chouldechova 2017), so policy chooses.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import canonical_text
from vallum_common.errors import Invalid
from vallum_validator.checks.calibration import Calibration, calibration
from vallum_validator.checks.disparity import Criterion, Gap, Impact, gap, impact
from vallum_validator.checks.groups import Confusion, Counts, Family, confusion, families
from vallum_validator.checks.resampling import bonferroni, simultaneous_confidence
from vallum_validator.checks.sequential import outcome_below
from vallum_validator.checks.truth import Labelled, labelled, runnable
from vallum_validator.domain.evidence import CheckResult, Detail, Interval, Outcome
from vallum_validator.table import Subject

NAME = "bias_fairness"

_GAPS = ("true_positive_rate", "false_positive_rate")


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One family of groups, seen through one answer."""

    family: Family
    answer: str
    seen: Confusion
    impact: Impact
    gaps: dict[str, Gap | None]
    large: NDArray[np.bool_]
    calibration: Calibration | None

    @property
    def promised(self) -> tuple[int, Interval] | None:
        """The large group in which promise and outcome lie furthest apart, and how far."""
        return self.calibration.widest(self.large) if self.calibration else None


@dataclass(frozen=True, slots=True)
class _Limits:
    """Of what is judged beside disparate impact; 1.0 measures without judging."""

    rates: float
    calibration: float


def check(subject: Subject) -> CheckResult:
    """Measure disparate impact and error-rate gaps.

    Raises:
        Invalid: a part of the bundle or the model is missing or unusable; says which.
        PredictionFailed: the model gave no answer that can be trusted.
    """
    policy = subject.thresholds.bias_fairness
    tier = subject.manifest.model.tier
    runnable(subject)
    if not subject.manifest.data.sensitive:
        raise Invalid("data.sensitive is missing: the manifest names no column whose groups could be compared")
    rows = labelled(subject)
    found = families(rows, subject.manifest.data.sensitive, int(policy.most_groups.value), policy.least_share.value)
    answers = _answers(subject, rows)
    rng = np.random.default_rng([subject.seed, 3])
    criterion = Criterion(
        limit=policy.disparate_impact.at(tier),
        least_share=policy.least_share.value,
        confidence=policy.confidence.value,
        simultaneous=simultaneous_confidence(found, answers, policy.confidence.value, rng),
        strict=bonferroni(found, answers, policy.confidence.value),
    )
    compared = _compare(found, rows, answers, criterion)
    if not compared:
        raise Invalid(_nothing_to_compare(found, [rows.classes[answer] for answer in answers]))
    limits = _Limits(policy.equalised_odds_gap.at(tier), policy.calibration_gap.at(tier))
    unmeasured = _unmeasured(found, {rows.classes[answer]: answer for answer in answers}, compared, limits)
    outcome = _outcome(compared, limits)
    worst = min(compared, key=lambda each: (each.impact.outcome is not Outcome.FAIL, each.impact.value))
    reason = _reason(outcome, worst, criterion, compared, limits) + rows.once
    if unmeasured:
        outcome = outcome if outcome is Outcome.FAIL else Outcome.INCONCLUSIVE
        reason = f"not measured: {'; '.join(unmeasured)}. Of the rest, {reason}"
    return CheckResult(
        name=NAME,
        outcome=outcome,
        value=worst.impact.value,
        interval=worst.impact.interval,
        confidence=policy.confidence.value,
        samples=len(rows),
        method=(
            f"disparate-impact(worst-ratio-to-most-selected,least_share={criterion.least_share:g},"
            f"simultaneous={criterion.simultaneous:.5f})+mover-r-wilson+multinomial-bootstrap-max-t+calibration-in-the-large"
        ),
        seed=subject.seed,
        reason=reason,
        details={**_details(subject, rows, compared, criterion), "not_measured": unmeasured},
    )


def _nothing_to_compare(found: tuple[Family, ...], answers: Sequence[str]) -> str:
    if all(len(each.names) < 2 for each in found):
        columns = ", ".join(repr(each.title) for each in found if len(each.columns) == 1)
        return f"there are no two groups to compare: data.sensitive names {columns}, and there all rows are alike"
    given = " or ".join(map(repr, answers[:5]))
    return f"there is nothing to compare: no row of a large group of data.evaluation gets {given} from the model"


def _answers(subject: Subject, rows: Labelled) -> tuple[int, ...]:
    evaluation = subject.manifest.data.evaluation
    if evaluation is None or evaluation.positive is None:
        return tuple(range(len(rows.classes)))
    spelled = canonical_text(evaluation.positive) or ""
    positive = rows.mapping.get(spelled, spelled)
    if positive not in rows.classes:
        shown = ", ".join(map(repr, rows.classes[:5]))
        raise Invalid(f"data.evaluation.positive is {evaluation.positive!r}, which is none of the labels {shown}")
    return (rows.classes.index(positive),)


def _compare(
    found: tuple[Family, ...], rows: Labelled, answers: tuple[int, ...], criterion: Criterion
) -> list[_Comparison]:
    compared = []
    for answer in answers:
        for family in found:
            seen = confusion(family.counts, answer)
            measured = impact(seen, criterion)
            if measured is None:
                continue
            large = seen.rows >= criterion.least_share * seen.rows.sum()
            rates = ((seen.hits, seen.actual), (seen.false_alarms, seen.others))
            gaps = {
                name: gap(hits, trials, large, criterion) for name, (hits, trials) in zip(_GAPS, rates, strict=True)
            }
            # The group that is off furthest is picked: any may be it, as with the gaps.
            paid = 1 - (1 - criterion.simultaneous) / len(family.names)
            promised = calibration(rows, family, answer, paid)
            compared.append(_Comparison(family, rows.classes[answer], seen, measured, gaps, large, promised))
    return compared


def _unmeasured(
    found: tuple[Family, ...], answers: Mapping[str, int], compared: list[_Comparison], limits: _Limits
) -> list[str]:
    """What policy judges and could not be measured, in words: any of it keeps the outcome from being PASS."""
    told = [f"{each.title} has one value only" for each in found if len(each.columns) == 1 and len(each.names) < 2]
    measured = {(each.family.columns, each.answer) for each in compared}
    told += [
        f"no large group of {each.title} gets {answer!r}, but a small one does"
        for each, (answer, place) in itertools.product(found, answers.items())
        if len(each.names) > 1 and each.counts[:, :, place].any() and (each.columns, answer) not in measured
    ]
    if limits.rates < 1:
        told += [
            f"the {name.replace('_', ' ')} has no denominator in a group of {each.family.title}"
            for each in compared
            for name, gap in each.gaps.items()
            if gap is None or each.large[list(gap.unestimable)].any()
        ]
    if limits.calibration < 1 and any(each.promised is None for each in compared):
        told.append("calibration, for the model promises no probabilities")
    return list(dict.fromkeys(told))


def _outcome(compared: list[_Comparison], limits: _Limits) -> Outcome:
    outcomes = {each.impact.outcome for each in compared}
    outcomes |= {outcome_below(one.interval, limits.rates) for each in compared for one in each.gaps.values() if one}
    outcomes |= {outcome_below(each.promised[1], limits.calibration) for each in compared if each.promised}
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    return Outcome.PASS if outcomes == {Outcome.PASS} else Outcome.INCONCLUSIVE


def _reason(
    outcome: Outcome, worst: _Comparison, criterion: Criterion, compared: list[_Comparison], limits: _Limits
) -> str:
    measured = worst.impact
    who = worst.family.names[measured.worst] if measured.worst >= 0 else "the small groups together"
    told = (
        f"{worst.family.title}: {who} get {worst.answer!r} {measured.value:.2f} times as often as "
        f"{worst.family.names[measured.reference]} ({measured.interval.low:.2f} to {measured.interval.high:.2f})"
    )
    if outcome is Outcome.PASS:
        wider = ", each shown by a bound of its own; the interval holds for all groups at once"
        reaches_below = measured.interval.low < criterion.limit
        return f"{told}: no group is below the {criterion.limit:g} policy asks for{wider if reaches_below else ''}"
    if any(each.impact.outcome is Outcome.FAIL for each in compared):
        return f"{told}: policy asks for at least {criterion.limit:g}"
    if outcome is Outcome.FAIL:
        return f"{told}; but {_beyond(compared, limits)}"
    return f"{told}: too few rows to tell every group from the limits of policy ({criterion.limit:g})"


def _beyond(compared: list[_Comparison], limits: _Limits) -> str:
    for each in compared:
        for name, found in each.gaps.items():
            if found and outcome_below(found.interval, limits.rates) is Outcome.FAIL:
                first, second = (each.family.names[place] for place in found.apart)
                return (
                    f"the {name.replace('_', ' ')} of {first} and {second} differs by at least "
                    f"{found.interval.low:.2f}, policy allows {limits.rates:g}"
                )
    for each in compared:
        if each.promised and outcome_below(each.promised[1], limits.calibration) is Outcome.FAIL:
            group, off = each.promised
            return (
                f"promised probabilities and outcomes of {each.family.names[group]} lie at least {off.low:.2f} apart, "
                f"policy allows {limits.calibration:g}"
            )
    return "a limit of policy is exceeded"


def _details(subject: Subject, rows: Labelled, compared: list[_Comparison], criterion: Criterion) -> dict[str, Detail]:
    policy = subject.thresholds.bias_fairness
    tier = subject.manifest.model.tier
    return {
        "threshold": {
            "disparate_impact": policy.disparate_impact.at(tier),
            "equalised_odds_gap": policy.equalised_odds_gap.at(tier),
            "calibration_gap": policy.calibration_gap.at(tier),
            "source": policy.disparate_impact.source,
        },
        "families": [_family_detail(each, criterion) for each in compared],
        "unlabelled_rows": rows.unlabelled,
        "copied_rows": rows.copied,
        "label_mapping": dict(rows.mapping),
    }


def _family_detail(each: _Comparison, criterion: Criterion) -> dict[str, Detail]:
    seen, measured = each.seen, each.impact
    rates = {
        "selection_rate": _share(seen.selected, seen.rows),
        "true_positive_rate": _share(seen.hits, seen.actual),
        "false_positive_rate": _share(seen.false_alarms, seen.others),
        "precision": _share(seen.hits, seen.selected),
        "accuracy": _share(seen.rows - seen.selected - seen.actual + 2 * seen.hits, seen.rows),
    }
    groups: list[Detail] = [
        {
            "name": name,
            "rows": int(seen.rows[place]),
            **{rate: shares[place] for rate, shares in rates.items()},
            "impact": {
                "ratio": float(measured.ratio[place]),
                "low": float(measured.low[place]),
                "high": float(measured.high[place]) if np.isfinite(measured.high[place]) else None,
            },
            "detectable_ratio": float(measured.detectable[place]),
            "calibration": _calibration_detail(each.calibration, place),
            "pooled": bool(seen.rows[place] < criterion.least_share * seen.rows.sum()),
        }
        for place, name in enumerate(each.family.names)
    ]
    return {
        "columns": list(each.family.columns),
        "answer": each.answer,
        "reference": each.family.names[measured.reference],
        "outcome": measured.outcome.value,
        "demographic_parity_difference": float(np.ptp(seen.selected / seen.rows)),
        "gaps": {name: _gap_detail(found, each.family) for name, found in each.gaps.items()},
        "groups": groups,
    }


def _calibration_detail(found: Calibration | None, place: int) -> Detail:
    if found is None:
        return None
    ends = {"gap": found.gap, "low": found.low, "high": found.high, "expected_error": found.error}
    return {name: float(values[place]) if np.isfinite(values[place]) else None for name, values in ends.items()}


def _gap_detail(found: Gap | None, family: Family) -> Detail:
    if found is None:
        return None
    return {
        "value": found.value,
        "low": found.interval.low,
        "high": found.interval.high,
        "highest": family.names[found.highest],
        "lowest": family.names[found.lowest],
        "apart": [family.names[place] for place in found.apart],
        "unestimable": [family.names[place] for place in found.unestimable],
    }


def _share(hits: Counts, trials: Counts) -> list[float | None]:
    """Return rates, `None` where the denominator is empty: an unestimable rate is not zero."""
    return [float(hit / trial) if trial else None for hit, trial in zip(hits, trials, strict=True)]
