"""Honest models of every promised form answer as they do outside the sandbox; the others are refused by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import skops.io
from onnx import TensorProto, helper
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from vallum_common.bundle import Manifest, Task
from vallum_common.errors import Invalid
from vallum_validator.sandbox.predictor import SandboxPredictor
from vallum_validator.sandbox.process import Worker
from vallum_validator.table import PredictionFailed, Table, canonical_column

from .models.bundles import MIXED_FEATURES, manifest_of, mixed, mixed_pipeline, numeric, numeric_features
from .models.onnx_models import as_columns, as_matrix, graph, output


def table_of(frame: pd.DataFrame) -> Table:
    """The frame as the data reader would give it."""
    columns = {}
    for name in frame.columns:
        text = not pd.api.types.is_numeric_dtype(frame[name])
        columns[str(name)] = canonical_column(frame[name].tolist()) if text else frame[name].to_numpy(np.float64)
    return Table(columns)


@contextlib.contextmanager
def predictor_of(
    path: Path, form: str, manifest: Manifest, data_labels: tuple[str, ...] = ()
) -> Iterator[SandboxPredictor]:
    with Worker("the model", [path]) as worker:
        yield SandboxPredictor(worker, path, form, manifest, data_labels=data_labels)


@pytest.fixture
def onnx_file(tmp_path: Path) -> Any:
    def write(content: bytes) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize("name", ["iris", "digits"])
def test_onnx_matrix_answers_as_the_estimator(onnx_file: Any, name: str, zipmap: bool) -> None:
    frame, labels = numeric(name)
    estimator = RandomForestClassifier(10, random_state=0).fit(frame.to_numpy(), labels)
    path = onnx_file(as_matrix(estimator, frame.shape[1], zipmap=zipmap))
    known = tuple(map(str, sorted(set(labels.tolist()))))
    with predictor_of(path, "onnx", manifest_of(numeric_features(frame)), known) as predictor:
        answer = predictor.probe(table_of(frame))
        assert predictor.classes == known
        assert (answer.labels == estimator.predict(frame.to_numpy()).astype(str)).mean() > 0.99
        assert np.allclose(answer.probabilities, estimator.predict_proba(frame.to_numpy()), atol=1e-3)
        assert predictor.ledger.rows == len(frame) + min(len(frame), 1000)


@pytest.mark.parametrize("kind", [DoubleTensorType, Int64TensorType])
def test_onnx_matrix_of_other_number_types(onnx_file: Any, kind: Any) -> None:
    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.integers(0, 9, (80, 3)).astype(np.float64), columns=["a", "b", "c"])
    labels = (frame["a"] > frame["b"]).to_numpy().astype(np.int64)
    estimator = LogisticRegression().fit(frame.to_numpy(), labels)
    with predictor_of(
        onnx_file(as_matrix(estimator, 3, kind=kind)), "onnx", manifest_of(numeric_features(frame))
    ) as predictor:
        answer = predictor.probe(table_of(frame))
        assert (answer.labels == estimator.predict(frame.to_numpy()).astype(str)).all()


def test_onnx_with_one_input_per_feature_takes_text_truth_and_numbers(onnx_file: Any) -> None:
    frame, labels = mixed()
    estimator = mixed_pipeline(frame, labels)
    path = onnx_file(as_columns(estimator, MIXED_FEATURES))
    with predictor_of(path, "onnx", manifest_of(MIXED_FEATURES), ("<=50K", ">50K")) as predictor:
        answer = predictor.probe(table_of(frame))
        assert predictor.classes == ("<=50K", ">50K")
        assert (answer.labels == estimator.predict(frame)).mean() > 0.99
        assert np.allclose(answer.probabilities, estimator.predict_proba(frame), atol=1e-3)


def test_onnx_matrix_takes_a_category_as_its_index(onnx_file: Any) -> None:
    # The answer is the input: index 2 of `values` comes back as the label "2".
    nodes = [helper.make_node("Cast", ["X"], ["label"], to=TensorProto.INT64)]
    path = onnx_file(graph(nodes, [output("label", TensorProto.INT64, [None, 1])], width=1))
    manifest = manifest_of({"colour": {"type": "categorical", "values": ["red", "green", "blue"]}})
    with predictor_of(path, "onnx", manifest) as predictor:
        answer = predictor.predict(Table({"colour": canonical_column(["blue", "red", "green"])}))
        assert answer.labels.tolist() == ["2", "0", "1"]
        assert answer.probabilities is None


def test_onnx_exported_for_a_fixed_number_of_rows_is_asked_in_portions(onnx_file: Any) -> None:
    nodes = [helper.make_node("Cast", ["X"], ["label"], to=TensorProto.INT64)]
    fixed = graph(nodes, [output("label", TensorProto.INT64, [4, 1])], width=1, rows=4)
    with predictor_of(onnx_file(fixed), "onnx", manifest_of({"a": {"type": "number"}})) as predictor:
        answer = predictor.predict(Table({"a": np.arange(10, dtype=np.float64)}))
        assert answer.labels.tolist() == [str(number) for number in range(10)]


def test_onnx_with_a_single_probability_column_is_a_binary_model(onnx_file: Any) -> None:
    nodes = [helper.make_node("Sigmoid", ["X"], ["probability"])]
    path = onnx_file(graph(nodes, [output("probability", TensorProto.FLOAT, [None, 1])], width=1))
    with predictor_of(path, "onnx", manifest_of({"a": {"type": "number"}})) as predictor:
        answer = predictor.probe(Table({"a": np.array([-2.0, 3.0])}))
        assert predictor.classes == ("0", "1")
        assert answer.labels.tolist() == ["0", "1"]
        assert np.allclose(answer.probabilities, [[0.8808, 0.1192], [0.0474, 0.9526]], atol=1e-3)


def test_decision_scores_beside_labels_are_no_probabilities(onnx_file: Any) -> None:
    frame, labels = numeric("iris")
    estimator = LinearSVC().fit(frame.to_numpy(), labels)
    path = onnx_file(as_matrix(estimator, 4))
    with predictor_of(path, "onnx", manifest_of(numeric_features(frame)), ("0", "1", "2")) as predictor:
        answer = predictor.probe(table_of(frame))
        assert answer.probabilities is None
        assert predictor.classes == ("0", "1", "2")
        assert answer.scores is not None
        assert np.array_equal(
            answer.scores.argmax(axis=1), estimator.decision_function(frame.to_numpy()).argmax(axis=1)
        )
        assert (answer.labels == estimator.predict(frame.to_numpy()).astype(str)).mean() > 0.98


def test_regression_gives_numbers(onnx_file: Any) -> None:
    data = load_diabetes(as_frame=True)
    estimator = LinearRegression().fit(data.data.to_numpy(), data.target)
    path = onnx_file(as_matrix(estimator, 10))
    manifest = manifest_of(numeric_features(data.data), task="regression")
    with predictor_of(path, "onnx", manifest) as predictor:
        answer = predictor.probe(table_of(data.data))
        assert predictor.task is Task.REGRESSION
        assert answer.probabilities is None
        assert np.allclose(answer.values, estimator.predict(data.data.to_numpy()), rtol=1e-3)


def test_missing_numbers_reach_the_model_as_nan(onnx_file: Any) -> None:
    nodes = [
        helper.make_node("IsNaN", ["X"], ["absent"]),
        helper.make_node("Cast", ["absent"], ["label"], to=TensorProto.INT64),
    ]
    path = onnx_file(graph(nodes, [output("label", TensorProto.INT64, [None, 1])], width=1))
    with predictor_of(path, "onnx", manifest_of({"a": {"type": "number"}})) as predictor:
        assert predictor.predict(Table({"a": np.array([1.0, np.nan])})).labels.tolist() == ["0", "1"]


def test_many_rows_are_asked_in_bounded_messages(onnx_file: Any) -> None:
    nodes = [helper.make_node("Sign", ["X"], ["sign"]), helper.make_node("Cast", ["sign"], ["label"], to=7)]
    path = onnx_file(graph(nodes, [output("label", TensorProto.INT64, [None, 1])], width=1))
    column = np.where(np.arange(100_000) % 3 == 0, -5.0, 5.0)
    with predictor_of(path, "onnx", manifest_of({"a": {"type": "number"}})) as predictor:
        answer = predictor.predict(Table({"a": column}))
        assert (answer.labels == np.where(column < 0, "-1", "1")).all()
        assert predictor.ledger.calls == 7
        assert predictor.ledger.rows == 100_000


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, pd.DataFrame]:
    """A mixed pipeline as skops and joblib files."""
    folder = tmp_path_factory.mktemp("fitted")
    frame, labels = mixed()
    estimator = mixed_pipeline(frame, labels)
    skops.io.dump(estimator, folder / "model.skops")
    joblib.dump(estimator, folder / "model.joblib", compress=3)
    return folder, estimator, frame


@pytest.mark.parametrize("form", ["skops", "joblib"])
def test_estimator_is_called_with_a_data_frame(fitted: tuple[Path, Any, pd.DataFrame], form: str) -> None:
    folder, estimator, frame = fitted
    with predictor_of(folder / f"model.{form}", form, manifest_of(MIXED_FEATURES)) as predictor:
        answer = predictor.probe(table_of(frame))
        assert predictor.classes == ("<=50K", ">50K")
        assert answer.labels.tolist() == estimator.predict(frame).tolist()
        assert np.allclose(answer.probabilities, estimator.predict_proba(frame))


def test_estimator_of_category_columns_and_truth_labels(tmp_path: Path) -> None:
    frame, labels = mixed()
    as_trained = frame.astype({"sex": "category", "district": "category"})
    estimator = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype")
    estimator.fit(as_trained, labels == ">50K")
    joblib.dump(estimator, tmp_path / "model.joblib")
    with predictor_of(tmp_path / "model.joblib", "joblib", manifest_of(MIXED_FEATURES)) as predictor:
        answer = predictor.probe(table_of(frame))
        assert predictor.classes == ("false", "true")
        assert (answer.labels == np.where(estimator.predict(as_trained), "true", "false")).all()


def test_label_only_estimator_has_the_classes_of_the_data(tmp_path: Path) -> None:
    frame, labels = numeric("iris")
    joblib.dump(LinearSVC().fit(frame, labels), tmp_path / "model.joblib")
    with predictor_of(tmp_path / "model.joblib", "joblib", manifest_of(numeric_features(frame))) as predictor:
        assert predictor.probe(table_of(frame)).probabilities is None
        assert predictor.classes == ("0", "1", "2")


def test_estimator_whose_feature_order_does_not_match_is_refused(tmp_path: Path) -> None:
    frame, labels = numeric("iris")
    joblib.dump(RandomForestClassifier(2).fit(frame, labels), tmp_path / "model.joblib")
    turned = manifest_of(numeric_features(frame[frame.columns[::-1]]))
    with (
        pytest.raises(PredictionFailed, match=r"order of the features does not match.*'sepal length"),
        predictor_of(tmp_path / "model.joblib", "joblib", turned),
    ):
        pass


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"a": {"type": "number"}}, "takes 4 features, the manifest names 1"),
        ({name: {"type": "number"} for name in "abcde"}, "takes 4 features, the manifest names 5"),
    ],
)
def test_onnx_with_another_feature_count_is_refused(onnx_file: Any, features: Any, reason: str) -> None:
    frame, labels = numeric("iris")
    path = onnx_file(as_matrix(LogisticRegression().fit(frame.to_numpy(), labels), 4))
    with pytest.raises(PredictionFailed, match=reason), predictor_of(path, "onnx", manifest_of(features)):
        pass


def test_onnx_whose_inputs_are_other_columns_is_refused(onnx_file: Any) -> None:
    frame, labels = mixed()
    path = onnx_file(as_columns(mixed_pipeline(frame, labels), MIXED_FEATURES))
    features = {("years" if name == "age" else name): feature for name, feature in MIXED_FEATURES.items()}
    with (
        pytest.raises(PredictionFailed, match=r"no feature: \['age'\]; features of no input: \['years'\]"),
        predictor_of(path, "onnx", manifest_of(features)),
    ):
        pass


def test_a_category_the_manifest_does_not_have_is_not_asked(onnx_file: Any) -> None:
    nodes = [helper.make_node("Cast", ["X"], ["label"], to=TensorProto.INT64)]
    path = onnx_file(graph(nodes, [output("label", TensorProto.INT64, [None, 1])], width=1))
    manifest = manifest_of({"colour": {"type": "categorical", "values": ["red", "green"]}})
    with predictor_of(path, "onnx", manifest) as predictor:
        with pytest.raises(PredictionFailed, match="'colour' has no category 'blue'"):
            predictor.predict(Table({"colour": canonical_column(["blue"])}))
        assert predictor.predict(Table({"colour": canonical_column(["green"])})).labels.tolist() == ["1"]


def test_what_is_no_estimator_is_refused(tmp_path: Path) -> None:
    joblib.dump({"weights": [1, 2]}, tmp_path / "model.joblib")
    with (
        pytest.raises(PredictionFailed, match="holds a dict, not an estimator"),
        predictor_of(tmp_path / "model.joblib", "joblib", manifest_of({"a": {"type": "number"}})),
    ):
        pass


def test_a_format_without_a_runtime_is_named(onnx_file: Any) -> None:
    path = onnx_file(b"anything")
    with (
        pytest.raises(Invalid, match="no runtime for the format 'torch' here"),
        predictor_of(path, "torch", manifest_of({"a": {"type": "number"}})),
    ):
        pass


def test_onnx_external_data_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(np.array([1.0], dtype="<f4").tobytes())
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "secret.bin"
    source = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 1])
    body = helper.make_graph(
        [helper.make_node("Add", ["X", "w"], ["p"])],
        "g",
        [source],
        [output("p", TensorProto.FLOAT, [None, 1])],
        [tensor],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert onnxruntime.InferenceSession(str(path)).get_inputs()[0].name == "X"
    with (
        pytest.raises(PredictionFailed, match=r"cannot be asked.*External data path"),
        predictor_of(path, "onnx", manifest_of({"a": {"type": "number"}})),
    ):
        pass
