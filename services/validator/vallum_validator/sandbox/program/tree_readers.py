"""Reads the trees out of fitted estimators and boosters: scikit-learn, XGBoost, LightGBM.

What is read here was made by the submitter's file; nothing is promised about it but its form. The caller checks it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from vallum_validator.sandbox.program.rows import travelling
from vallum_validator.sandbox.program.trees import Ensemble, NoTrees, Tree, of_class, one_score


def read_trees(estimator: Any) -> Ensemble:
    """Return the trees of a fitted classifier.

    Raises:
        NoTrees: it has none, or splits in a way that has no such form.
    """
    # By name along the ancestry: importing three libraries to compare classes would cost more than the reading.
    for kind in type(estimator).__mro__:
        reader = _READERS.get(f"{kind.__module__.split('.')[0]}.{kind.__name__}")
        if reader is not None:
            return reader(estimator)
    raise NoTrees(f"{type(estimator).__name__} is no ensemble of trees")


def _grown(structure: Any, value: np.ndarray) -> Tree:
    """A tree of scikit-learn's own kind."""
    missing = getattr(structure, "missing_go_to_left", np.zeros(structure.node_count))
    return Tree(
        structure.children_left,
        structure.children_right,
        np.maximum(structure.feature, 0),
        structure.threshold,
        np.asarray(missing, dtype=bool),
        value,
    )


def _forest(estimator: Any) -> Ensemble:
    members = getattr(estimator, "estimators_", [estimator])
    if estimator.n_outputs_ != 1:
        raise NoTrees(f"the forest gives {estimator.n_outputs_} answers at once")
    trees = []
    for member in members:
        counts = member.tree_.value[:, 0, :]
        trees.append(_grown(member.tree_, counts / counts.sum(axis=1, keepdims=True) / len(members)))
    return Ensemble(trees, np.zeros(len(estimator.classes_)), classes=travelling(estimator.classes_))


def _gradient_boosting(estimator: Any) -> Ensemble:
    if estimator.init_ != "zero" and type(estimator.init_).__name__ != "DummyClassifier":
        raise NoTrees(f"the boosting starts from a {type(estimator.init_).__name__}, which is no constant")
    start = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32))[0]
    rounds = [
        [
            _grown(member.tree_, _spread(member.tree_.value[:, 0, 0] * estimator.learning_rate, place, len(row)))
            for place, member in enumerate(row)
        ]
        for row in estimator.estimators_
    ]
    return Ensemble([tree for row in rounds for tree in row], _start(start), classes=travelling(estimator.classes_))


def _histogram_boosting(estimator: Any) -> Ensemble:
    if getattr(estimator, "_preprocessor", None) is not None:
        raise NoTrees("the boosting splits on categories as such")
    trees = []
    for row in estimator._predictors:
        for place, member in enumerate(row):
            nodes = member.nodes
            if nodes["is_categorical"].any():
                raise NoTrees("the boosting splits on categories as such")
            leaf = nodes["is_leaf"] != 0
            trees.append(
                Tree(
                    np.where(leaf, -1, nodes["left"].astype(np.intp)),
                    np.where(leaf, -1, nodes["right"].astype(np.intp)),
                    np.where(leaf, 0, nodes["feature_idx"].astype(np.intp)),
                    np.where(leaf, 0.0, nodes["num_threshold"]),
                    nodes["missing_go_to_left"] != 0,
                    _spread(nodes["value"].astype(np.float64), place, len(row)),
                )
            )
    start = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1)
    return Ensemble(trees, _start(start), single=False, classes=travelling(estimator.classes_))


def _xgboost_classifier(estimator: Any) -> Ensemble:
    booster = estimator.get_booster()
    read = _xgboost(booster)
    trees, best = read.trees, booster.attributes().get("best_iteration")
    if best is not None:
        # The estimator's predictions stop at the best round; the rounds after it are in the file all the same, and the
        # booster by itself asks them, too.
        trees = trees[: (int(best) + 1) * len(trees) // booster.num_boosted_rounds()]
    return Ensemble(trees, read.base, True, True, True, travelling(np.asarray(estimator.classes_)))


def _xgboost(booster: Any) -> Ensemble:
    """Source: XGBoost's documented JSON model format, version 2 and 3."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    kind = learner["gradient_booster"].get("name")
    objective = learner["objective"]["name"]
    if kind != "gbtree" or objective not in ("binary:logistic", "multi:softprob", "multi:softmax"):
        raise NoTrees(f"XGBoost's {kind} with {objective} adds up otherwise")
    model = learner["gradient_booster"]["model"]
    groups = max(1, int(learner["learner_model_param"]["num_class"]))
    base = np.atleast_1d(np.array(json.loads(learner["learner_model_param"]["base_score"]), dtype=np.float64))
    start = np.log(base / (1 - base)) if groups == 1 else np.broadcast_to(base, groups)
    trees = []
    for nodes, group in zip(model["trees"], model["tree_info"], strict=True):
        if nodes.get("categories") or any(nodes.get("split_type", ())):
            raise NoTrees("XGBoost splits on categories as such")
        left = np.array(nodes["left_children"], dtype=np.intp)
        # Written in as few digits as tell it from its neighbours: only in single precision is it the number compared.
        conditions = np.array(nodes["split_conditions"], dtype=np.float32).astype(np.float64)
        trees.append(
            Tree(
                left,
                np.array(nodes["right_children"], dtype=np.intp),
                np.where(left < 0, 0, np.array(nodes["split_indices"], dtype=np.intp)),
                np.where(left < 0, 0.0, conditions),
                np.array(nodes["default_left"], dtype=bool),
                _spread(np.where(left < 0, conditions, 0.0), int(group), groups),
            )
        )
    return Ensemble(trees, _start(start), strict=True, single_sums=True)


def _lightgbm_classifier(estimator: Any) -> Ensemble:
    read = _lightgbm(estimator.booster_)
    return Ensemble(read.trees, read.base, single=False, classes=travelling(np.asarray(estimator.classes_)))


def _lightgbm(booster: Any) -> Ensemble:
    """Source: LightGBM's `Booster.dump_model`; the start is in the first trees."""
    model = booster.dump_model()
    objective = str(model.get("objective", "")).split(" ")[0]
    if model.get("average_output") or objective not in ("binary", "multiclass"):
        raise NoTrees(f"LightGBM with {objective!r} adds up otherwise")
    groups = int(model["num_tree_per_iteration"])
    trees = [
        _lightgbm_tree(tree["tree_structure"], place % groups, groups) for place, tree in enumerate(model["tree_info"])
    ]
    return Ensemble(trees, _start(np.zeros(groups)), single=False)


def _lightgbm_tree(root: Mapping[str, Any], group: int, groups: int) -> Tree:
    nodes: list[Mapping[str, Any]] = [root]
    left, right = [-1], [-1]
    place = 0
    while place < len(nodes):
        if "split_feature" in nodes[place]:
            for side, key in ((left, "left_child"), (right, "right_child")):
                side[place] = len(nodes)
                nodes.append(nodes[place][key])
                left.append(-1)
                right.append(-1)
        place += 1
    if any(node.get("decision_type", "<=") != "<=" or node.get("missing_type") == "Zero" for node in nodes):
        raise NoTrees("LightGBM splits on categories as such, or takes zero for a missing value")
    # Where no value was missing in training a missing one counts as zero.
    missing_left = [
        node.get("threshold", 0.0) >= 0 if node.get("missing_type") == "None" else bool(node.get("default_left"))
        for node in nodes
    ]
    return Tree(
        np.array(left),
        np.array(right),
        np.array([node.get("split_feature", 0) for node in nodes]),
        np.array([node.get("threshold", 0.0) for node in nodes], dtype=np.float64),
        np.array(missing_left, dtype=bool),
        _spread(np.array([node.get("leaf_value", 0.0) for node in nodes], dtype=np.float64), group, groups),
    )


def _spread(values: np.ndarray, group: int, groups: int) -> np.ndarray:
    return one_score(values) if groups == 1 else of_class(values, group, groups)


def _start(scores: np.ndarray) -> np.ndarray:
    return np.array([0.0, scores[0]]) if len(scores) == 1 else np.asarray(scores, dtype=np.float64)


_READERS: Final[Mapping[str, Callable[[Any], Ensemble]]] = {
    "sklearn.DecisionTreeClassifier": _forest,
    "sklearn.RandomForestClassifier": _forest,
    "sklearn.ExtraTreesClassifier": _forest,
    "sklearn.GradientBoostingClassifier": _gradient_boosting,
    "sklearn.HistGradientBoostingClassifier": _histogram_boosting,
    "xgboost.XGBClassifier": _xgboost_classifier,
    "xgboost.Booster": _xgboost,
    "lightgbm.LGBMClassifier": _lightgbm_classifier,
    "lightgbm.Booster": _lightgbm,
}
