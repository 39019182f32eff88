"""Models of every kind are asked through a conversion that answers alike, or as they are; native boosters have a
runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from vallum_common.bundle import Manifest
from vallum_validator.checks.structure import read_structure
from vallum_validator.sandbox.frames import Array
from vallum_validator.sandbox.predictor import SandboxPredictor
from vallum_validator.sandbox.process import Worker
from vallum_validator.sandbox.program.boosters import Booster
from vallum_validator.sandbox.program.rows import Input, Rows
from vallum_validator.sandbox.program.tree_readers import read_trees
from vallum_validator.table import Predictions, Table

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


def counted(rows: int = 2_000) -> tuple[pd.DataFrame, np.ndarray]:
    """Whole numbers of which every second occurs, some missing: what lies between two is where the trees split."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"age": 2 * rng.integers(9, 45, rows), "pay": 100 * rng.integers(0, 1_000, rows)})
    labels = (frame["age"] + frame["pay"] / 2_000 + rng.normal(0, 10, rows) > 70).astype(int).to_numpy()
    return frame.astype(np.float64).mask(rng.random(frame.shape) < 0.1), labels


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()], ids=lambda scaler: type(scaler).__name__)
@pytest.mark.parametrize(
    "trees",
    [
        RandomForestClassifier(20, random_state=0),
        HistGradientBoostingClassifier(max_iter=20, random_state=0),
        *boosters().values(),
    ],
    ids=lambda trees: type(trees).__name__,
)
def test_trees_behind_a_scaler_keep_their_answers_on_the_splits(tmp_path: Path, trees: Any, scaler: Any) -> None:
    """A graph that scales in single precision sends numbers on a split the other way: a third of such rows were off."""
    frame, labels = counted()
    joblib.dump(make_pipeline(SimpleImputer(), scaler, clone(trees)).fit(frame, labels), tmp_path / "model.joblib")
    manifest = manifest_of({name: {"type": "integer"} for name in frame.columns})
    rng = np.random.default_rng(5)
    between = Table({"age": rng.integers(18, 90, 5_000) * 1.0, "pay": 50.0 * rng.integers(0, 2_000, 5_000)})
    with converted(tmp_path / "model.joblib", "joblib", manifest, table_of(frame)) as predictor:
        assert predictor.runtime == "joblib; converted to ONNX: the same answers"
        answer, original = predictor.predict(between), predictor.predict_original(between)
    assert np.allclose(answer.probabilities, original.probabilities, atol=1e-5)


def test_lightgbm_behind_a_scaler_compares_in_double(tmp_path: Path) -> None:
    """What it scales to lies a little beside its thresholds; rounded to single precision both fall together."""
    frame, labels = counted()
    frame = frame * [0.1, 0.001]
    trees = lightgbm.LGBMClassifier(n_estimators=30, min_data_in_bin=1, max_bin=4_000, n_jobs=1, verbose=-1)
    joblib.dump(make_pipeline(StandardScaler(), trees).fit(frame, labels), tmp_path / "model.joblib")
    manifest = manifest_of({name: {"type": "number"} for name in frame.columns})
    rng = np.random.default_rng(5)
    between = Table({"age": 0.1 * rng.integers(18, 90, 5_000), "pay": 0.05 * rng.integers(0, 2_000, 5_000)})
    with converted(tmp_path / "model.joblib", "joblib", manifest, table_of(frame)) as predictor:
        assert predictor.runtime == "joblib; converted to ONNX: the same answers"
        answer, original = predictor.predict(between), predictor.predict_original(between)
    assert np.allclose(answer.probabilities, original.probabilities, atol=1e-5)


def test_a_category_that_is_a_whole_number_does_not_make_the_scaler_imprecise(tmp_path: Path) -> None:
    frame, labels = counted()
    # Tenths are no numbers of single precision, and every second one lies on a split.
    frame = (frame.fillna(50.0) * [0.1, 0.001]).round(1).assign(district=np.arange(len(frame)) % 3 + 1)
    estimator = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)).fit(frame, labels)
    joblib.dump(estimator, tmp_path / "model.joblib")
    features: dict[str, dict[str, Any]] = {name: {"type": "number"} for name in ("age", "pay")}
    manifest = manifest_of({**features, "district": {"type": "categorical", "values": [1, 2, 3]}})
    between = frame.assign(age=(frame["age"] + 0.1).round(1), district=frame["district"].astype(str))
    table = table_of(between)
    with converted(tmp_path / "model.joblib", "joblib", manifest, table) as predictor:
        assert predictor.runtime == "joblib; converted to ONNX: the same answers"


def test_trees_of_values_behind_columns_of_every_type_keep_their_answers(tmp_path: Path) -> None:
    frame, _ = mixed()
    encode = make_column_transformer(
        (OneHotEncoder(), ["sex", "district"]), (StandardScaler(), ["age", "height"]), remainder="passthrough"
    )
    estimator = make_pipeline(encode, RandomForestRegressor(20, random_state=0)).fit(frame, frame["age"] // 2 * 2)
    joblib.dump(estimator, tmp_path / "model.joblib")
    manifest, table = manifest_of(MIXED_FEATURES, task="regression"), table_of(frame)
    with converted(tmp_path / "model.joblib", "joblib", manifest, table) as predictor:
        assert "; converted" in predictor.runtime
        assert np.allclose(predictor.predict(table).values, estimator.predict(frame), rtol=1e-6)


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
        assert_trees_answer(predictor.structure(), frame.to_numpy(), (0,) * frame.shape[1], predictor.predict(table))


def assert_trees_answer(
    told: Mapping[str, Array], matrix: np.ndarray, widths: tuple[int, ...], answer: Predictions
) -> None:
    structure = read_structure(told, widths)
    names = np.array(structure.classes, dtype=object)
    assert (names[structure.scores(matrix).argmax(axis=1)] == answer.labels).all()


@pytest.mark.parametrize("form", ["xgboost", "lightgbm"])
def test_trees_of_a_native_booster_split_categories_by_their_index_and_go_on_after_the_best_round(
    tmp_path: Path, form: str
) -> None:
    rng = np.random.default_rng(0)
    values = (30, 10, 20)
    matrix = np.column_stack([rng.integers(0, 3, 400), rng.normal(size=400)]).astype(np.float64)
    labels = np.where(matrix[:, 0] == 1, 1, matrix[:, 1] > 0.5).astype(int) ^ (rng.random(400) < 0.2)
    booster: Any
    if form == "xgboost":
        estimator = xgboost.XGBClassifier(n_estimators=60, early_stopping_rounds=5, learning_rate=1.0, n_jobs=1)
        booster = estimator.fit(matrix[:200], labels[:200], eval_set=[(matrix[200:], labels[200:])], verbose=False)
        assert len(read_trees(estimator).trees) == estimator.best_iteration + 1
        assert len(read_trees(estimator.get_booster()).trees) > estimator.best_iteration + 1
    else:
        booster = lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1).fit(matrix, labels).booster_
    path = tmp_path / ("m.ubj" if form == "xgboost" else "m.txt")
    booster.save_model(path)
    inputs = [Input("c", "categorical", values), Input("x", "number", ())]
    model = Booster(str(path), form, inputs, regression=False)
    rows = Rows(inputs, matrix[:, 1:], matrix[:, :1].astype(np.int32))
    answered = np.asarray(model.predict(rows)["labels"])
    told = Predictions(np.array([str(label) for label in answered], dtype=object), None)
    assert_trees_answer(model.structure(), matrix, (3, 0), told)


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
