"""ONNX models: how their inputs are fed and their outputs read, whatever converter made them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime

from vallum_validator.sandbox.frames import Array
from vallum_validator.sandbox.program.rows import CATEGORICAL, Input, Rows, travelling

_TENSORS: Final[Mapping[str, type]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
_FLOATS: Final = frozenset({"tensor(float)", "tensor(double)", "tensor(float16)"})
_OPTIONAL_LABEL_TYPES: Final = frozenset({"tensor(int64)", "tensor(int32)", "tensor(string)", "tensor(bool)"})


class OnnxModel:
    """An ONNX Runtime session, fed as the interface promises: one matrix, or one column per feature by name.

    Args:
        content: of the file. It is given as bytes, so that external data has no folder to come from.
        inputs: the features, in order.
        regression: whether a float answer is the answer rather than a probability.

    Raises:
        ValueError: the model's inputs or outputs are not of a form that can be called; says which.
    """

    def __init__(self, content: bytes, inputs: Sequence[Input], *, regression: bool) -> None:
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._content = content
        self._features = tuple(inputs)
        self._regression = regression
        self._tensors = self._session.get_inputs()
        self._by_name = self._takes_columns()
        for tensor in self._tensors:
            if tensor.type not in _TENSORS:
                raise ValueError(f"input {tensor.name!r} has type {tensor.type}; known are {', '.join(_TENSORS)}")
        self._outputs = self._choose_outputs()

    def predict(self, rows: Rows) -> Mapping[str, Array | None]:
        """Return labels, probabilities and, where they are named, classes."""
        feed = self._columns(rows) if self._by_name else {self._tensors[0].name: self._matrix(rows)}
        fixed = self._tensors[0].shape[0] if self._tensors[0].shape else None
        if not isinstance(fixed, int):
            return self._read(self._session.run(self._outputs, feed))
        return self._read(self._run_fixed(feed, fixed, len(rows)))

    def structure(self) -> Mapping[str, Array]:
        """Return the trees in the graph, through what it does before them."""
        from vallum_validator.sandbox.program.onnx_trees import read_onnx
        from vallum_validator.sandbox.program.trees import NoTrees, described

        place = {one.name: index for index, one in enumerate(self._features)}
        whole = [one.name for one in self._features if one.type != "number"]
        rounded = {self._inputs.get(name) for name in whole} if self._by_name else set()
        for tensor in self._tensors:
            if tensor.type not in ("tensor(float)", "tensor(double)", "tensor(string)") and tensor.name not in rounded:
                raise NoTrees(f"input {tensor.name!r} is of type {tensor.type}, which rounds")
        feeds = (
            {tensor: [place[name]] for name, tensor in self._inputs.items()}
            if self._by_name
            else {self._tensors[0].name: list(range(len(self._features)))}
        )
        single = any(tensor.type == "tensor(float)" for tensor in self._tensors)
        return described(*read_onnx(self._content, self._features, feeds, single=single))

    def _takes_columns(self) -> bool:
        """Whether there is one input per feature; otherwise there must be one matrix of them all."""
        names = {one.name for one in self._features}
        given = {tensor.name for tensor in self._tensors}
        self._inputs = _inputs_by_feature(names, given)
        if set(self._inputs.values()) == given and len(self._tensors[0].shape) <= 2:
            return True
        if len(self._tensors) > 1:
            without_feature = sorted(given - set(self._inputs.values()))
            without_input = sorted(names - set(self._inputs))
            raise ValueError(
                f"the model has {len(given)} inputs and the manifest {len(names)} features; inputs of no feature: "
                f"{without_feature[:3]}; features of no input: {without_input[:3]}"
            )
        shape = self._tensors[0].shape
        if len(shape) != 2:
            raise ValueError(f"the model takes an input of shape {shape}, not [rows, features]")
        if isinstance(shape[1], int) and shape[1] != len(self._features):
            raise ValueError(f"the model takes {shape[1]} features, the manifest names {len(self._features)}")
        return False

    def _choose_outputs(self) -> list[str]:
        """The label output first, then the probabilities; of several that could be either, the one that says so."""
        outputs = self._session.get_outputs()
        labels = [one for one in outputs if one.type in _OPTIONAL_LABEL_TYPES]
        floats = [one for one in outputs if one.type in _FLOATS or one.type.startswith("seq(map(")]
        if self._regression:
            numbers = [one for one in floats if one.type in _FLOATS] or labels
            if not numbers:
                raise ValueError("a regression model must have a numeric output")
            return [numbers[0].name]
        if not labels and len(floats) > 1:
            # Labels may be floats too: then they are the flat output.
            labels = sorted(floats, key=lambda one: _width(one.shape))[:1]
            floats = [one for one in floats if one is not labels[0]]
        labels.sort(key=lambda one: "label" not in one.name.lower())
        floats.sort(key=lambda one: "prob" not in one.name.lower())
        chosen = [one.name for one in (*labels[:1], *floats[:1])]
        if not chosen:
            kinds = ", ".join(f"{one.name!r} {one.type}" for one in outputs)
            raise ValueError(f"the model has neither a label nor a probability output, but {kinds}")
        return chosen

    def _matrix(self, rows: Rows) -> Array:
        kind = _TENSORS[self._tensors[0].type]
        if kind is np.object_:
            return np.stack([_as_text(rows, one) for one in self._features], axis=1)
        return _cast(rows.matrix(), kind, self._tensors[0].name)

    def _columns(self, rows: Rows) -> dict[str, Array]:
        feed: dict[str, Array] = {}
        features = {self._inputs[one.name]: one for one in self._features}
        for tensor in self._tensors:
            feature, kind = features[tensor.name], _TENSORS[tensor.type]
            column = (
                _as_text(rows, feature) if kind is np.object_ else _cast(_as_number(rows, feature), kind, tensor.name)
            )
            feed[tensor.name] = column if len(tensor.shape) == 1 else column.reshape(-1, 1)
        return feed

    def _run_fixed(self, feed: Mapping[str, Array], size: int, rows: int) -> list[Any]:
        """A model exported for so many rows at a time is asked in such portions, the last one filled up."""
        answers: list[list[Any]] = []
        for start in range(0, rows, size):
            places = np.minimum(np.arange(start, start + size), rows - 1)
            answers.append(self._session.run(self._outputs, {name: array[places] for name, array in feed.items()}))
        joined: list[Any] = []
        for parts in zip(*answers, strict=True):
            whole = [row for part in parts for row in part][:rows]
            joined.append(whole if isinstance(parts[0], list) else np.asarray(whole))
        return joined

    def _read(self, answers: list[Any]) -> Mapping[str, Array | None]:
        if self._regression:
            return {"labels": travelling(_flat(np.asarray(answers[0])))}
        if len(answers) == 1 and isinstance(answers[0], np.ndarray) and answers[0].dtype.kind == "f":
            return {"labels": None, "probabilities": _two_dimensional(answers[0])}
        if len(answers) == 1 and isinstance(answers[0], np.ndarray):
            return {"labels": travelling(_flat(answers[0]))}
        classes, probabilities = _probabilities(answers[-1])
        labels = travelling(_flat(answers[0])) if len(answers) == 2 else None
        return {"labels": labels, "probabilities": probabilities, "classes": classes}


def _width(shape: Sequence[Any]) -> int:
    return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else (0 if len(shape) == 1 else 2)


def _cast(array: Array, kind: type, name: str) -> Array:
    if np.issubdtype(kind, np.integer) and np.isnan(array).any():
        raise ValueError(f"input {name!r} takes whole numbers, and a value is missing in the data")
    return array != 0 if kind is np.bool_ else array.astype(kind)


def _as_text(rows: Rows, feature: Input) -> Array:
    """ONNX has no missing text: it becomes the empty one, as converters of imputers expect."""
    if feature.type == CATEGORICAL:
        spelling = np.array([*map(str, feature.values), ""], dtype=object)
        return spelling[rows.code(feature.name)]
    numbers = rows.number(feature.name).tolist()
    return np.array(["" if x != x else str(int(x)) if x.is_integer() else str(x) for x in numbers], dtype=object)


def _as_number(rows: Rows, feature: Input) -> Array:
    """A category that is a number goes as that number, any other as its index."""
    if feature.type != CATEGORICAL:
        return rows.number(feature.name)
    try:
        meaning = [float(value) for value in feature.values]
    except ValueError:
        meaning = [float(index) for index in range(len(feature.values))]
    return np.array([*meaning, np.nan])[rows.code(feature.name)]


def _flat(array: Array) -> Array:
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"the label output has shape {array.shape}, not [rows]")
    return array


def _two_dimensional(array: Array) -> Array:
    flat = array.reshape(-1, 1) if array.ndim == 1 else array
    if flat.ndim != 2:
        raise ValueError(f"the probability output has shape {array.shape}, not [rows, classes]")
    return flat.astype(np.float64)


def _probabilities(answer: Any) -> tuple[Array | None, Array]:
    """A tensor, or the list of maps that ZipMap makes: then the classes have their names."""
    if isinstance(answer, np.ndarray):
        return None, _two_dimensional(answer)
    names = list(answer[0]) if answer else []
    if any(row.keys() != answer[0].keys() for row in answer):
        raise ValueError("the maps of probabilities do not name the same classes in every row")
    rows = np.array([[row[name] for name in names] for row in answer], dtype=np.float64)
    return travelling(np.array(names, dtype=object)), rows.reshape(len(answer), len(names))


def _inputs_by_feature(names: set[str], given: set[str]) -> dict[str, str]:
    """Return the input of each feature that has one: of the same name, or of the name skl2onnx makes of it.

    A name two features would share is nobody's: a guess could feed one column into the other's input.
    """
    same = {name: name for name in names & given}
    spelled = {name: _skl2onnx_name(name) for name in names - given}
    counted = Counter(spelled.values())
    free = given - set(same)
    return same | {name: spelling for name, spelling in spelled.items() if spelling in free and counted[spelling] == 1}


def _skl2onnx_name(name: str) -> str:
    """Return the input name skl2onnx makes of a column name.

    Source: skl2onnx 1.20, `common/_topology.py`, `_generate_unique_name`: letters, digits, "_" and "+" stay.
    """
    spelled = re.sub(r"[^\w+]", "_", name)
    return "_" + spelled if re.match("[0-9]", spelled) else spelled
