"""`transparency`: whether the card tells what people need to know, and whether what it tells is so.

Completeness is counted against a list that is policy; declared figures are reproduced on the evaluation rows. Measured
explanations (importance, a surrogate tree) go into the evidence and decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vallum_common.bundle import Task, canonical_text
from vallum_common.errors import Invalid
from vallum_validator.checks.card import Card, DeclaredMetric, parse_card, told
from vallum_validator.checks.explanation import importances, surrogate
from vallum_validator.checks.performance import LOWER_IS_BETTER, Measured, canonical_metric, measure
from vallum_validator.checks.shapley import Explanation, explain
from vallum_validator.checks.truth import Labelled, labelled, why_absent
from vallum_validator.domain.evidence import CheckResult, Detail, Interval, Outcome
from vallum_validator.table import Subject

NAME = "transparency"

_SHARES_TOLD = 12
"""Of each decision, the largest: the evidence of a wide model must stay small."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """A declared figure beside the reproduced one."""

    declared: DeclaredMetric
    measured: Measured | None
    holds: bool


def check(subject: Subject) -> CheckResult:
    """Count what the card tells and reproduce what it declares.

    Raises:
        Invalid: there is no card.
        PredictionFailed: the model gave no answer that can be trusted.
    """
    if subject.card is None:
        raise Invalid(why_absent(subject, "card"))
    policy = subject.thresholds.transparency
    limit = policy.completeness.at(subject.manifest.model.tier)
    card = parse_card(subject.card)
    manifest = subject.manifest.model_dump(mode="json")
    missing = [item for item in policy.items if not told(card, item, manifest, int(policy.least_words.value))]
    share = 1 - len(missing) / len(policy.items)
    rng = np.random.default_rng([subject.seed, 4])
    rows, unmeasured = _rows(subject)
    claims = _claims(subject, card, rows, rng)
    outcome = _outcome(share, limit, claims, unmeasured)
    return CheckResult(
        name=NAME,
        outcome=outcome,
        value=share,
        interval=Interval(share, share),
        confidence=policy.confidence.value,
        samples=len(rows) if rows else 0,
        method=f"card-completeness(items={len(policy.items)})+declared-metrics-reproduced",
        seed=subject.seed,
        reason=_reason(outcome, share, limit, [item.asks for item in missing], claims, unmeasured),
        details={
            "threshold": {"completeness": limit, "source": policy.completeness.source},
            "missing_items": [{"id": item.id, "asks": item.asks, "source": item.source} for item in missing],
            "front_matter_problem": card.problem,
            "declared_metrics": [_claim_detail(claim) for claim in claims],
            "not_measured": unmeasured,
            **(_explanations(subject, rows, rng, outcome) if rows else {}),
        },
    )


def _rows(subject: Subject) -> tuple[Labelled | None, str]:
    if subject.manifest.model.task is not Task.CLASSIFICATION and subject.predictor is not None:
        return None, "the model is a regression; figures and explanations are reproduced for classifiers only"
    try:
        return labelled(subject, once=False), ""
    except Invalid as error:
        return None, error.message


def _claims(subject: Subject, card: Card, rows: Labelled | None, rng: np.random.Generator) -> list[_Claim]:
    if rows is None:
        return [_Claim(metric, None, holds=True) for metric in card.metrics]
    policy = subject.thresholds.transparency
    known = measure(rows, _positive(subject, rows), policy.confidence.value, rng)
    return [_judge(metric, known, policy.overclaim.value) for metric in card.metrics]


def _judge(declared: DeclaredMetric, known: Mapping[str, list[Measured]], tolerance: float) -> _Claim:
    """Return the claim beside the reproduced value most favourable to it: averages are rarely named."""
    name = canonical_metric(declared.name)
    candidates = known.get(name, [])
    if not candidates:
        return _Claim(declared, None, holds=True)
    in_percent = name not in LOWER_IS_BETTER and 1 < declared.value <= 100
    value = declared.value / 100 if in_percent else declared.value
    nearest = min(candidates, key=lambda each: abs(each.value - value))
    if name in LOWER_IS_BETTER:
        return _Claim(declared, nearest, holds=value >= nearest.interval.low - tolerance)
    return _Claim(declared, nearest, holds=value <= nearest.interval.high + tolerance)


def _positive(subject: Subject, rows: Labelled) -> int | None:
    evaluation = subject.manifest.data.evaluation
    spelled = canonical_text(evaluation.positive) or "" if evaluation else ""
    named = rows.mapping.get(spelled, spelled)
    if named in rows.classes:
        return rows.classes.index(named)
    # The usual reading of a two-class report: the second class in sorted order.
    return 1 if len(rows.classes) == 2 else None


def _outcome(share: float, limit: float, claims: list[_Claim], unmeasured: str) -> Outcome:
    if share < limit or not all(claim.holds for claim in claims):
        return Outcome.FAIL
    return Outcome.INCONCLUSIVE if unmeasured else Outcome.PASS


def _reason(
    outcome: Outcome, share: float, limit: float, missing: list[str], claims: list[_Claim], unmeasured: str
) -> str:
    named = f"; missing: {', '.join(missing[:6])}{', …' if len(missing) > 6 else ''}" if missing else ""
    counted = f"the card tells {share:.0%} of what is asked, policy asks for {limit:.0%}{named}"
    wrong = [claim for claim in claims if not claim.holds and claim.measured]
    if wrong and wrong[0].measured:
        first, found = wrong[0].declared, wrong[0].measured
        return (
            f"the card declares {first.name} {first.value:g}, reproduced {found.value:.4f} "
            f"({found.interval.low:.4f} to {found.interval.high:.4f}); {counted}"
        )
    if outcome is Outcome.INCONCLUSIVE:
        return f"{counted}; nothing it declares could be checked: {unmeasured}"
    unknown = list(dict.fromkeys(claim.declared.name for claim in claims if claim.measured is None))
    shown = f"{', '.join(unknown[:6])}{', …' if len(unknown) > 6 else ''}"
    return f"{counted}; declared and not reproduced here: {shown}" if unknown and not unmeasured else counted


def _claim_detail(claim: _Claim) -> dict[str, Detail]:
    found = claim.measured
    return {
        "name": claim.declared.name,
        "declared": claim.declared.value,
        "reproduced": found.value if found else None,
        "low": found.interval.low if found else None,
        "high": found.interval.high if found else None,
        "holds": claim.holds if found else None,
    }


def _explanations(subject: Subject, rows: Labelled, rng: np.random.Generator, outcome: Outcome) -> dict[str, Detail]:
    policy = subject.thresholds.transparency
    predictor = subject.predictor
    if predictor is None or not predictor.features:
        return {}
    try:
        found = importances(predictor, rows, int(policy.importance_queries.value), rng)
        explained = explain(
            predictor,
            rows,
            count=int(policy.explained_decisions.value),
            queries=int(policy.explanation_queries.value),
            rng=rng,
        )
    except Invalid as error:
        # As in robustness: no way out of a FAIL by crashing afterwards.
        if outcome is not Outcome.FAIL:
            raise
        return {"not_measured": error.message}
    imitation = surrogate(predictor, rows, rng, policy.confidence.value)
    return {
        "accuracy": float(rows.correct.mean()),
        "importance": [
            {"feature": each.feature, "loss": each.loss, "standard_error": each.standard_error} for each in found[:50]
        ],
        "explained_decisions": [
            _explanation_detail(each, list(predictor.features), rows.classes) for each in explained
        ],
        "surrogate_tree": None
        if imitation is None
        else {
            "fidelity": imitation.value,
            "low": imitation.interval.low,
            "high": imitation.interval.high,
            "majority": imitation.majority,
            "depth": imitation.depth,
        },
        "label_mapping": dict(rows.mapping),
    }


def _explanation_detail(found: Explanation, features: list[str], classes: tuple[str, ...]) -> dict[str, Detail]:
    largest = np.argsort(-np.abs(found.shares), kind="stable")[:_SHARES_TOLD]
    return {
        "row": found.row,
        "answer": classes[found.answer],
        "score": found.score,
        "base": found.base,
        "shares": [
            {
                "feature": features[place],
                "share": float(found.shares[place]),
                "standard_error": float(found.standard_errors[place]),
            }
            for place in largest
        ],
    }
