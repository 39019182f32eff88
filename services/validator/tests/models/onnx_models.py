"""Estimators as ONNX, in each of the forms the interface promises to call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import BooleanTensorType, FloatTensorType, Int64TensorType, StringTensorType

_COLUMN_TYPES = {
    "integer": Int64TensorType,
    "number": FloatTensorType,
    "boolean": BooleanTensorType,
    "categorical": StringTensorType,
}


def as_matrix(estimator: Any, width: int, *, zipmap: bool = False, kind: Any = FloatTensorType) -> bytes:
    """Return a model with one input of shape [rows, width]."""
    options = {"zipmap": zipmap} if hasattr(estimator, "predict_proba") else None
    model = to_onnx(estimator, initial_types=[("X", kind([None, width]))], options=options)
    return bytes(model.SerializeToString())


def as_columns(estimator: Any, features: Mapping[str, Mapping[str, Any]], *, zipmap: bool = True) -> bytes:
    """Return a model with one input of shape [rows, 1] per feature."""
    types = [(name, _COLUMN_TYPES[feature["type"]]([None, 1])) for name, feature in features.items()]
    options = {id(estimator): {"zipmap": zipmap}}
    return bytes(to_onnx(estimator, initial_types=types, options=options).SerializeToString())


def graph(nodes: list[Any], outputs: list[Any], *, width: int, rows: Any = None, constants: Any = ()) -> bytes:
    """Return a model of hand-written nodes over one float input `X` of shape [rows, width]."""
    source = helper.make_tensor_value_info("X", TensorProto.FLOAT, [rows, width])
    body = helper.make_graph(nodes, "graph", [source], outputs, list(constants))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def output(name: str, kind: int, shape: list[Any]) -> Any:
    """Return the description of an output tensor."""
    return helper.make_tensor_value_info(name, kind, shape)
