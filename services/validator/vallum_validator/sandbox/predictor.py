"""The predictor the checks use: encodes rows as the manifest says, asks the model's worker, trusts no answer.

Where the model can be converted to ONNX and answers the same, the conversion is asked in its place, because checks ask
hundreds of thousands of times. What must hold of the model itself is asked of the original.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vallum_common.bundle import Feature, FeatureType, Manifest, Task
from vallum_common.errors import Invalid
from vallum_validator.sandbox.answers import Answers
from vallum_validator.sandbox.frames import CONVERTED, ORIGINAL, Array, Frame
from vallum_validator.sandbox.parity import differing, random_rows
from vallum_validator.sandbox.process import Worker, WorkerFailed, WorkerRefused
from vallum_validator.table import PredictionFailed, Predictions, QueryLedger, Table, categories

RUNNABLE_FORMATS: Final = ("onnx", "skops", "joblib", "pickle", "xgboost", "lightgbm")
"""Formats, in the scan's words, that a worker can run."""

PROBE_ROWS: Final = 1_000
"""Rows asked a second time to see whether the model answers the same."""

_PROBE_TOLERANCE: Final = 1e-6
_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_MESSAGE_ROWS: Final = 16_384
_ANSWER_COLUMNS: Final = 64


class SandboxPredictor:
    """A `Predictor` whose model runs in a worker.

    Args:
        worker: may read the artefact; nothing else of the submission.
        artifact: path of the artefact.
        form: its format as the scan names it, one of `RUNNABLE_FORMATS`.
        manifest: says what the features are.
        data_labels: canonical labels that occur in the data.
        clock: seconds that only grow.

    Raises:
        PredictionFailed: the model cannot be loaded, or not called as the manifest says.
        Invalid: the manifest's features cannot be encoded.
    """

    def __init__(
        self,
        worker: Worker,
        artifact: Path,
        form: str,
        manifest: Manifest,
        *,
        data_labels: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._form = form
        self._clock = clock
        self._features: Mapping[str, Feature] = dict(manifest.data.features)
        self._task = manifest.model.task
        self._codes = {
            name: {text: code for code, text in enumerate(categories(feature))}
            for name, feature in self._features.items()
            if feature.type is FeatureType.CATEGORICAL
        }
        self._answers = Answers(self._task, data_labels)
        self._ledger = QueryLedger()
        self._reference: tuple[Table, Predictions] | None = None
        self.is_converted = False
        self.runtime = form
        self.failure = ""
        self._call({"command": "load", **self._description(artifact, form)}, {}, seconds=worker.limits.load_s)

    @property
    def classes(self) -> tuple[str, ...]:
        """Canonical class labels in the order of the probabilities; empty before the first prediction."""
        return self._answers.classes

    @property
    def features(self) -> Mapping[str, Feature]:
        """The model's inputs as the manifest names them, in order."""
        return self._features

    @property
    def task(self) -> Task:
        """What the model predicts."""
        return self._task

    @property
    def ledger(self) -> QueryLedger:
        """What has been asked so far."""
        return self._ledger

    def predict(self, table: Table) -> Predictions:
        """Answer any number of rows, by the converted model where there is one.

        Args:
            table: holds at least the feature columns; others never reach the model.

        Raises:
            PredictionFailed: the model refused these rows, or misbehaved; after the latter it is never asked again,
                and `failure` says what it did.
        """
        return self._predict(table, CONVERTED if self.is_converted else ORIGINAL)

    def predict_original(self, table: Table) -> Predictions:
        """Answer any number of rows by the model as it was submitted; what is found by a conversion is confirmed here.

        Raises:
            PredictionFailed: see `predict`.
        """
        return self._predict(table, ORIGINAL)

    def _predict(self, table: Table, which: str) -> Predictions:
        numbers, codes = self._encode(table)
        rows = len(table)
        step = max(1, min(_MESSAGE_ROWS, _MESSAGE_BYTES // (8 * (len(self._features) + _ANSWER_COLUMNS))))
        parts: list[Mapping[str, Array]] = []
        for start in range(0, rows, step):
            portion = {"numbers": numbers[start : start + step], "codes": codes[start : start + step]}
            began = self._clock()
            try:
                parts.append(self._call({"command": "predict", "which": which}, portion).arrays)
            finally:
                spent = self._ledger.seconds + self._clock() - began
                asked = self._ledger.rows + len(portion["numbers"])
                self._ledger = QueryLedger(rows=asked, calls=self._ledger.calls + 1, seconds=spent)
        if not rows:
            raise PredictionFailed("no rows to predict")
        try:
            return self._answers.read(parts, rows)
        except PredictionFailed as error:
            raise self._misbehaved(error.message) from error

    def structure(self) -> Mapping[str, Array]:
        """Return the trees the model is made of, unchecked; see `Prover`.

        Raises:
            PredictionFailed: it is not made of trees that can be read, or its worker broke off.
        """
        return self._call({"command": "structure"}, {}, seconds=self._worker.limits.load_s).arrays

    def probe(self, table: Table) -> Predictions:
        """Ask all rows of a table, then some of them again; learn the classes, and hold the model to its answers.

        Raises:
            PredictionFailed: see `predict`; also when the second answers differ from the first.
        """
        predictions = self.predict_original(table)
        some = np.arange(min(len(table), PROBE_ROWS))
        kept = Predictions(
            labels=predictions.labels[some],
            probabilities=None if predictions.probabilities is None else predictions.probabilities[some],
            values=None if predictions.values is None else predictions.values[some],
        )
        self._reference = (table.take(some), kept)
        self.confirm()
        return predictions

    def confirm(self) -> None:
        """Ask the probe's rows once more, in reverse order, so that neither time nor place may change an answer.

        Raises:
            PredictionFailed: an answer differs from the one given to the probe.
        """
        if self._reference is None:
            return
        table, before = self._reference
        backwards = np.arange(len(table))[::-1]
        after = self.predict_original(table.take(backwards))
        differs = before.labels != after.labels[backwards]
        first, second = (one.probabilities if one.values is None else one.values for one in (before, after))
        if first is not None and second is not None:
            # Where the numbers are the same, a label that differs stands on a tie.
            same = np.isclose(first, second[backwards], rtol=_PROBE_TOLERANCE, atol=_PROBE_TOLERANCE)
            differs = ~same.reshape(len(table), -1).all(axis=1)
        if differs.any():
            raise self._misbehaved(
                f"gave different answers to the same rows asked twice ({int(differs.sum())} of {len(table)})"
            )

    def convert(self, table: Table, before: Predictions, rng: np.random.Generator) -> None:
        """Ask a conversion to ONNX from now on, if there is one that answers as the original does; `runtime` says so.

        Args:
            table: rows it has to answer alike; some random rows are added.
            before: what the original said of them.
            rng: draws the random rows.

        Raises:
            PredictionFailed: the worker broke off over it; a model that cannot be converted is no failure.
        """
        if self._form == "onnx":
            return
        try:
            head = {"command": "convert", "regression": self._task is Task.REGRESSION}
            self._call(head, {}, seconds=self._worker.limits.load_s)
            others = random_rows(table, self._features, rng)
            pairs = [(before, self._predict(table, CONVERTED))]
            pairs += [(self.predict_original(others), self._predict(others, CONVERTED))]
        except PredictionFailed as error:
            if self.failure:
                raise
            self.runtime = f"{self._form}; not converted: {error.message}"
            return
        odd = sum(int(differing(original, converted).sum()) for original, converted in pairs)
        self.is_converted = not odd
        told = f"other answers to {odd} of {len(table) + len(others)} rows" if odd else "the same answers"
        self.runtime = f"{self._form}; {'not ' if odd else ''}converted to ONNX: {told}"

    def _misbehaved(self, what: str) -> PredictionFailed:
        self.failure = what if what.startswith("the model") else f"the model {what}"
        self._worker.close()
        return PredictionFailed(self.failure)

    def _call(self, head: Mapping[str, object], arrays: Mapping[str, Array], *, seconds: float | None = None) -> Frame:
        if self.failure:
            raise PredictionFailed(self.failure)
        try:
            return self._worker.call(head, arrays, seconds=seconds)
        except WorkerFailed as error:
            self.failure = error.message
            raise PredictionFailed(error.message) from error
        except WorkerRefused as error:
            raise PredictionFailed(f"the model cannot be asked: {error.message}") from error

    def _description(self, artifact: Path, form: str) -> Mapping[str, object]:
        features = [
            {"name": name, "type": feature.type.value, "values": list(feature.values)}
            for name, feature in self._features.items()
        ]
        if form not in RUNNABLE_FORMATS:
            raise Invalid(f"no runtime for the format {form!r} here; models are run from {', '.join(RUNNABLE_FORMATS)}")
        regression = self._task is Task.REGRESSION
        return {"path": str(artifact.resolve()), "format": form, "features": features, "regression": regression}

    def _encode(self, table: Table) -> tuple[Array, Array]:
        """Numbers as they are and categories as their index: a worker needs neither spellings nor other columns."""
        columns = table.select(list(self._features)).columns
        numbers = [columns[name] for name in self._features if name not in self._codes]
        codes = [self._code(name, columns[name]) for name in self._codes]
        rows = len(table)
        return (
            np.stack(numbers, axis=1).astype(np.float64) if numbers else np.empty((rows, 0)),
            np.stack(codes, axis=1) if codes else np.empty((rows, 0), dtype=np.int32),
        )

    def _code(self, name: str, column: Array) -> Array:
        known: dict[str | None, int] = {None: -1}
        known.update(self._codes[name])
        try:
            return np.array([known[value] for value in column.tolist()], dtype=np.int32)
        except KeyError as error:
            raise PredictionFailed(f"feature {name!r} has no category {error.args[0]!r}") from error
