"""What an attack may ask: does this row still get its answer, and by what margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import Feature
from vallum_validator.checks.space import Matrix, Space
from vallum_validator.checks.truth import Labelled, codes
from vallum_validator.table import Predictor

MAX_ELEMENTS = 4_000_000
"""Matrix elements sent in one call: 32 MB, far inside the gigabyte the four checks may use."""
_TORN = 1e-6
"""A lead below this is the rounding of sums in single precision, of a hundred votes ten times over."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said of some rows.

    Args:
        flipped: whether the label is another than the row's own, shape (rows,).
        margin: how far the row's own class leads over the next, in [-1, 1]; for a label-only model 1 or -1.
    """

    flipped: NDArray[np.bool_]
    margin: Matrix


class Oracle:
    """Asks the model about vectors of a space and counts what it asked.

    Args:
        predictor: the model.
        space: turns vectors into tables.
        like: gives the classes and their spelling.
    """

    def __init__(self, predictor: Predictor, space: Space, like: Labelled) -> None:
        self._predictor = predictor
        self._space = space
        self._like = like
        self.rows = 0
        self.has_scores = like.sureness is not None

    @property
    def features(self) -> Mapping[str, Feature]:
        """The model's inputs as the manifest names them, in order."""
        return self._predictor.features

    def ask(self, matrix: Matrix, own: NDArray[np.intp]) -> Answer:
        """Return whether each row still gets its class.

        Args:
            matrix: shape (rows, features).
            own: the class each row had, shape (rows,).

        Raises:
            PredictionFailed: the model gave no answer that can be trusted.
        """
        size = max(1, MAX_ELEMENTS // max(1, matrix.shape[1]))
        parts = [self._ask(matrix[at : at + size], own[at : at + size]) for at in range(0, len(matrix), size)]
        if not parts:
            return Answer(np.zeros(0, dtype=bool), np.zeros(0))
        return Answer(np.concatenate([part.flipped for part in parts]), np.concatenate([part.margin for part in parts]))

    def confirm(self, rows: Matrix, changed: Matrix, own: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which changes flip the answer of the model as submitted, where `ask` may ask a conversion of it.

        Args:
            rows: shape (rows, features).
            changed: the same rows after a change.
            own: the class each row had, shape (rows,).

        Raises:
            PredictionFailed: the model gave no answer that can be trusted.
        """
        return ~self.strays(rows, own) & self.strays(changed, own)

    def strays(self, matrix: Matrix, own: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which rows the model as submitted gives another class than their own.

        Raises:
            PredictionFailed: the model gave no answer that can be trusted.
        """
        size = max(1, MAX_ELEMENTS // max(1, matrix.shape[1]))
        strays = np.zeros(len(matrix), dtype=bool)
        for at in range(0, len(matrix), size):
            part = slice(at, at + size)
            self.rows += len(matrix[part])
            answered = self._predictor.predict_original(self._space.decode(matrix[part]))
            strays[part] = codes(answered, self._like) != own[part]
        return strays

    def _ask(self, matrix: Matrix, own: NDArray[np.intp]) -> Answer:
        self.rows += len(matrix)
        predictions = self._predictor.predict(self._space.decode(matrix))
        flipped = codes(predictions, self._like) != own
        if predictions.sureness is None:
            return Answer(flipped, np.where(flipped, -1.0, 1.0))
        scores = predictions.sureness.copy()
        # A class that only the data knows has no column, and no probability.
        known = own < scores.shape[1]
        column = np.where(known, own, 0)
        rows = np.arange(len(scores))
        lead = np.where(known, scores[rows, column], 0.0)
        scores[rows[known], column[known]] = -np.inf
        margin = lead - scores.max(axis=1, initial=0.0)
        if self._predictor.is_converted:
            # Votes that are torn fall to the first class. A conversion adds them up in single precision, and where it
            # says otherwise the search would end at a flip that the model as submitted does not confirm.
            flipped &= (np.abs(margin) > _TORN) | ~known | (scores.argmax(axis=1) < column)
        return Answer(flipped, margin)
