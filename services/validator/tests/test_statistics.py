"""Intervals and the confidence sequence: hand-computed cases, and the coverage they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum_validator.checks.intervals import (
    area_bounds,
    area_under_curve,
    clopper_pearson,
    difference_bounds,
    ratio_bounds,
    wilson,
)
from vallum_validator.checks.sequential import confidence_sequence, final_interval, log_evidence, outcome_below
from vallum_validator.domain.evidence import Interval, Outcome

counts = st.integers(1, 400).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))


def test_clopper_pearson_of_no_success_in_ten_is_the_closed_form() -> None:
    low, high = clopper_pearson(0, 10)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_clopper_pearson_of_three_in_ten_matches_the_published_table() -> None:
    low, high = clopper_pearson(3, 10)
    assert (low, high) == (pytest.approx(0.0667, abs=5e-5), pytest.approx(0.6525, abs=5e-5))


def test_an_interval_of_no_trials_excludes_nothing() -> None:
    for bounds in (clopper_pearson(0, 0), wilson(0, 0)):
        assert (float(bounds[0]), float(bounds[1])) == (0.0, 1.0)


def test_wilson_of_one_half_in_one_hundred_by_hand() -> None:
    # At one half the half width simplifies to z / (2 sqrt(n + z^2)), with z = 1.959964.
    half = 1.959964 / (2 * np.sqrt(100 + 3.841459))
    low, high = wilson(50, 100)
    assert float(low) == pytest.approx(0.5 - half, abs=1e-6)
    assert float(high) == pytest.approx(0.5 + half, abs=1e-6)


@given(counts)
def test_proportion_intervals_hold_the_share_and_mirror(case: tuple[int, int]) -> None:
    hits, trials = case
    for method in (clopper_pearson, wilson):
        low, high = (float(bound) for bound in method(hits, trials))
        other_low, other_high = (float(bound) for bound in method(trials - hits, trials))
        assert low <= hits / trials + 1e-12
        assert high >= hits / trials - 1e-12
        assert low == pytest.approx(1 - other_high, abs=1e-9)
        assert high == pytest.approx(1 - other_low, abs=1e-9)


@pytest.mark.parametrize(("p", "n"), [(0.05, 60), (0.3, 40), (0.5, 200)])
def test_clopper_pearson_covers_at_least_as_often_as_it_says(p: float, n: int) -> None:
    hits = np.random.default_rng(1).binomial(n, p, size=20_000)
    low, high = clopper_pearson(hits, n)
    assert np.mean((low <= p) & (p <= high)) >= 0.95 - 0.005


@pytest.mark.parametrize(("p", "q", "n", "m"), [(0.2, 0.25, 300, 1000), (0.1, 0.1, 500, 500), (0.5, 0.4, 80, 200)])
def test_ratio_and_difference_intervals_cover_within_two_points(p: float, q: float, n: int, m: int) -> None:
    rng = np.random.default_rng(2)
    inside_ratio, inside_difference, draws = 0, 0, 2_000
    for _ in range(draws):
        hits, other = rng.binomial(n, p), (float(rng.binomial(m, q)), float(m))
        low, high = ratio_bounds(hits, n, other)
        inside_ratio += low <= p / q <= high
        low, high = difference_bounds(hits, n, other)
        inside_difference += low <= p - q <= high
    assert abs(inside_ratio / draws - 0.95) < 0.02
    assert abs(inside_difference / draws - 0.95) < 0.02


def test_a_ratio_to_a_rate_that_may_be_zero_has_no_upper_end() -> None:
    low, high = ratio_bounds([5], [10], (0.0, 50.0))
    assert np.isinf(high[0])
    assert low[0] > 0


@given(counts, counts)
def test_the_ratio_lies_inside_its_interval(case: tuple[int, int], other: tuple[int, int]) -> None:
    low, high = ratio_bounds([case[0]], [case[1]], (float(other[0]), float(other[1])))
    assert 0 <= low[0] <= high[0]
    if other[0]:
        ratio = (case[0] / case[1]) / (other[0] / other[1])
        assert low[0] - 1e-9 <= ratio <= high[0] + 1e-9


def test_area_by_hand_counts_ties_half() -> None:
    # Pairs of (3, 2) against (2, 1): 3>2, 3>1, 2=2, 2>1 -> 3.5 of 4.
    assert area_under_curve(np.array([3.0, 2.0]), np.array([2.0, 1.0])) == pytest.approx(3.5 / 4)


def test_area_interval_covers_chance() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(500):
        low, high = area_bounds(rng.normal(size=80), rng.normal(size=120))
        inside += low <= 0.5 <= high
    assert abs(inside / 500 - 0.95) < 0.03


def test_area_interval_of_perfect_separation_is_inside_the_unit() -> None:
    low, high = area_bounds(np.arange(10.0) + 100, np.arange(10.0))
    assert 0.9 < low <= high <= 1.0


def test_wealth_against_one_half_by_hand() -> None:
    # Beta(1/2, 1/2) mixture after one success in one trial: B(1.5, 0.5) / B(0.5, 0.5) = 1/2; over p = 1/2 it is 1.
    assert log_evidence(1, 1, 0.5) == pytest.approx(0.0)


def test_the_sequence_is_wider_than_the_fixed_interval_and_holds_the_share() -> None:
    sequence = confidence_sequence(20, 100)
    low, high = clopper_pearson(20, 100)
    assert sequence.low < float(low) < 0.2 < float(high) < sequence.high


def test_looking_after_every_row_is_wrong_at_most_as_often_as_declared() -> None:
    rng = np.random.default_rng(4)
    p, runs, wrong = 0.3, 200, 0
    for _ in range(runs):
        hits = np.cumsum(rng.random(200) < p)
        wrong += any(
            not interval.low <= p <= interval.high
            for interval in (confidence_sequence(int(hits[n - 1]), n) for n in range(1, 201, 6))
        )
    assert wrong / runs <= 0.05


def test_the_final_interval_is_never_wider_than_the_sequence() -> None:
    stopped = final_interval(5, 50, exhausted=False)
    ended = final_interval(5, 50, exhausted=True)
    assert stopped.low <= ended.low <= 0.1 <= ended.high <= stopped.high


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        (Interval(0.0, 0.2), Outcome.PASS),
        (Interval(0.21, 0.5), Outcome.FAIL),
        (Interval(0.1, 0.3), Outcome.INCONCLUSIVE),
        (Interval(0.2, 0.3), Outcome.INCONCLUSIVE),
    ],
)
def test_a_limit_inside_the_interval_is_inconclusive(interval: Interval, outcome: Outcome) -> None:
    assert outcome_below(interval, 0.2) is outcome
