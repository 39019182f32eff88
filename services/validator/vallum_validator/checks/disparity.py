"""Whether groups are treated alike: ratios of selection rates and gaps of error rates, with three-way verdicts.

A point estimate decides nothing: of ten small groups one always looks disadvantaged. A group is *found* below the limit
only if its interval, widened for all the groups looked at, is; it is *shown* above only if its own interval is.
Groups below the least share are shown together where they show nothing alone. All of it holds against whichever large
group may truly be selected most.

Source: ratio to the most selected group and the 2 % share from 29 CFR 1607.4(D) and 1607.15(A)(2); that all groups
must be shown needs no correction (intersection-union test, Berger 1982).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vallum_validator.checks.groups import Confusion, Counts
from vallum_validator.checks.intervals import Floats, clopper_pearson, difference_bounds, ratio_bounds, wilson
from vallum_validator.domain.evidence import Interval, Outcome

_POWER = 0.8
"""Convention for "would have been found" (Cohen 1988)."""
_ENOUGH = 10
"""Rows that would be selected, and that would not be, if all groups were treated alike: fewer and no approximation is
trusted (the usual five or ten; with ten it held in all simulations of `bench/checks.py --only refusals`)."""


@dataclass(frozen=True, slots=True)
class Impact:
    """Selection of every group of a family, relative to the large group that is surely selected most.

    Args:
        reference: index of that group.
        ratio: of each group's selection rate to the reference's, shape (groups,).
        low: simultaneous lower end.
        high: simultaneous upper end.
        detectable: a true ratio below this would have been found with probability 0.8.
        outcome: of the family.
        worst: index of the group with the lowest ratio, of those found below the limit where there are any, else of
            those large enough; -1 where that is the pooled rest.
        value: the ratio of `worst`.
        interval: simultaneous, of `value`.
    """

    reference: int
    ratio: Floats
    low: Floats
    high: Floats
    detectable: Floats
    outcome: Outcome
    worst: int
    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Criterion:
    """How groups are judged.

    Args:
        limit: smallest allowed ratio.
        least_share: below this share of the rows a group is judged with the other small ones only.
        confidence: of the verdict.
        simultaneous: two-sided confidence of one interval such that all of them hold together at `confidence`.
        strict: the same without any assumption, for groups of few rows.
    """

    limit: float
    least_share: float
    confidence: float
    simultaneous: float
    strict: float

    @property
    def alone(self) -> float:
        """Two-sided confidence whose lower end has the one-sided error of the verdict."""
        return 1 - 2 * (1 - self.confidence)


def impact(seen: Confusion, criterion: Criterion) -> Impact | None:
    """Compare selection rates; `None` where there are fewer than two groups or nobody in a large one is selected."""
    large = seen.rows >= criterion.least_share * seen.rows.sum()
    # Three of three selected would make a handful of rows what everybody else is held against.
    eligible = large if large.any() else seen.rows == seen.rows.max()
    if len(seen.rows) < 2 or seen.selected[eligible].sum() == 0:
        return None
    surely = np.where(eligible, wilson(seen.selected, seen.rows, criterion.simultaneous)[0], -1.0)
    reference = int(np.argmax(surely))
    base = (float(seen.selected[reference]), float(seen.rows[reference]))
    others = np.arange(len(seen.rows)) != reference
    ratio = np.where(others, seen.selected / seen.rows / (base[0] / base[1]), 1.0)
    low, high = _bounds(seen, reference, criterion)
    found, small = others & (high < criterion.limit), others & ~large
    # Where a group was found, it is what is told: a few rows of which nobody was selected look worse and show nothing.
    candidates = [
        (float(ratio[place]), int(place), Interval(float(low[place]), float(high[place])))
        for place in np.flatnonzero(found if found.any() else others & large)
    ]
    if small.any() and not found.any():
        candidates.append((*_pooled(seen, small, base, criterion.simultaneous),))
    value, worst, interval = min(candidates, key=lambda candidate: candidate[0])
    return Impact(
        reference=reference,
        ratio=ratio,
        low=low,
        high=high,
        detectable=_detectable(seen, reference, criterion),
        outcome=_outcome(seen, criterion, eligible, found),
        worst=worst,
        value=value,
        interval=interval,
    )


def _bounds(seen: Confusion, reference: int, criterion: Criterion) -> tuple[Floats, Floats]:
    """Simultaneous ends of each ratio, by resampling and Wilson where counts are large enough, else exact.

    Resampled groups of a few rows repeat what was seen and never stray, and of ten such groups one is always extreme:
    a fair model of 300 rows in ten groups was refused every tenth time.
    """
    base = (float(seen.selected[reference]), float(seen.rows[reference]))
    share = seen.selected.sum() / seen.rows.sum()
    enough = seen.rows * min(share, 1 - share) >= _ENOUGH
    enough &= enough[reference]
    usual = ratio_bounds(seen.selected, seen.rows, base, criterion.simultaneous)
    exact = ratio_bounds(seen.selected, seen.rows, base, criterion.strict, limits=clopper_pearson)
    low, high = (np.where(enough, one, other) for one, other in zip(usual, exact, strict=True))
    low[reference] = high[reference] = 1.0
    return low, high


def _pooled(
    seen: Confusion, which: NDArray[np.bool_], base: tuple[float, float], confidence: float
) -> tuple[float, int, Interval]:
    selected, rows = float(seen.selected[which].sum()), float(seen.rows[which].sum())
    low, high = ratio_bounds(selected, rows, base, confidence)
    return selected / rows / (base[0] / base[1]), -1, Interval(float(low), float(high))


def _outcome(seen: Confusion, criterion: Criterion, eligible: NDArray[np.bool_], found: NDArray[np.bool_]) -> Outcome:
    if found.any():
        return Outcome.FAIL
    # Which group is selected most is not known either. Held against the surest one alone, a group of fifty rows that
    # was selected 1.3 times as often as all others passed in one file of four: it lay above, and nobody was held
    # against it.
    met = all(_meets(seen, criterion, int(place)) for place in np.flatnonzero(eligible))
    return Outcome.PASS if met else Outcome.INCONCLUSIVE


def _meets(seen: Confusion, criterion: Criterion, reference: int) -> bool:
    """Whether, held against one group, each large group is shown above the limit by itself, and the small ones are
    shown by themselves or all together, with none among them that speaks against it."""
    base = (float(seen.selected[reference]), float(seen.rows[reference]))
    low, high = ratio_bounds(seen.selected, seen.rows, base, criterion.alone)
    small = seen.rows < criterion.least_share * seen.rows.sum()
    shown = low >= criterion.limit
    shown[reference] = True
    if shown.all():
        return True
    if not shown[~small].all() or (high[small] < criterion.limit).any():
        return False
    small[reference] = False  # where no group is large, it is one of them
    # All of them: those that could not be shown alone are the ones that chance made look low.
    selected, rows = float(seen.selected[small].sum()), float(seen.rows[small].sum())
    return bool(ratio_bounds(selected, rows, base, criterion.alone)[0] >= criterion.limit)


def _detectable(seen: Confusion, reference: int, criterion: Criterion) -> Floats:
    rate = np.clip(seen.selected[reference] / seen.rows[reference], 1e-9, 1.0)
    variance = (1 - rate * criterion.limit) / (rate * criterion.limit * seen.rows)
    variance += (1 - rate) / (rate * seen.rows[reference])
    reach = stats.norm.ppf(0.5 + criterion.simultaneous / 2) + stats.norm.ppf(_POWER)
    detectable: Floats = criterion.limit * np.exp(-reach * np.sqrt(variance))
    return detectable


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest difference of a rate between two groups that are large enough.

    Args:
        value: highest rate minus lowest.
        interval: of the largest true difference; it holds for all pairs of groups at once.
        highest: index of the group with the highest rate.
        lowest: index of the group with the lowest.
        apart: the two groups that surely differ most, the one with the higher rate first; the lower end is theirs.
        unestimable: groups in which the rate has no denominator.
    """

    value: float
    interval: Interval
    highest: int
    lowest: int
    apart: tuple[int, int]
    unestimable: tuple[int, ...]


def gap(hits: Counts, trials: Counts, large: NDArray[np.bool_], criterion: Criterion) -> Gap | None:
    """Return the largest gap of `hits / trials` between large groups; `None` where fewer than two can be estimated.

    Args:
        hits: per group.
        trials: per group, same shape.
        large: which groups count.
        criterion: how sure the interval has to be.
    """
    empty = tuple(int(place) for place in np.flatnonzero(trials == 0))
    places = np.flatnonzero(large & (trials > 0))
    if len(places) < 2:
        return None
    rate = hits[places] / trials[places]
    low, high = _pairs(hits[places], trials[places], criterion)
    first, second = np.unravel_index(int(low.argmax()), low.shape)
    return Gap(
        value=float(rate.max() - rate.min()),
        interval=Interval(max(0.0, float(low.max())), min(1.0, float(high.max()))),
        highest=int(places[rate.argmax()]),
        lowest=int(places[rate.argmin()]),
        apart=(int(places[first]), int(places[second])),
        unestimable=empty,
    )


def _pairs(hits: Counts, trials: Counts, criterion: Criterion) -> tuple[Floats, Floats]:
    """Ends of the difference of each two groups, shape (groups, groups); by Wilson where counts are large enough, else
    exact, for the reason `_bounds` gives: an error rate has only a part of a group's rows below it."""
    # A family of k groups pays for k - 1 comparisons. Both rates of all pairs are k times as many.
    usual, strict = (1 - (1 - each) / len(hits) for each in (criterion.simultaneous, criterion.strict))
    share = hits.sum() / trials.sum()
    enough = trials * min(share, 1 - share) >= _ENOUGH
    one, other = (hits[:, None], trials[:, None]), (hits[None], trials[None])
    ends = zip(
        difference_bounds(*one, other, usual),
        difference_bounds(*one, other, strict, limits=clopper_pearson),
        strict=True,
    )
    low, high = (np.where(enough[:, None] & enough, *each) for each in ends)
    np.fill_diagonal(low, -1.0)
    np.fill_diagonal(high, 0.0)
    return low, high
