"""Reads the trees out of an ONNX graph, and what it does to its inputs before they reach them.

Source: ai.onnx.ml operators TreeEnsembleClassifier and TreeEnsembleRegressor, versions 1 and 3; which of two classes
one score speaks for, and against which cut, is ONNX Runtime's reading of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from vallum_validator.sandbox.program.rows import CATEGORICAL, Input, travelling
from vallum_validator.sandbox.program.trees import Column, Ensemble, NoTrees, Tree, one_score

_SAME: Final = frozenset({"Identity", "Cast", "Reshape", "Flatten"})
_FLOATS: Final = (1, 11)
"""TensorProto's FLOAT and DOUBLE: a cast to anything else rounds."""
_STRICT: Final[Mapping[str, bool]] = {"BRANCH_LEQ": False, "BRANCH_LT": True}


def read_onnx(
    content: bytes, inputs: Sequence[Input], feeds: Mapping[str, Sequence[int]], *, single: bool
) -> tuple[list[Column], Ensemble]:
    """Return columns and trees of a model.

    Args:
        content: of the artefact.
        inputs: the features, in order.
        feeds: name of each of the graph's inputs to the features it takes, in order.
        single: whether numbers are given to it in single precision.

    Raises:
        NoTrees: it has no trees, more than one ensemble, or does something before them that is not understood.
    """
    import onnx

    graph = onnx.load_model_from_string(content).graph
    ensembles = [node for node in graph.node if node.op_type.startswith("TreeEnsemble")]
    if len(ensembles) != 1:
        raise NoTrees(f"the graph has {len(ensembles)} ensembles of trees")
    attributes = _attributes(ensembles[0])
    columns = _Walk(graph, inputs, feeds).columns(ensembles[0].input[0])
    single = single or any(_attributes(node)["to"] == _FLOATS[0] for node in graph.node if node.op_type == "Cast")
    classifier = ensembles[0].op_type == "TreeEnsembleClassifier"
    return columns, _ensemble(attributes, classifier=classifier, single_input=single)


class _Walk:
    """Follows a tensor back to the inputs."""

    def __init__(self, graph: Any, inputs: Sequence[Input], feeds: Mapping[str, Sequence[int]]) -> None:
        self._makers = {name: node for node in graph.node for name in node.output}
        self._constants = {one.name: one for one in graph.initializer}
        self._inputs = inputs
        self._feeds = feeds

    def columns(self, name: str, depth: int = 0) -> list[Column]:
        """Return the columns of a tensor."""
        if name in self._feeds:
            return [self._first(place) for place in self._feeds[name]]
        node = self._makers.get(name)
        if node is None or depth > 100:
            raise NoTrees(f"the tensor {name!r} comes from nowhere")
        attributes = _attributes(node)
        if node.op_type == "Concat":
            return [column for one in node.input for column in self.columns(one, depth + 1)]
        before = self.columns(node.input[0], depth + 1)
        if node.op_type in _SAME and (node.op_type != "Cast" or attributes["to"] in _FLOATS):
            return before
        if node.op_type == "OneHotEncoder":
            return [self._indicator(column, one) for column in before for one in _categories(attributes)]
        if node.op_type == "Scaler":
            return _shifted(before, attributes["offset"], attributes["scale"])
        if node.op_type in ("Sub", "Add", "Mul", "Div") and node.input[1] in self._constants:
            return _arithmetic(node.op_type, before, self._constants[node.input[1]])
        raise NoTrees(f"the operator {node.op_type} stands before the trees")

    def _first(self, place: int) -> Column:
        one = self._inputs[place]
        if one.type != CATEGORICAL:
            return Column(place)
        try:
            meaning = [float(value) for value in one.values]
        except ValueError:
            meaning = [float(index) for index in range(len(one.values))]
        return Column(place, (*meaning, np.nan))

    def _indicator(self, column: Column, category: str | int) -> Column:
        one = self._inputs[column.feature]
        if one.type != CATEGORICAL:
            raise NoTrees(f"feature {one.name!r} is a number that is encoded like a category")
        if isinstance(category, int) and column.table is not None:
            return Column(column.feature, tuple(float(value == category) for value in column.table))
        texts = [*map(str, one.values), ""]
        return Column(column.feature, tuple(float(text == category) for text in texts))


def _ensemble(attributes: Mapping[str, Any], *, classifier: bool, single_input: bool) -> Ensemble:
    key = "class" if classifier else "target"
    labels = attributes.get("classlabels_strings") or attributes.get("classlabels_int64s")
    names = [one.decode() if isinstance(one, bytes) else one for one in labels] if labels else None
    group = np.array(attributes[f"{key}_ids"], dtype=np.intp)
    weight = _numbers(attributes, f"{key}_weights")
    groups = len(names) if names else int(attributes.get("n_targets", 1))
    base = _numbers(attributes, "base_values")
    # ONNX Runtime: two classes and weights for one of them only is one score; all weights above zero make it a
    # probability, compared with a half.
    single = groups == 1 or (classifier and groups == 2 and len(set(group.tolist())) == 1)
    if single:
        cut = 0.5 if classifier and len(weight) and (weight >= 0).all() else 0.0
        start = np.array([0.0, (base[0] if len(base) else 0.0) - cut])
    else:
        start = base if len(base) == groups else np.zeros(groups)
    modes = {mode.decode() for mode in attributes["nodes_modes"]} - {"LEAF"}
    if not modes <= set(_STRICT) or len(modes) > 1 or attributes.get("aggregate_function", b"SUM") != b"SUM":
        raise NoTrees(f"the trees compare by {', '.join(sorted(modes))}")
    places = np.zeros_like(group) if single else group
    trees = _trees(attributes, key, places, weight, 1 if single else groups)
    return Ensemble(
        trees,
        start,
        strict=_STRICT[modes.pop()] if modes else False,
        single=single_input,
        single_sums=True,
        classes=travelling(np.array(names, dtype=object)) if names else None,
    )


def _trees(attributes: Mapping[str, Any], key: str, group: np.ndarray, weight: np.ndarray, groups: int) -> list[Tree]:
    owner, own, column, lower, higher, leaf_owner, leaf_node = (
        np.array(attributes[name], dtype=np.intp)
        for name in (
            *("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids"),
            *(f"{key}_treeids", f"{key}_nodeids"),
        )
    )
    leaf = np.array([mode == b"LEAF" for mode in attributes["nodes_modes"]])
    threshold = np.where(leaf, 0.0, _numbers(attributes, "nodes_values"))
    missing = np.array(attributes.get("nodes_missing_value_tracks_true") or np.zeros(len(own)), dtype=bool)
    trees = []
    for which in np.unique(owner):
        mine = np.flatnonzero(owner == which)
        # Node numbers need not be dense: they are only names.
        place = dict(zip(own[mine].tolist(), range(len(mine)), strict=True))
        left, right = (
            np.array([-1 if end else place[one] for one, end in zip(side[mine].tolist(), leaf[mine], strict=True)])
            for side in (lower, higher)
        )
        scores = np.zeros((len(mine), groups))
        here = np.flatnonzero(leaf_owner == which)
        np.add.at(scores, ([place[one] for one in leaf_node[here].tolist()], group[here]), weight[here])
        value = one_score(scores[:, 0]) if groups == 1 else scores
        trees.append(Tree(left, right, np.where(leaf[mine], 0, column[mine]), threshold[mine], missing[mine], value))
    return trees


def _attributes(node: Any) -> Mapping[str, Any]:
    import onnx

    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


def _numbers(attributes: Mapping[str, Any], name: str) -> np.ndarray:
    from onnx import numpy_helper

    tensor = attributes.get(f"{name}_as_tensor")
    if tensor is not None:
        return np.asarray(numpy_helper.to_array(tensor), dtype=np.float64).reshape(-1)
    return np.asarray(attributes.get(name, ()), dtype=np.float64)


def _categories(attributes: Mapping[str, Any]) -> list[str | int]:
    texts = attributes.get("cats_strings")
    return [text.decode() for text in texts] if texts else list(attributes["cats_int64s"])


def _shifted(columns: Sequence[Column], centre: Any, scale: Any) -> list[Column]:
    centres, scales = (np.broadcast_to(np.asarray(one, dtype=np.float64), len(columns)) for one in (centre, scale))
    return [column.then(float(c), float(s)) for column, c, s in zip(columns, centres, scales, strict=True)]


def _arithmetic(operator: str, columns: Sequence[Column], constant: Any) -> list[Column]:
    from onnx import numpy_helper

    values = np.asarray(numpy_helper.to_array(constant), dtype=np.float64).reshape(-1)
    zeros, ones = np.zeros(1), np.ones(1)
    if operator in ("Sub", "Add"):
        return _shifted(columns, values if operator == "Sub" else -values, ones)
    with np.errstate(divide="ignore"):
        return _shifted(columns, zeros, values if operator == "Mul" else 1 / values)
