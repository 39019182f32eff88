"""Whether a promised probability means the same for every group: what was promised against what came true.

A score that says 0.7 of two people should be right about as often for either, whatever their group (Pleiss et al. 2017;
sufficiency in Barocas, Hardt and Narayanan 2023, chapter 3). Sums per group say all, so the rows are walked once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vallum_validator.checks.groups import Family
from vallum_validator.checks.intervals import Floats
from vallum_validator.checks.truth import Labelled
from vallum_validator.domain.evidence import Interval

_BINS: Final = 10
"""Of equal width, as Guo et al. 2017 use for the expected calibration error."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far promise and outcome lie apart in each group of a family, for one answer.

    Args:
        gap: mean promised probability minus the share in which it came true, shape (groups,); NaN for an empty group.
        low: lower end of its interval; NaN where fewer than two rows allow none.
        high: upper end.
        error: expected calibration error over ten bins, shape (groups,), in [0, 1].
    """

    gap: Floats
    low: Floats
    high: Floats
    error: Floats

    def widest(self, large: NDArray[np.bool_]) -> tuple[int, Interval] | None:
        """How far the large groups are off, and the group that surely is off furthest.

        Args:
            large: which groups count, shape (groups,).

        Returns:
            The group, and the interval of the largest distance of any: its lower end is that group's, its upper end
            whichever reaches furthest. `None` where no large group has an interval.
        """
        counts = large & np.isfinite(self.low)
        if not counts.any():
            return None
        surely = np.where((self.low <= 0) & (self.high >= 0), 0.0, np.minimum(np.abs(self.low), np.abs(self.high)))
        surely = np.where(counts, surely, -1.0)
        off = surely if surely.max() > 0 else np.where(counts, np.abs(self.gap), -1.0)
        group = int(off.argmax())
        furthest = np.maximum(np.abs(self.low), np.abs(self.high))[counts].max()
        return group, Interval(float(surely[group]), float(furthest))


def calibration(rows: Labelled, family: Family, answer: int, confidence: float) -> Calibration | None:
    """Compare promise and outcome in each group; `None` for a model that promises no probability of this answer.

    Args:
        rows: predicted rows.
        family: how they are divided.
        answer: index of the class.
        confidence: two-sided, of each interval by itself.

    Source: the mean of `probability - outcome` with Student's t; expected calibration error by Naeini et al. 2015.
    """
    if rows.probabilities is None:
        return None
    promised = rows.probabilities[:, answer]
    came_true = (rows.truth == answer).astype(np.float64)
    groups, group = len(family.names), family.of_row
    count = np.bincount(group, minlength=groups).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.bincount(group, promised - came_true, minlength=groups) / count
        squares = np.bincount(group, (promised - came_true - gap[group]) ** 2, minlength=groups)
        half = stats.t.ppf(0.5 + confidence / 2, count - 1) * np.sqrt(squares / (count - 1) / count)
        cell = group * _BINS + np.minimum((promised * _BINS).astype(np.intp), _BINS - 1)
        of_cell = np.bincount(cell, promised - came_true, minlength=groups * _BINS).reshape(groups, _BINS)
        error = np.abs(of_cell).sum(axis=1) / count
    return Calibration(gap, gap - half, gap + half, error)
