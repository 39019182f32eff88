"""The same submission gives the same evidence, byte for byte, in whatever way its model is run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from vallum_common.bundle import Manifest
from vallum_validator.assess import assess
from vallum_validator.checks.thresholds import load_thresholds

from .models.bundles import LABEL, manifest_of, mixed, numeric, numeric_features, write_table
from .models.onnx_models import as_matrix

THRESHOLDS = load_thresholds(Path(__file__).parents[3] / "policies" / "thresholds.yaml")


def forest(root: Path) -> Manifest:
    """A forest that memorised its rows, kept so that it is converted, trained again and hardened."""
    frame, labels = mixed(450)
    frame, labels = frame[["age", "height"]].astype(float), (labels == ">50K").astype(int)
    joblib.dump(RandomForestClassifier(10, random_state=0).fit(frame[:150], labels[:150]), root / "model.joblib")
    write_table(root / "members.parquet", frame[:150], labels[:150])
    write_table(root / "population.parquet", frame[150:300], labels[150:300])
    write_table(root / "evaluation.parquet", frame[300:], labels[300:])
    parts = {name: {"file": f"{name}.parquet"} for name in ("members", "population")}
    return manifest_of(numeric_features(frame), artifact="model.joblib", **parts)


def line(root: Path) -> Manifest:
    """A model of three classes as ONNX, without members."""
    frame, labels = numeric("iris")
    (root / "model.onnx").write_bytes(as_matrix(LogisticRegression().fit(frame.to_numpy(), labels), 4))
    write_table(root / "evaluation.parquet", frame, labels)
    return manifest_of(numeric_features(frame), evaluation={"file": "evaluation.parquet", "label": LABEL})


@pytest.mark.parametrize("bundle", [forest, line])
def test_two_assessments_of_a_bundle_serialise_alike(bundle: Any, tmp_path: Path) -> None:
    manifest = bundle(tmp_path)
    first, second = (
        json.dumps(dataclasses.asdict(assess(tmp_path, manifest, thresholds=THRESHOLDS, seed=7)), default=str).encode()
        for _ in range(2)
    )
    assert first == second
    told = json.loads(first)
    privacy = told["checks"][1]
    if bundle is forest:
        assert privacy["details"]["queries"]["runtime"] == "joblib; converted to ONNX: the same answers"
        assert privacy["details"]["references"]["kind"].startswith("the model's own kind")
        assert np.isfinite(privacy["value"])
    else:
        assert privacy["details"]["queries"] == {"rows": 150, "calls": 1, "runtime": "onnx"}
