"""How wide intervals must be to hold for all groups at once, without paying for comparisons that repeat each other.

Groups of crossed columns overlap: Female counts in Female and in Female x Black. Bonferroni pays for both as if they
were strangers. Drawing new data sets shows how far the worst of all comparisons really strays; drawing rows with
replacement and counting them is the same as one multinomial draw of the counts, so a thousand data sets cost
milliseconds.

Source: Efron 1979; max-t by Romano and Wolf 2005.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from vallum_validator.checks.groups import Counts, Family
from vallum_validator.checks.intervals import Floats

_DRAWS = 1_000


def simultaneous_confidence(
    families: Sequence[Family], answers: Sequence[int], confidence: float, rng: np.random.Generator
) -> float:
    """Return the two-sided confidence each single interval needs so that all of them hold together.

    Never above Bonferroni's, which is always enough, and never below `confidence`.

    Args:
        families: the last one crosses all columns; its groups are the cells that are drawn.
        answers: classes whose selection rates are compared.
        confidence: that all hold.
        rng: the draws.
    """
    enough = bonferroni(families, answers, confidence)
    if enough <= confidence:
        return confidence
    cells = families[-1].counts.sum(axis=1)
    draws = rng.multinomial(int(cells.sum()), (cells / cells.sum()).reshape(-1), size=_DRAWS)
    tables = np.concatenate([cells[None], draws.reshape(-1, *cells.shape)])
    worst = np.zeros(_DRAWS)
    for family in families:
        grouped = _grouped(tables, family)
        for answer in answers:
            worst = np.maximum(worst, _strays(grouped[:, :, answer], grouped.sum(axis=2)))
    reach = float(np.quantile(worst, confidence))
    return float(np.clip(2 * stats.norm.cdf(reach) - 1, confidence, enough))


def bonferroni(families: Sequence[Family], answers: Sequence[int], confidence: float) -> float:
    """Return the confidence that is enough for each interval, however comparisons depend on one another."""
    comparisons = len(answers) * sum(len(family.names) - 1 for family in families)
    return 1 - (1 - confidence) / max(1, comparisons)


def _grouped(tables: Counts, family: Family) -> Counts:
    """Sum cells to the groups of a family: (draws, cells, classes) to (draws, groups, classes)."""
    grouped = np.zeros((len(tables), len(family.names), tables.shape[2]), dtype=np.int64)
    for cell, group in enumerate(family.group_of_cell):
        grouped[:, group] += tables[:, cell]
    return grouped


def _strays(selected: Counts, rows: Counts) -> Floats:
    """Return for each draw the largest studentised distance of a log ratio from that of the data, in row 0."""
    # Half a row more on either side keeps empty cells finite.
    rate = (selected + 0.5) / (rows + 1.0)
    reference = int(rate[0].argmax())
    variance = (1 - rate) / (rate * (rows + 1.0))
    ratio = np.log(rate) - np.log(rate[:, [reference]])
    spread = np.sqrt(variance + variance[:, [reference]])
    away: Floats = np.abs(ratio[1:] - ratio[0]) / spread[1:]
    return np.asarray(np.delete(away, reference, axis=1).max(axis=1, initial=0.0))
