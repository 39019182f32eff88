"""Bundles for tests: small honest models of many kinds, made with scikit-learn and skl2onnx, and their data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from vallum_common.bundle import Manifest, parse_manifest

LABEL = "outcome"
_LOADERS = {"iris": load_iris, "wine": load_wine, "digits": load_digits, "cancer": load_breast_cancer}


def numeric(name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return features and integer labels of a data set that scikit-learn ships."""
    data = _LOADERS[name](as_frame=True)
    frame = data.data.astype(np.float64)
    return frame / frame.abs().max().max(), data.target.to_numpy().astype(np.int64)


def mixed(rows: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a frame of every feature type and text labels that depend on it."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "age": random.integers(17, 90, rows),
            "height": random.normal(170, 10, rows),
            "member": random.random(rows) < 0.5,
            "sex": random.choice(["Female", "Male"], rows),
            "district": random.choice(["1", "2", "3"], rows),
        }
    )
    score = frame["age"] / 40 + (frame["sex"] == "Male") + frame["member"] + random.normal(0, 0.3, rows)
    return frame, np.where(score > 2.3, ">50K", "<=50K").astype(object)


MIXED_FEATURES: Mapping[str, Mapping[str, Any]] = {
    "age": {"type": "integer", "min": 17, "max": 90},
    "height": {"type": "number"},
    "member": {"type": "boolean"},
    "sex": {"type": "categorical", "values": ["Female", "Male"], "mutable": False},
    "district": {"type": "categorical", "values": ["1", "2", "3"]},
}


def mixed_pipeline(frame: pd.DataFrame, labels: np.ndarray) -> Any:
    """Return a fitted pipeline that takes the frame of `mixed`."""
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["sex", "district"]),
        (StandardScaler(), ["age", "height"]),
        remainder="passthrough",
    )
    return make_pipeline(encode, LogisticRegression()).fit(frame, labels)


def numeric_features(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the manifest's features of an all-numeric frame."""
    return {str(name): {"type": "number"} for name in frame.columns}


def manifest_of(features: Mapping[str, Any], *, artifact: str = "model.onnx", **changes: Any) -> Manifest:
    """Return a manifest with these features; `changes` replace or add keys of the section `data` or `model`."""
    data: dict[str, Any] = {
        "evaluation": {"file": "evaluation.parquet", "label": LABEL},
        "features": {name: dict(feature) for name, feature in features.items()},
    }
    model = {"id": "test-model", "version": "1.0.0", "artifact": artifact, "owner": "tests"}
    for key, value in changes.items():
        (model if key in ("task", "tier") else data)[key] = value
    return parse_manifest(yaml.safe_dump({"model": model, "data": data}, sort_keys=False).encode())


def write_table(path: Path, frame: pd.DataFrame, labels: Any = None) -> Path:
    """Write a data file in the form its ending names."""
    table = frame if labels is None else frame.assign(**{LABEL: labels})
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        np.savez(path, **{name: np.array(table[name].tolist()) for name in table.columns})
    return path
