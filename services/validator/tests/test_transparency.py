"""transparency: what a card tells is counted, what it claims is reproduced, and hostile cards do no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from vallum_validator.checks import load_thresholds, run_check
from vallum_validator.checks.card import parse_card, told
from vallum_validator.checks.explanation import importances, surrogate
from vallum_validator.checks.performance import canonical_metric, measure
from vallum_validator.checks.testing import FormulaPredictor, subject_of
from vallum_validator.checks.thresholds import CardItem
from vallum_validator.checks.truth import labelled
from vallum_validator.domain.evidence import CheckResult, Outcome
from vallum_validator.table import PredictionFailed, Table

THRESHOLDS = load_thresholds(Path(__file__).parents[3] / "policies" / "thresholds.yaml")
FEATURES: dict[str, dict[str, Any]] = {"signal": {"type": "number"}, "noise": {"type": "number"}}
SENTENCE = "This paragraph tells enough words to count.\n"
FULL = "---\nlicense: mit\ndatasets: [adult]\n---\n" + "".join(
    f"## {heading}\n{SENTENCE}"
    for heading in (
        "Intended use", "Out-of-scope use", "Contact", "Model details", "Training procedure", "Preprocessing",
        "Evaluation", "Results", "Fairness by group", "Limitations", "Risks", "Robustness and security",
        "Human oversight", "Inputs", "How to use", "Software", "Monitoring", "Privacy",
    )
)  # fmt: skip


def _answer(table: Table) -> np.ndarray:
    positive = 1 / (1 + np.exp(-3 * table.columns["signal"]))
    return np.column_stack([1 - positive, positive])


def _table(rows: int = 800) -> Table:
    rng = np.random.default_rng(1)
    signal, noise = rng.normal(size=(2, rows))
    label = np.array(["1" if each > 0 else "0" for each in signal + rng.normal(0, 0.5, rows)], dtype=object)
    return Table({"signal": signal, "noise": noise, "label": label})


def _check(card: str | None, answer: Any = _answer, **more: Any) -> CheckResult:
    more = {"classes": ("0", "1"), "evaluation": _table(), **more}
    return run_check("transparency", subject_of(answer, FEATURES, thresholds=THRESHOLDS, card=card, **more))


def _claiming(name: str, value: float) -> str:
    index = f"model-index:\n- name: m\n  results:\n  - metrics:\n    - {{type: {name}, value: {value}}}\n"
    return FULL.replace("license: mit\n", "license: mit\n" + index)


def _accuracy() -> float:
    table = _table()
    return float(np.mean((table.columns["signal"] > 0) == (table.columns["label"] == "1")))


def test_a_card_that_tells_everything_passes() -> None:
    result = _check(FULL)
    assert result.outcome is Outcome.PASS
    assert result.value == 1.0
    assert result.details["missing_items"] == []


def test_a_thin_card_fails_and_each_missing_item_is_named() -> None:
    result = _check("# A model\n" + SENTENCE)
    assert result.outcome is Outcome.FAIL
    missing = result.details["missing_items"]
    assert {"limitations", "human-oversight", "license"} <= {item["id"] for item in missing}


def test_no_card_is_inconclusive() -> None:
    result = _check(None)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "card is missing" in result.reason


def test_a_true_claim_holds_also_in_per_cent() -> None:
    for value in (round(_accuracy(), 2), round(100 * _accuracy(), 1)):
        result = _check(_claiming("accuracy", value))
        assert result.outcome is Outcome.PASS
        assert result.details["declared_metrics"][0]["holds"] is True


def test_a_boast_fails_a_complete_card() -> None:
    result = _check(_claiming("accuracy", 0.99))
    assert result.outcome is Outcome.FAIL
    assert "declares accuracy 0.99" in result.reason


def test_a_loss_is_boasted_of_by_declaring_less() -> None:
    assert _check(_claiming("log_loss", 0.01)).outcome is Outcome.FAIL
    assert _check(_claiming("log_loss", 5.0)).outcome is Outcome.PASS


def test_a_metric_we_cannot_reproduce_is_listed_and_decides_nothing() -> None:
    result = _check(_claiming("user_happiness", 0.99))
    assert result.outcome is Outcome.PASS
    assert result.details["declared_metrics"][0]["reproduced"] is None
    assert result.reason.endswith("; declared and not reproduced here: user_happiness")


def test_a_model_that_cannot_be_asked_is_inconclusive_however_good_the_card() -> None:
    def crash(table: Table) -> np.ndarray:
        raise PredictionFailed("the worker stopped")

    result = _check(FULL, crash)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "the worker stopped" in result.reason


def test_template_placeholders_and_empty_headings_tell_nothing() -> None:
    item = CardItem(id="limits", asks="limits", headings=("limitation",), source="a test, not a standard")
    for text in (
        "## Limitations\n[More Information Needed]\n",
        "## Limitations\n<!-- describe the limits of the model here -->\n",
        "## Limitations\n## Next\n" + SENTENCE,
        SENTENCE,
    ):
        assert not told(parse_card(text), item, {}, 5)
    for text in (
        "## Known limitations\n" + SENTENCE,
        "Limitations\n-----------\n" + SENTENCE,
        "- **Limitations:** " + SENTENCE,
        "# Limitations\n### Of age\n" + SENTENCE,
    ):
        assert told(parse_card(text), item, {}, 5)


def test_front_matter_and_manifest_tell_too_but_not_when_empty() -> None:
    item = CardItem(id="l", asks="licence", front_matter=("license",), manifest=("lineage.code",), source="a test only")
    assert told(parse_card("---\nlicense: mit\n---\n"), item, {}, 5)
    assert told(parse_card(""), item, {"lineage": {"code": "git:1"}}, 5)
    assert not told(parse_card("---\nlicense: ''\n---\n"), item, {"lineage": {"code": ""}}, 5)


@pytest.mark.parametrize("front", ["a: [", "- 1\n- 2", "a: &x [1]\nb: *x", "!!python/object/apply:os.system [id]"])
def test_front_matter_that_is_broken_or_hostile_is_a_problem_not_a_crash(front: str) -> None:
    card = parse_card(f"---\n{front}\n---\n# Text\n")
    assert card.problem
    assert card.front_matter == {}


@given(st.text(alphabet=st.sampled_from("-#*:[]{}&!|>'\" \nabc0.")), st.text())
@settings(max_examples=100, deadline=None)
def test_no_text_breaks_the_parser(front: str, body: str) -> None:
    for text in (front, body, f"---\n{front}\n---\n{body}"):
        assert all(section.words >= 0 for section in parse_card(text).sections)


def test_metrics_equal_those_of_scikit_learn() -> None:
    rows = labelled(subject_of(_answer, FEATURES, thresholds=THRESHOLDS, classes=("0", "1"), evaluation=_table()))
    found = measure(rows, 1, 0.95, np.random.default_rng(0))
    assert rows.probabilities is not None
    truth, predicted, score = rows.truth, rows.predicted, rows.probabilities[:, 1]
    expected = {
        "accuracy": [sk.accuracy_score(truth, predicted)],
        "balanced_accuracy": [sk.balanced_accuracy_score(truth, predicted)],
        "f1": [sk.f1_score(truth, predicted, average=each) for each in ("macro", "weighted", "binary")],
        "precision": [sk.precision_score(truth, predicted, average=each) for each in ("macro", "weighted", "binary")],
        "recall": [sk.recall_score(truth, predicted, average=each) for each in ("macro", "weighted", "binary")],
        "roc_auc": [sk.roc_auc_score(truth, score)],
        "log_loss": [sk.log_loss(truth, score)],
        "brier_score": [sk.brier_score_loss(truth, score)],
    }
    assert {name: [each.value for each in values] for name, values in found.items()} == {
        name: pytest.approx(values) for name, values in expected.items()
    }
    assert all(each.interval.low <= each.value <= each.interval.high for values in found.values() for each in values)


@pytest.mark.parametrize(("name", "canonical"), [("Accuracy", "accuracy"), ("eval_F1 score", "f1"), ("AUC", "roc_auc")])
def test_spellings_of_a_metric_are_one(name: str, canonical: str) -> None:
    assert canonical_metric(name) == canonical


def test_importance_finds_the_signal_and_gives_noise_no_weight() -> None:
    subject = subject_of(_answer, FEATURES, thresholds=THRESHOLDS, classes=("0", "1"), evaluation=_table())
    assert subject.predictor is not None
    found = importances(subject.predictor, labelled(subject), 10_000, np.random.default_rng(0))
    assert [each.feature for each in found] == ["signal", "noise"]
    assert found[0].loss > 5 * found[0].standard_error > 0
    assert found[1].loss == 0.0


def test_importance_stays_within_its_queries() -> None:
    subject = subject_of(_answer, FEATURES, thresholds=THRESHOLDS, classes=("0", "1"), evaluation=_table())
    rows = labelled(subject)
    assert isinstance(subject.predictor, FormulaPredictor)
    before = subject.predictor.ledger.rows
    importances(subject.predictor, rows, 300, np.random.default_rng(0))
    assert subject.predictor.ledger.rows - before <= 300


def test_a_tree_imitates_a_step_perfectly() -> None:
    subject = subject_of(_answer, FEATURES, thresholds=THRESHOLDS, classes=("0", "1"), evaluation=_table(2_000))
    assert subject.predictor is not None
    found = surrogate(subject.predictor, labelled(subject), np.random.default_rng(0), 0.95)
    assert found is not None
    assert found.value > 0.99 > 0.6 > found.majority


def test_a_boast_stays_a_fail_when_the_model_crashes_afterwards() -> None:
    calls = 0

    def once(table: Table) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise PredictionFailed("the worker stopped")
        return _answer(table)

    result = _check(_claiming("accuracy", 0.99), once)
    assert result.outcome is Outcome.FAIL
    assert result.details["not_measured"] == "the worker stopped"
