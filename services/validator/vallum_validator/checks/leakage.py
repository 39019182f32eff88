"""What the scores of a membership attack prove: true positive rates at small false positive rates, and a bound on ε.

The false positive rate at any cut is itself estimated, and at 1 % of a few hundred rows badly. Every bound here
therefore accounts for both samples: the cut is bracketed between two order statistics of the non-members first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vallum_validator.checks.intervals import area_bounds, area_under_curve, clopper_pearson
from vallum_validator.checks.membership import Scores
from vallum_validator.domain.evidence import Detail, Interval

RATES = (0.001, 0.01, 0.1)
"""False positive rates looked at: 0.1 % and 1 % as Carlini et al. 2022 ask, 10 % where rows are too few for those."""


_CURVE_POINTS = 41
"""Ten for each power of ten of a few thousand rows."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the ROC.

    Args:
        rate: true positive rate at the false positive rate asked for.
        interval: of it, both samples accounted for.
    """

    rate: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Leakage:
    """What all attacks together prove.

    Args:
        worst: name of the attack with the highest true positive rate at the policy's false positive rate.
        points: the worst attack at each rate of `RATES` and of policy, by rate.
        area: largest area under the ROC of any attack.
        area_interval: of it.
        epsilon: no training that is ε-differentially private with a smaller ε gives these scores, at the confidence.
    """

    worst: str
    points: Mapping[float, Point]
    area: float
    area_interval: Interval
    epsilon: float


def point(scores: Scores, rate: float, confidence: float) -> Point:
    """Return the true positive rate at a false positive rate.

    Args:
        scores: of one attack.
        rate: false positive rate, in (0, 1).
        confidence: two-sided; half of the error goes to the cut, half to the members above it.
    """
    descending = np.sort(scores.population)[::-1]
    count, total = len(descending), len(scores.members)
    tail = (1 - confidence) / 4
    fewest, most = (int(stats.binom.ppf(share, count, rate)) for share in (tail, 1 - tail))

    def above(place: int) -> int:
        return int((scores.members > descending[place]).sum()) if place < count else total

    half = 0.5 + confidence / 2
    low = float(clopper_pearson(above(fewest - 1), total, half)[0]) if fewest > 0 else 0.0
    high = float(clopper_pearson(above(most), total, half)[1])
    return Point(above(int(rate * count)) / total, Interval(low, high))


def curve(scores: Scores, confidence: float) -> list[Detail]:
    """Return the ROC of one attack at false positive rates evenly spaced on a logarithmic axis, for plots.

    Args:
        scores: of the attack.
        confidence: of the bounds at each single rate.
    """
    least = math.log10(1 / len(scores.population))
    rates = np.unique(np.round(np.logspace(least, 0, _CURVE_POINTS)[:-1], 12)).tolist()
    points = {rate: point(scores, rate, confidence) for rate in rates}
    return [
        {"fpr": rate, "tpr": each.rate, "low": each.interval.low, "high": each.interval.high}
        for rate, each in points.items()
    ]


def loss_tail(wrong: int, rows: int, confidence: float) -> Point:
    """Return the share of rows that cannot have been trained on, had the model learned all its training rows.

    The best that can be said without members: the true negative rate of the loss attack at a cut that keeps every
    member, on the assumption that members are answered right.

    Source: Yeom et al. 2018, section 3.2, for the bound by the accuracy gap; "tail" after arXiv 2510.19773, which
    estimates the leakage of stronger attacks from the true negatives of this one.
    """
    low, high = (float(bound) for bound in clopper_pearson(wrong, rows, confidence))
    return Point(wrong / rows, Interval(low, high))


def leakage(attacks: Mapping[str, Scores], rate: float, confidence: float) -> Leakage:
    """Return the worst of all attacks, with bounds that hold although it was chosen as the worst.

    Args:
        attacks: scores by name.
        rate: the policy's false positive rate.
        confidence: of every bound.

    Source: ε from Kairouz, Oh and Viswanath 2015, theorem 2.1: for a pure ε-private training TPR <= exp(ε) FPR, and the
        same of telling who was not trained on. A nearest neighbour knows all its rows, and shows it there alone: who is
        answered wrong is none of them, while those answered right are too many to tell at 1 % false alarms.
    """
    rates = sorted({*RATES, rate})
    shared = 1 - (1 - confidence) / len(attacks)
    points = {
        each: _worst(
            [point(scores, each, confidence) for scores in attacks.values()],
            [point(scores, each, shared) for scores in attacks.values()],
        )
        for each in rates
    }
    worst = max(attacks, key=lambda name: point(attacks[name], rate, confidence).rate)
    areas = {name: area_under_curve(scores.members, scores.population) for name, scores in attacks.items()}
    bounds = [area_bounds(scores.members, scores.population, shared) for scores in attacks.values()]
    both = [side for scores in attacks.values() for side in (scores, Scores(-scores.population, -scores.members))]
    strict = 1 - 2 * (1 - confidence) / (len(both) * len(rates))
    epsilon = max(_log_ratio(point(side, each, strict).interval.low, each) for side in both for each in rates)
    return Leakage(
        worst=worst,
        points=points,
        area=max(areas.values()),
        area_interval=Interval(max(low for low, _ in bounds), max(high for _, high in bounds)),
        epsilon=epsilon,
    )


def _worst(alone: list[Point], together: list[Point]) -> Point:
    # Above: one of several was picked as the largest, so its lower end pays for all. Below: all must be small, and the
    # one that truly is the largest is enough to refute it, so the upper ends need no correction (Berger 1982).
    return Point(
        max(each.rate for each in alone),
        Interval(max(each.interval.low for each in together), max(each.interval.high for each in alone)),
    )


def _log_ratio(low: float, rate: float) -> float:
    return float(max(0.0, np.log(low / rate))) if low > 0 else 0.0
