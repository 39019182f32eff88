"""The prover the checks use: the trees come from the model's worker, the solver runs in one of its own.

A solver that crashes or hangs on odd trees costs a certificate, never the model its measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from vallum_common.errors import Invalid, VallumError
from vallum_validator.sandbox.frames import Array
from vallum_validator.sandbox.predictor import SandboxPredictor
from vallum_validator.sandbox.process import Worker
from vallum_validator.table import PredictionFailed


class SandboxProver:
    """A `Prover` whose model and solver run in workers.

    Args:
        predictor: of the model.
        solver: starts a worker that may read nothing; called once, when first needed.
    """

    def __init__(self, predictor: SandboxPredictor, solver: Callable[[], Worker]) -> None:
        self._predictor = predictor
        self._start = solver
        self._solver: Worker | None = None

    def structure(self) -> Mapping[str, Array]:
        """Return the trees of the model, unchecked.

        Raises:
            Invalid: it is not made of trees that can be read.
            PredictionFailed: its worker broke off.
        """
        try:
            return self._predictor.structure()
        except PredictionFailed as error:
            if self._predictor.failure:
                raise
            # The kind of the refusal is for programmers; what stands behind it is the reason.
            before, _, reason = error.message.partition("NoTrees: ")
            raise Invalid(reason or before) from error

    def bound(self, searches: Mapping[str, Array], steps: int) -> Mapping[str, Array]:
        """Return `upper` and `lower`, shape (searches,), none of them NaN.

        Raises:
            Invalid: the solver broke off or gave no bounds.
        """
        try:
            self._solver = self._solver or self._start()
            answer = self._solver.call({"command": "bound", "steps": steps}, searches).arrays
        except VallumError as error:
            raise Invalid(error.message) from error
        count = len(searches["need"])
        for name in ("upper", "lower"):
            array = answer.get(name, np.empty(0))
            if array.shape != (count,) or array.dtype != np.float64 or np.isnan(array).any():
                raise Invalid(f"the solver gave no {name} bound for each of {count} searches")
        return answer
