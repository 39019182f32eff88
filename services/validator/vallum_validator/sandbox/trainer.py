"""The trainer the checks use: a worker of its own that trains models of the submitted one's kind and asks them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import Manifest
from vallum_validator.sandbox.frames import TRAINED
from vallum_validator.sandbox.predictor import SandboxPredictor
from vallum_validator.sandbox.process import Worker
from vallum_validator.table import Parameter, PredictionFailed, Predictions, Table

TRAINABLE_FORMATS: Final = ("skops", "joblib", "pickle")
"""Formats that keep how a model was trained, not only what came of it."""

_TRAINING_S: Final = 30.0
"""For one model; bundles hold thousands of rows, not millions."""


class SandboxTrainer(SandboxPredictor):
    """A `Trainer` whose models are trained and asked in a worker.

    Args:
        worker: may read the artefact; nothing else of the submission.
        artifact: path of the artefact.
        form: one of `TRAINABLE_FORMATS`.
        manifest: says what the features are.

    Raises:
        PredictionFailed: the artefact cannot be loaded, or holds nothing that can be trained.
        Invalid: the manifest's features cannot be encoded.
    """

    def __init__(self, worker: Worker, artifact: Path, form: str, manifest: Manifest) -> None:
        super().__init__(worker, artifact, form, manifest)
        told = self._call({"command": "describe"}, {}).head
        kind, parameters, references = told.get("kind"), told.get("parameters"), told.get("references")
        if not (isinstance(kind, str) and isinstance(parameters, dict) and type(references) is int):
            raise PredictionFailed("the trainer did not say what it trains")
        self._kind, self._parameters, self._references = kind[:80], parameters, min(max(references, 2), 16)

    @property
    def kind(self) -> str:
        """What is trained."""
        return self._kind

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Its plain parameters by name."""
        return self._parameters

    @property
    def references(self) -> int:
        """How many models are worth training where their answers are averaged."""
        return self._references

    def train(
        self,
        table: Table,
        truth: NDArray[np.intp],
        *,
        seed: int,
        change: Mapping[str, Parameter],
        reference: bool = False,
    ) -> None:
        """Train one; see `Trainer`.

        Raises:
            PredictionFailed: it could not be trained.
        """
        numbers, codes = self._encode(table)
        arrays = {"numbers": numbers, "codes": codes, "truth": truth.astype(np.int64)}
        head = {"command": "train", "seed": seed, "change": dict(change), "reference": reference}
        self._call(head, arrays, seconds=_TRAINING_S)

    def predict(self, table: Table) -> Predictions:
        """Answer by the model trained last."""
        return self._predict(table, TRAINED)

    def predict_original(self, table: Table) -> Predictions:
        """Answer by the model trained last: here it is the original."""
        return self._predict(table, TRAINED)
