"""How often the intervals of the four checks hold the truth, by simulation; nominal is 95 %.

    .venv/bin/python bench/intervals.py [--simulations N]

Each line draws data from a distribution whose truth is known, asks the code the checks use for an interval, and counts.
Intervals that promise more than one look or one group ("at least") may hold more often than 95 %, never less.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import stats

from vallum_validator.checks.calibration import calibration
from vallum_validator.checks.groups import Family
from vallum_validator.checks.intervals import area_bounds, clopper_pearson, difference_bounds, ratio_bounds, wilson
from vallum_validator.checks.leakage import Scores, point
from vallum_validator.checks.performance import measure
from vallum_validator.checks.sequential import confidence_sequence, final_interval, outcome_below
from vallum_validator.checks.truth import Labelled
from vallum_validator.domain.evidence import Outcome
from vallum_validator.table import Table

CONFIDENCE = 0.95
Trial = Callable[[np.random.Generator], bool]
"""Draws once; whether the interval held the truth."""


def main() -> None:
    """Print one line for each interval."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--simulations", type=int, default=4_000)
    count = arguments.parse_args().simulations
    print(f"{count} simulations of each; one standard error is {100 * np.sqrt(0.05 * 0.95 / count):.2f} points")
    for name, promise, trial in TRIALS:
        rng = np.random.default_rng(11)
        held = sum(trial(rng) for _ in range(count)) / count
        off = 100 * (held - CONFIDENCE)
        holds = held > CONFIDENCE - 0.02 if promise == "at least" else abs(off) <= 2
        print(f"  {name:<66} {promise:<9} {held:6.1%}  {off:+5.1f} points{'' if holds else '  MISSED'}")


def attacked_fraction(rng: np.random.Generator, share: float = 0.2) -> bool:
    """All planned rows attacked."""
    low, high = clopper_pearson(rng.binomial(1_000, share), 1_000, CONFIDENCE)
    return bool(low <= share <= high)


def attacked_early(rng: np.random.Generator, share: float = 0.2, limit: float = 0.35) -> bool:
    """Rows attacked fifty at a time, until the limit lies outside."""
    hits = trials = 0
    while trials < 1_000:
        hits, trials = hits + int(rng.binomial(50, share)), trials + 50
        if outcome_below(confidence_sequence(hits, trials, 0.975), limit) is not Outcome.INCONCLUSIVE:
            break
    found = final_interval(hits, trials, exhausted=trials >= 1_000, confidence=CONFIDENCE)
    return found.low <= share <= found.high


def selection_rate(rng: np.random.Generator, share: float = 0.24) -> bool:
    """A group of 300 rows."""
    low, high = wilson(rng.binomial(300, share), 300, CONFIDENCE)
    return bool(low <= share <= high)


def impact_ratio(rng: np.random.Generator) -> bool:
    """A group of 500 rows beside one of 4,000."""
    reference = (float(rng.binomial(4_000, 0.3)), 4_000.0)
    low, high = ratio_bounds(np.array([rng.binomial(500, 0.24)]), np.array([500]), reference, CONFIDENCE)
    return bool(low[0] <= 0.8 <= high[0])


def rate_gap(rng: np.random.Generator) -> bool:
    """True positive rates of 150 and 1,000 rows."""
    reference = (float(rng.binomial(1_000, 0.8)), 1_000.0)
    low, high = difference_bounds(np.array([rng.binomial(150, 0.7)]), np.array([150]), reference, CONFIDENCE)
    return bool(low[0] <= -0.1 <= high[0])


def promise(rng: np.random.Generator) -> bool:
    """A group of 400 rows that is promised .05 too much."""
    chance = rng.uniform(0.1, 0.9, 400)
    truth = (rng.random(400) < chance - 0.05).astype(np.intp)
    table = Table({"x": chance})
    rows = Labelled(table, truth, truth, np.column_stack([1 - chance, chance]), ("0", "1"), {}, 0)
    none = np.zeros(400, dtype=np.intp)
    found = calibration(rows, Family(("g",), ("all",), np.zeros((1, 2, 2), np.int64), none[:1], none), 1, CONFIDENCE)
    return found is not None and bool(found.low[0] <= 0.05 <= found.high[0])


def recognised(rng: np.random.Generator, shift: float = 1.0) -> bool:
    """True positive rate at 1 % false positives, 4,000 members and 4,000 others with normal scores."""
    truth = float(stats.norm.sf(stats.norm.isf(0.01) - shift))
    scores = Scores(rng.normal(shift, 1, 4_000), rng.normal(0, 1, 4_000))
    found = point(scores, 0.01, CONFIDENCE).interval
    return found.low <= truth <= found.high


def area(rng: np.random.Generator, shift: float = 1.0) -> bool:
    """Area under the curve of 300 and 300 normal scores."""
    truth = float(stats.norm.cdf(shift / np.sqrt(2)))
    low, high = area_bounds(rng.normal(shift, 1, 300), rng.normal(0, 1, 300), CONFIDENCE)
    return low <= truth <= high


def reproduced(name: str, truth: float) -> Trial:
    """A metric of a model right in 90 % of negatives and 70 % of positives; 30 % of 1,000 rows are positive."""

    def trial(rng: np.random.Generator) -> bool:
        actual = (rng.random(1_000) < 0.3).astype(np.intp)
        right = rng.random(1_000) < np.where(actual == 1, 0.7, 0.9)
        rows = Labelled(
            Table({"x": np.zeros(1_000)}), actual, np.where(right, actual, 1 - actual), None, ("0", "1"), {}, 0
        )
        found = measure(rows, 1, CONFIDENCE, rng)[name][-1].interval
        return found.low <= truth <= found.high

    return trial


TRIALS: tuple[tuple[str, str, Trial], ...] = (
    ("attacked fraction, all 1,000 rows (Clopper-Pearson)", "nominal", attacked_fraction),
    ("attacked fraction, stopped as soon as the limit is outside", "at least", attacked_early),
    ("selection rate, 300 rows (Wilson)", "nominal", selection_rate),
    ("ratio of selection rates, 500 rows (MOVER-R)", "nominal", impact_ratio),
    ("gap of true positive rates, 150 rows (Newcombe)", "nominal", rate_gap),
    ("promise against outcome, 400 rows (Student)", "nominal", promise),
    ("members recognised at 1 % false alarms (order statistics)", "at least", recognised),
    ("area under the curve, 300 rows each (DeLong)", "nominal", area),
    ("reproduced accuracy, 1,000 rows (multinomial bootstrap)", "nominal", reproduced("accuracy", 0.84)),
    ("reproduced F1, 1,000 rows (multinomial bootstrap)", "nominal", reproduced("f1", 2 * 0.21 / (0.21 + 0.3 + 0.07))),
)


if __name__ == "__main__":
    main()
