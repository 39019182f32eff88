"""Population drift: is live traffic still distributed as the evaluation data were?

Every column is asked simple questions: of a numeric one, how many rows lie below each bin edge; of a categorical one,
how many have each value. Each is answered by Fisher's exact test, which takes both sides, baseline and window, for the
samples they are, and keeps its error rate at any sample size and with any empty cell. Holm's procedure then holds the
chance of even one false answer, over all questions of all columns, at the declared rate. What is significant but too
small to matter (population stability index) is not told.

What it cannot see: a change that leaves every single column as it was, and columns that go missing more often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

from vallum_monitor.detectors.counting import count
from vallum_monitor.detectors.policy import DriftLimits
from vallum_monitor.domain.alerts import Counts, Finding, Json, Window
from vallum_monitor.domain.models import Baseline, FeatureBaseline, Severity
from vallum_monitor.domain.traffic import Batch

NAME: Final = "population-drift"
_TOLD_IN_MESSAGE: Final = 3

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """How one column has moved.

    Args:
        name: of the column.
        p_value: smallest of its questions, adjusted for all questions of the window.
        psi: population stability index.
        question: the one that moved most, in words, e.g. `below 35.0`.
        share_then: share of the baseline's rows for which it is so.
        share_now: share of the window's rows.
    """

    name: str
    p_value: float
    psi: float
    question: str
    share_then: float
    share_now: float


class PopulationDrift:
    """The detector.

    Args:
        limits: from the detection policy.
        policy_digest: told with every finding.
    """

    name = NAME

    def __init__(self, limits: DriftLimits, *, policy_digest: str) -> None:
        self._limits = limits
        self._policy_digest = policy_digest

    def count(self, baseline: Baseline, batch: Batch) -> Counts:
        """Rows of a batch per bin and category, of every column that has a baseline.

        Raises:
            Invalid: a prediction is no number where the model predicts numbers.
        """
        columns = ((feature, batch.column_of(feature)) for feature in baseline)
        return {feature.name: count(feature, column) for feature, column in columns if column is not None}

    def is_full(self, window: Window) -> bool:
        """Whether a window has enough rows to be judged."""
        return window.rows >= self._limits.window_rows.value

    def judge(self, baseline: Baseline, window: Window) -> Finding | None:
        """What a full window shows; `None` where nothing has moved that matters."""
        rate = self._limits.false_alarm_rate.value
        measured = measure(baseline, window.counts, ignore_above=rate)
        drifted = [d for d in measured if d.p_value <= rate and d.psi >= self._limits.medium_psi.value]
        if not drifted:
            return None
        drifted.sort(key=lambda drift: -drift.psi)
        high = drifted[0].psi >= self._limits.high_psi.value
        evidence: Mapping[str, Json] = {
            "window": {"rows": window.rows, "first_batch": window.first_batch, "last_batch": window.last_batch},
            "columns_measured": len(measured),
            "false_alarm_rate": rate,
            "policy_digest": self._policy_digest,
            "columns": [_told(drift) for drift in drifted],
        }
        return Finding(
            severity=Severity.HIGH if high else Severity.MEDIUM,
            subjects=tuple(drift.name for drift in drifted),
            message=_message(drifted, len(measured), window.rows),
            evidence=evidence,
        )


def measure(baseline: Baseline, counts: Counts, *, ignore_above: float = 1.0) -> list[FeatureDrift]:
    """How every column that was counted has moved.

    Args:
        baseline: of the evaluation data.
        counts: of the window.
        ignore_above: p-values that are certainly above this may come out as 1, which saves most of the work.

    Returns:
        One entry for each column with rows on both sides, in the order of the baseline.
    """
    both = [(feature, np.array(feature.counts), np.array(counts.get(feature.name, ()))) for feature in baseline]
    both = [(feature, then, now) for feature, then, now in both if now.sum() and then.sum()]
    tables = [_questions(feature, then, now) for feature, then, now in both]
    if not tables:
        return []
    table = np.concatenate(tables, axis=1)
    p_values = holm(fisher(*table, ignore_above=ignore_above))
    ends = np.cumsum([questions.shape[1] for questions in tables])
    parts = zip(both, np.split(p_values, ends[:-1]), np.split(table, ends[:-1], axis=1), strict=True)
    return [_drift(feature, p, questions, psi(then, now)) for (feature, then, now), p, questions in parts]


def fisher(
    yes_then: Integers, all_then: Integers, yes_now: Integers, all_now: Integers, *, ignore_above: float = 1.0
) -> Floats:
    """Two-sided p-values of Fisher's exact test: twice the smaller tail of the hypergeometric distribution.

    Args:
        yes_then: rows of the baseline for which the answer is yes; all arguments have shape (questions,).
        all_then: rows of the baseline.
        yes_now: rows of the window for which the answer is yes.
        all_now: rows of the window.
        ignore_above: where the p-value is certainly above this, 1 is returned instead.

    Source: Fisher 1935, The Logic of Inductive Inference; the doubling as in Yates 1984, section 9.
    """
    total, yes = all_then + all_now, yes_then + yes_now
    # A tail is never lighter than its first term, so this much is known without summing it.
    unclear = 2 * _hypergeometric(yes_now, total, yes, all_now) <= ignore_above
    p_values = np.ones(len(yes_now))
    for index in np.flatnonzero(unclear):
        least, most = max(0, yes[index] + all_now[index] - total[index]), min(yes[index], all_now[index])
        law = _hypergeometric(np.arange(least, most + 1), total[index], yes[index], all_now[index])
        seen = yes_now[index] - least
        p_values[index] = min(1.0, 2 * law[: seen + 1].sum(), 2 * law[seen:].sum())
    return p_values


def _hypergeometric(drawn: Integers, total: Integers, yes: Integers, draws: Integers) -> Floats:
    """Chance of so many yes among the draws. Not from `scipy.stats`, which takes a second to import."""
    ways = _log_choose(yes, drawn) + _log_choose(total - yes, draws - drawn) - _log_choose(total, draws)
    chances: Floats = np.exp(ways)
    return chances


def _log_choose(n: Integers, k: Integers) -> Floats:
    logarithm: Floats = -betaln(n - k + 1, k + 1) - np.log1p(n)
    return logarithm


def holm(p_values: Floats) -> Floats:
    """P-values adjusted so that rejecting those at or below a rate errs even once with at most that chance.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure. Valid under any dependence.
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * steps))
    return adjusted


def psi(then: Integers, now: Integers) -> float:
    """Population stability index: 0 for equal shares, without upper bound.

    Ours adds half a row to every cell, so that an empty one does not make it infinite.

    Source: Siddiqi 2006, Credit Risk Scorecards, ch. 10; half a row: Krichevsky and Trofimov 1981.
    """
    share_then = (then + 0.5) / (then.sum() + 0.5 * len(then))
    share_now = (now + 0.5) / (now.sum() + 0.5 * len(now))
    return float(np.sum((share_now - share_then) * np.log(share_now / share_then)))


def _questions(feature: FeatureBaseline, then: Integers, now: Integers) -> Integers:
    """Shape (4, questions): yes then, all then, yes now, all now."""
    if feature.is_numeric:
        yes_then, yes_now = np.cumsum(then)[:-1], np.cumsum(now)[:-1]
    else:
        yes_then, yes_now = then, now
    return np.stack(
        [yes_then, np.full(len(yes_then), then.sum()), yes_now, np.full(len(yes_now), now.sum())], dtype=np.int64
    )


def _drift(feature: FeatureBaseline, p_values: Floats, questions: Integers, index: float) -> FeatureDrift:
    if not len(p_values):
        return FeatureDrift(feature.name, 1.0, index, "", 1.0, 1.0)
    shares_then, shares_now = questions[0] / questions[1], questions[2] / questions[3]
    moved = int(np.argmax(np.abs(shares_now - shares_then)))
    if feature.is_numeric:
        question = f"below {feature.edges[moved]:g}"
    else:
        question = f"{feature.categories[moved]!r}" if moved < len(feature.categories) else "any other value"
    p_value = float(p_values.min())
    return FeatureDrift(feature.name, p_value, index, question, float(shares_then[moved]), float(shares_now[moved]))


def _told(drift: FeatureDrift) -> Mapping[str, Json]:
    return {
        "name": drift.name,
        "psi": drift.psi,
        "p_value": drift.p_value,
        "question": drift.question,
        "share_then": drift.share_then,
        "share_now": drift.share_now,
    }


def _message(drifted: Sequence[FeatureDrift], columns: int, rows: int) -> str:
    strongest = "; ".join(
        f"{d.name} {d.question}: {d.share_then:.0%} at validation, {d.share_now:.0%} now (PSI {d.psi:.2f})"
        for d in drifted[:_TOLD_IN_MESSAGE]
    )
    more = len(drifted) - _TOLD_IN_MESSAGE
    return f"{len(drifted)} of {columns} columns drifted in {rows} rows: {strongest}" + (
        f"; and {more} more" if more > 0 else ""
    )
