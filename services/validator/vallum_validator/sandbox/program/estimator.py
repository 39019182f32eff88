"""scikit-learn estimators from skops, joblib or pickle files, called with a data frame of the feature columns.

Loading one is running it: a pickle may call anything, and a skops file may hold a tree whose node indices lead out of
its arrays. That is why it happens here, confined, and why a pickle is only sent here when the scan found it clean.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from vallum_validator.sandbox.frames import Array
from vallum_validator.sandbox.program.rows import CATEGORICAL, Input, Rows, travelling

_TRUSTED_PACKAGES: Final = ("sklearn.", "numpy.", "scipy.", "xgboost.", "lightgbm.")
"""Besides the types skops knows, any of these packages may provide one: estimators are built of private classes that no
list keeps up with. The prefix is enough only because the process can reach nothing; the scan has judged exact names."""


class Estimator:
    """An estimator.

    Args:
        estimator: as it was loaded.
        inputs: the features, in order.
        regression: whether to ask for values instead of classes.

    Raises:
        ValueError: it is no estimator, or was fitted on other features; says which.
    """

    def __init__(self, estimator: Any, inputs: Sequence[Input], *, regression: bool) -> None:
        warnings.simplefilter("ignore")
        self._estimator = estimator
        self._inputs = tuple(inputs)
        self._regression = regression
        self._as_category = False
        if not callable(getattr(self._estimator, "predict", None)):
            raise ValueError(f"the artefact holds a {type(self._estimator).__name__}, not an estimator with `predict`")
        self._check_features()
        _use_one_thread(self._estimator)

    @property
    def estimator(self) -> Any:
        """What was loaded."""
        return self._estimator

    def fit(self, rows: Rows, truth: Array) -> Estimator:
        """Fit it on these rows, and return it."""
        try:
            self._estimator.fit(self._frame(rows), truth)
        except (ValueError, TypeError):
            if self._as_category or not any(one.type == CATEGORICAL for one in self._inputs):
                raise
            self._as_category = True
            self._estimator.fit(self._frame(rows), truth)
        return self

    def predict(self, rows: Rows) -> Mapping[str, Array | None]:
        """Return labels and, for a classifier that has them, probabilities and classes."""
        frame = self._frame(rows)
        try:
            labels = self._estimator.predict(frame)
        except (ValueError, TypeError):
            # An estimator fitted on columns of pandas' category type accepts no other; one that was not will
            # fail again, and then it is the first reason that is told.
            if self._as_category or not any(one.type == CATEGORICAL for one in self._inputs):
                raise
            self._as_category = True
            try:
                frame = self._frame(rows)
                labels = self._estimator.predict(frame)
            except (ValueError, TypeError):
                self._as_category = False
                labels = self._estimator.predict(self._frame(rows))
        labels = np.asarray(labels)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1:
            raise ValueError(f"`predict` gave shape {labels.shape}, not one answer per row")
        if self._regression or not hasattr(self._estimator, "predict_proba"):
            return {"labels": travelling(labels), "classes": self._classes()}
        probabilities = np.asarray(self._estimator.predict_proba(frame), dtype=np.float64)
        return {"labels": travelling(labels), "probabilities": probabilities, "classes": self._classes()}

    def structure(self) -> Mapping[str, Array]:
        """Return the trees of the estimator, through what a pipeline does before them."""
        from vallum_validator.sandbox.program.tree_columns import first_columns, through
        from vallum_validator.sandbox.program.tree_readers import read_trees
        from vallum_validator.sandbox.program.trees import described

        steps = getattr(self._estimator, "steps", [("", self._estimator)])
        ensemble = read_trees(steps[-1][1])
        names = [one.name for one in self._inputs]
        return described(through(steps[:-1], first_columns(self._inputs), self._inputs, names), ensemble)

    def _classes(self) -> Array | None:
        classes = getattr(self._estimator, "classes_", None)
        return None if classes is None or self._regression else travelling(np.asarray(classes))

    def _check_features(self) -> None:
        names = [one.name for one in self._inputs]
        fitted = getattr(self._estimator, "feature_names_in_", None)
        if fitted is not None and [str(name) for name in fitted] != names:
            pairs = zip([*map(str, fitted), "nothing"], [*names, "nothing"], strict=False)
            place, (own, ours) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
            raise ValueError(
                f"the order of the features does not match: the model was fitted with {own!r} in place {place}, "
                f"the manifest has {ours!r} there ({len(fitted)} and {len(names)} features)"
            )
        count = getattr(self._estimator, "n_features_in_", None)
        if count is not None and int(count) != len(names):
            raise ValueError(f"the model was fitted on {int(count)} features, the manifest names {len(names)}")

    def _frame(self, rows: Rows) -> Any:
        import pandas as pd

        return pd.DataFrame({one.name: self._column(rows, one) for one in self._inputs})

    def _column(self, rows: Rows, feature: Input) -> Any:
        import pandas as pd

        if feature.type == CATEGORICAL:
            codes = rows.code(feature.name)
            if self._as_category:
                return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(list(feature.values)))
            meaning = list(feature.values)
            values = [meaning[code] if code >= 0 else None for code in codes.tolist()]
            # pandas finds the type that reading the same values from a file would have had.
            return pd.Series(values, dtype=object).infer_objects()
        numbers = rows.number(feature.name)
        whole = bool(np.isfinite(numbers).all())
        if feature.type == "integer" and whole:
            return numbers.astype(np.int64)
        return numbers != 0 if feature.type == "boolean" and whole else numbers


def load_estimator(path: str, form: str) -> Any:
    """Return what a `skops`, `joblib` or `pickle` file holds.

    Raises:
        ValueError: a skops file holds types of other packages; says which.
    """
    warnings.simplefilter("ignore")
    return _LOADERS[form](path)


def _use_one_thread(estimator: Any) -> None:
    """Leave `n_jobs` and its like as they were but for their value: the sandbox has one process, and sums one order."""
    if not (callable(getattr(estimator, "get_params", None)) and callable(getattr(estimator, "set_params", None))):
        return
    names = [name for name in estimator.get_params() if name.rpartition("__")[2] in ("n_jobs", "nthread")]
    estimator.set_params(**dict.fromkeys(names, 1))


def _load_skops(path: str) -> Any:
    from skops.io import get_untrusted_types, load

    unknown = get_untrusted_types(file=path)
    refused = [name for name in unknown if not name.startswith(_TRUSTED_PACKAGES)]
    if refused:
        raise ValueError(f"the skops file holds {refused[0]!r}, which none of {', '.join(_TRUSTED_PACKAGES)} provides")
    return load(path, trusted=unknown)


def _load_joblib(path: str) -> Any:
    import joblib

    return joblib.load(path)


def _load_pickle(path: str) -> Any:
    with open(path, "rb") as stream:
        return pickle.load(stream)  # noqa: S301 - see the module: only what the scan found clean, and only confined


_LOADERS: Final = {"skops": _load_skops, "joblib": _load_joblib, "pickle": _load_pickle}
