"""adversarial_robustness: only changes that can happen, every flip confirmed, three-way and repeatable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum_common.bundle import Feature
from vallum_common.errors import Invalid
from vallum_validator.checks import load_thresholds, run_check
from vallum_validator.checks.feasible import attack_feasible
from vallum_validator.checks.hardening import VotingPredictor
from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.search import Pool, Reach
from vallum_validator.checks.space import build_space
from vallum_validator.checks.testing import FormulaPredictor, subject_of
from vallum_validator.checks.truth import labelled
from vallum_validator.domain.evidence import CheckResult, Outcome
from vallum_validator.table import PredictionFailed, Table

THRESHOLDS = load_thresholds(Path(__file__).parents[3] / "policies" / "thresholds.yaml")

Answer = Callable[[Table], Any]
NUMERIC: dict[str, dict[str, Any]] = {"x": {"type": "number"}, "y": {"type": "number"}}


def _sigmoid(z: np.ndarray) -> np.ndarray:
    positive = 1 / (1 + np.exp(-z))
    return np.column_stack([1 - positive, positive])


def _line(table: Table) -> np.ndarray:
    return _sigmoid(8 * table.columns["x"])


def _square(rows: int = 600, seed: int = 1) -> Table:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1, 1, size=(2, rows))
    return Table({"x": x, "y": y, "label": np.array(["1" if each > 0 else "0" for each in x], dtype=object)})


def _check(answer: Answer, features: dict[str, dict[str, Any]], table: Table, **more: Any) -> CheckResult:
    classes = more.pop("classes", ("0", "1"))
    subject = subject_of(answer, features, thresholds=THRESHOLDS, classes=classes, evaluation=table, **more)
    return run_check("adversarial_robustness", subject)


def test_the_attacked_fraction_of_a_line_is_the_share_of_rows_within_reach() -> None:
    table = _square()
    result = _check(_line, NUMERIC, table)
    # The reach is 5 % of the central 90 % of x, about 0.09: 9 % of the square lies that close to the line.
    assert result.outcome is Outcome.PASS
    assert result.interval is not None
    assert result.interval.low <= 0.09 <= result.interval.high


def test_every_row_near_the_line_is_found() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.uniform(-0.04, 0.04, 300), [-1.0, 1.0] * 20])
    table = Table({"x": x, "y": x * 0, "label": np.array(["1" if each > 0 else "0" for each in x], dtype=object)})
    result = _check(_line, {"x": {"type": "number", "min": -1, "max": 1}, "y": {"type": "number"}}, table)
    assert result.outcome is Outcome.FAIL
    assert result.value is not None
    assert result.value > 0.75


@pytest.mark.parametrize(("line", "flips", "evaluated"), [(0.0, False, False), (0.1899, True, True)])
def test_a_flip_counts_once_the_model_as_submitted_flips(line: float, flips: bool, evaluated: bool) -> None:
    # No row lies between the line of the model and the one its conversion draws, so both answer all of them alike.
    rng = np.random.default_rng(6)
    x, y = rng.uniform(0.2, 1, 400) * rng.choice([-1.0, 1.0], 400), rng.uniform(-1, 1, 400)
    table = Table({"x": x, "y": y, "label": np.array(["1" if each > 0 else "0" for each in x], dtype=object)})
    subject = subject_of(
        lambda asked: _sigmoid(8 * (asked.columns["x"] - 0.19)),
        NUMERIC,
        thresholds=THRESHOLDS,
        classes=("0", "1"),
        evaluation=table,
    )
    assert isinstance(subject.predictor, FormulaPredictor)
    submitted = replace(subject.predictor, original=lambda asked: _sigmoid(8 * (asked.columns["x"] - line)))
    told: Any = run_check("adversarial_robustness", replace(subject, predictor=submitted))
    assert (told.value > 0) is flips
    assert (told.details["curve"]["points"][3]["attacked"] > 0) is flips
    missed = told.details["boundary"]["linf"]["not_evaluated"]
    assert missed == 0 if evaluated else missed > 10


def test_a_label_only_model_is_attacked_too() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, 400)
    # Stripes narrower than the reach: nearly every row can be flipped.
    answer = lambda table: (np.floor(table.columns["x"] / 0.03) % 2).astype(int)  # noqa: E731
    table = Table({"x": x, "label": np.array([str(each) for each in answer(Table({"x": x}))], dtype=object)})
    result = _check(answer, {"x": {"type": "number"}}, table, classes=())
    assert result.outcome is Outcome.FAIL
    assert "scores=no" in result.method


def test_an_immutable_feature_is_never_changed() -> None:
    table = _square()
    features = {"x": {"type": "number", "mutable": False}, "y": {"type": "number"}}
    result = _check(_line, features, table)
    assert result.outcome is Outcome.PASS
    assert result.value == 0.0
    assert "; 1 of 2 features can change" in result.reason


def test_nothing_that_may_change_is_inconclusive_not_robust() -> None:
    features = {name: {"type": "number", "mutable": False} for name in ("x", "y")}
    result = _check(_line, features, _square())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "nothing may change" in result.reason


def test_a_category_may_change_once_and_only_to_named_values() -> None:
    seen: set[str] = set()

    def answer(table: Table) -> np.ndarray:
        seen.update(table.columns["c"])
        return _sigmoid(np.where(table.columns["c"] == "b", 3.0, -3.0))

    rng = np.random.default_rng(4)
    c = rng.choice(np.array(["a", "b"], dtype=object), 200)
    table = Table({"c": c, "label": np.array(["1" if each == "b" else "0" for each in c], dtype=object)})
    result = _check(answer, {"c": {"type": "categorical", "values": ["a", "b"]}}, table)
    assert result.outcome is Outcome.FAIL
    assert result.value == 1.0
    assert seen == {"a", "b"}


def test_two_discrete_changes_are_beyond_reach() -> None:
    def answer(table: Table) -> np.ndarray:
        return _sigmoid(np.where(table.columns["a"] + table.columns["b"] > 1.5, 3.0, -3.0))

    table = Table({"a": np.zeros(100), "b": np.zeros(100), "label": np.array(["0"] * 99 + ["1"], dtype=object)})
    result = _check(answer, {"a": {"type": "boolean"}, "b": {"type": "boolean"}}, table)
    assert result.value == 0.0


def test_a_model_that_is_wrong_everywhere_gives_nothing_to_attack() -> None:
    table = _square()
    other = np.where(table.columns["label"] == "1", "0", "1").astype(object)
    turned = table.with_columns({"label": other})
    result = _check(_line, NUMERIC, turned)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "nothing to attack" in result.reason


def test_a_model_that_answers_differently_when_asked_again_is_inconclusive() -> None:
    calls = 0

    def fickle(table: Table) -> np.ndarray:
        nonlocal calls
        calls += 1
        # Right on the first call, then flipping everything in every other one.
        return _line(table) if calls == 1 or calls % 2 == 0 else _line(table)[:, ::-1]

    result = _check(fickle, NUMERIC, _square())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "when asked again" in result.reason


def test_a_model_that_fails_is_inconclusive_with_its_own_words() -> None:
    def crash(table: Table) -> np.ndarray:
        raise PredictionFailed("the worker was killed: out of memory")

    result = _check(crash, NUMERIC, _square())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason == "the worker was killed: out of memory"


def test_the_same_seed_gives_the_same_evidence_and_another_seed_other_rows() -> None:
    first, second, third = (_check(_line, NUMERIC, _square(), seed=seed) for seed in (7, 7, 8))
    assert first == second
    assert third.seed != first.seed


def test_missing_values_stay_missing() -> None:
    table = _square()
    known = (table.columns["y"] > 0).astype(float)
    known[::3] = np.nan
    asked: list[float] = []

    def answer(rows: Table) -> np.ndarray:
        asked.append(float(np.isnan(rows.columns["y"]).mean()))
        return _line(rows)

    features = {"x": {"type": "number"}, "y": {"type": "boolean"}}
    result = _check(answer, features, table.with_columns({"y": known}))
    assert result.outcome is Outcome.PASS
    assert min(asked) > 0.1


def _speckled(table: Table) -> np.ndarray:
    """Right nearly everywhere, with thin stripes of the other answer: what voting over nearby rows repairs."""
    x = table.columns["x"]
    right = np.where(x > 0, 1.0, -1.0)
    return _sigmoid(2 * np.where(np.mod(x, 0.1) < 0.012, -right, right))


def test_a_model_that_fails_is_tried_behind_a_vote_of_nearby_rows() -> None:
    result = _check(_speckled, NUMERIC, _square())
    assert result.outcome is Outcome.FAIL
    (trial,) = result.details["hardening"]
    assert trial["after"] < 0.5 * trial["before"]
    assert trial["accuracy_after"] > trial["accuracy_before"]


def test_a_model_cannot_talk_its_way_out_of_a_fail_by_crashing_afterwards() -> None:
    failed = 0

    def answer(table: Table) -> np.ndarray:
        nonlocal failed
        if failed:
            raise PredictionFailed("the worker was killed")
        # The verdict needs two batches at most; the boundary search that follows asks for 4 starts of 50 rows.
        failed += len(table) == 200
        return _speckled(table)

    result = _check(answer, NUMERIC, _square())
    assert result.outcome is Outcome.FAIL
    assert result.details["not_measured"] == "the worker was killed"


def test_a_voting_model_answers_the_same_row_the_same_way() -> None:
    table = _square(50)
    subject = subject_of(_line, NUMERIC, thresholds=THRESHOLDS, classes=("0", "1"), evaluation=table)
    assert subject.predictor is not None
    space = build_space(subject.predictor.features, [table], 0.05)
    voting = VotingPredictor(subject.predictor, space, np.random.default_rng(1))
    together, alone = voting.predict(table), voting.predict(table.take(np.arange(10)))
    assert together.probabilities is not None
    assert alone.probabilities is not None
    assert np.allclose(together.probabilities[:10], alone.probabilities)
    assert (together.labels[:10] == alone.labels).all()


def test_a_voting_label_only_model_gives_the_most_frequent_label() -> None:
    answer = lambda table: np.where(table.columns["x"] > 0, "yes", "no")  # noqa: E731
    table = Table({"x": np.array([-0.9, 0.9]), "label": np.array(["no", "yes"], dtype=object)})
    subject = subject_of(answer, {"x": {"type": "number"}}, thresholds=THRESHOLDS, evaluation=table)
    assert subject.predictor is not None
    voting = VotingPredictor(
        subject.predictor, build_space(subject.predictor.features, [table], 0.05), np.random.default_rng(1)
    )
    answer_of = voting.predict(table)
    assert answer_of.labels.tolist() == ["no", "yes"]
    assert answer_of.probabilities is None


def test_data_that_is_there_and_cannot_be_used_is_not_called_missing() -> None:
    assert (
        "data.evaluation cannot be used: no rows"
        in _check(_line, NUMERIC, None, missing={"evaluation": "no rows"}).reason
    )


def test_rows_that_are_there_a_hundred_times_are_told() -> None:
    few = _square(12)
    result = _check(_line, NUMERIC, few.take(np.tile(np.arange(12), 100)))
    assert (result.details["rows"], result.details["distinct_rows"]) == (1200, 12)


def test_few_rows_at_the_limit_cannot_decide() -> None:
    rng = np.random.default_rng(5)
    x = np.where(rng.random(40) < 0.35, 0.01, 0.9)
    table = Table({"x": x, "label": np.array(["1"] * 40, dtype=object)})
    result = _check(_line, {"x": {"type": "number", "min": -1, "max": 1}}, table)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "too few rows" in result.reason


features = st.fixed_dictionaries(
    {
        "n": st.builds(lambda m: Feature(type="number", mutable=m), st.booleans()),
        "i": st.builds(lambda m: Feature(type="integer", min=0, max=10, mutable=m), st.booleans()),
        "b": st.builds(lambda m: Feature(type="boolean", mutable=m), st.booleans()),
        "c": st.builds(lambda m: Feature(type="categorical", values=("u", "v", "w"), mutable=m), st.booleans()),
    }
)


def _mixed(seed: int, rows: int = 30) -> Table:
    rng = np.random.default_rng(seed)
    n, i = rng.normal(size=rows), rng.integers(0, 11, rows).astype(float)
    n[0], i[1] = np.nan, np.nan
    c = rng.choice(np.array(["u", "v", "w", "x"], dtype=object), rows)
    c[2] = None
    return Table({"n": n, "i": i, "b": rng.integers(0, 2, rows).astype(float), "c": c})


@given(features, st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_table_survives_encoding_and_decoding(described: dict[str, Feature], seed: int) -> None:
    table = _mixed(seed)
    space = build_space(described, [table], 0.05)
    back = space.decode(space.encode(table))
    for name, column in table.columns.items():
        other = back.columns[name]
        assert other.dtype == column.dtype
        same = (other == column) if column.dtype == object else np.isclose(other, column, equal_nan=True)
        assert all(same)


@given(features, st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_box_and_single_jumps_are_feasible_and_more_is_not(described: dict[str, Feature], seed: int) -> None:
    table = _mixed(seed)
    space = build_space(described, [table], 0.05)
    rows = space.encode(table)
    low, high = space.box(rows)
    assert space.is_feasible(low, rows, 0).all()
    assert space.is_feasible(high, rows, 0).all()
    options = space.alternatives(rows)
    for option, column in enumerate(options.columns):
        where = options.open[:, option]
        changed = rows.copy()
        changed[where, column] = options.values[where, option]
        assert space.is_feasible(changed, rows, 1).all()
        assert not space.is_feasible(changed, rows, 0)[where].any()
    beyond = high + np.nan_to_num(high - rows) + 1.5
    moved = ~np.isnan(beyond).all(axis=1)
    assert not space.is_feasible(beyond, rows, 0)[moved].any()


def test_a_text_column_declared_a_number_is_named() -> None:
    table = Table({"x": np.array(["a", "b"], dtype=object)})
    with pytest.raises(Invalid, match="column 'x' holds text"):
        build_space({"x": Feature(type="number")}, [table], 0.05)


@pytest.mark.parametrize("moment", [1, 2, 3, 5, 8, 13, 21, 34])
def test_a_model_that_breaks_off_at_any_moment_never_passes(moment: int) -> None:
    calls = 0

    def answer(table: Table) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls >= moment:
            raise PredictionFailed("the model took longer than it may and was ended")
        return _line(table)

    result = _check(answer, NUMERIC, _square())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.value is None
    assert "took longer" in result.reason


def test_a_model_that_crashes_while_its_trees_are_read_is_inconclusive() -> None:
    class Crashing:
        def structure(self) -> dict[str, Any]:
            raise PredictionFailed("the model crashed (SIGSEGV)")

        def bound(self, searches: Any, steps: int) -> dict[str, Any]:
            raise AssertionError("nothing to search")

    result = _check(_line, NUMERIC, _square(), prover=Crashing())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason == "the model crashed (SIGSEGV)"


def test_a_regression_is_inconclusive_with_the_reason() -> None:
    result = _check(lambda table: table.columns["x"], NUMERIC, _square(), classes=(), task="regression")
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "regression" in result.reason


FEW: dict[str, dict[str, Any]] = {
    **{name: {"type": "integer", "min": 0, "max": 20} for name in ("i", "j", "k")},
    **{name: {"type": "categorical", "values": ["u", "v", "w"]} for name in ("s", "t")},
    "fixed": {"type": "categorical", "values": ["u", "v"], "mutable": False},
}


def _few_rows(rows: int = 120) -> Table:
    rng = np.random.default_rng(5)
    columns: dict[str, Any] = {name: rng.integers(0, 21, rows).astype(float) for name in ("i", "j", "k")}
    columns |= {name: rng.choice(np.array(["u", "v", "w"], dtype=object), rows) for name in ("s", "t")}
    return Table({**columns, "fixed": rng.choice(np.array(["u", "v"], dtype=object), rows)})


def _few_answer(table: Table) -> np.ndarray:
    score = sum(table.columns[name] - 10 for name in ("i", "j", "k"))
    score = score + sum(np.where(table.columns[name] == "u", 3.0, -1.0) for name in ("s", "t"))
    return _sigmoid(0.3 * (score + np.where(table.columns["fixed"] == "u", 9.0, 0.0)))


@pytest.mark.parametrize("fields", [1, 2, 3])
def test_few_fields_are_flipped_wherever_the_sum_of_the_best_changes_suffices(fields: int) -> None:
    table = _few_rows()
    labels = np.array(["1" if each > 0.5 else "0" for each in _few_answer(table)[:, 1]], dtype=object)
    subject = subject_of(
        _few_answer, FEW, thresholds=THRESHOLDS, classes=("0", "1"), evaluation=table.with_columns({"label": labels})
    )
    assert subject.predictor is not None
    space = build_space(subject.predictor.features, [table], 0.1)
    known = labelled(subject)
    oracle, rows = Oracle(subject.predictor, space, known), space.encode(table)
    reach = Reach(space, discrete_changes=1, queries=200, fields=fields)
    found = attack_feasible(
        oracle, reach, rows, known.predicted, pool=Pool(rows, known.predicted), rng=np.random.default_rng(6)
    )
    flipped = oracle.ask(found, known.predicted).flipped
    assert reach.holds(found, rows).all()
    assert not Reach(space, 1, 1, fields=0).holds(found, rows)[flipped].any()
    # The model is a sum, so the best changes of each kind settle whether a flip exists.
    low, high = space.box(rows)
    score = np.log(_few_answer(table)[:, 1] / _few_answer(table)[:, 0]) / 0.3
    towards = np.where(score[:, None] > 0, rows - low, high - rows)[:, :3]
    words = np.stack([table.columns[name] == "u" for name in ("s", "t")], axis=1)
    jump = np.where((words == (score > 0)[:, None]).any(axis=1), 4.0, 0.0)
    best = -np.sort(-np.concatenate([towards, jump[:, None]], axis=1), axis=1)[:, :fields].sum(axis=1)
    assert (flipped == (best > np.abs(score)))[np.abs(best - np.abs(score)) > 1e-9].all()


def test_votes_that_are_torn_end_no_search_before_the_answer_flips() -> None:
    # A forest of two trees that split at 0 and at 0.03: between them it is torn, and scikit-learn answers the first
    # class. Its conversion adds up in single precision and may answer the second; nothing flips before 0.03.
    def votes(table: Table) -> np.ndarray:
        second = ((table.columns["x"] >= 0).astype(float) + (table.columns["x"] >= 0.03)) / 2
        return np.column_stack([1 - second, second])

    def converted(table: Table) -> np.ndarray:
        return votes(table) + np.array([-3e-8, 3e-8])

    rng = np.random.default_rng(4)
    x = np.concatenate([rng.uniform(-0.05, -0.005, 200), rng.uniform(0.5, 1, 100), rng.uniform(-1, -0.5, 100)])
    label = np.where(x > 0, "1", "0").astype(object)
    subject = subject_of(
        converted,
        {"x": {"type": "number"}},
        thresholds=THRESHOLDS,
        classes=("0", "1"),
        evaluation=Table({"x": x, "label": label}),
    )
    assert subject.predictor is not None
    subject = replace(subject, predictor=replace(subject.predictor, original=votes))
    result = run_check("adversarial_robustness", subject)
    # Every row of the first half can be moved by up to 0.09, the others cannot get to where anything flips.
    assert result.value == pytest.approx(0.5, abs=0.07)
    assert result.details["boundary"]["linf"]["not_evaluated"] == 0
