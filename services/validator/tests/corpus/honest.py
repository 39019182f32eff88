"""Honest files: what frameworks write when nobody means harm. Every one must be CLEAN."""

from __future__ import annotations

import contextlib
import inspect
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import joblib
import lightgbm
import numpy as np
import pandas as pd
import scipy.sparse
import scipy.stats
import xgboost
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from . import markup

_SLOW: Final = frozenset(
    {"GaussianProcessClassifier", "LatentDirichletAllocation", "MiniBatchDictionaryLearning", "DictionaryLearning"}
)
_PARTS: Final[dict[str, Callable[[], Any]]] = {
    "estimator": LogisticRegression,
    "estimators": lambda: [("a", LogisticRegression()), ("b", LogisticRegression(C=2))],
    "steps": lambda: [("s", StandardScaler()), ("l", LogisticRegression())],
    "transformers": lambda: [("a", StandardScaler(), [0, 1])],
    "transformer_list": lambda: [("a", StandardScaler())],
    "param_grid": lambda: {"C": [1, 2]},
    "param_distributions": lambda: {"C": scipy.stats.loguniform(0.1, 10)},
    "dictionary": lambda: np.eye(6),
}

_RANDOM: Final = np.random.default_rng(0)
_TABLE: Final = np.abs(_RANDOM.normal(size=(40, 6)))
_ANSWER: Final = (_TABLE[:, 0] > np.median(_TABLE[:, 0])).astype(int)


def fitted_estimators() -> Iterator[tuple[str, Any]]:
    """Every scikit-learn estimator that can be fitted to a small table."""
    for name, kind in all_estimators():
        parameters = inspect.signature(kind).parameters.values()
        required = [part.name for part in parameters if part.default is part.empty and part.name in _PARTS]
        if name not in _SLOW:
            with contextlib.suppress(Exception), warnings.catch_warnings():  # one that wants another kind of table
                warnings.simplefilter("ignore")
                yield name, kind(**{part: _PARTS[part]() for part in required}).fit(_TABLE, _ANSWER)


def _others() -> Iterator[tuple[str, Any]]:
    yield "xgboost", xgboost.XGBClassifier(n_estimators=5).fit(_TABLE, _ANSWER)
    yield "xgboost-regressor", xgboost.XGBRegressor(n_estimators=5).fit(_TABLE, _ANSWER)
    yield "lightgbm", lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(_TABLE, _ANSWER)
    yield "lightgbm-regressor", lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(_TABLE, _ANSWER)
    yield "pipeline", make_pipeline(StandardScaler(), RandomForestClassifier(10)).fit(_TABLE, _ANSWER)
    forest = {"n_estimators": scipy.stats.randint(1, 9), "max_features": scipy.stats.uniform(0.1, 0.8)}
    search = RandomizedSearchCV(RandomForestClassifier(), forest, n_iter=2, cv=2, random_state=0)
    yield "search", search.fit(_TABLE, _ANSWER)
    yield "normal", scipy.stats.norm(0, 1)
    yield "sparse", scipy.sparse.csr_matrix(_TABLE)
    yield "frame", pd.DataFrame(_TABLE, columns=list("abcdef"))
    yield "array", _TABLE
    yield "generator", np.random.default_rng(1)
    yield "plain", {"a": [1, 2.5, "x", None, True, b"y", (1, 2), {3}, frozenset({4})]}


def _joblib(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, **options)
    return buffer.getvalue()


def _forms(name: str, value: Any) -> Iterator[tuple[str, bytes]]:
    yield f"{name}.pkl", pickle.dumps(value)
    yield f"{name}.joblib", _joblib(value, compress=3)
    yield f"{name}-raw.joblib", _joblib(value)


def honest_files(*, estimators: bool = True) -> Iterator[tuple[str, bytes]]:
    """Name and content of each: fitted models as pickle, as joblib raw and compressed, and what goes with them.

    Args:
        estimators: whether every estimator of scikit-learn is among them, which takes most of the time.
    """
    for source in (fitted_estimators, _others) if estimators else (_others,):
        for name, value in source():
            yield from _forms(name, value)
    yield from ((name, text.encode()) for name, text in _TEXTS.items())
    yield "lightgbm.txt", str(_booster().model_to_string()).encode()
    yield "xgboost.json", bytes(_xgboost().save_raw("json"))
    yield "xgboost.ubj", bytes(_xgboost().save_raw("ubj"))
    for name, (_, text) in markup.HONEST.items():
        yield name, text.encode()


_TEXTS: Final = {
    "image.md": "---\nlicense: mit\ntags: [a]\n---\n\n![image](x.png)\n\nWow!!! `a != b`, `!important`, `main()`.\n",
    "merges.txt": "#version: 0.2\n! !\n! !!\n!! !!\nĠ !\n( )\ng A\n",
    "vocab.txt": '[PAD]\n!\n!!\n!=\n"\n()\n',
    "vocab.json": '{"!": 0, "!!": 1, "!!python/x": 2, "()": 3, "gASV": 4}',
    "run.yaml": "a: !!str 1\nb: &d {c: '!x', d: \"\\x41\"}\ne: {<<: *d}\nf: x!y\n",
    "hydra.yaml": "defaults:\n- model: cnn\n- override hydra/launcher: x\nlr: ${oc.env:LR,0.1}\n",
    "modules.json": '[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]',
    "adapter_config.json": '{"auto_mapping": {"base_model_class": "B", "parent_library": "transformers.models.b"}}',
    "model_index.json": '{"_class_name": "P", "_diffusers_version": "1", "unet": ["diffusers", "UNet2DModel"]}',
    "logging.yaml": "version: 1\nhandlers: {h: {class: logging.StreamHandler, level: INFO}}\n",
}
"""Text with much in it that means something in YAML or to a loader, and here means nothing."""


def _booster() -> Any:
    return lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(_TABLE, _ANSWER).booster_


def _xgboost() -> Any:
    return xgboost.XGBClassifier(n_estimators=3).fit(_TABLE, _ANSWER).get_booster()
