"""Why single decisions came out as they did: sampled Shapley values of a few rows, with standard errors.

A feature's share is how far the score of the given answer moves, on average over the orders in which features can
become known, when its value becomes known too; what is not known yet comes from a random row of the data, so a
categorical feature moves as a whole. The shares of a row add up to its score minus that of the random rows, exactly,
whatever the number of samples. The values of the rows themselves are not told: evidence travels further than data may.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vallum_validator.checks.intervals import Floats
from vallum_validator.checks.truth import Labelled, codes
from vallum_validator.table import Predictions, Predictor, Table

_ROWS_PER_CALL: Final = 50_000
_FEWEST_ORDERS: Final = 8
"""Fewer give no standard error worth telling; then fewer rows are explained."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision, taken apart.

    Args:
        row: index in the evaluation file's labelled rows.
        answer: index of the class that was given.
        score: probability of that answer; for a label-only model 1.
        base: mean score of that answer over random rows.
        shares: what each feature adds, in the order of the model's features; they sum to `score - base`.
        standard_errors: of the shares, over the sampled orders; same shape.
    """

    row: int
    answer: int
    score: float
    base: float
    shares: Floats
    standard_errors: Floats


def explain(
    predictor: Predictor, rows: Labelled, *, count: int, queries: int, rng: np.random.Generator
) -> tuple[Explanation, ...]:
    """Explain decisions from the least certain to the most certain one, evenly spread between.

    Args:
        predictor: the model.
        rows: predicted rows; also where unknown values are drawn from.
        count: of decisions.
        queries: predictions to spend on all of them.
        rng: orders and random rows.

    Returns:
        one explanation for each chosen row; none where the queries do not reach for a single one.

    Raises:
        PredictionFailed: the model gave no answer that can be trusted.

    Source: Strumbelj and Kononenko 2014, sampling over orders; every order is walked in both directions (antithetic,
    Mitchell et al. 2022), so the standard error is over the pairs.
    """
    steps = len(predictor.features) + 1
    count = min(count, len(rows), queries // (2 * _FEWEST_ORDERS * steps))
    if count < 1:
        return ()
    pairs = queries // (2 * steps * count)
    chosen = _spread(rows, count)
    return tuple(_explain(predictor, rows, int(row), pairs=pairs, rng=rng) for row in chosen)


def _spread(rows: Labelled, count: int) -> NDArray[np.intp]:
    """Rows at evenly spaced ranks of certainty, without repetition."""
    order = np.argsort(_scores(rows.probabilities, rows.predicted), kind="stable")
    ranks = np.linspace(0, len(order) - 1, count).round().astype(np.intp)
    return np.asarray(order[np.unique(ranks)])


def _scores(probabilities: Floats | None, answers: NDArray[np.intp]) -> Floats:
    if probabilities is None:
        return np.ones(len(answers))
    return np.asarray(probabilities[np.arange(len(answers)), answers])


def _explain(predictor: Predictor, rows: Labelled, row: int, *, pairs: int, rng: np.random.Generator) -> Explanation:
    features = list(predictor.features)
    table = rows.table.select(features)
    answer = int(rows.predicted[row])
    steps = len(features) + 1
    orders = np.argsort(rng.random((pairs, len(features))), axis=1)
    orders = np.concatenate([orders, orders[:, ::-1]])
    others = np.tile(rng.integers(len(rows), size=pairs), 2)
    # known[w, s, f]: whether feature f is known after s steps of walk w.
    rank = np.argsort(orders, axis=1)
    known = rank[:, None, :] < np.arange(steps)[None, :, None]
    scores = _ask(predictor, rows, _mixed(table, row, others, known.reshape(-1, len(features))), answer)
    walks = scores.reshape(2 * pairs, steps)
    gains = np.take_along_axis(np.diff(walks, axis=1), rank, axis=1)
    of_pair = (gains[:pairs] + gains[pairs:]) / 2
    spread = of_pair.std(axis=0, ddof=1) / np.sqrt(pairs)
    return Explanation(row, answer, float(walks[0, -1]), float(walks[:, 0].mean()), gains.mean(axis=0), spread)


def _mixed(table: Table, row: int, others: NDArray[np.intp], known: NDArray[np.bool_]) -> Table:
    """The row where its values are known, one of the others where not; `known` has shape (questions, features)."""
    source = np.repeat(others, len(known) // len(others))
    columns = {
        name: np.where(known[:, place], column[row : row + 1], column[source])
        for place, (name, column) in enumerate(table.columns.items())
    }
    return Table(columns)


def _ask(predictor: Predictor, like: Labelled, table: Table, answer: int) -> Floats:
    """The score of one answer for each row of a table."""
    starts = range(0, len(table), _ROWS_PER_CALL)
    parts = [np.arange(start, min(start + _ROWS_PER_CALL, len(table))) for start in starts]
    return np.concatenate([_scored(predictor.predict(table.take(part)), like, answer) for part in parts])


def _scored(predictions: Predictions, like: Labelled, answer: int) -> Floats:
    if predictions.probabilities is None:
        return np.asarray(codes(predictions, like) == answer, dtype=np.float64)
    return predictions.probabilities[:, answer]
