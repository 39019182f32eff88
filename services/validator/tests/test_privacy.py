"""data_privacy: memorised rows are found, honest models pass, and too little evidence says so."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from vallum_validator.checks import load_thresholds, run_check
from vallum_validator.checks.hardening import stricter
from vallum_validator.checks.leakage import leakage, point
from vallum_validator.checks.membership import Scores
from vallum_validator.checks.references import Rows, train_references
from vallum_validator.checks.testing import subject_of
from vallum_validator.domain.evidence import CheckResult, Outcome
from vallum_validator.sandbox.process import Worker
from vallum_validator.sandbox.trainer import SandboxTrainer
from vallum_validator.table import Predictions, Table

THRESHOLDS = load_thresholds(Path(__file__).parents[3] / "policies" / "thresholds.yaml")
NAMES = [f"f{place}" for place in range(8)]
FEATURES: dict[str, dict[str, Any]] = {name: {"type": "number"} for name in NAMES}
ROWS = 1_500


def _data(rows: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(shift, 1.0, size=(rows, len(NAMES)))
    label = (matrix[:, 0] + matrix[:, 1] * matrix[:, 2] + rng.normal(0, 1.0, rows) > 0).astype(int)
    return matrix, label


def _table(matrix: np.ndarray, label: np.ndarray) -> Table:
    columns = {name: matrix[:, place].copy() for place, name in enumerate(NAMES)}
    return Table({**columns, "label": np.array([str(each) for each in label], dtype=object)})


def _matrix(table: Table) -> np.ndarray:
    return np.column_stack([table.columns[name] for name in NAMES])


def _check(answer: Callable[[Table], Any], **more: Any) -> CheckResult:
    members, population = _data(ROWS, 1), _data(ROWS, 2)
    more = {"members": _table(*members), "population": _table(*population), "classes": ("0", "1"), **more}
    subject = subject_of(answer, FEATURES, thresholds=THRESHOLDS, evaluation=_table(*_data(50, 3)), **more)
    return run_check("data_privacy", subject)


def test_decision_values_are_no_hiding_place_for_what_probabilities_would_tell(forest: RandomForestClassifier) -> None:
    def hidden(table: Table) -> Predictions:
        chances = forest.predict_proba(_matrix(table))
        labels = np.array(["0", "1"], dtype=object)[chances.argmax(axis=1)]
        return Predictions(labels, None, scores=1 / (1 + np.exp(1 - 2 * chances)))

    told, labels_only = _check(hidden), _check(lambda table: hidden(table).labels)
    assert told.outcome is Outcome.FAIL
    assert (told.details["label_only"], labels_only.details["label_only"]) == (False, True)
    assert told.value is not None
    assert labels_only.value is not None
    assert told.value > 2 * labels_only.value


@pytest.fixture(scope="module")
def forest() -> RandomForestClassifier:
    return RandomForestClassifier(60, random_state=0).fit(*_data(ROWS, 1))


@pytest.fixture(scope="module")
def line() -> LogisticRegression:
    return LogisticRegression().fit(*_data(ROWS, 1))


@pytest.fixture(scope="module")
def memorised(forest: RandomForestClassifier) -> CheckResult:
    return _check(lambda table: forest.predict_proba(_matrix(table)))


def test_a_forest_that_memorised_its_rows_fails(memorised: CheckResult) -> None:
    result = memorised
    assert result.outcome is Outcome.FAIL
    assert result.interval is not None
    assert result.interval.low > 0.05
    assert result.details["epsilon_at_least"] > 1.0
    rounded, labels_only = result.details["hardening"]
    assert labels_only["after"] < 0.5 * labels_only["before"]
    assert rounded["accuracy_after"] == rounded["accuracy_before"]


def test_the_curve_is_bounded_and_rises_on_a_logarithmic_axis(memorised: CheckResult) -> None:
    points = memorised.details["roc"]
    rates = np.array([each["fpr"] for each in points])
    assert 20 <= len(points) <= 41
    assert np.allclose(np.diff(np.log(rates)), np.log(rates[1] / rates[0]))
    assert (np.diff([each["tpr"] for each in points]) >= 0).all()
    assert all(each["low"] <= each["tpr"] <= each["high"] for each in points)


def test_a_linear_model_passes(line: LogisticRegression) -> None:
    result = _check(lambda table: line.predict_proba(_matrix(table)))
    assert result.outcome is Outcome.PASS
    assert "a stronger attack may recognise more" in result.reason
    assert result.details["hardening"] == []


def test_a_label_only_model_is_measured(line: LogisticRegression) -> None:
    result = _check(lambda table: line.predict(_matrix(table)), classes=())
    assert result.outcome is not Outcome.FAIL
    assert result.details["label_only"] is True


def test_a_label_only_lookup_of_its_rows_leaks_by_being_right() -> None:
    known = {row.tobytes(): label for row, label in zip(*_data(ROWS, 1), strict=True)}

    def recall(table: Table) -> np.ndarray:
        return np.array([known.get(row.tobytes(), 0) for row in _matrix(table)])

    # Half of the population is right by chance, so nothing shows at 1 %, but the area gives it away, and so does the
    # other half: who is answered wrong was not trained on.
    result = _check(recall, classes=())
    assert result.details["auc"]["low"] > 0.6
    assert result.outcome is Outcome.FAIL


def test_the_same_seed_gives_the_same_evidence(line: LogisticRegression) -> None:
    first, second = (_check(lambda table: line.predict_proba(_matrix(table)), seed=5) for _ in range(2))
    assert first == second


def test_a_population_made_of_members_is_inconclusive(line: LogisticRegression) -> None:
    result = _check(lambda table: line.predict_proba(_matrix(table)), population=_table(*_data(ROWS, 1)))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "must be rows the model was not trained on" in result.reason


def test_rows_that_repeat_by_nature_are_no_overlap(line: LogisticRegression) -> None:
    coarse = [_table(np.round(_data(ROWS, seed)[0][:, :1] * np.ones(8)), _data(ROWS, seed)[1]) for seed in (1, 2)]
    result = _check(lambda table: line.predict_proba(_matrix(table)), members=coarse[0], population=coarse[1])
    assert result.outcome is Outcome.PASS
    assert result.details["population_rows_equal_to_a_member"]["low"] > 0.9


def test_members_of_another_source_are_inconclusive(line: LogisticRegression) -> None:
    shifted = _table(*_data(ROWS, 4, shift=0.7))
    result = _check(lambda table: line.predict_proba(_matrix(table)), population=shifted)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "not of the same source" in result.reason


@pytest.mark.parametrize("part", ["members", "population"])
def test_a_missing_part_is_named(part: str, line: LogisticRegression) -> None:
    result = _check(lambda table: line.predict_proba(_matrix(table)), **{part: None})
    assert result.outcome is Outcome.INCONCLUSIVE
    assert f"data.{part} is missing" in result.reason


def test_too_few_rows_are_inconclusive(line: LogisticRegression) -> None:
    result = _check(lambda table: line.predict_proba(_matrix(table)), members=_table(*_data(60, 1)))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "data.members has 60 labelled rows" in result.reason


def test_members_without_a_label_column_are_named(line: LogisticRegression) -> None:
    result = _check(lambda table: line.predict_proba(_matrix(table)), members=_table(*_data(ROWS, 1)).select(NAMES))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "data.members has no column 'label'" in result.reason


@pytest.mark.parametrize("absent", [{}, {"members": None}, {"population": None}])
def test_a_regression_is_inconclusive_and_no_missing_file_is_named_instead(
    line: LogisticRegression, absent: dict[str, None]
) -> None:
    result = _check(lambda table: line.predict(_matrix(table)), task="regression", **absent)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "the model is a regression" in result.reason
    assert "data.population" not in result.reason


def test_the_rate_at_one_in_ten_false_positives_by_hand() -> None:
    # Of ten non-members one may lie above the cut: the cut is 8, the members 9, 10 and 11 of four lie above it.
    scores = Scores(members=np.array([7.0, 9.0, 10.0, 11.0]), population=np.arange(10.0))
    assert point(scores, 0.1, 0.95).rate == 0.75


def test_ties_at_the_cut_do_not_count_as_recognised() -> None:
    scores = Scores(members=np.ones(100), population=np.ones(100))
    found = point(scores, 0.01, 0.95)
    assert found.rate == 0.0
    assert found.interval.low == 0.0


@pytest.mark.parametrize(("rate", "advantage"), [(0.01, 0.0), (0.01, 1.0), (0.1, 0.5)])
def test_the_interval_of_a_point_covers_the_true_rate(rate: float, advantage: float) -> None:
    from scipy import stats

    true = stats.norm.sf(stats.norm.isf(rate) - advantage)
    rng = np.random.default_rng(8)
    inside = 0
    for _ in range(300):
        found = point(Scores(rng.normal(advantage, 1, 400), rng.normal(0, 1, 500)), rate, 0.95)
        inside += found.interval.low <= true <= found.interval.high
    assert inside / 300 >= 0.95


def test_attacks_by_chance_prove_no_epsilon_and_do_not_exceed_the_limit() -> None:
    rng = np.random.default_rng(9)
    wrong = 0
    for _ in range(50):
        attacks = {name: Scores(rng.normal(size=800), rng.normal(size=800)) for name in "abcd"}
        found = leakage(attacks, 0.01, 0.95)
        wrong += found.epsilon > 0 or found.points[0.01].interval.low > 0.01
    assert wrong <= 4


def test_the_worst_attack_counts() -> None:
    rng = np.random.default_rng(10)
    weak = Scores(rng.normal(size=1000), rng.normal(size=1000))
    strong = Scores(rng.normal(3, 1, size=1000), rng.normal(size=1000))
    found = leakage({"weak": weak, "strong": strong}, 0.01, 0.95)
    assert found.worst == "strong"
    assert found.points[0.01].rate == point(strong, 0.01, 0.95).rate
    assert found.epsilon > 3


def test_without_members_the_loss_tail_is_told_as_limited_evidence(line: LogisticRegression) -> None:
    result = _check(lambda table: line.predict_proba(_matrix(table)), members=None)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert (result.value, result.details["evidence"]) == (None, "limited")
    matrix, label = _data(ROWS, 2)
    wrong = float((line.predict(matrix) != label).mean())
    assert result.details["loss_tail"]["share"] == wrong
    assert result.details["loss_tail"]["low"] < wrong < result.details["loss_tail"]["high"]


def test_no_attack_tells_members_of_a_model_that_never_saw_them() -> None:
    stranger = RandomForestClassifier(30, random_state=1).fit(*_data(ROWS, 9))
    above = 0
    for seed in range(3):
        result = _check(lambda table: stranger.predict_proba(_matrix(table)), seed=seed)
        assert result.interval is not None
        above += result.interval.low > 0.01 or result.details["epsilon_at_least"] > 0
    assert above == 0


def test_references_are_balanced_and_never_judge_what_they_learned() -> None:
    class Recorder:
        kind, models = "a recorder", 8

        def __init__(self) -> None:
            self.asked: list[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]] = []

        def chances(self, known: np.ndarray, asked: tuple[np.ndarray, np.ndarray], seed: int) -> Any:
            self.asked.append((known, asked))
            return tuple(np.full(len(rows), float(seed)) for rows in asked)

    members, population = (Rows(np.zeros((count, 2)), np.zeros(count, int), np.zeros(count)) for count in (100, 400))
    recorder = Recorder()
    references = train_references(members, population, np.random.default_rng(0), recorder)
    trained = np.bincount(np.concatenate([known for known, _ in recorder.asked]), minlength=400)
    assert trained.max() <= 2
    for known, (of_members, of_population) in recorder.asked:
        assert len(known) <= len(members)
        assert not np.isin(known, of_population).any()
        assert len(of_members) < 100
    for chances in references.chances:
        # Each of six references once: seeds that rise down every column.
        assert chances.shape[0] == 6
        assert (np.diff(chances, axis=0) > 0).all()


@contextlib.contextmanager
def _training(folder: Path, estimator: Any, manifest: Any) -> Iterator[SandboxTrainer]:
    joblib.dump(estimator, folder / "model.joblib")
    with Worker("the trainer", [folder / "model.joblib"]) as worker:
        yield SandboxTrainer(worker, folder / "model.joblib", "joblib", manifest)


def _trained_again(folder: Path, estimator: Any) -> CheckResult:
    parts = {"members": _table(*_data(ROWS, 1)), "population": _table(*_data(ROWS, 2))}
    subject = subject_of(
        lambda table: estimator.predict_proba(_matrix(table)),
        FEATURES,
        thresholds=THRESHOLDS,
        evaluation=_table(*_data(50, 3)),
        classes=("0", "1"),
        **parts,
    )
    training = functools.partial(_training, folder, estimator, subject.manifest)
    return run_check("data_privacy", dataclasses.replace(subject, training=training))


def test_a_model_that_can_be_trained_again_is_judged_by_its_own_kind_and_told_what_helps(
    tmp_path: Path, forest: RandomForestClassifier
) -> None:
    result = _trained_again(tmp_path, forest)
    assert result.outcome is Outcome.FAIL
    assert result.details["references"]["kind"] == "the model's own kind (RandomForestClassifier)"
    assert result.details["references"]["not_of_the_models_kind"] == ""
    trials = {trial["measure"]: trial for trial in result.details["hardening"]}
    leaf, depth = trials["train with min_samples_leaf=20"], trials["train with max_depth=5"]
    assert result.value is not None
    for trial in (leaf, depth):
        assert trial["low"] <= trial["after"] <= trial["high"] < 0.5 * trial["before"] == 0.5 * result.value
        assert trial["accuracy_after"] > trial["accuracy_before"] - 0.05


def test_a_model_that_cannot_be_trained_again_is_judged_by_forests_and_says_why(
    tmp_path: Path,
) -> None:
    unable = LogisticRegression(max_iter=100).fit(*_data(ROWS, 1))
    unable.max_iter = -1
    result = _trained_again(tmp_path, unable)
    assert result.outcome is Outcome.PASS
    assert result.details["references"]["kind"] == "forests of ours"
    assert "InvalidParameterError" in result.details["references"]["not_of_the_models_kind"]


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({"min_samples_leaf": 1, "max_depth": None}, {"min_samples_leaf": 20}),
        ({"step__min_samples_leaf": 20}, {"step__min_samples_leaf": 100}),
        ({"mlp__alpha": 1e-4, "mlp__early_stopping": False}, {"mlp__alpha": 1.0}),
        ({"C": 1.0}, {"C": 0.01}),
        ({"num_leaves": 31}, {"num_leaves": 8}),
    ],
)
def test_stricter_training_turns_what_holds_a_model_back(given: Any, first: Any) -> None:
    assert stricter(given)[0] == first


def test_what_is_strict_already_is_left_alone() -> None:
    assert stricter({"max_depth": 3, "n_estimators": 100, "random_state": 0}) == []


@pytest.mark.parametrize("known", [0, 1])
def test_a_column_of_which_nothing_or_hardly_anything_is_known_costs_no_measurement(
    known: int, line: LogisticRegression
) -> None:
    def holed(seed: int) -> Table:
        matrix, label = _data(ROWS, seed)
        matrix[known:, -1] = np.nan
        return _table(matrix, label)

    result = _check(
        lambda table: line.predict_proba(np.nan_to_num(_matrix(table))), members=holed(1), population=holed(2)
    )
    assert result.outcome is Outcome.PASS, result.reason


def test_a_nearest_neighbour_fails_by_whom_it_surely_never_saw() -> None:
    # It knows every row by heart. Whom it answers right are too many to recognise at 1 % false alarms; whom it answers
    # wrong was surely not among its rows, and no training that is private to the policy's ε tells that of so many.
    model = KNeighborsClassifier(1).fit(*_data(ROWS, 1))
    result = _check(lambda table: model.predict_proba(_matrix(table)))
    assert result.interval is not None
    assert result.interval.low < 0.05
    assert result.outcome is Outcome.FAIL
    assert "told either way, member or not, ε is at least" in result.reason


def test_epsilon_is_the_same_whichever_side_is_called_members() -> None:
    rng = np.random.default_rng(0)
    scores = Scores(rng.normal(1.0, 1.0, 800), rng.normal(0.0, 1.0, 800))
    turned = Scores(-scores.population, -scores.members)
    assert leakage({"one": scores}, 0.01, 0.95).epsilon == leakage({"one": turned}, 0.01, 0.95).epsilon > 0
