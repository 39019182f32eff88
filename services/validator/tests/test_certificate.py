"""What is proved about trees: read from every kind of model, checked as hostile, and never more than is true."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from vallum_common.bundle import Feature
from vallum_common.errors import Invalid
from vallum_validator.checks import load_thresholds, run_check
from vallum_validator.checks.bracket import feasible_curve
from vallum_validator.checks.certificate import Certified, Certifier
from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.search import Reach
from vallum_validator.checks.space import Matrix, build_space
from vallum_validator.checks.structure import Indices, Structure, read_structure
from vallum_validator.checks.testing import InProcessProver, subject_of
from vallum_validator.checks.trees import Boxes, certified_radius, judge_boxes
from vallum_validator.checks.truth import labelled
from vallum_validator.table import Table

THRESHOLDS = load_thresholds(Path(__file__).parents[3] / "policies" / "thresholds.yaml")
NAMES = ("a", "b", "c", "d")
NUMBERS: Mapping[str, Feature] = {name: Feature(type="number") for name in NAMES}
MIXED: Mapping[str, Feature] = {
    "n": Feature(type="number"),
    "i": Feature(type="integer", min=0, max=9),
    "s": Feature(type="categorical", values=("u", "v", "w")),
    "t": Feature(type="categorical", values=("x", "y")),
}
MODELS: Mapping[str, Callable[[], Any]] = {
    "tree": lambda: DecisionTreeClassifier(max_depth=5, random_state=0),
    "forest": lambda: RandomForestClassifier(12, max_depth=5, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(12, max_depth=6, random_state=0),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=10, max_depth=3, random_state=0),
    "histogram boosting": lambda: HistGradientBoostingClassifier(max_iter=10, random_state=0),
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=10, max_depth=3),
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=10, num_leaves=8, verbose=-1),
}


def _data(classes: int, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    # A coarse grid: many values lie exactly on a threshold, where "<" and "<=" differ.
    matrix = np.round(rng.uniform(-2, 2, size=(rows, len(NAMES))) * 4) / 4
    score = matrix @ np.array([2.0, -1.0, 0.5, 0.3]) + 0.3 * rng.normal(size=rows)
    return matrix, np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))


def _read(model: Any, features: Mapping[str, Feature] = NUMBERS) -> Structure:
    widths = tuple(len(one.values) for one in features.values())
    return read_structure(InProcessProver(model, features).structure(), widths)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_the_trees_of_every_kind_of_model_answer_as_it_does(name: str, classes: int) -> None:
    matrix, truth = _data(classes)
    model = MODELS[name]().fit(matrix, truth)
    structure = _read(model)
    rows = np.concatenate([matrix, np.random.default_rng(9).uniform(-3, 3, size=(300, len(NAMES)))])
    scores = np.sort(structure.scores(rows), axis=1)
    clear = scores[:, -1] - scores[:, -2] > structure.slack
    assert clear.mean() > 0.8
    assert (structure.scores(rows).argmax(axis=1) == model.predict(rows))[clear].all()
    assert structure.classes == tuple(map(str, model.classes_.tolist()))


@pytest.mark.parametrize("name", ["histogram boosting", "xgboost", "lightgbm", "tree"])
def test_missing_values_go_where_the_model_sends_them(name: str) -> None:
    matrix, truth = _data(2)
    matrix[np.random.default_rng(1).random(matrix.shape) < 0.2] = np.nan
    model = MODELS[name]().fit(matrix, truth)
    structure = _read(model)
    assert (structure.scores(matrix).argmax(axis=1) == model.predict(matrix)).mean() == 1.0


@pytest.mark.parametrize("name", MODELS)
def test_no_row_is_flipped_inside_its_certified_radius(name: str) -> None:
    matrix, truth = _data(3)
    model = MODELS[name]().fit(matrix, truth)
    structure, rows = _read(model), matrix[:60]
    own = model.predict(rows)
    radius = certified_radius(structure, rows, own, np.ones(len(NAMES)))
    assert np.median(radius[np.isfinite(radius)]) > 0
    rng = np.random.default_rng(2)
    for _ in range(40):
        corners = rng.choice([-1.0, 1.0, 0.0], size=rows.shape)
        moved = rows + np.where(np.isfinite(radius), radius, 9.0)[:, None] * corners
        assert (model.predict(moved) == own).all()


def test_a_stump_is_certified_up_to_its_cut_and_no_further() -> None:
    matrix = np.array([[0.0], [1.0]])
    model = DecisionTreeClassifier().fit(matrix, [0, 1])
    structure = _read(model, {"a": Feature(type="number")})
    rows = np.array([[0.2], [0.9]])
    found = certified_radius(structure, rows, np.array([0, 1]), np.ones(1))
    assert found == pytest.approx([0.3, 0.4], rel=1e-6)
    # In units of a tenth the same way is ten times as long; the wrong class has nothing to keep.
    assert certified_radius(structure, rows, np.array([0, 1]), np.full(1, 0.1)) == pytest.approx([3, 4], rel=1e-6)
    assert certified_radius(structure, rows[:1], np.array([1]), np.ones(1)) == pytest.approx([0.0])


def test_a_model_that_always_says_the_same_is_certified_everywhere() -> None:
    model = DecisionTreeClassifier().fit(np.zeros((4, 1)), [0, 0, 0, 1])
    structure = _read(model, {"a": Feature(type="number")})
    assert np.isinf(certified_radius(structure, np.zeros((1, 1)), np.array([0]), np.ones(1))).all()


def test_a_tie_is_never_certified() -> None:
    model = DecisionTreeClassifier().fit(np.zeros((4, 1)), [0, 0, 1, 1])
    structure = _read(model, {"a": Feature(type="number")})
    assert certified_radius(structure, np.zeros((1, 1)), np.array([0]), np.ones(1)) == pytest.approx([0.0])


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("single", [False, True])
@given(threshold=st.floats(-1e6, 1e6, allow_nan=False))
@settings(max_examples=60, deadline=None)
def test_rounding_never_takes_a_value_out_of_its_side(strict: bool, single: bool, threshold: float) -> None:
    arrays = dict(
        InProcessProver(DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1]), {"a": NUMBERS["a"]}).structure()
    )
    arrays["flags"] = np.array([strict, single, False], dtype=np.int32)
    arrays["threshold"] = np.array([threshold, 0.0, 0.0])
    structure = read_structure(arrays, (0,))
    near = threshold + np.spacing(np.float32(abs(threshold))).astype(float) * np.linspace(-2, 2, 41)
    near = np.concatenate([near, np.nextafter(threshold, [-np.inf, np.inf]), [threshold]])
    seen = near.astype(np.float32).astype(float) if single else near
    to_left = seen < threshold if strict else seen <= threshold
    assert (near[to_left] <= structure.high[0]).all()
    assert (near[~to_left] >= structure.low[0]).all()


def _mixed(rows: int = 400) -> tuple[Table, pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "n": rng.uniform(-1, 1, rows),
            "i": rng.integers(0, 10, rows),
            "s": rng.choice(["u", "v", "w"], rows),
            "t": rng.choice(["x", "y"], rows),
        }
    )
    lift = frame["s"].map({"u": -1.0, "v": 0.0, "w": 1.0}) + 0.4 * (frame["t"] == "y")
    truth = (2 * frame["n"] + 0.2 * (frame["i"] - 4.5) + lift > 0).to_numpy().astype(int)
    columns = {name: frame[name].to_numpy() for name in frame}
    table = Table(
        {name: column.astype(float if column.dtype.kind in "if" else object) for name, column in columns.items()}
    )
    return table, frame, truth


PREPARED: Mapping[str, Callable[[], Any]] = {
    "one-hot": lambda: make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["s", "t"]), (StandardScaler(), ["n", "i"])
    ),
    "ordinal": lambda: make_column_transformer((OrdinalEncoder(), ["s", "t"]), ("passthrough", ["n", "i"])),
}


@pytest.mark.parametrize("name", PREPARED)
def test_what_a_pipeline_does_before_the_trees_is_followed(name: str) -> None:
    table, frame, truth = _mixed()
    model = make_pipeline(PREPARED[name](), RandomForestClassifier(10, max_depth=6, random_state=0)).fit(frame, truth)
    space = build_space(MIXED, [table], 0.05)
    structure = _read(model, MIXED)
    assert (structure.scores(space.encode(table)).argmax(axis=1) == model.predict(frame)).all()


def _every_change(structure: Structure, reach: Reach, row: np.ndarray) -> np.ndarray:
    """Rows on a fine grid of all that may become of one row: each jump, with the ends and the inside of the box."""
    options = reach.space.alternatives(row[None])
    changed = [row] + [
        np.where(np.arange(len(row)) == column, value, row)
        for column, value, is_open in zip(options.columns, options.values[0], options.open[0], strict=True)
        if is_open
    ]
    low, high = reach.space.box(np.array(changed))
    grids = []
    for lowest, highest in zip(low, high, strict=True):
        ends = [np.unique(np.linspace(one, other, 21)) for one, other in zip(lowest, highest, strict=True)]
        ends[1] = np.unique(np.round(ends[1]))
        grids.append(np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, len(row)))
    return np.concatenate(grids)


def test_proved_rows_cannot_be_flipped_by_any_feasible_change_and_the_others_mostly_can() -> None:
    table, frame, truth = _mixed()
    model = make_pipeline(PREPARED["one-hot"](), GradientBoostingClassifier(n_estimators=25, random_state=0))
    model = model.fit(frame, truth)
    reach = Reach(build_space(MIXED, [table], 0.1), 1, 200)
    structure, rows = _read(model, MIXED), reach.space.encode(table)[:80]
    own = structure.scores(rows).argmax(axis=1)
    certifier = Certifier(structure, InProcessProver(model, MIXED))
    found = certifier.within_reach(reach, rows, own, flipped=np.zeros(len(rows), dtype=bool))
    stays = [
        (structure.scores(_every_change(structure, reach, row)).argmax(axis=1) == answer).all()
        for row, answer in zip(rows, own, strict=True)
    ]
    assert found.tried.all()
    assert not (found.proved & ~np.array(stays)).any()
    assert found.proved.sum() >= np.sum(stays) - 2
    assert 0.1 < found.proved.mean() < 0.9


def test_more_jumps_at_once_are_bounded_by_letting_all_categories_free() -> None:
    table, frame, truth = _mixed()
    model = make_pipeline(PREPARED["one-hot"](), RandomForestClassifier(5, max_depth=4, random_state=0))
    model = model.fit(frame, truth)
    structure = _read(model, MIXED)
    space = build_space(MIXED, [table], 0.02)
    rows = space.encode(table)
    own = structure.scores(rows).argmax(axis=1)
    certifier = Certifier(structure, InProcessProver(model, MIXED))
    nothing = np.zeros(len(rows), dtype=bool)
    one, two = (certifier.within_reach(Reach(space, count, 1), rows, own, flipped=nothing).proved for count in (1, 2))
    assert not (two & ~one).any()
    assert two.any()


def test_the_solver_proves_what_the_leaf_bound_leaves_open() -> None:
    matrix, truth = _data(2)
    model = RandomForestClassifier(30, max_depth=6, random_state=0).fit(matrix, truth)
    structure, rows = _read(model), matrix[:60]
    own = structure.scores(rows).argmax(axis=1)
    moves = np.full_like(rows, 0.2)
    boxes = Boxes(rows - moves, rows + moves, own)
    by_bound = ~judge_boxes(structure, boxes).open.any(axis=1)
    by_both = Certifier(structure, InProcessProver(model, NUMBERS)).within_radius(rows, own, moves)
    assert (by_both >= by_bound).all()
    assert by_both.sum() > by_bound.sum()
    rng = np.random.default_rng(4)
    for _ in range(50):
        moved = rows + moves * rng.uniform(-1, 1, size=rows.shape)
        assert (model.predict(moved) == own)[by_both].all()


class _Broken(InProcessProver):
    def bound(self, searches: Mapping[str, Any], steps: int) -> Mapping[str, Any]:
        raise Invalid("the solver was killed")


def test_a_solver_that_breaks_off_proves_nothing_and_says_so() -> None:
    matrix, truth = _data(2)
    model = RandomForestClassifier(30, max_depth=6, random_state=0).fit(matrix, truth)
    structure, rows = _read(model), matrix[:60]
    own = structure.scores(rows).argmax(axis=1)
    certifier = Certifier(structure, _Broken(model, NUMBERS))
    moves = np.full_like(rows, 0.2)
    by_bound = ~judge_boxes(structure, Boxes(rows - moves, rows + moves, own)).open.any(axis=1)
    assert (certifier.within_radius(rows, own, moves) == by_bound).all()
    assert certifier.stopped == "the solver was killed"


Damage = Callable[[dict[str, np.ndarray]], None]


def _set(name: str, place: int, value: float) -> Damage:
    def damage(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name].flat[place] = value

    return damage


HOSTILE: Mapping[str, tuple[Damage, str]] = {
    "a child outside": (_set("left", 0, 10_000), "does not exist"),
    "a negative child": (_set("right", 0, -7), "does not exist"),
    "a way round": (_set("left", 0, 0), "reached in two ways"),
    "a shared child": (_set("left", 0, 2), "reached in two ways"),
    "a root outside": (_set("roots", 0, 10_000), "does not exist"),
    "a column outside": (_set("column", 0, 99), "column that does not exist"),
    "a negative column": (_set("column", 0, -1), "column that does not exist"),
    "a threshold that is none": (_set("threshold", 0, np.nan), "is none"),
    "a leaf that is none": (_set("value", -1, np.inf), "is none"),
    "a base that is none": (_set("base", 0, np.nan), "is none"),
    "a feature outside": (_set("column_feature", 0, 99), "feature or table that does not exist"),
    "a table for a number": (_set("column_table", 0, 0), "feature or table that does not exist"),
    "a scale of zero": (_set("column_scale", 0, 0.0), "scaled by no number above zero"),
    "too few nodes": (lambda arrays: arrays.update(threshold=arrays["threshold"][:-1]), "one of everything"),
    "nothing": (lambda arrays: arrays.pop("threshold"), "not told in full"),
    "no trees": (lambda arrays: arrays.update(roots=arrays["roots"][:0]), "does not exist"),
    "text": (lambda arrays: arrays.update(left=np.array(["x"], dtype=object)), "not told in full"),
    "classes": (lambda arrays: arrays.update(classes=np.array(["only"], dtype=object)), "name 1 classes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_trees_are_refused_by_name(name: str) -> None:
    damage, words = HOSTILE[name]
    matrix, truth = _data(2)
    arrays = dict(InProcessProver(MODELS["forest"]().fit(matrix, truth), NUMBERS).structure())
    damage(arrays)
    with pytest.raises(Invalid, match=words):
        read_structure(arrays, (0,) * len(NAMES))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_trees_with_any_number_replaced_are_refused_or_can_be_walked(data: st.DataObject) -> None:
    matrix, truth = _data(2, 60)
    arrays = dict(InProcessProver(DecisionTreeClassifier(random_state=0).fit(matrix, truth), NUMBERS).structure())
    name = data.draw(st.sampled_from(sorted(set(arrays) - {"classes", "tables"})))
    place = data.draw(st.integers(0, arrays[name].size - 1))
    _set(name, place, data.draw(st.integers(-3, arrays["left"].size + 2)))(arrays)
    try:
        structure = read_structure(arrays, (0,) * len(NAMES))
    except Invalid:
        return
    assert np.isfinite(structure.scores(matrix)).all()


def _subject(model: Any, told: Any, matrix: np.ndarray, truth: np.ndarray) -> Any:
    columns = {name: matrix[:, place].copy() for place, name in enumerate(NAMES)}
    table = Table(columns).with_columns({"label": np.array(list(map(str, truth)), dtype=object)})
    return subject_of(
        lambda asked: model.predict_proba(np.column_stack([asked.columns[name] for name in NAMES])),
        {name: {"type": "number"} for name in NAMES},
        thresholds=THRESHOLDS,
        classes=tuple(map(str, model.classes_.tolist())),
        evaluation=table,
        prover=InProcessProver(told, NUMBERS),
    )


def test_the_check_tells_both_sides_of_a_forest() -> None:
    matrix, truth = _data(2)
    model = RandomForestClassifier(20, max_depth=5, random_state=0).fit(matrix, truth)
    subject = _subject(model, model, matrix, truth)
    details = run_check("adversarial_robustness", subject).details
    assert details["certified"]["of"] == "the model as submitted"
    assert "smoothed" not in details["boundary"]
    assert {details["boundary"][norm]["rows"] for norm in ("linf", "l2")} == {details["boundary"]["rows"]}
    result, beside = run_check("adversarial_robustness", subject), details["certified"]["attacked_rows"]
    assert (beside["rows"], beside["attacked"]) == (result.samples, result.value)
    assert 0 < beside["certified"] <= 1 - beside["attacked"]
    curves = [details["curve"]["points"], details["boundary"]["linf"]["curve"], details["boundary"]["l2"]["curve"]]
    for curve in curves:
        assert all(point["certified"] + point["attacked"] <= 1 for point in curve)
        assert [point["attacked"] for point in curve] == sorted(point["attacked"] for point in curve)
        assert [point["certified"] for point in curve] == sorted((point["certified"] for point in curve), reverse=True)
    assert curves[0][0]["certified"] > 0.3
    assert run_check("adversarial_robustness", subject).details == details


def test_trees_of_another_model_prove_nothing() -> None:
    matrix, truth = _data(2)
    model = RandomForestClassifier(20, max_depth=5, random_state=0).fit(matrix, truth)
    other = RandomForestClassifier(20, max_depth=5, random_state=0).fit(-matrix, truth)
    result = run_check("adversarial_robustness", _subject(model, other, matrix, truth))
    assert "answer otherwise than the model" in result.details["not_certified"]
    assert "certified" not in result.details
    assert "smoothed" in result.details["boundary"]


class _ProvesAnything(Certifier):
    """A certifier that was told of trees which have nothing to do with the model, and is believed."""

    def within_reach(self, reach: Reach, rows: Matrix, own: Indices, *, flipped: NDArray[np.bool_]) -> Certified:
        return Certified(np.ones(len(rows), dtype=bool), np.ones(len(rows), dtype=bool), 0)


def test_a_curve_on_which_a_flipped_row_was_proved_tells_no_proof() -> None:
    matrix, truth = _data(2)
    model = RandomForestClassifier(20, max_depth=5, random_state=0).fit(matrix, truth)
    subject = _subject(model, model, matrix, truth)
    rows, space = labelled(subject), build_space(NUMBERS, [subject.evaluation], 0.05)
    oracle, reach = Oracle(subject.predictor, space, rows), Reach(space, 1, 100)
    chosen = np.arange(20)
    certifier = _ProvesAnything(_read(model), subject.prover)
    curve = feasible_curve(oracle, reach, rows, chosen, certifier=certifier, rng=np.random.default_rng(0))
    assert curve["points"][-1]["attacked"] > 0
    assert {point["certified"] for point in curve["points"]} == {None}


def test_a_scaler_before_the_trees_that_rounds_whole_numbers_to_either_side_costs_no_proof() -> None:
    rng = np.random.default_rng(3)
    # Trained on even numbers, asked about odd ones: each lies on a threshold, exactly but for the scaler's rounding.
    even, asked = 2.0 * rng.integers(8, 45, 300), rng.integers(17, 90, 300).astype(np.float64)
    truth = (even / 90 + rng.normal(0, 0.2, 300) > 0.6).astype(int)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(30, random_state=0)).fit(even[:, None], truth)
    label = np.array(list(map(str, model.predict(asked[:, None]))), dtype=object)
    subject = subject_of(
        lambda table: model.predict_proba(table.columns["age"][:, None]),
        {"age": {"type": "integer", "min": 17, "max": 90}},
        thresholds=THRESHOLDS,
        classes=("0", "1"),
        evaluation=Table({"age": asked, "label": label}),
    )
    prover = InProcessProver(model, subject.manifest.data.features)
    details = run_check("adversarial_robustness", dataclasses.replace(subject, prover=prover)).details
    assert "not_certified" not in details
    assert 0.0 < details["certified"]["fraction"] < 1.0


def test_a_model_without_trees_is_smoothed_and_the_reason_told() -> None:
    matrix, truth = _data(2)
    model = LogisticRegression().fit(matrix, truth)
    result = run_check("adversarial_robustness", _subject(model, model, matrix, truth))
    assert result.details["not_certified"] == "LogisticRegression is no ensemble of trees"
    assert result.details["boundary"]["smoothed"]["of"].startswith("the model voting")


def test_whole_numbers_are_only_moved_by_whole_steps() -> None:
    matrix, truth = _data(2)
    whole = np.round(matrix * 8)
    model = RandomForestClassifier(20, max_depth=5, random_state=0).fit(whole, truth)
    subject = _subject(model, model, whole, truth)
    asked: list[np.ndarray] = []

    def answer(table: Table) -> np.ndarray:
        rows = np.column_stack([table.columns[name] for name in NAMES])
        asked.append(rows)
        return model.predict_proba(np.trunc(rows))

    features = {name: Feature(type="integer") for name in NAMES}
    predictor = dataclasses.replace(subject.predictor, features=features, answer=answer)
    result = run_check("adversarial_robustness", dataclasses.replace(subject, predictor=predictor))
    assert all((rows == np.round(rows)).all() for rows in asked)
    assert all(point["certified"] + point["attacked"] <= 1 for point in result.details["boundary"]["linf"]["curve"])
