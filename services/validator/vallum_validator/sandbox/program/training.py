"""The loaded estimator, trained anew: on other rows as a reference, or with other parameters as a better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from vallum_validator.sandbox.frames import Array
from vallum_validator.sandbox.program.estimator import Estimator
from vallum_validator.sandbox.program.rows import Input, Model, Rows, travelling

_MANY: Final = 8
_FEWER: Final = (
    (("MLP", "SVC", "SVR", "NuSV", "GaussianProcess"), 2),
    (("HistGradientBoosting", "GradientBoosting"), 5),
)
"""Kinds of which each one trained takes seconds, or nearly one, and how many references have to do."""
_FORESTS: Final = ("RandomForest", "ExtraTrees", "Bagging")
_ENOUGH_TREES: Final = 50
"""Of a forest that serves as a reference: twice as many references of half the trees tell more than the reverse."""


def described(model: Model | None) -> Mapping[str, Any]:
    """Return the kind of an estimator, its plain parameters and how many references of it are worth training.

    Raises:
        ValueError: it is nothing that can be trained.
    """
    estimator = _trainable(model)
    kind = type(_last(estimator)).__name__
    given = estimator.get_params()
    plain = {name: value for name, value in given.items() if isinstance(value, bool | int | float | str | None)}
    finite = {name: value for name, value in plain.items() if not isinstance(value, float) or np.isfinite(value)}
    references = next((count for kinds, count in _FEWER if kind.startswith(kinds)), _MANY)
    return {"kind": kind, "parameters": finite, "references": references}


def trained(model: Model | None, inputs: Sequence[Input], rows: Rows, truth: Array, *, how: Mapping[str, Any]) -> Model:
    """Return an estimator of the same kind, fitted on these rows.

    Args:
        model: the loaded one.
        inputs: the features, in order.
        rows: to learn from.
        truth: class of each row, an index into the classes of the loaded one.
        how: `seed`; `change`, parameters by name; `reference`, whether half of a forest's trees will do.

    Raises:
        ValueError: it cannot be trained, or not so.
    """
    from sklearn.base import clone

    original = _trainable(model)
    fresh = clone(original)
    parameters = fresh.get_params()
    change = dict(how["change"])
    change |= {name: how["seed"] for name in parameters if name.rpartition("__")[2] == "random_state"}
    if how["reference"]:
        change |= {name: max(_ENOUGH_TREES, parameters[name] // 2) for name in _trees(fresh, parameters)}
    fresh.set_params(**change)
    classes = np.asarray(original.classes_)
    return _Trained(fresh, inputs, regression=False).fit(rows, classes[truth])


class _Trained(Estimator):
    """Asked once for each row: its labels are the likeliest classes, whatever `predict` would cost beside them."""

    def predict(self, rows: Rows) -> Mapping[str, Array | None]:
        if not hasattr(self.estimator, "predict_proba"):
            return super().predict(rows)
        probabilities = np.asarray(self.estimator.predict_proba(self._frame(rows)), dtype=np.float64)
        labels = np.asarray(self.estimator.classes_)[probabilities.argmax(axis=1)]
        return {"labels": travelling(labels), "probabilities": probabilities, "classes": self._classes()}


def _trainable(model: Model | None) -> Any:
    estimator = model.estimator if isinstance(model, Estimator) else None
    # A search has settled its parameters; a reference need not search again.
    estimator = getattr(estimator, "best_estimator_", estimator)
    if not (hasattr(estimator, "get_params") and hasattr(estimator, "fit") and hasattr(estimator, "classes_")):
        raise ValueError("the artefact holds no classifier that can be trained again")
    return estimator


def _last(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return steps[-1][1] if steps else estimator


def _trees(estimator: Any, parameters: Mapping[str, Any]) -> list[str]:
    """Names of the parameters that count a forest's trees, where there are enough to halve."""
    if not type(_last(estimator)).__name__.startswith(_FORESTS):
        return []
    names = [name for name in parameters if name.rpartition("__")[2] == "n_estimators"]
    return [name for name in names if isinstance(parameters[name], int) and parameters[name] > _ENOUGH_TREES]
