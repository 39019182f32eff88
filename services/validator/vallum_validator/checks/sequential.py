"""Stopping early without cheating: a confidence sequence for a proportion that holds at every moment at once.

An ordinary interval is void once somebody looks at it repeatedly and stops when it suits. A gambler who bets against a
proportion p grows rich only if p is wrong (Ville 1939); the proportions he has not grown rich against are an interval
that covers the truth at every row count simultaneously, so a check may stop as soon as the policy's limit lies
outside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import optimize, special

from vallum_validator.checks.intervals import clopper_pearson
from vallum_validator.domain.evidence import Interval, Outcome

_TINY = 1e-300
_PRIOR = 0.5
"""Both parameters of the gambler's beta prior: Jeffreys' choice, best near 0 and 1 where limits usually lie."""


def log_evidence(hits: Any, trials: int, proportion: Any) -> Any:
    """Return the logarithm of the gambler's wealth against `proportion`; its expectation never exceeds log 1 if true.

    Source: Robbins 1970 (beta-binomial mixture); Howard, Ramdas, McAuliffe and Sekhon 2021.
    """
    prior = special.betaln(_PRIOR, _PRIOR)
    mixture = special.betaln(_PRIOR + hits, _PRIOR + trials - hits) - prior
    return mixture - special.xlogy(hits, proportion) - special.xlog1py(trials - hits, -np.asarray(proportion))


def confidence_sequence(hits: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return the proportions not refuted so far; with probability `confidence` the truth never is outside."""
    if trials == 0:
        return Interval(0.0, 1.0)
    return Interval(_lower_end(hits, trials, confidence), 1.0 - _lower_end(trials - hits, trials, confidence))


def _lower_end(hits: int, trials: int, confidence: float) -> float:
    wealth_needed = -float(np.log1p(-confidence))
    if hits == 0:
        return 0.0
    # Wealth is infinite against 0 and below one against hits / trials, and falls in between.
    return float(
        optimize.brentq(
            lambda p: float(log_evidence(hits, trials, p)) - wealth_needed, _TINY, hits / trials, xtol=1e-12
        )
    )


def final_interval(hits: int, trials: int, *, exhausted: bool, confidence: float = 0.95) -> Interval:
    """Return the interval to report when stopping.

    Half of the error is spent on stopping early, half on one exact interval if every planned row was used: whatever
    ended the work, the truth is inside with probability `confidence` (union bound).

    Args:
        hits: successes.
        trials: rows used.
        exhausted: whether the plan ended because no planned row was left, not because the answer was clear.
        confidence: two-sided, in (0, 1).
    """
    half = 0.5 + confidence / 2
    sequence = confidence_sequence(hits, trials, half)
    if not exhausted:
        return sequence
    low, high = (float(bound) for bound in clopper_pearson(hits, trials, half))
    return Interval(max(low, sequence.low), min(high, sequence.high))


def outcome_below(interval: Interval, limit: float) -> Outcome:
    """Return PASS if the whole interval is at most `limit`, FAIL if all of it is above, INCONCLUSIVE in between."""
    if interval.high <= limit:
        return Outcome.PASS
    return Outcome.FAIL if interval.low > limit else Outcome.INCONCLUSIVE
