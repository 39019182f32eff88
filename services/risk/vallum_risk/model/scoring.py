"""From evidence to scores, by Monte Carlo.

Likelihood: a count is a Beta posterior under Jeffreys' prior; a measurement with an interval is a split normal whose
halves reach the ends of the interval; both go through the scale of the risk model. No evidence is the uniform prior,
told as unmeasured, never 0. Risk: the worst evidence counts, times the severity of the tier. Category: that of its
worst risk. Overall: ordered weights, so that one bad category neither drowns nor saturates.

Source: Brown, Cai, DasGupta 2001 (Jeffreys interval); Wallis 2014 (two-piece normal); Yager 1988 (ordered weighted
averaging). Ours differs in that the draws are seeded by the evidence: the same evidence gives the same score.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri

from vallum_risk.domain import (
    RISK_NAMES,
    RISKS,
    Count,
    Driver,
    Evidence,
    EvidenceValue,
    Measurement,
    Recommendation,
    Risk,
    RiskProfile,
    Score,
    Sign,
)
from vallum_risk.model.parameters import Bearing, RiskModel

Draws = NDArray[np.float64]


def score_evidence(evidence: Evidence, model: RiskModel, *, at: dt.datetime, cause: str) -> RiskProfile:
    """Score all twelve risks.

    Args:
        evidence: what is known.
        model: the risk model in force.
        at: the moment, UTC; written into the profile, it changes no number.
        cause: id of the event that made it necessary; it changes no number.
    """
    severity = model.severity.get(evidence.tier, max(model.severity.values()))
    drawn: dict[str, Draws] = {}
    risks = []
    for name in RISK_NAMES:
        drawn[name], risk = _score_risk(name, evidence, model, severity)
        risks.append(risk)
    categories = {
        category: max((drawn[f"{category}.{name}"] for name in names), key=lambda draws: float(np.median(draws)))
        for category, names in RISKS.items()
    }
    ordered = -np.sort(-np.stack(list(categories.values())), axis=0)
    return RiskProfile(
        reference=evidence.reference,
        submission_id=evidence.submission_id,
        overall=_summary(np.asarray(model.category_weights) @ ordered, model),
        categories={category: _summary(draws, model) for category, draws in categories.items()},
        risks=tuple(risks),
        recommendations=_recommend(risks, model),
        risk_model_digest=model.digest,
        scored_at=at,
        cause_event_id=cause,
    )


def _score_risk(name: str, evidence: Evidence, model: RiskModel, severity: float) -> tuple[Draws, Risk]:
    known = {
        bearing.evidence: _likelihood(bearing, evidence.items[bearing.evidence], evidence, model)
        for bearing in model.risks[name].evidence
        if evidence.items.get(bearing.evidence, Sign.UNKNOWN) is not Sign.UNKNOWN
    }
    prior = _generator(name, evidence, model).uniform(size=model.draws)
    draws = severity * _worst(list(known.values()), prior)
    score = _summary(draws, model)
    without = {item: severity * _worst([other for key, other in known.items() if key != item], prior) for item in known}
    drivers = [Driver(item, round(score.score - float(np.median(rest)), 6)) for item, rest in without.items()]
    drivers.sort(key=lambda driver: (-abs(driver.contribution), driver.evidence))
    return draws, Risk(name=name, score=score, measured=bool(known), drivers=tuple(drivers))


def _worst(likelihoods: Sequence[Draws], prior: Draws) -> Draws:
    return np.maximum.reduce(list(likelihoods)) if likelihoods else prior


def _likelihood(bearing: Bearing, value: EvidenceValue, evidence: Evidence, model: RiskModel) -> Draws:
    generator = _generator(bearing.evidence, evidence, model)
    if isinstance(value, Sign):
        return _beta(*model.signs[value.value], generator, model.draws)
    if isinstance(value, Count):
        quantity = _beta(value.bad + 0.5, value.trials - value.bad + 0.5, generator, model.draws)
    else:
        quantity = _split_normal(value, generator, model.draws)
    quantities, likelihoods = np.array(bearing.scale).T
    likelihood: Draws = np.interp(quantity, quantities, likelihoods)
    return likelihood


def _beta(a: float, b: float, generator: np.random.Generator, size: int) -> Draws:
    # By quantiles, not by rejection: with the same uniform numbers one more bad outcome moves every draw up, so that
    # chance cannot make a risk fall when the evidence gets worse.
    draws: Draws = betaincinv(a, b, generator.uniform(size=size))
    return draws


def _split_normal(measured: Measurement, generator: np.random.Generator, size: int) -> Draws:
    reach = ndtri(0.5 + measured.confidence / 2)
    normal = generator.standard_normal(size)
    half = np.where(normal < 0, measured.value - measured.low, measured.high - measured.value)
    draws: Draws = measured.value + normal * np.maximum(half, 0) / reach
    return draws


def _generator(name: str, evidence: Evidence, model: RiskModel) -> np.random.Generator:
    # One independent stream per piece of evidence, the same in every risk it bears on and in every repetition.
    text = f"{model.digest}:{evidence.reference.digest}:{name}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def _summary(draws: Draws, model: RiskModel) -> Score:
    low, median, high = (round(float(value), 6) for value in np.quantile(draws, (0.05, 0.5, 0.95)))
    above = round(float(np.mean(draws > model.recommendation_level)), 6)
    return Score(score=median, low=low, high=high, probability_high=above)


def _recommend(risks: Sequence[Risk], model: RiskModel) -> tuple[Recommendation, ...]:
    high = [risk for risk in risks if risk.score.probability_high >= model.recommendation_probability]
    high.sort(key=lambda risk: -risk.score.score)
    return tuple(Recommendation(risk=risk.name, action=model.risks[risk.name].action) for risk in high)
