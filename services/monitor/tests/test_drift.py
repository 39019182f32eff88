"""Population drift: hand-computed cases, an independent implementation, and the declared error rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from scipy import stats

from vallum_common.bundle import canonical_text
from vallum_common.errors import Invalid
from vallum_monitor.config import read_policy
from vallum_monitor.detectors.counting import count
from vallum_monitor.detectors.drift import PopulationDrift, fisher, holm, measure, psi
from vallum_monitor.detectors.policy import DetectionPolicy
from vallum_monitor.domain.alerts import Window
from vallum_monitor.domain.models import FeatureBaseline, Severity
from vallum_monitor.domain.traffic import Batch, Column

NAN = float("nan")


def one(yes_then: int, all_then: int, yes_now: int, all_now: int) -> float:
    """The p-value of one question."""
    return float(fisher(*(np.array([value]) for value in (yes_then, all_then, yes_now, all_now)))[0])


class TestCounting:
    def test_numbers_fall_into_bins_as_the_validator_counts_and_missing_ones_into_none(self):
        feature = FeatureBaseline("age", (), (10.0, 20.0), (1, 1, 1))
        column = Column("age", numbers=(9.9, 10.0, 19.9, 20.0, 1e9, NAN, -1e9))
        assert count(feature, column) == (2, 2, 2)

    def test_texts_fall_into_categories_and_missing_ones_are_another_value(self):
        feature = FeatureBaseline("sex", ("F", "M"), (), (1, 1, 1))
        assert count(feature, Column("sex", texts=("F", "M", "M", "", "x"))) == (1, 2, 2)

    def test_numbers_are_categories_by_their_canonical_text(self):
        feature = FeatureBaseline("grade", ("1", "2", "2.5"), (), (1, 1, 1, 0))
        assert count(feature, Column("grade", numbers=(1.0, 2.0, 2.5, 7.0, NAN))) == (1, 1, 1, 2)

    def test_predicted_numbers_arrive_as_text(self):
        feature = FeatureBaseline("prediction", (), (0.5,), (1, 1))
        assert count(feature, Column("prediction", texts=("0.4", "0.5", "", "1e3"))) == (1, 2)
        with pytest.raises(Invalid, match="prediction"):
            count(feature, Column("prediction", texts=("yes",)))

    @pytest.mark.parametrize(
        ("value", "spelling"),
        [(1.0, "1"), ("1.0", "1"), ("1.5", "1.5"), ("True", "true"), (" a", " a"), (-2.0, "-2"), ("1e3", "1e3")],
    )
    def test_category_has_one_spelling(self, value, spelling):
        assert canonical_text(value) == spelling


class TestFisher:
    def test_by_hand(self):
        """3 of 4 then, 0 of 4 now: chance of no yes among 4 draws of 8 with 3 yes is C(5,4)/C(8,4) = 1/14; doubled."""
        assert one(3, 4, 0, 4) == pytest.approx(2 / 14)

    def test_nothing_to_tell_apart(self):
        assert one(0, 10, 0, 10) == 1
        assert one(10, 10, 10, 10) == 1
        assert one(5, 10, 5, 10) == 1

    def test_agrees_with_scipy(self, rng):
        all_then, all_now = rng.integers(1, 5000, 300), rng.integers(1, 900, 300)
        yes_then = rng.binomial(all_then, rng.uniform(0, 1, 300) ** 2)
        yes_now = rng.binomial(all_now, rng.uniform(0, 1, 300) ** 2)
        law = stats.hypergeom(all_then + all_now, yes_then + yes_now, all_now)
        expected = np.minimum(1, 2 * np.minimum(law.cdf(yes_now), law.sf(yes_now - 1)))
        assert fisher(yes_then, all_then, yes_now, all_now) == pytest.approx(expected, rel=1e-9, abs=1e-300)

    def test_what_is_ignored_is_above_the_bound(self, rng):
        tables = (rng.integers(0, 100, 200), np.full(200, 100), rng.integers(0, 50, 200), np.full(200, 50))
        full, quick = fisher(*tables), fisher(*tables, ignore_above=0.01)
        assert np.array_equal(full <= 0.01, quick <= 0.01)
        assert np.array_equal(full[full <= 0.01], quick[full <= 0.01])

    @for_all(st.integers(1, 60), st.integers(1, 40), st.data(), st.floats(0.001, 0.5))
    def test_errs_at_most_as_often_as_it_says(self, all_then, all_now, data, rate):
        """Exactly, over every outcome the margins allow: the chance of p ≤ rate is at most the rate."""
        yes = data.draw(st.integers(0, all_then + all_now))
        drawn = np.arange(max(0, yes - all_then), min(yes, all_now) + 1)
        every = np.ones(len(drawn), dtype=np.int64)
        p_values = fisher(yes - drawn, every * all_then, drawn, every * all_now)
        chance = stats.hypergeom.pmf(drawn, all_then + all_now, yes, all_now)
        assert chance[p_values <= rate].sum() <= rate * (1 + 1e-9)


class TestHolm:
    def test_by_hand(self):
        """Sorted 0.01, 0.02, 0.04 become 0.03, 0.04, 0.04; the largest times one is below its predecessor's 0.04."""
        assert holm(np.array([0.04, 0.01, 0.02])) == pytest.approx([0.04, 0.03, 0.04])

    @for_all(st.lists(st.floats(0, 1), min_size=1, max_size=30))
    def test_never_below_the_raw_value_nor_above_bonferroni(self, values):
        raw = np.array(values)
        adjusted = holm(raw)
        assert np.all(adjusted >= raw)
        assert np.all(adjusted <= np.minimum(1, raw * len(raw)) + 1e-12)
        assert np.all(np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0)


class TestIndex:
    def test_by_hand(self):
        """Shares with half a row: 0.5 and 0.5 against 10.5/41 and 30.5/41: (20/41) × ln(30.5/10.5) ÷ 2 = 0.2600."""
        assert psi(np.array([50, 50]), np.array([10, 30])) == pytest.approx((20 / 41) * np.log(30.5 / 10.5) / 2)

    @for_all(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=12))
    def test_is_finite_and_not_negative_and_zero_for_equal_counts(self, cells):
        then, now = (np.array(side) for side in zip(*cells, strict=True))
        assert 0 <= psi(then, now) < np.inf
        assert psi(then, then) == pytest.approx(0)


def table(rng: np.random.Generator, rows: int, shares: list[np.ndarray]) -> tuple[FeatureBaseline, ...]:
    """A baseline drawn from the population, as a real one is: odd columns numeric, even ones categorical."""
    return tuple(
        FeatureBaseline(f"column-{n}", (), tuple(map(float, range(1, len(share)))), tuple(rng.multinomial(rows, share)))
        if n % 2
        else FeatureBaseline(
            f"column-{n}", tuple(map(str, range(len(share) - 1))), (), tuple(rng.multinomial(rows, share))
        )
        for n, share in enumerate(shares)
    )


def window(rng: np.random.Generator, rows: int, shares: list[np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Counts of a window drawn from the population."""
    return {f"column-{n}": tuple(rng.multinomial(rows, share)) for n, share in enumerate(shares)}


class TestErrorRates:
    def test_unchanged_traffic_alarms_at_most_as_often_as_declared(self, rng):
        """1,000 windows, a new baseline every 20, no smallest effect: so many alarms have a chance below 1 in 1,000 if
        the true rate is the declared one."""
        shares = [rng.dirichlet(np.ones(cells)) for cells in rng.integers(3, 12, 10)]
        alarms = 0
        for baseline in (table(rng, 2000, shares) for _ in range(50)):
            for _ in range(20):
                measured = measure(baseline, window(rng, 300, shares), ignore_above=0.05)
                alarms += any(drift.p_value <= 0.05 for drift in measured)
        assert alarms <= stats.binom.ppf(0.999, 1000, 0.05)
        assert alarms > 0

    def test_a_mean_that_moved_by_half_a_deviation_is_found(self, rng):
        even = [np.full(10, 0.1)] * 15
        moved = np.diff(stats.norm.cdf(stats.norm.ppf(np.linspace(0, 1, 11)) - 0.5))
        found = 0
        for _ in range(50):
            (drift,) = [
                drift
                for drift in measure(table(rng, 5000, even), window(rng, 500, [even[0], moved, *even[2:]]))
                if drift.name == "column-1"
            ]
            found += drift.p_value <= 0.001 and drift.psi >= 0.1
        assert found >= 45


@pytest.fixture
def detector(given) -> PopulationDrift:
    """The detector with the limits that are shipped."""
    policy, digest = read_policy(given.policies / "detection.yaml", DetectionPolicy)
    return PopulationDrift(policy.population_drift, policy_digest=digest)


class TestDetector:
    baseline = (
        FeatureBaseline("age", (), (10.0, 20.0, 30.0), (1000, 1000, 1000, 1000)),
        FeatureBaseline("sex", ("F", "M"), (), (2000, 2000, 0)),
        FeatureBaseline("constant", (), (), (4000,)),
    )

    def judge(self, detector: PopulationDrift, age: tuple[int, ...], sex: tuple[int, ...]):
        """The finding in a window with such counts."""
        rows = sum(age)
        return detector.judge(
            self.baseline, Window(rows, "first", "last", {"age": age, "sex": sex, "constant": (rows,)})
        )

    def test_window_is_full_at_the_rows_of_the_policy(self, detector):
        assert not detector.is_full(Window(499))
        assert detector.is_full(Window(500))

    def test_counts_only_what_has_a_baseline_and_was_reported(self, detector):
        batch = Batch("b", (Column("age", numbers=(5.0, 15.0)), Column("x", texts=("a", "b"))))
        assert detector.count(self.baseline, batch) == {"age": (1, 1, 0, 0)}

    def test_quiet_window_shows_nothing(self, detector):
        assert self.judge(detector, (125, 130, 120, 125), (255, 245, 0)) is None

    def test_drift_is_told_with_column_question_and_shares(self, detector):
        finding = self.judge(detector, (300, 100, 60, 40), (250, 250, 0))
        assert finding is not None
        assert finding.severity is Severity.HIGH
        assert finding.subjects == ("age",)
        (column,) = finding.evidence["columns"]
        assert (column["question"], column["share_then"], column["share_now"]) == ("below 10", 0.25, 0.6)
        assert "1 of 3 columns drifted in 500 rows: age below 10: 25% at validation, 60% now" in finding.message

    def test_value_never_seen_before_is_drift(self, detector):
        finding = self.judge(detector, (125, 125, 125, 125), (200, 200, 100))
        assert finding is not None
        assert finding.evidence["columns"][0]["question"] == "any other value"

    def test_what_is_significant_but_small_is_not_told(self, detector):
        """100,000 rows, 52 % instead of 50 %: certain, and PSI 0.0016."""
        assert self.judge(detector, (25_000,) * 4, (52_000, 48_000, 0)) is None

    def test_what_is_large_but_not_significant_is_not_told(self, detector):
        assert self.judge(detector, (8, 4, 2, 2), (8, 8, 0)) is None

    def test_column_without_rows_is_not_measured(self, detector):
        assert measure(self.baseline, {"age": (0, 0, 0, 0)}) == []
        assert measure((FeatureBaseline("age", (), (1.0,), (0, 0)),), {"age": (5, 5)}) == []
