"""Raw answers are understood in every form an honest model gives, and refused in every form that means nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vallum_common.bundle import Task
from vallum_validator.sandbox.answers import Answers
from vallum_validator.table import PredictionFailed, Predictions


def text(*values: str | None) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def read(answers: Answers, rows: int, **arrays: Any) -> Predictions:
    return answers.read([arrays], rows)


def classifier(*data_labels: str) -> Answers:
    return Answers(Task.CLASSIFICATION, data_labels)


def probabilities(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


def test_named_classes_are_taken_as_named() -> None:
    answers = classifier("a", "b")
    given = probabilities([0.9, 0.1], [0.2, 0.8])
    answer = read(answers, 2, labels=text("b", "a"), probabilities=given, classes=text("b", "a"))
    assert answers.classes == ("b", "a")
    assert answer.labels.tolist() == ["b", "a"]
    assert answer.probabilities is not None
    assert answer.probabilities.tolist() == given.tolist()


def test_unnamed_columns_are_in_sorted_order_of_the_labels() -> None:
    answers = classifier("no", "yes")
    read(answers, 2, labels=text("yes", "no"), probabilities=probabilities([0.2, 0.8], [0.7, 0.3]))
    assert answers.classes == ("no", "yes")


def test_unnamed_columns_of_encoded_labels_are_whole_numbers() -> None:
    answers = classifier("cat", "dog", "emu")
    shares = probabilities([0.8, 0.1, 0.1], [0.1, 0.1, 0.8])
    read(answers, 2, labels=np.array([0, 2]), probabilities=shares)
    assert answers.classes == ("0", "1", "2")


def test_whole_number_labels_are_ordered_as_numbers() -> None:
    answers = classifier(*[str(number) for number in range(11)])
    shares = np.full((11, 11), 0.02) + np.eye(11) * 0.78
    read(answers, 11, labels=np.arange(11), probabilities=shares)
    assert answers.classes == tuple(str(number) for number in range(11))


def test_answers_that_contradict_the_sorted_order_decide() -> None:
    answers = classifier("a", "b")
    read(answers, 2, labels=text("a", "b"), probabilities=probabilities([0.1, 0.9], [0.9, 0.1]))
    assert answers.classes == ("b", "a")


def test_a_tuned_threshold_does_not_turn_the_classes_round() -> None:
    # Labelled 1 from 0.2 on: most rows with label 1 have the higher probability for 0.
    answers = classifier("0", "1")
    ones = np.array([0.05, 0.1, 0.25, 0.3, 0.35, 0.4])
    read(answers, 6, labels=(ones >= 0.2).astype(np.int64), probabilities=np.stack([1 - ones, ones], axis=1))
    assert answers.classes == ("0", "1")


def test_a_class_that_neither_data_nor_answers_show_is_unknown_by_name() -> None:
    answers = classifier("x", "y")
    shares = probabilities([0.8, 0.1, 0.1], [0.1, 0.8, 0.1])
    read(answers, 2, labels=text("x", "y"), probabilities=shares)
    assert answers.classes == ("x", "y", "unknown class 2")


def test_one_probability_column_is_that_of_the_second_class() -> None:
    answers = classifier("no", "yes")
    answer = read(answers, 2, labels=text("no", "yes"), probabilities=probabilities([0.25], [0.75]))
    assert answers.classes == ("no", "yes")
    assert answer.probabilities is not None
    assert answer.probabilities.tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_probabilities_alone_give_the_likeliest_class() -> None:
    answer = read(classifier(), 2, probabilities=probabilities([0.1, 0.2, 0.7], [0.5, 0.4, 0.1]))
    assert answer.labels.tolist() == ["2", "0"]


def test_whole_numbers_as_only_output_are_labels() -> None:
    answer = read(classifier("1", "2", "3"), 3, probabilities=probabilities([1.0], [3.0], [2.0]))
    assert answer.labels.tolist() == ["1", "3", "2"]
    assert answer.probabilities is None


def test_decision_scores_beside_labels_are_left_out_from_the_first_answer_on() -> None:
    answers = classifier("0", "1")
    scores = probabilities([-1.2, 1.2], [0.3, -0.3])
    assert read(answers, 2, labels=np.array([1, 0]), probabilities=scores).probabilities is None
    calm = probabilities([0.5, 0.5])
    assert read(answers, 1, labels=np.array([0]), probabilities=calm).probabilities is None


def test_decision_scores_rank_answers_in_the_order_of_the_classes() -> None:
    answers = classifier("a", "b", "c")
    raw = probabilities([-9.0, 9.0, 1.0], [5.0, -2.0, 1.0], [-1.0, -3.0, 400.0])
    answer = read(answers, 3, labels=text("b", "a", "c"), probabilities=raw)
    assert answers.classes == ("a", "b", "c")
    assert answer.probabilities is None
    assert answer.sureness is answer.scores is not None
    assert np.allclose(answer.scores.sum(axis=1), 1)
    assert (answer.scores.argmax(axis=1) == [1, 0, 2]).all()
    # The leads are 8, 4 and 401: the typical one of 8 is worth one.
    assert np.log(answer.scores[0, 1] / answer.scores[0, 2]) == pytest.approx(1)


def test_one_decision_score_speaks_for_the_second_class() -> None:
    answers = classifier("no", "yes")
    answer = read(answers, 2, labels=text("yes", "no"), probabilities=probabilities([2.0], [-3.0]))
    assert answers.classes == ("no", "yes")
    assert answer.scores is not None
    assert (answer.scores.argmax(axis=1) == [1, 0]).all()
    with pytest.raises(PredictionFailed, match="3 decision values after 2 before"):
        read(answers, 1, labels=text("yes"), probabilities=probabilities([2.0, 1.0, -1.0]))


def test_decision_scores_of_pairs_of_classes_rank_nothing() -> None:
    raw = probabilities([-1.0, 2.0, 3.0], [1.0, 5.0, -2.0], [-1.0, -3.0, 2.5])
    answer = read(classifier("a", "b", "c"), 3, labels=text("a", "a", "b"), probabilities=raw)
    assert answer.sureness is None


@pytest.mark.parametrize(
    ("seen", "data", "classes"),
    [
        (["a"], ["b", "a"], ("a", "b")),
        (["0", "1"], ["no", "yes"], ("0", "1")),
        (["0"], ["no", "yes"], ("0", "1")),
        (["x", "y"], ["no", "yes"], ("x", "y")),
        (["10", "9"], [], ("9", "10")),
    ],
)
def test_classes_of_a_label_only_model(seen: list[str], data: list[str], classes: tuple[str, ...]) -> None:
    answers = classifier(*data)
    read(answers, len(seen), labels=text(*seen))
    assert answers.classes == classes


def test_answers_of_several_messages_are_joined_in_order() -> None:
    parts = [{"labels": np.array([1, 2])}, {"labels": np.array([3])}]
    assert classifier().read(parts, 3).labels.tolist() == ["1", "2", "3"]


def test_float32_sums_are_close_enough_to_one() -> None:
    given = probabilities([0.70004, 0.30005], [-0.00001, 1.0])
    answer = read(classifier("0", "1"), 2, labels=np.array([0, 1]), probabilities=given)
    assert answer.probabilities is not None
    assert answer.probabilities.min() == 0.0


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({}, "neither labels nor probabilities"),
        ({"labels": np.zeros((2, 2))}, "labels have shape"),
        ({"labels": np.array([0.0, np.nan])}, "a label that is NaN"),
        ({"labels": text("a", None)}, "a label that is NaN"),
        ({"labels": text("a")}, "1 labels to 2 rows"),
        ({"labels": text("a", "b"), "probabilities": np.zeros(2)}, r"shape \(2,\)"),
        ({"labels": text("a", "b"), "probabilities": np.zeros((2, 0))}, r"shape \(2, 0\)"),
        ({"labels": text("a", "b"), "probabilities": np.full((2, 2), np.nan)}, "a probability that is NaN"),
        ({"labels": text("a", "b"), "probabilities": probabilities([0.5, 0.4], [0.5, 0.5])}, r"sum to 0\.9"),
        ({"labels": text("a", "b"), "probabilities": probabilities([1.0, 1.0], [1.0, 1.0])}, "sum to 2"),
        ({"labels": text("a", "b"), "probabilities": probabilities([2.0, -1.0], [0.5, 0.5])}, r"between -1 and 2"),
        ({"labels": text("a", "b"), "probabilities": probabilities([np.inf, 0.0], [0.5, 0.5])}, "between 0 and inf"),
        ({"probabilities": probabilities([0.5, 0.4], [0.5, 0.5])}, r"sum to 0\.9"),
        ({"labels": text("a", "c"), "probabilities": np.full((2, 2), 0.5), "classes": text("a", "b")}, "'c', which"),
        ({"labels": text("a", "b"), "probabilities": np.full((2, 2), 0.5), "classes": text("a", "a")}, "one twice"),
        ({"labels": text("a", "b"), "probabilities": np.full((2, 2), 0.5), "classes": text("a", None)}, "not name"),
        ({"labels": text("a", "b"), "probabilities": np.full((2, 2), 0.5), "classes": text("a")}, "names 1 classes"),
    ],
)
def test_an_answer_that_means_nothing_is_refused(arrays: dict[str, Any], reason: str) -> None:
    with pytest.raises(PredictionFailed, match=reason):
        read(classifier("a", "b"), 2, **arrays)


def test_more_labels_than_probabilities_are_refused() -> None:
    given = np.full((3, 2), 0.5)
    with pytest.raises(PredictionFailed, match="3 different labels and 2 probabilities"):
        read(classifier(), 3, labels=text("a", "b", "c"), probabilities=given)


def test_another_number_of_classes_later_is_refused() -> None:
    answers = classifier("a", "b")
    read(answers, 1, labels=text("a"), probabilities=probabilities([0.5, 0.5]))
    with pytest.raises(PredictionFailed, match="3 probabilities after 2 before"):
        read(answers, 1, labels=text("a"), probabilities=probabilities([0.5, 0.25, 0.25]))


@pytest.mark.parametrize(
    "later", [{"labels": np.array([1.0])}, {"labels": text("a"), "probabilities": np.ones((1, 1))}]
)
def test_messages_that_do_not_agree_are_refused(later: dict[str, Any]) -> None:
    with pytest.raises(PredictionFailed, match="different kinds"):
        classifier().read([{"labels": text("a")}, later], 2)


def test_regression_gives_its_numbers() -> None:
    answer = read(Answers(Task.REGRESSION, ()), 2, labels=np.array([1.5, 2.0]))
    assert answer.values is not None
    assert (answer.values.tolist(), answer.labels.tolist()) == ([1.5, 2.0], ["1.5", "2"])


@pytest.mark.parametrize("given", [None, text("a", "b"), np.array([1.0, np.nan]), np.array([1.0, np.inf]), np.eye(2)])
def test_a_regression_that_gives_no_numbers_is_refused(given: Any) -> None:
    arrays = {} if given is None else {"labels": given}
    with pytest.raises(PredictionFailed):
        read(Answers(Task.REGRESSION, ()), 2, **arrays)
