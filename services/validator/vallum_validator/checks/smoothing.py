"""Randomised smoothing: how many rows keep their answer, provably, if the model votes over noisy copies of the row.

The certificate is of the smoothed model, not of the model as submitted; it shows what wrapping it would buy. Each row
is asked only as often as a bettor needs to be sure, mostly a few hundred times instead of ten thousand.

Source: Cohen, Rosenfeld and Kolter 2019, theorem 1; sequential testing in place of their fixed sample is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vallum_validator.checks.plain import Plain
from vallum_validator.checks.sequential import log_evidence
from vallum_validator.checks.space import Matrix

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Smoothed:
    """What was proved about the smoothed model.

    Args:
        certified: whether the answer is proved constant within the radius, shape (rows,).
        undecided: whether the queries ran out before either could be shown.
        queries: predictions asked in all.
    """

    certified: NDArray[np.bool_]
    undecided: NDArray[np.bool_]
    queries: int


def certify(
    plain: Plain,
    rows: Matrix,
    own: NDArray[np.intp],
    *,
    sigma: float,
    radius: float,
    queries: int,
    confidence: float,
    rng: np.random.Generator,
) -> Smoothed:
    """Test for each row whether the smoothed model keeps its answer within an L2 radius.

    Args:
        plain: the model and its units.
        rows: in units, shape (rows, features).
        own: the answer to keep.
        sigma: standard deviation of the noise, in units.
        radius: L2, in units.
        queries: at most this many noisy copies of a row.
        confidence: of each single certificate.
        rng: the noise.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.
    """
    share = float(stats.norm.cdf(radius / sigma))
    wealth_needed = -np.log1p(-confidence)
    kept, asked = np.zeros(len(rows), dtype=np.intp), 0
    certified, open_rows = np.zeros(len(rows), dtype=bool), np.ones(len(rows), dtype=bool)
    total = 0
    while asked < queries and open_rows.any():
        active = np.flatnonzero(open_rows)
        noise = rng.normal(0.0, sigma, size=(len(active), _BATCH, rows.shape[1]))
        kept[active] += (~plain.ask(rows[active, None] + noise, own[active]).flipped).sum(axis=1)
        asked += _BATCH
        total += _BATCH * len(active)
        sure = log_evidence(kept[active], asked, share) >= wealth_needed
        certified[active] = sure & (kept[active] > share * asked)
        open_rows[active] = ~sure
    return Smoothed(certified, open_rows, total)
