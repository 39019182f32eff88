"""Models of every kind are asked through a conversion that answers alike, or as they are; native boosters have a
runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from vallum_common.bundle import Manifest
from vallum_validator.sandbox.predictor import SandboxPredictor
from vallum_validator.sandbox.process import Worker
from vallum_validator.sandbox.program.boosters import Booster
from vallum_validator.sandbox.program.rows import Input
from vallum_validator.table import Table

from .models.bundles import MIXED_FEATURES, manifest_of, mixed, mixed_pipeline, numeric, numeric_features
from .test_sandbox_predictor import table_of


@contextlib.contextmanager
def converted(path: Path, form: str, manifest: Manifest, table: Table) -> Iterator[SandboxPredictor]:
    """The predictor after it had the chance to convert its model."""
    with Worker("the model", [path]) as worker:
        predictor = SandboxPredictor(worker, path, form, manifest)
        predictor.convert(table, predictor.probe(table), np.random.default_rng(0))
        yield predictor


def boosters() -> dict[str, Any]:
    return {
        "xgboost": xgboost.XGBClassifier(n_estimators=5, n_jobs=1),
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1),
    }


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(20, random_state=0, n_jobs=-1),
        HistGradientBoostingClassifier(max_iter=10, random_state=0),
        *boosters().values(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_estimator_of_numbers_is_converted_and_answers_alike(tmp_path: Path, estimator: Any) -> None:
    frame, labels = numeric("wine")
    joblib.dump(estimator.fit(frame, labels), tmp_path / "model.joblib")
    table = table_of(frame)
    with converted(tmp_path / "model.joblib", "joblib", manifest_of(numeric_features(frame)), table) as predictor:
        assert predictor.runtime == "joblib; converted to ONNX: the same answers"
        answer, original = predictor.predict(table), predictor.predict_original(table)
    assert (answer.labels == estimator.predict(frame).astype(str)).all()
    assert np.allclose(original.probabilities, estimator.predict_proba(frame), atol=1e-9)
    assert np.allclose(answer.probabilities, original.probabilities, atol=1e-5)


def test_a_pipeline_of_columns_with_text_is_converted(tmp_path: Path) -> None:
    frame, labels = mixed()
    joblib.dump(mixed_pipeline(frame, labels), tmp_path / "model.joblib")
    with converted(tmp_path / "model.joblib", "joblib", manifest_of(MIXED_FEATURES), table_of(frame)) as predictor:
        assert "; converted" in predictor.runtime
        assert predictor.predict(table_of(frame)).labels.tolist() == labels_of(predictor, frame)


def labels_of(predictor: SandboxPredictor, frame: pd.DataFrame) -> list[str]:
    return predictor.predict_original(table_of(frame)).labels.tolist()


def test_truth_labels_stay_truth_labels(tmp_path: Path) -> None:
    frame, labels = numeric("cancer")
    joblib.dump(RandomForestClassifier(5, random_state=0).fit(frame, labels == 1), tmp_path / "model.joblib")
    manifest, table = manifest_of(numeric_features(frame)), table_of(frame)
    with converted(tmp_path / "model.joblib", "joblib", manifest, table) as predictor:
        assert "; converted" in predictor.runtime
        assert set(predictor.predict(table).labels) == {"false", "true"}


def test_what_the_converter_does_not_know_is_asked_as_it_is(tmp_path: Path) -> None:
    frame, labels = mixed()
    as_trained = frame.astype({"sex": "category", "district": "category"})
    estimator = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype").fit(as_trained, labels)
    joblib.dump(estimator, tmp_path / "model.joblib")
    with converted(tmp_path / "model.joblib", "joblib", manifest_of(MIXED_FEATURES), table_of(frame)) as predictor:
        assert "; not converted" in predictor.runtime
        assert (predictor.predict(table_of(frame)).labels == estimator.predict(as_trained)).all()


def test_a_conversion_that_answers_otherwise_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Distances in single precision: of neighbours equally far away another one counts.
    frame, labels = numeric("digits")
    rounded = (frame * 3).round()
    joblib.dump(KNeighborsClassifier(1).fit(rounded + 1e7, labels), tmp_path / "model.joblib")
    manifest, table = manifest_of(numeric_features(frame)), table_of(rounded + 1e7 + np.float64(0.25))
    with converted(tmp_path / "model.joblib", "joblib", manifest, table) as predictor:
        assert "not converted to ONNX: other answers to" in predictor.runtime
        assert predictor.predict(table).labels.tolist() == predictor.predict_original(table).labels.tolist()


def test_a_label_only_estimator_is_converted(tmp_path: Path) -> None:
    frame, labels = numeric("iris")
    joblib.dump(LinearSVC().fit(frame, labels), tmp_path / "model.joblib")
    manifest, table = manifest_of(numeric_features(frame)), table_of(frame)
    with converted(tmp_path / "model.joblib", "joblib", manifest, table) as predictor:
        assert predictor.predict(table).probabilities is None


@pytest.mark.parametrize(
    ("form", "name", "data"),
    [
        ("xgboost", "m.json", "cancer"),
        ("xgboost", "m.ubj", "wine"),
        ("lightgbm", "m.txt", "cancer"),
        ("lightgbm", "m.txt", "wine"),
    ],
)
def test_a_native_booster_answers_as_its_library_does(tmp_path: Path, form: str, name: str, data: str) -> None:
    frame, labels = numeric(data)
    estimator = boosters()[form].fit(frame, labels)
    (estimator if form == "xgboost" else estimator.booster_).save_model(tmp_path / name)
    table = table_of(frame)
    with converted(tmp_path / name, form, manifest_of(numeric_features(frame)), table) as predictor:
        assert predictor.runtime == f"{form}; converted to ONNX: the same answers"
        for answer in (predictor.predict(table), predictor.predict_original(table)):
            assert (answer.labels == estimator.predict(frame).astype(str)).all()
            assert np.allclose(answer.probabilities, estimator.predict_proba(frame), atol=1e-5)


def test_a_native_booster_of_values_gives_numbers(tmp_path: Path) -> None:
    frame, _ = numeric("iris")
    estimator = xgboost.XGBRegressor(n_estimators=5).fit(frame, frame.to_numpy()[:, 0])
    estimator.save_model(tmp_path / "m.ubj")
    manifest = manifest_of(numeric_features(frame), task="regression")
    with converted(tmp_path / "m.ubj", "xgboost", manifest, table_of(frame)) as predictor:
        assert np.allclose(predictor.predict(table_of(frame)).values, estimator.predict(frame), atol=1e-5)


@pytest.mark.parametrize(
    ("names", "regression", "reason"),
    [
        (["c", "b", "a"], False, "trained with 'a' in place 1, the manifest has 'c' there"),
        (["a", "b"], False, "takes 3 features, the manifest names 2"),
        (["a", "b", "c"], True, "'binary:logistic', which predicts no values"),
    ],
)
def test_a_native_booster_of_other_features_or_another_task_is_refused(
    tmp_path: Path, names: list[str], regression: bool, reason: str
) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
    boosters()["xgboost"].fit(frame, frame["a"] > 0).save_model(tmp_path / "m.json")
    inputs = [Input(name, "number", ()) for name in names]
    with pytest.raises(ValueError, match=reason):
        Booster(str(tmp_path / "m.json"), "xgboost", inputs, regression=regression)
