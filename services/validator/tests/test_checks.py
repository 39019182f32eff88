"""Running checks, the policy file, and bringing labels together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from vallum_common.bundle import Tier
from vallum_common.errors import Invalid, NotFound
from vallum_validator.checks import CHECKS, load_thresholds, run_check
from vallum_validator.checks.testing import subject_of
from vallum_validator.checks.truth import correspondence, labelled
from vallum_validator.domain.evidence import CHECK_NAMES, Outcome
from vallum_validator.table import Subject, Table

POLICY = Path(__file__).parents[3] / "policies" / "thresholds.yaml"
FEATURES: dict[str, dict[str, Any]] = {"x": {"type": "number"}}


def _subject(labels: list[Any], classes: tuple[str, ...], **more: Any) -> Subject:
    def answer(table: Table) -> np.ndarray:
        place = np.clip(table.columns["x"].astype(int), 0, len(classes) - 1)
        return np.eye(len(classes))[place]

    column = np.array(labels) if isinstance(labels[0], float) else np.array(labels, dtype=object)
    table = Table({"x": np.arange(float(len(labels))) % len(classes), "label": column})
    return subject_of(answer, FEATURES, thresholds=load_thresholds(POLICY), classes=classes, evaluation=table, **more)


def test_the_four_checks_are_those_of_the_domain_in_its_order() -> None:
    assert tuple(CHECKS) == CHECK_NAMES


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(Invalid, match="no check 'speed'"):
        run_check("speed", _subject(["a", "b"], ("a", "b")))


@pytest.mark.parametrize("name", CHECK_NAMES)
def test_a_model_that_could_not_be_run_is_inconclusive_everywhere(name: str) -> None:
    subject = _subject(["a", "b"], ("a", "b"), sensitive=("x",), card="# Card\n")
    table = subject.evaluation
    stopped = replace(subject, predictor=None, why_not_run="no runtime for torch here", members=table, population=table)
    result = run_check(name, stopped)
    assert result.outcome is not Outcome.PASS
    if name != "transparency":  # which counts the card first
        assert result.outcome is Outcome.INCONCLUSIVE
        assert "no runtime for torch here" in result.reason


@pytest.mark.parametrize("name", CHECK_NAMES)
def test_without_evaluation_data_nothing_passes(name: str) -> None:
    subject = replace(
        _subject(["a", "b"], ("a", "b"), sensitive=("x",)), evaluation=None, missing={"evaluation": "it is not named"}
    )
    assert run_check(name, subject).outcome is Outcome.INCONCLUSIVE


def test_labels_spelled_alike_need_no_mapping() -> None:
    assert correspondence(["a", "b", "c"], ["a", "b"]) == {}
    assert correspondence(["0", "1"], ["0", "1"]) == {}
    assert correspondence(["a", "b"], ["a", "b", "c"]) == {}


def test_encoded_labels_mean_the_sorted_values_of_the_column() -> None:
    assert correspondence(["0", "1"], [">50K", "<=50K"]) == {"0": "<=50K", "1": ">50K"}
    assert correspondence(["0", "1", "2"], ["10", "9", "8"]) == {"0": "8", "1": "9", "2": "10"}
    assert correspondence(["false", "true"], ["0", "1"]) == {"false": "0", "true": "1"}
    assert correspondence(["0", "1", "2"], ["1", "2", "3"]) == {"0": "1", "1": "2", "2": "3"}


@pytest.mark.parametrize(
    ("model", "data"), [(["a", "b"], ["c", "d"]), (["0", "1"], ["a", "b", "c"]), (["1", "2"], ["a", "b"])]
)
def test_labels_that_do_not_correspond_are_never_guessed(model: list[str], data: list[str]) -> None:
    with pytest.raises(Invalid, match="do not correspond"):
        correspondence(model, data)


def test_a_mapping_is_applied_and_recorded() -> None:
    rows = labelled(_subject(["<=50K", ">50K"] * 20, ("0", "1")))
    assert rows.correct.all()
    assert rows.mapping == {"0": "<=50K", "1": ">50K"}
    assert run_check("adversarial_robustness", _subject(["no", "yes"] * 50, ("0", "1"))).details["label_mapping"] == {
        "0": "no",
        "1": "yes",
    }


def test_float_labels_are_the_integers_they_spell() -> None:
    assert labelled(_subject([0.0, 1.0] * 10, ("0", "1"))).correct.all()


def test_rows_without_a_label_are_left_out_and_counted() -> None:
    rows = labelled(_subject([0.0, float("nan"), 0.0, 1.0], ("0", "1")))
    assert len(rows) == 3
    assert rows.unlabelled == 1


def test_a_column_without_any_label_is_inconclusive() -> None:
    result = run_check("bias_fairness", _subject([float("nan")] * 5, ("0", "1"), sensitive=("x",)))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "no row has a label" in result.reason


def test_a_measurement_is_no_label() -> None:
    result = run_check("adversarial_robustness", _subject([float(each) + 0.5 for each in range(1500)], ("0", "1")))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "1500 distinct values" in result.reason


def test_the_policy_file_loads_and_its_digest_is_that_of_its_bytes() -> None:
    import hashlib

    thresholds = load_thresholds(POLICY)
    assert thresholds.digest == hashlib.sha256(POLICY.read_bytes()).hexdigest()
    limit = thresholds.adversarial_robustness.attacked_fraction
    assert limit.at(Tier.MINIMAL) >= limit.at(Tier.LIMITED) >= limit.at(Tier.HIGH)


def _changed(tmp_path: Path, *path: str, value: Any) -> Path:
    document = yaml.safe_load(POLICY.read_text())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    target = tmp_path / "thresholds.yaml"
    target.write_text(yaml.safe_dump(document))
    return target


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("data_privacy", "confidence", "source"), "", "data_privacy.confidence.source"),
        (("bias_fairness", "disparate_impact", "high"), 1.5, "bias_fairness.disparate_impact.high"),
        (("transparency", "items"), [], "transparency.items"),
        (("adversarial_robustness", "epsilon"), 1, "adversarial_robustness.epsilon"),
        (("digest",), "0" * 64, "without `digest`"),
    ],
)
def test_a_policy_file_that_is_not_right_is_refused_with_the_place(
    tmp_path: Path, path: tuple[str, ...], value: Any, words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        load_thresholds(_changed(tmp_path, *path, value=value))


def test_a_policy_file_that_is_not_there_or_no_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no thresholds at"):
        load_thresholds(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(Invalid, match="is not YAML"):
        load_thresholds(broken)
