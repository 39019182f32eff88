"""Confidence intervals for proportions, ratios and areas, exact where an exact one exists.

Every function takes arrays and answers arrays, so that a whole table of groups is one call. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats: TypeAlias = "NDArray[np.float64]"
Bounds: TypeAlias = tuple[Floats, Floats]
Limits: TypeAlias = Callable[[Any, Any, float], Bounds]


def clopper_pearson(hits: Any, trials: Any, confidence: float = 0.95) -> Bounds:
    """Return the exact interval of a proportion; it covers at least as often as it says.

    Args:
        hits: successes, any shape.
        trials: attempts, same shape; zero gives [0, 1].
        confidence: two-sided, in (0, 1).

    Source: Clopper and Pearson 1934, in the beta form.
    """
    hits, trials = np.broadcast_arrays(np.asarray(hits, dtype=float), np.asarray(trials, dtype=float))
    tail = (1.0 - confidence) / 2.0
    with np.errstate(invalid="ignore"):
        low = stats.beta.ppf(tail, hits, trials - hits + 1)
        high = stats.beta.ppf(1.0 - tail, hits + 1, trials - hits)
    return np.where(hits <= 0, 0.0, low), np.where(hits >= trials, 1.0, high)


def wilson(hits: Any, trials: Any, confidence: float = 0.95) -> Bounds:
    """Return the score interval of a proportion: near its nominal coverage on average, also for few trials.

    Args:
        hits: successes, any shape.
        trials: attempts, same shape; zero gives [0, 1].
        confidence: two-sided, in (0, 1).

    Source: Wilson 1927; recommended by Brown, Cai and DasGupta 2001.
    """
    hits, trials = np.broadcast_arrays(np.asarray(hits, dtype=float), np.asarray(trials, dtype=float))
    z = stats.norm.ppf(0.5 + confidence / 2.0)
    count = np.maximum(trials, 1.0)
    share = hits / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    # At the ends the formula gives exactly 0 and 1; rounding must not leave a speck beside them.
    return np.where(hits <= 0, 0.0, centre - half), np.where(hits >= trials, 1.0, centre + half)


def ratio_bounds(
    hits: Any, trials: Any, reference: tuple[float, float], confidence: float = 0.95, *, limits: Limits = wilson
) -> Bounds:
    """Return the interval of the ratio of each proportion to a reference proportion measured on other rows.

    Args:
        hits: successes per group, shape (groups,).
        trials: rows per group, same shape.
        reference: successes and rows of the group all are compared with.
        confidence: two-sided, in (0, 1).
        limits: of each proportion; exact ones make the interval wide enough where counts are small.

    Returns:
        low and high, shape (groups,); high is infinite where the reference proportion may be zero.

    Source: Donner and Zou 2012, Fieller-type MOVER-R, with Wilson limits for each proportion unless others are given.
    """
    share = np.asarray(hits, dtype=float) / np.maximum(trials, 1)
    low, high = limits(hits, trials, confidence)
    other = reference[0] / max(reference[1], 1)
    other_low, other_high = (float(bound) for bound in limits(reference[0], reference[1], confidence))
    product = share * other
    spread_low = product**2 - low * other_high * (2 * share - low) * (2 * other - other_high)
    spread_high = product**2 - high * other_low * (2 * share - high) * (2 * other - other_low)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The lower limit is written without the denominator that vanishes where the reference is nearly zero.
        ratio_low = low * (2 * share - low) / (product + np.sqrt(np.maximum(spread_low, 0.0)))
        ratio_high = (product + np.sqrt(np.maximum(spread_high, 0.0))) / (other_low * (2 * other - other_low))
    return np.nan_to_num(ratio_low, nan=0.0), np.nan_to_num(ratio_high, nan=np.inf, posinf=np.inf)


def difference_bounds(
    hits: Any, trials: Any, reference: tuple[Any, Any], confidence: float = 0.95, *, limits: Limits = wilson
) -> Bounds:
    """Return the interval of each proportion minus a reference proportion measured on other rows.

    Args:
        hits: successes, any shape.
        trials: attempts, same shape.
        reference: successes and attempts of what is taken away; shapes are broadcast.
        confidence: two-sided, in (0, 1).
        limits: of each proportion; exact ones make the interval wide enough where counts are small.

    Source: Newcombe 1998, method 10 (square-and-add), with Wilson limits unless others are given.
    """
    share = np.asarray(hits, dtype=float) / np.maximum(trials, 1)
    low, high = limits(hits, trials, confidence)
    other = np.asarray(reference[0], dtype=float) / np.maximum(reference[1], 1)
    other_low, other_high = limits(reference[0], reference[1], confidence)
    gap = share - other
    return (
        gap - np.sqrt((share - low) ** 2 + (other_high - other) ** 2),
        gap + np.sqrt((high - share) ** 2 + (other - other_low) ** 2),
    )


def area_under_curve(positive: Floats, negative: Floats) -> float:
    """Return the probability that a positive scores above a negative, ties counting half; 0.5 is chance."""
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    above = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(above / (len(positive) * len(negative)))


def area_bounds(positive: Floats, negative: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of `area_under_curve`, on the logit scale so that it stays inside [0, 1].

    Source: DeLong, DeLong and Clarke-Pearson 1988 by mid-ranks (Sun and Xu 2014).
    """
    m, n = len(positive), len(negative)
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    of_positive = (ranks[:m] - stats.rankdata(positive)) / n
    of_negative = 1.0 - (ranks[m:] - stats.rankdata(negative)) / m
    area = min(max(float(of_positive.mean()), 0.5 / (m * n)), 1 - 0.5 / (m * n))
    variance = np.var(of_positive, ddof=1) / m + np.var(of_negative, ddof=1) / n if min(m, n) > 1 else 0.25
    half = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(variance) / (area * (1 - area))
    centre = np.log(area / (1 - area))
    return float(1 / (1 + np.exp(half - centre))), float(1 / (1 + np.exp(-half - centre)))
