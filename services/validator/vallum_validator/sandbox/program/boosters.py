"""XGBoost and LightGBM models in their own formats, called with one matrix; a category goes as its index.

Their readers are C++ that has crashed on broken files before. That is why it happens here, confined, and only to files
that the scan calls clean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from vallum_validator.sandbox.frames import Array
from vallum_validator.sandbox.program.rows import CATEGORICAL, Input, Rows

_XGBOOST_CLASSES: Final = ("binary:logistic", "multi:softprob", "multi:softmax", "binary:hinge")
_LIGHTGBM_CLASSES: Final = ("binary", "multiclass", "multiclassova", "cross_entropy")
_RANKERS: Final = ("rank:", "lambdarank", "rank_xendcg", "survival:")


class Booster:
    """A booster from its native file.

    Args:
        path: of the artefact.
        form: `xgboost` (JSON or UBJSON) or `lightgbm` (text).
        inputs: the features, in order.
        regression: whether to ask for values instead of classes.

    Raises:
        ValueError: its objective is not one of classes or values as the manifest says, or it takes other features.
    """

    def __init__(self, path: str, form: str, inputs: Sequence[Input], *, regression: bool) -> None:
        self.form = form
        self.booster: Any
        self.booster, self.objective, names = _READERS[form](Path(path))
        self._inputs = tuple(inputs)
        self._regression = regression
        self._check_objective()
        _check_names(names, [one.name for one in inputs])

    def predict(self, rows: Rows) -> Mapping[str, Array | None]:
        """Return labels and probabilities; the classes are 0 to k-1, which is all that these formats know of them."""
        matrix = rows.matrix()
        if self.form == "xgboost":
            answer = np.asarray(self.booster.inplace_predict(matrix, validate_features=False), dtype=np.float64)
        else:
            answer = np.asarray(self.booster.predict(matrix, num_threads=1), dtype=np.float64)
        if self._regression:
            return {"labels": answer}
        if self.objective in ("multi:softmax", "binary:hinge"):
            return {"labels": answer.astype(np.int64)}
        probabilities = answer if answer.ndim == 2 else np.stack([1.0 - answer, answer], axis=1)
        labels = probabilities.argmax(axis=1).astype(np.int64)
        return {"labels": labels, "probabilities": probabilities, "classes": np.arange(probabilities.shape[1])}

    def structure(self) -> Mapping[str, Array]:
        """Return the trees of the booster, its classes 0 to k-1 as in its answers."""
        from vallum_validator.sandbox.program.tree_readers import read_trees
        from vallum_validator.sandbox.program.trees import Column, described

        ensemble = read_trees(self.booster)
        columns = [
            Column(place, (*map(float, range(len(one.values))), np.nan) if one.type == CATEGORICAL else None)
            for place, one in enumerate(self._inputs)
        ]
        return described(columns, replace(ensemble, classes=np.arange(len(ensemble.base))))

    def _check_objective(self) -> None:
        of_classes = self.objective in (*_XGBOOST_CLASSES, *_LIGHTGBM_CLASSES)
        if self.objective.startswith(_RANKERS) or of_classes is self._regression:
            wanted = "values" if self._regression else "classes"
            raise ValueError(f"the booster was trained for {self.objective!r}, which predicts no {wanted}")


def _read_xgboost(path: Path) -> tuple[Any, str, Sequence[str]]:
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(path.read_bytes()))
    learner = json.loads(booster.save_config())["learner"]
    names = booster.feature_names or booster.num_features() * [""]
    return booster, learner["objective"]["name"], names


def _read_lightgbm(path: Path) -> tuple[Any, str, Sequence[str]]:
    import lightgbm

    text = path.read_text(encoding="utf-8")
    booster = lightgbm.Booster(model_str=text)
    objective = next((line for line in text.splitlines() if line.startswith("objective=")), "objective=unknown")
    names = booster.feature_name()
    unnamed = names == [f"Column_{place}" for place in range(len(names))]
    return booster, objective.removeprefix("objective=").split()[0], len(names) * [""] if unnamed else names


_READERS: Final = {"xgboost": _read_xgboost, "lightgbm": _read_lightgbm}


def _check_names(fitted: Sequence[str], names: Sequence[str]) -> None:
    if len(fitted) != len(names):
        raise ValueError(f"the model takes {len(fitted)} features, the manifest names {len(names)}")
    for place, (own, ours) in enumerate(zip(fitted, names, strict=True), 1):
        # LightGBM writes spaces as underscores.
        if own and own not in (ours, ours.replace(" ", "_")):
            raise ValueError(
                f"the order of the features does not match: the model was trained with {own!r} in place {place}, "
                f"the manifest has {ours!r} there"
            )
