"""Trees come out of the sandbox as numbers that answer as the model in there does; the solver runs apart from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import onnxmltools
import pandas as pd
import pytest
import skops.io
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.base import clone
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from vallum_common.bundle import Manifest
from vallum_common.errors import Invalid
from vallum_validator.checks.certificate import Certifier
from vallum_validator.checks.space import build_space
from vallum_validator.checks.structure import Structure, read_structure
from vallum_validator.sandbox.predictor import SandboxPredictor
from vallum_validator.sandbox.process import Worker
from vallum_validator.sandbox.prover import SandboxProver
from vallum_validator.table import Table

from .models.bundles import MIXED_FEATURES, manifest_of, mixed, mixed_pipeline, numeric, numeric_features
from .models.onnx_models import as_columns, as_matrix
from .test_sandbox_predictor import predictor_of, table_of


def _xgboost_onnx(frame: pd.DataFrame, labels: np.ndarray) -> bytes:
    model = xgboost.XGBClassifier(n_estimators=8, max_depth=3).fit(frame.to_numpy(), labels)
    kind = [("X", FloatTensorType([None, frame.shape[1]]))]
    return bytes(onnxmltools.convert_xgboost(model, initial_types=kind).SerializeToString())


def _lightgbm_onnx(frame: pd.DataFrame, labels: np.ndarray) -> bytes:
    model = lightgbm.LGBMClassifier(n_estimators=8, num_leaves=7, verbose=-1).fit(frame.to_numpy(), labels)
    kind = [("X", FloatTensorType([None, frame.shape[1]]))]
    return bytes(onnxmltools.convert_lightgbm(model, initial_types=kind, zipmap=False).SerializeToString())


def _from_sklearn(estimator: Any) -> Callable[[pd.DataFrame, np.ndarray], bytes]:
    def make(frame: pd.DataFrame, labels: np.ndarray) -> bytes:
        return as_matrix(clone(estimator).fit(frame.to_numpy(), labels), frame.shape[1])

    return make


CONVERTED: Mapping[str, Callable[[pd.DataFrame, np.ndarray], bytes]] = {
    "tree": _from_sklearn(DecisionTreeClassifier(max_depth=4, random_state=0)),
    "forest": _from_sklearn(RandomForestClassifier(8, max_depth=5, random_state=0)),
    "extra trees": _from_sklearn(ExtraTreesClassifier(8, max_depth=5, random_state=0)),
    "gradient boosting": _from_sklearn(GradientBoostingClassifier(n_estimators=8, random_state=0)),
    "scaled forest": _from_sklearn(make_pipeline(StandardScaler(), RandomForestClassifier(8, random_state=0))),
    "xgboost": _xgboost_onnx,
    "lightgbm": _lightgbm_onnx,
}


def _agreement(predictor: SandboxPredictor, manifest: Manifest, table: Table) -> tuple[Structure, float]:
    """The structure, and the share of rows, of the data and random ones, in which it answers as the model does."""
    features = manifest.data.features
    space = build_space(features, [table], 0.05)
    structure = read_structure(predictor.structure(), tuple(len(one.values) for one in features.values()))
    known = space.encode(table)
    rng = np.random.default_rng(0)
    rows = np.concatenate([known, np.stack([rng.permutation(column) for column in known.T], axis=1)])
    answers = predictor.predict(space.decode(rows)).labels
    scores = structure.scores(rows)
    clear = np.diff(np.sort(scores, axis=1)[:, -2:], axis=1)[:, 0] > structure.slack
    assert clear.mean() > 0.8
    names = np.array(structure.classes or predictor.classes, dtype=object)
    return structure, float((names[scores.argmax(axis=1)] == answers)[clear].mean())


@pytest.mark.parametrize("data", ["cancer", "iris"])
@pytest.mark.parametrize("name", CONVERTED)
def test_the_trees_of_a_converted_model_answer_as_it_does(tmp_path: Path, name: str, data: str) -> None:
    frame, labels = numeric(data)
    path = tmp_path / "model.onnx"
    path.write_bytes(CONVERTED[name](frame, labels))
    manifest = manifest_of(numeric_features(frame))
    with predictor_of(path, "onnx", manifest, tuple(map(str, sorted(set(labels.tolist()))))) as predictor:
        predictor.probe(table_of(frame))
        assert _agreement(predictor, manifest, table_of(frame))[1] == 1.0


def test_text_inputs_are_followed_to_the_trees(tmp_path: Path) -> None:
    frame, labels = mixed()
    steps = mixed_pipeline(frame, labels).steps
    model = make_pipeline(steps[0][1], GradientBoostingClassifier(n_estimators=10, random_state=0)).fit(frame, labels)
    manifest = manifest_of(MIXED_FEATURES)
    onnx, pickled = tmp_path / "model.onnx", tmp_path / "model.joblib"
    onnx.write_bytes(as_columns(model, MIXED_FEATURES))
    joblib.dump(model, pickled)
    for path, form in ((onnx, "onnx"), (pickled, "joblib")):
        with predictor_of(path, form, manifest, ("<=50K", ">50K")) as predictor:
            predictor.probe(table_of(frame))
            structure, agreement = _agreement(predictor, manifest, table_of(frame))
            assert agreement == 1.0
            assert (structure.columns.table >= 0).sum() == 5


def test_trees_are_read_from_estimators_too(tmp_path: Path) -> None:
    frame, labels = numeric("wine")
    path = tmp_path / "model.skops"
    path.write_bytes(skops.io.dumps(ExtraTreesClassifier(8, random_state=0).fit(frame, labels)))
    manifest = manifest_of(numeric_features(frame))
    with predictor_of(path, "skops", manifest) as predictor:
        predictor.probe(table_of(frame))
        assert _agreement(predictor, manifest, table_of(frame))[1] == 1.0


def test_a_model_without_trees_says_what_it_is_and_goes_on(tmp_path: Path) -> None:
    frame, labels = numeric("iris")
    path = tmp_path / "model.joblib"
    joblib.dump(LogisticRegression().fit(frame, labels), path)
    with predictor_of(path, "joblib", manifest_of(numeric_features(frame))) as predictor:
        prover = SandboxProver(predictor, lambda: pytest.fail("no solver is needed"))
        with pytest.raises(Invalid, match="LogisticRegression is no ensemble of trees"):
            prover.structure()
        assert len(predictor.predict(table_of(frame))) == len(frame)


def test_a_float_given_to_a_whole_input_has_no_certificate(tmp_path: Path) -> None:
    frame, labels = mixed()
    model = RandomForestClassifier(4, random_state=0).fit(frame[["age"]].to_numpy(), labels)
    path = tmp_path / "model.onnx"
    path.write_bytes(as_columns(model, {"age": {"type": "integer"}}))
    for kind, readable in (("integer", True), ("number", False)):
        manifest = manifest_of({"age": {"type": kind}})
        with predictor_of(path, "onnx", manifest) as predictor:
            prover = SandboxProver(predictor, lambda: pytest.fail("no solver is needed"))
            if readable:
                assert len(prover.structure()["roots"]) == 4
            else:
                with pytest.raises(Invalid, match="rounds"):
                    prover.structure()


def test_the_solver_runs_in_a_worker_of_its_own_and_its_end_is_not_the_models(tmp_path: Path) -> None:
    frame, labels = numeric("cancer")
    model = RandomForestClassifier(40, max_depth=8, random_state=0).fit(frame.to_numpy(), labels)
    path = tmp_path / "model.onnx"
    path.write_bytes(as_matrix(model, frame.shape[1]))
    manifest = manifest_of(numeric_features(frame))
    started: list[Worker] = []

    def solver() -> Worker:
        started.append(Worker("the solver", []))
        return started[-1]

    with predictor_of(path, "onnx", manifest, ("0", "1")) as predictor:
        predictor.probe(table_of(frame))
        prover = SandboxProver(predictor, solver)
        structure, _ = _agreement(predictor, manifest, table_of(frame))
        rows = frame.to_numpy()[:40]
        own = structure.scores(rows).argmax(axis=1)
        moves = np.full_like(rows, 0.02) * (rows.max(axis=0) - rows.min(axis=0))
        certifier = Certifier(structure, prover)
        proved = certifier.within_radius(rows, own, moves)
        assert len(started) == 1
        assert not certifier.stopped
        assert proved.any()
        started[0].close()
        assert certifier.within_radius(rows, own, moves).sum() <= proved.sum()
        assert "has been ended" in certifier.stopped
        assert len(predictor.predict(table_of(frame))) == len(frame)
