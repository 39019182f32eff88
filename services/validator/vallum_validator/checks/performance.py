"""Reproducing the figures a card declares, each with an interval, from the rows at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vallum_validator.checks.intervals import Floats, area_bounds, area_under_curve
from vallum_validator.checks.truth import Labelled
from vallum_validator.domain.evidence import Interval

_DRAWS = 1_000
_SPELLINGS = {
    "acc": "accuracy",
    "f1_score": "f1",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "roc-auc": "roc_auc",
    "brier": "brier_score",
    "brier_loss": "brier_score",
    "logloss": "log_loss",
    "cross_entropy": "log_loss",
    "sensitivity": "recall",
}
LOWER_IS_BETTER = frozenset({"log_loss", "brier_score"})
"""Metrics of which a card boasts by declaring less."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric on the evaluation rows.

    Args:
        value: on these rows.
        interval: for the population they come from.
    """

    value: float
    interval: Interval


def canonical_metric(name: str) -> str:
    """Return the one spelling of a metric's name: `Accuracy`, `acc` and `eval_accuracy` are `accuracy`."""
    plain = name.strip().lower().replace(" ", "_").replace("-", "_").removeprefix("eval_").removeprefix("test_")
    return _SPELLINGS.get(plain, plain)


def measure(
    rows: Labelled, positive: int | None, confidence: float, rng: np.random.Generator
) -> Mapping[str, list[Measured]]:
    """Return every metric we can reproduce, by name; several values where authors average classes differently.

    Args:
        rows: predicted rows.
        positive: index of the answer that precision, recall and F1 of a two-class model are about.
        confidence: of the intervals.
        rng: draws of the bootstrap.
    """
    classes = len(rows.classes)
    counts = np.bincount(rows.truth * classes + rows.predicted, minlength=classes**2)
    # Resampling rows and counting them is one multinomial draw of the counts: exact, and independent of the row number.
    draws = rng.multinomial(len(rows), counts / counts.sum(), size=_DRAWS)
    tables = np.concatenate([counts[None], draws]).reshape(-1, classes, classes).astype(float)
    tail = (1 - confidence) / 2 * 100
    measured: dict[str, list[Measured]] = {}
    for name, values in _from_counts(tables, positive).items():
        low, high = np.nanpercentile(values[1:], [tail, 100 - tail])
        measured.setdefault(name.split("/")[0], []).append(
            Measured(float(values[0]), Interval(float(low), float(high)))
        )
    if rows.probabilities is not None:
        measured |= _from_probabilities(rows, rows.probabilities, positive, confidence)
    return measured


def _from_counts(tables: Floats, positive: int | None) -> dict[str, Floats]:
    """Return metrics of tables of shape (draws, true, predicted); `name/average` where there are several averages."""
    total = tables.sum(axis=(1, 2))
    hits = np.einsum("bii->bi", tables)
    actual, selected = tables.sum(axis=2), tables.sum(axis=1)
    recall = np.divide(hits, actual, out=np.full_like(hits, np.nan), where=actual > 0)
    precision = np.divide(hits, selected, out=np.zeros_like(hits), where=selected > 0)
    harmonic = np.divide(2 * hits, actual + selected, out=np.zeros_like(hits), where=actual + selected > 0)
    accuracy = hits.sum(axis=1) / total
    metrics = {"accuracy": accuracy, "balanced_accuracy": np.nanmean(recall, axis=1)}
    weights = actual / total[:, None]
    for name, per_class in (("precision", precision), ("recall", np.nan_to_num(recall)), ("f1", harmonic)):
        metrics[f"{name}/macro"] = per_class.mean(axis=1)
        metrics[f"{name}/weighted"] = (per_class * weights).sum(axis=1)
        if positive is not None:
            metrics[f"{name}/positive"] = per_class[:, positive]
    return metrics


def _from_probabilities(
    rows: Labelled, probabilities: Floats, positive: int | None, confidence: float
) -> dict[str, list[Measured]]:
    own = np.clip(probabilities[np.arange(len(rows)), rows.truth], 1e-15, 1.0)
    measured = {"log_loss": [_mean(-np.log(own), confidence)]}
    classes = [positive] if positive is not None else list(range(probabilities.shape[1]))
    areas = []
    for answer in classes:
        is_it = rows.truth == answer
        if is_it.any() and not is_it.all():
            score = probabilities[:, answer]
            bounds = area_bounds(score[is_it], score[~is_it], confidence)
            areas.append((area_under_curve(score[is_it], score[~is_it]), *bounds))
    if areas:
        value, low, high = np.mean(areas, axis=0)
        measured["roc_auc"] = [Measured(float(value), Interval(float(low), float(high)))]
    if positive is not None:
        measured["brier_score"] = [_mean((probabilities[:, positive] - (rows.truth == positive)) ** 2, confidence)]
    return measured


def _mean(values: Floats, confidence: float) -> Measured:
    centre = float(values.mean())
    half = (
        float(stats.norm.ppf(0.5 + confidence / 2) * values.std(ddof=1) / np.sqrt(len(values)))
        if len(values) > 1
        else 0.0
    )
    return Measured(centre, Interval(centre - half, centre + half))
