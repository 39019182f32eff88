"""A loaded model as ONNX: the same answers, tens to hundreds of times sooner, where the converters know its kind.

Whether the answers are the same is not judged here but by the caller, who asks both and compares.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from vallum_validator.sandbox.frames import Array
from vallum_validator.sandbox.program.boosters import Booster
from vallum_validator.sandbox.program.estimator import Estimator
from vallum_validator.sandbox.program.onnx_model import OnnxModel
from vallum_validator.sandbox.program.parts import parts_of
from vallum_validator.sandbox.program.rows import CATEGORICAL, Input, Model, Rows
from vallum_validator.sandbox.program.staged import Types, ends_in_trees, staged

MAX_NODES: Final = 400_000
"""Nodes of all trees together: a converter spends about 6 µs on each, and a worker has seconds, not minutes."""

_OPSETS: Final = {"": 18, "ai.onnx.ml": 3}
_MATRIX: Final = "X"


class Converted:
    """A model that answers through ONNX Runtime.

    Args:
        model: as it was loaded.
        inputs: the features, in order.
        regression: whether it gives values.

    Raises:
        ValueError: it is of a kind that is not converted, or too large; says which.
    """

    def __init__(self, model: Model, inputs: Sequence[Input], *, regression: bool) -> None:
        if isinstance(model, Booster):
            self._model = OnnxModel(_from_booster(model, len(inputs)), inputs, regression=regression)
            self._truth, self._has_scores = False, True
        elif isinstance(model, Estimator):
            self._model = _from_estimator(model.estimator, inputs, regression=regression)
            self._truth = np.asarray(getattr(model.estimator, "classes_", [])).dtype.kind == "b"
            self._has_scores = not regression and hasattr(model.estimator, "predict_proba")
        else:
            raise ValueError("it is ONNX already")
        self._original = model

    def predict(self, rows: Rows) -> Mapping[str, Array | None]:
        """Answer as the model would."""
        answer = dict(self._model.predict(rows))
        labels = answer.get("labels")
        if self._truth and labels is not None:
            # ONNX has the classes False and True as 0 and 1.
            text = np.empty(len(labels), dtype=object)
            text[:] = np.where(labels != 0, "true", "false")
            answer["labels"] = text
        if not self._has_scores:
            # Where a classifier has no probabilities its converter puts decision values.
            answer.pop("probabilities", None)
        return answer

    def structure(self) -> Mapping[str, Array]:
        """Return the trees of the model itself, which are what is reasoned about."""
        return self._original.structure()


def _from_booster(model: Booster, width: int) -> bytes:
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    types = [(_MATRIX, FloatTensorType([None, width]))]
    if model.form == "lightgbm":
        onnx = onnxmltools.convert_lightgbm(model.booster, initial_types=types, zipmap=False)
    else:
        booster = model.booster.copy()
        # The converter takes no names but its own, f0, f1 and so on.
        booster.feature_names = None
        onnx = onnxmltools.convert_xgboost(booster, initial_types=types)
    return bytes(onnx.SerializeToString())


def _from_estimator(estimator: Any, inputs: Sequence[Input], *, regression: bool) -> OnnxModel:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    nodes = _nodes(estimator)
    if nodes > MAX_NODES:
        raise ValueError(f"its trees have {nodes} nodes; at most {MAX_NODES} are converted")
    estimator = copy.deepcopy(estimator)
    _know_boosters(estimator)
    _write_truth_as_number()

    def convert(part: Any, types: Types) -> Any:
        scored = not regression and hasattr(part, "predict_proba")
        options = {id(part): {"zipmap": False}} if scored else None
        return to_onnx(part, initial_types=list(types), options=options, target_opset=_OPSETS)

    ways: list[Callable[[], Any]] = []
    if ends_in_trees(estimator):
        ways += [partial(staged, estimator, types, convert) for types in _signatures(inputs, DoubleTensorType)]
    ways += [partial(convert, estimator, types) for types in _signatures(inputs, FloatTensorType)]
    reasons = []
    for way in ways:
        try:
            # Not every operator has double precision in ONNX Runtime, so a graph is only good once it is open.
            return OnnxModel(bytes(way().SerializeToString()), inputs, regression=regression)
        except Exception as error:  # noqa: BLE001 - converters raise whatever they meet; the first reason is told
            reasons.append(f"{type(error).__name__}: {error}")
    raise ValueError(f"the converter does not know it ({reasons[0]})")


def _signatures(inputs: Sequence[Input], number: Any) -> Iterator[list[tuple[str, Any]]]:
    """One matrix where all features are numbers; else, or for a pipeline that picks columns, each by its name."""
    from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType

    if all(one.type != CATEGORICAL for one in inputs):
        yield [(_MATRIX, number([None, len(inputs)]))]

    def kind(one: Input, whole: Any) -> Any:
        if one.type != CATEGORICAL:
            return number
        kinds = {type(value) for value in one.values}
        return whole if kinds == {int} else number if kinds <= {int, float} else StringTensorType

    # Beside a whole-number column the converter makes single precision of the others.
    for whole in (number, Int64TensorType) if number is DoubleTensorType else (Int64TensorType,):
        yield [(one.name, kind(one, whole)([None, 1])) for one in inputs]


def _nodes(estimator: Any) -> int:
    trees = [getattr(part, "tree_", None) for part in parts_of(estimator)]
    histograms = [getattr(part, "nodes", None) for part in parts_of(estimator)]
    return sum(int(tree.node_count) for tree in trees if tree is not None) + sum(
        len(nodes) for nodes in histograms if isinstance(nodes, np.ndarray)
    )


def _write_truth_as_number() -> None:
    """Mend skl2onnx 1.20, which tells where missing values go by booleans: protobuf takes only numbers there, and
    without this no histogram boosting is converted."""
    from skl2onnx.common import tree_ensemble

    plain = tree_ensemble.add_node

    def add_node(*fields: Any, nodes_missing_value_tracks_true: Any = 0, **named: Any) -> None:
        plain(*fields, nodes_missing_value_tracks_true=int(nodes_missing_value_tracks_true), **named)

    tree_ensemble.add_node = add_node


def _know_boosters(estimator: Any) -> None:
    """Tell skl2onnx of the boosters' scikit-learn classes, where one is there; importing the libraries takes time."""
    parts = list(parts_of(estimator))
    packages = {type(part).__module__.partition(".")[0] for part in parts}
    if "xgboost" in packages:
        _know_xgboost()
        for part in parts:
            if type(part).__module__.startswith("xgboost."):
                part.get_booster().feature_names = None
    if "lightgbm" in packages:
        _know_lightgbm()


def _know_xgboost() -> None:
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes
    from xgboost import XGBClassifier, XGBRegressor

    update_registered_converter(
        XGBClassifier,
        "XGBoostXGBClassifier",
        shapes.calculate_linear_classifier_output_shapes,
        convert_xgboost,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    update_registered_converter(
        XGBRegressor, "XGBoostXGBRegressor", shapes.calculate_linear_regressor_output_shapes, convert_xgboost
    )


def _know_lightgbm() -> None:
    from lightgbm import LGBMClassifier, LGBMRegressor
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    update_registered_converter(
        LGBMClassifier,
        "LightGbmLGBMClassifier",
        shapes.calculate_linear_classifier_output_shapes,
        convert_lightgbm,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"], "raw_scores": [True, False]},
    )
    update_registered_converter(
        LGBMRegressor, "LgbmRegressor", shapes.calculate_linear_regressor_output_shapes, convert_lightgbm
    )
