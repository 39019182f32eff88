"""The arithmetic of risk: cases computed by hand, properties that must hold for any evidence, and calibration."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from vallum_common.testing import START
from vallum_risk.domain import RISK_NAMES, RISKS, Count, Measurement, Sign
from vallum_risk.model import load_risk_model, score_evidence

from .evidently import IDENTITY, POLICY_FILE, Evidently

RISK = "technical.system_failures"
DRAWN = 0.01
"""How far the quantiles of 10,000 draws may lie from the true ones here; several standard errors."""
REVERSED = ((0.0, 1.0), (1.0, 0.0))


def flat(likelihood: float) -> tuple[tuple[float, float], ...]:
    """A scale that gives one likelihood whatever was measured, so that no draw is left to chance."""
    return ((0.0, likelihood), (1.0, likelihood))


def risk_of(profile, name=RISK):
    """One of the twelve."""
    return next(risk for risk in profile.risks if risk.name == name)


def scored(value, scale=IDENTITY, tier="high", **changes):
    """The score of one risk on which one piece of evidence bears."""
    model = Evidently.model({RISK: {"item": scale}}, **changes)
    return risk_of(Evidently.profile(model, Evidently.evidence(tier, item=value))).score


def numbers(score):
    """What of a score lies on the scale of risks."""
    return score.low, score.score, score.high


class TestByHand:
    def test_count_of_nothing_is_the_prior_of_jeffreys(self):
        """Beta(1/2, 1/2) is the arcsine distribution: its quantile is sin²(πp/2)."""
        expected = [math.sin(math.pi * p / 2) ** 2 for p in (0.05, 0.5, 0.95)]
        assert numbers(scored(Count(0, 0))) == pytest.approx(expected, abs=DRAWN)

    def test_none_of_four(self):
        """Beta(0.5, 4.5), its density ∝ x^-0.5 (1-x)^3.5 integrated numerically."""
        assert numbers(scored(Count(0, 4))) == pytest.approx((0.0005, 0.0520, 0.3625), abs=DRAWN)

    def test_two_of_two(self):
        """Beta(2.5, 0.5), likewise."""
        assert numbers(scored(Count(2, 2))) == pytest.approx((0.4307, 0.9045, 0.9991), abs=DRAWN)

    @pytest.mark.parametrize(
        ("sign", "expected"), [(Sign.GOOD, (0.0, 0.0026, 0.0216)), (Sign.BAD, (0.9784, 0.9974, 1.0))]
    )
    def test_sign_is_drawn_from_its_beta(self, sign, expected):
        """Beta(0.5, 88.5) and its mirror."""
        assert numbers(scored(sign)) == pytest.approx(expected, abs=0.001)

    def test_interval_at_90_percent_is_the_interval_of_the_score(self):
        """The halves of a split normal reach the ends of the interval, so a linear scale changes nothing."""
        assert numbers(scored(Measurement(0.2, 0.1, 0.4, 0.9))) == pytest.approx((0.1, 0.2, 0.4), abs=DRAWN)

    def test_interval_at_95_percent_is_wider_than_that_of_the_score(self):
        """1.645 / 1.960 of each half."""
        low, value, high = numbers(scored(Measurement(0.5, 0.3, 0.6, 0.95)))
        assert (low, value, high) == pytest.approx((0.5 - 0.2 * 0.8393, 0.5, 0.5 + 0.1 * 0.8393), abs=DRAWN)

    def test_more_is_better_where_the_scale_says_so(self):
        assert numbers(scored(Measurement(0.8, 0.6, 0.9, 0.9), REVERSED)) == pytest.approx((0.1, 0.2, 0.4), abs=DRAWN)

    def test_scale_is_linear_between_its_points_and_flat_outside(self):
        scale = ((0.2, 0.0), (0.4, 0.6), (0.6, 0.8))
        for value, expected in ((0.0, 0.0), (0.3, 0.3), (0.5, 0.7), (7.0, 0.8)):
            certain = Measurement(value, value, value, 0.95)
            assert numbers(scored(certain, scale)) == pytest.approx((expected,) * 3, abs=1e-6)

    @pytest.mark.parametrize(("tier", "factor"), [("minimal", 0.4), ("limited", 0.7), ("high", 1.0)])
    def test_severity_of_the_tier_multiplies(self, tier, factor):
        expected = [factor * number for number in numbers(scored(Count(1, 4)))]
        assert numbers(scored(Count(1, 4), tier=tier)) == pytest.approx(expected, abs=2e-6)

    @pytest.mark.parametrize("tier", ["", "harmless", "HIGH"])
    def test_unknown_tier_takes_the_worst_severity(self, tier):
        severity = {"minimal": 0.9, "limited": 0.2, "high": 0.3}
        assert scored(Count(1, 4), tier=tier, severity=severity) == scored(
            Count(1, 4), tier="minimal", severity=severity
        )

    def test_worst_evidence_counts_and_drivers_say_by_how_much(self):
        model = Evidently.model({RISK: {"bad": flat(0.8), "fair": flat(0.3)}})
        risk = risk_of(Evidently.profile(model, Evidently.evidence(bad=Count(0, 1), fair=Count(0, 1))))
        assert numbers(risk.score) == (0.8, 0.8, 0.8)
        assert [(driver.evidence, driver.contribution) for driver in risk.drivers] == [("bad", 0.5), ("fair", 0.0)]

    def test_only_evidence_is_held_against_knowing_nothing(self):
        model = Evidently.model({RISK: {"good": flat(0.1)}})
        (driver,) = risk_of(Evidently.profile(model, Evidently.evidence(good=Count(0, 1)))).drivers
        assert driver.contribution == pytest.approx(0.1 - 0.5, abs=DRAWN)

    def test_category_is_that_of_its_worst_risk_and_overall_weighs_the_worst_most(self):
        """0.5 · 0.9 + 0.25 · 0.6 + 0.15 · 0.3 + 0.1 · 0.2 = 0.665."""
        likelihoods = {
            "technical": (0.1, 0.2, 0.3),
            "operational": (0.9, 0.0, 0.5),
            "business": (0.2, 0.2, 0.2),
            "ethical": (0.0, 0.6, 0.5),
        }
        bearings = {
            f"{category}.{name}": {"item": flat(likelihood)}
            for category, names in RISKS.items()
            for name, likelihood in zip(names, likelihoods[category], strict=True)
        }
        profile = Evidently.profile(Evidently.model(bearings), Evidently.evidence(item=Count(0, 1)))
        assert {name: score.score for name, score in profile.categories.items()} == {
            "technical": 0.3,
            "operational": 0.9,
            "business": 0.2,
            "ethical": 0.6,
        }
        assert numbers(profile.overall) == pytest.approx((0.665,) * 3, abs=1e-6)

    def test_worst_risk_of_a_category_is_chosen_by_its_median(self):
        """A wide risk with a high upper end does not stand for its category before a surely worse one."""
        names = [f"technical.{name}" for name in RISKS["technical"]]
        model = Evidently.model(
            {names[0]: {"wide": IDENTITY}, names[1]: {"sure": flat(0.45)}, names[2]: {"none": flat(0.0)}}
        )
        evidence = Evidently.evidence(wide=Measurement(0.4, 0.0, 1.0, 0.9), sure=Count(0, 1), none=Count(0, 1))
        assert Evidently.profile(model, evidence).categories["technical"].score == 0.45

    def test_action_is_recommended_where_the_risk_is_probably_high_the_worst_first(self):
        bearings = {
            "technical.system_failures": {"item": flat(0.71)},
            "ethical.unfair_outcomes": {"item": flat(0.9)},
            "business.regulatory_fines": {"item": flat(0.7)},
        }
        profile = Evidently.profile(Evidently.model(bearings), Evidently.evidence(item=Count(0, 1)))
        assert [(r.risk, r.action) for r in profile.recommendations] == [
            ("ethical.unfair_outcomes", "act on ethical.unfair_outcomes"),
            ("technical.system_failures", "act on technical.system_failures"),
        ]


class TestUnmeasured:
    @pytest.mark.parametrize("items", [{}, {"item": Sign.UNKNOWN}, {"other": Count(9, 9)}])
    def test_without_evidence_a_risk_is_the_uniform_prior_and_says_so(self, items):
        model = Evidently.model({RISK: {"item": IDENTITY}})
        risk = risk_of(Evidently.profile(model, Evidently.evidence(**items)))
        assert (risk.measured, risk.drivers) == (False, ())
        assert numbers(risk.score) == pytest.approx((0.05, 0.5, 0.95), abs=DRAWN)
        assert risk.score.probability_high == pytest.approx(0.3, abs=DRAWN)

    def test_nothing_at_all_is_never_a_low_score(self, shipped):
        profile = Evidently.profile(shipped, Evidently.evidence())
        assert not any(risk.measured for risk in profile.risks)
        assert min(risk.score.score for risk in profile.risks) > 0.45
        assert profile.overall.score > 0.5


NAMES = tuple(
    sorted({b.evidence for definition in load_risk_model(POLICY_FILE).risks.values() for b in definition.evidence})
)
QUICK = load_risk_model(POLICY_FILE).model_copy(update={"draws": 1_000})
FRACTIONS = st.floats(0, 1)
COUNTS = st.integers(0, 50).flatmap(lambda trials: st.builds(Count, st.integers(0, trials), st.just(trials)))
MEASUREMENTS = st.builds(
    lambda ends, value, confidence: Measurement(value, min(ends), max(ends), confidence),
    st.tuples(FRACTIONS, FRACTIONS),
    FRACTIONS,
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
ITEMS = st.dictionaries(st.sampled_from(NAMES), COUNTS | MEASUREMENTS | st.sampled_from(Sign))
TIERS = st.sampled_from(["minimal", "limited", "high", "other"])


class TestProperties:
    @for_all(ITEMS, TIERS)
    @settings(max_examples=60, deadline=None)
    def test_scores_are_scores(self, items, tier):
        evidence = replace(Evidently.evidence(tier), items=items)
        profile = Evidently.profile(QUICK, evidence)
        scores = [profile.overall, *profile.categories.values(), *(risk.score for risk in profile.risks)]
        for score in scores:
            assert 0 <= score.low <= score.score <= score.high <= 1
            assert 0 <= score.probability_high <= 1
        assert tuple(risk.name for risk in profile.risks) == RISK_NAMES
        for category, score in profile.categories.items():
            assert score.score == max(risk.score.score for risk in profile.risks if risk.category == category)
        for risk in profile.risks:
            known = {
                bearing.evidence
                for bearing in QUICK.risks[risk.name].evidence
                if items.get(bearing.evidence, Sign.UNKNOWN) is not Sign.UNKNOWN
            }
            assert (risk.measured, {driver.evidence for driver in risk.drivers}) == (bool(known), known)
            assert risk.measured or 0.4 < risk.score.score / profile_severity(tier) < 0.6

    @for_all(ITEMS, TIERS)
    @settings(max_examples=40, deadline=None)
    def test_same_evidence_gives_the_same_profile(self, items, tier):
        evidence = replace(Evidently.evidence(tier), items=items)
        again = replace(evidence, items=dict(reversed(items.items())))
        later = score_evidence(again, QUICK, at=START.replace(year=2030), cause="another")
        assert replace(later, scored_at=START, cause_event_id="e-1") == Evidently.profile(QUICK, evidence)

    @for_all(ITEMS, COUNTS.filter(lambda count: count.bad < count.trials))
    @settings(max_examples=40, deadline=None)
    def test_one_more_bad_outcome_never_lowers_a_risk(self, items, count):
        worse = Count(count.bad + 1, count.trials)
        assert_no_risk_falls(items, "validation.inconclusive", count, worse)

    @for_all(ITEMS, st.integers(0, 20))
    @settings(max_examples=40, deadline=None)
    def test_one_more_alert_never_lowers_a_risk(self, items, alerts):
        before = Count(alerts, alerts) if alerts else Sign.UNKNOWN
        assert_no_risk_falls(items, "alerts.confirmed", before, Count(alerts + 1, alerts + 1))

    @for_all(ITEMS, st.sampled_from(["scan", "vendor.unsigned"]))
    @settings(max_examples=40, deadline=None)
    def test_bad_instead_of_good_never_lowers_a_risk(self, items, name):
        assert_no_risk_falls(items, name, Sign.GOOD, Sign.BAD)

    @for_all(ITEMS, MEASUREMENTS, FRACTIONS, st.sampled_from([n for n in NAMES if n.startswith("checks.")]))
    @settings(max_examples=40, deadline=None)
    def test_worse_measurement_never_lowers_a_risk(self, items, measured, worse_by, name):
        """Worse is more of what adversaries reach, and less of what is fair or documented."""
        step = -worse_by if name in ("checks.bias_fairness", "checks.transparency") else worse_by
        worse = Measurement(measured.value + step, measured.low + step, measured.high + step, measured.confidence)
        assert_no_risk_falls(items, name, measured, worse)


def profile_severity(tier):
    """The factor of a tier; the worst for an unknown one."""
    return QUICK.severity.get(tier, max(QUICK.severity.values()))


def assert_no_risk_falls(items, name, before, after):
    """After the change of one piece of evidence no risk is lower at any quantile, no category in its score."""
    first, then = (
        Evidently.profile(QUICK, replace(Evidently.evidence(), items={**items, name: value}))
        for value in (before, after)
    )
    for old, new in zip(first.risks, then.risks, strict=True):
        assert all(after >= before for before, after in zip(numbers(old.score), numbers(new.score), strict=True)), new
    for category, score in first.categories.items():
        assert then.categories[category].score >= score.score, category


TRIALS = 40


@pytest.fixture(scope="module")
def intervals():
    """The 90 % interval for every possible count."""
    scores = [scored(Count(bad, TRIALS)) for bad in range(TRIALS + 1)]
    return np.array([score.low for score in scores]), np.array([score.high for score in scores])


class TestCalibration:
    def test_truth_lies_in_the_interval_9_times_of_10(self, intervals):
        """Truths drawn from the prior, counts drawn from the truths: the coverage of a posterior is then its level."""
        generator = np.random.default_rng(20261123)
        truths = beta.rvs(0.5, 0.5, size=20_000, random_state=generator)
        counts = generator.binomial(TRIALS, truths)
        low, high = intervals
        coverage = np.mean((low[counts] <= truths) & (truths <= high[counts]))
        assert coverage == pytest.approx(0.9, abs=0.02)

    def test_coverage_at_fixed_truths_is_near_its_level(self, intervals):
        """Brown, Cai, DasGupta 2001: Jeffreys' interval oscillates around its level; over truths it averages to it."""
        low, high = intervals
        counts = np.arange(TRIALS + 1)
        truths = np.linspace(0.05, 0.95, 181)[:, None]
        covered = (low <= truths) & (truths <= high)
        coverage = (binom.pmf(counts, TRIALS, truths) * covered).sum(axis=1)
        assert coverage.mean() == pytest.approx(0.9, abs=0.02)
        assert coverage.min() > 0.8
