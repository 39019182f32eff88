"""A pipeline that ends in trees, as ONNX in the precision of each of its parts.

scikit-learn prepares rows in double precision, and its trees, like XGBoost's, round what they get to single before
they compare. A graph that scales in single precision has rounded already: whole numbers that fall on a split then go
the other way. Preparation and trees are therefore converted apart and joined by the rounding that lies between them.
Histogram boosting and LightGBM never round, so their thresholds are told in double: ONNX Runtime compares them as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from vallum_validator.sandbox.program.parts import parts_of

_PREPARED: Final = "prepared"
_PREFIX: Final = "trees_"
_TREE_OPSET: Final = 3
"""The first version of ai.onnx.ml in which thresholds may be double."""

Types = Sequence[tuple[str, Any]]
Convert = Callable[[Any, Types], Any]


def ends_in_trees(estimator: Any) -> bool:
    """Whether an estimator prepares rows and then gives them to trees."""
    steps: Sequence[Any] = getattr(estimator, "steps", ())
    return len(steps) > 1 and (_grown(steps[-1][1]) or _histogram(steps[-1][1]) or _boosted(steps[-1][1]))


def staged(estimator: Any, types: Types, convert: Convert) -> Any:
    """Return a pipeline as one graph: preparation in double precision, rounding, trees.

    Args:
        estimator: one that `ends_in_trees`.
        types: of its inputs.
        convert: makes a graph of an estimator whose inputs have these types.

    Raises:
        ValueError: the preparation gives anything but one matrix of numbers.
    """
    import onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.pipeline import Pipeline

    last = estimator.steps[-1][1]
    before = convert(Pipeline(estimator.steps[:-1]), types)
    _keep_double(before, [part.statistics_ for part in parts_of(estimator) if hasattr(part, "statistics_")])
    width = int(last.n_features_in_)
    trees = convert(last, [(_PREPARED, FloatTensorType([None, width]))])
    thresholds = _double_thresholds(last)
    if thresholds is not None:
        _tell_thresholds(trees, thresholds)
    trees = onnx.compose.add_prefix(trees, _PREFIX)
    return _joined(before, trees, single=thresholds is None)


def _keep_double(model: Any, statistics: Sequence[np.ndarray]) -> None:
    """Replace operators that ONNX Runtime has in single precision only. Imputers get the values before they were
    rounded: a mean is in the data as often as values are missing, and splits lie beside it."""
    from onnx import helper, numpy_helper

    nodes = []
    for place, node in enumerate(model.graph.node):
        told = {one.name: one for one in node.attribute}
        if node.op_type == "FeatureVectorizer":
            node = helper.make_node("Concat", node.input, node.output, axis=1)
        if node.op_type != "Imputer" or not np.isnan(told["replaced_value_float"].f):
            nodes.append(node)
            continue
        absent, values = f"absent_{place}", f"imputed_{place}"
        rounded = np.array(told["imputed_value_floats"].floats, dtype=np.float32)
        exact = (one for one in statistics if one.dtype.kind == "f" and np.array_equal(one.astype(np.float32), rounded))
        numbers = np.asarray(next(exact, rounded), dtype=np.float64)
        model.graph.initializer.append(numpy_helper.from_array(numbers, values))
        nodes.append(helper.make_node("IsNaN", [node.input[0]], [absent]))
        nodes.append(helper.make_node("Where", [absent, values, node.input[0]], [node.output[0]]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _joined(before: Any, trees: Any, *, single: bool) -> Any:
    """Append the trees to the graph before them."""
    from onnx import TensorProto, helper

    graph = before.graph
    given = [one.type.tensor_type.elem_type for one in graph.output]
    if given not in ([TensorProto.FLOAT], [TensorProto.DOUBLE]):
        raise ValueError("what stands before the trees gives no matrix of numbers")
    precision = TensorProto.FLOAT if single else TensorProto.DOUBLE
    graph.node.append(helper.make_node("Cast", [graph.output[0].name], [_PREFIX + _PREPARED], to=precision))
    graph.node.extend(trees.graph.node)
    graph.initializer.extend(trees.graph.initializer)
    del graph.output[:]
    graph.output.extend(trees.graph.output)
    versions: dict[str, int] = {}
    for one in (*before.opset_import, *trees.opset_import):
        versions[one.domain] = max(one.version, versions.get(one.domain, 0))
    del before.opset_import[:]
    before.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())
    return before


def _tell_thresholds(model: Any, thresholds: np.ndarray) -> None:
    """Replace the numbers of the one ensemble in a graph by double ones: ONNX Runtime takes all of them so, or none."""
    from onnx import helper, numpy_helper

    (node,) = [one for one in model.graph.node if one.op_type.startswith("TreeEnsemble")]
    told: Mapping[str, Any] = {one.name: one for one in node.attribute}
    if not np.array_equal(thresholds.astype(np.float32), np.array(told["nodes_values"].floats, dtype=np.float32)):
        raise ValueError("the converter has the thresholds of the trees in another order")
    exact = {"nodes_values": thresholds} | {
        name: np.array(told[name].floats, dtype=np.float64)
        for name in ("class_weights", "target_weights", "base_values")
        if name in told
    }
    kept = [one for one in node.attribute if one.name not in exact]
    del node.attribute[:]
    node.attribute.extend(kept)
    for name, numbers in exact.items():
        node.attribute.append(helper.make_attribute(f"{name}_as_tensor", numpy_helper.from_array(numbers, name)))
    for one in model.opset_import:
        if one.domain == node.domain:
            one.version = max(one.version, _TREE_OPSET)


def _double_thresholds(trees: Any) -> np.ndarray | None:
    """Return the thresholds of all nodes in the converter's order, or nothing where trees compare in single precision.
    Where LightGBM splits on categories as such the converter makes other trees, so its rows are rounded after all."""
    if _histogram(trees):  # the converter's order is that of the boosting
        nodes = [member.nodes for row in trees._predictors for member in row]
        return np.concatenate([np.where(one["is_leaf"] != 0, 0.0, one["num_threshold"]) for one in nodes])
    if _package(trees) != "lightgbm":
        return None
    told = [_lightgbm_thresholds(tree["tree_structure"]) for tree in trees.booster_.dump_model()["tree_info"]]
    return None if None in told else np.array([value for tree in told for value in tree or ()], dtype=np.float64)


def _lightgbm_thresholds(root: Mapping[str, Any]) -> list[float] | None:
    """The converter numbers both children when it comes to their parent, and walks down the left ones first."""
    told, pending = [0.0], [(0, root)]
    while pending:
        place, node = pending.pop()
        if "left_child" not in node:
            continue
        if node["decision_type"] != "<=":
            return None
        told[place] = float(node["threshold"])
        pending += [(len(told) + 1, node["right_child"]), (len(told), node["left_child"])]
        told += [0.0, 0.0]
    return told


def _histogram(estimator: Any) -> bool:
    return hasattr(estimator, "_predictors")


def _grown(estimator: Any) -> bool:
    """Whether it is made of scikit-learn's own trees, which round."""
    members = np.ravel(getattr(estimator, "estimators_", [estimator]))
    return all(hasattr(member, "tree_") for member in members)


def _boosted(estimator: Any) -> bool:
    return _package(estimator) in ("xgboost", "lightgbm")


def _package(estimator: Any) -> str:
    return type(estimator).__module__.partition(".")[0]
