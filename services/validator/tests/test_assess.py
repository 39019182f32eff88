"""A submission is measured from beginning to end, and whatever breaks on the way is a named inconclusive result."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

from vallum_common.bundle import Feature, Manifest, Task
from vallum_common.errors import Invalid
from vallum_validator.assess import Progress, assess, run_checks, seed_of
from vallum_validator.checks.thresholds import Thresholds, load_thresholds
from vallum_validator.domain.evidence import (
    CHECK_NAMES,
    CheckResult,
    Interval,
    Outcome,
    SignatureOutcome,
    SignatureReport,
)
from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.sandbox import opened
from vallum_validator.sandbox.opened import OpenedModel
from vallum_validator.sandbox.process import Worker
from vallum_validator.table import (
    PredictionFailed,
    Predictions,
    QueryLedger,
    Subject,
    Table,
    canonical_column,
)

from .models.bundles import LABEL, manifest_of, numeric, numeric_features, write_table
from .models.onnx_models import as_matrix, graph, output

THRESHOLDS = Path(__file__).parents[3] / "policies" / "thresholds.yaml"
BEHAVIOUR = ("adversarial_robustness", "data_privacy", "bias_fairness")
FEATURES = {"n": {"type": "number"}}


@pytest.fixture(scope="module")
def thresholds() -> Thresholds:
    return load_thresholds(THRESHOLDS)


@pytest.fixture
def iris(tmp_path: Path) -> tuple[Path, Manifest]:
    """An honest bundle with fifty rows to evaluate, and no card."""
    frame, labels = numeric("iris")
    estimator = LogisticRegression().fit(frame.to_numpy(), labels)
    (tmp_path / "model.onnx").write_bytes(as_matrix(estimator, 4))
    some = np.arange(0, 150, 3)
    write_table(tmp_path / "evaluation.parquet", frame.iloc[some], labels[some])
    return tmp_path, manifest_of(numeric_features(frame))


def with_model(folder: Path, artifact: bytes, *, name: str = "model.onnx") -> tuple[Path, Manifest]:
    """A bundle of this artefact and six rows of one feature."""
    (folder / name).write_bytes(artifact)
    write_table(folder / "evaluation.parquet", pd.DataFrame({"n": np.arange(6.0)}), [0, 1, 0, 1, 0, 1])
    return folder, manifest_of(FEATURES, artifact=name)


def labels_of_sign() -> bytes:
    nodes = [
        helper.make_node("Sign", ["X"], ["sign"]),
        helper.make_node("Cast", ["sign"], ["label"], to=TensorProto.INT64),
    ]
    return graph(nodes, [output("label", TensorProto.INT64, [None, 1])], width=1)


def reasons(bundle: tuple[Path, Manifest], thresholds: Thresholds, **options: Any) -> Mapping[str, str]:
    """The reason of each check by name; each must be inconclusive."""
    assessment = assess(*bundle, thresholds=thresholds, seed=1, **options)
    assert {check.outcome for check in assessment.checks} <= {Outcome.INCONCLUSIVE}
    return {check.name: check.reason for check in assessment.checks}


def test_an_honest_bundle_is_measured_from_beginning_to_end(iris: Any, thresholds: Thresholds) -> None:
    told: list[Progress] = []
    assessment = assess(*iris, thresholds=thresholds, seed=5, on_progress=told.append)
    assert [check.name for check in assessment.checks] == list(CHECK_NAMES)
    assert assessment.checks[0].outcome is not Outcome.INCONCLUSIVE
    assert assessment.checks[-1].reason == "card is missing: the manifest does not name it"
    assert assessment.scan.verdict is ScanVerdict.CLEAN
    assert [file.path for file in assessment.scan.files] == ["model.onnx", "evaluation.parquet"]
    assert assessment.isolation is not None
    assert assessment.thresholds_digest == thresholds.digest
    assert [one.name for one in assessment.baseline][-1] == "prediction"
    assert sum(assessment.baseline[-1].counts) == 50
    stages = ["scan", "data", "model", *CHECK_NAMES, "baseline"]
    assert [(one.stage, one.state) for one in told] == [
        (stage, state) for stage in stages for state in ("started", "finished")
    ]
    assert [one.check for one in told if one.check] == list(assessment.checks)


def test_a_signature_stands_only_under_the_bytes_that_were_scanned(iris: Any, thresholds: Thresholds) -> None:
    scanned = hashlib.sha256((iris[0] / "model.onnx").read_bytes()).hexdigest()
    for digest, outcome in ((scanned, SignatureOutcome.VERIFIED), ("00" * 32, SignatureOutcome.INVALID)):
        signature = SignatureReport(SignatureOutcome.VERIFIED, "acme", digest=digest)
        assessment = assess(*iris, thresholds=thresholds, seed=5, only=["transparency"], signature=signature)
        assert assessment.signature.outcome is outcome
    assert assess(*iris, thresholds=thresholds, seed=5, only=[]).signature.outcome is SignatureOutcome.UNKNOWN


def test_the_same_submission_gives_the_same_evidence(iris: Any, thresholds: Thresholds) -> None:
    only = ("adversarial_robustness", "bias_fairness")
    first, second = (assess(*iris, thresholds=thresholds, seed=5, only=only) for _ in range(2))
    assert first == second
    assert [check.name for check in first.checks] == list(only)


def test_an_artefact_that_is_not_clean_never_runs(tmp_path: Path, thresholds: Thresholds) -> None:
    marker = tmp_path / "it-ran"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    bundle = with_model(tmp_path, pickle.dumps(Payload()), name="model.pickle")
    told: list[Progress] = []
    assessment = assess(*bundle, thresholds=thresholds, seed=1, on_progress=told.append)
    assert assessment.scan.verdict is not ScanVerdict.CLEAN
    assert assessment.isolation is None
    assert not marker.exists()
    for check in assessment.checks[:3]:
        assert check.outcome is Outcome.INCONCLUSIVE
    assert "the scan calls 'model.pickle'" in assessment.checks[0].reason
    pickle.loads((tmp_path / "model.pickle").read_bytes())
    assert marker.exists()


def test_a_model_that_answers_at_random_never_passes(tmp_path: Path, thresholds: Thresholds) -> None:
    nodes = [
        helper.make_node("RandomUniformLike", ["X"], ["chance"], low=0.0, high=2.0),
        helper.make_node("Cast", ["chance"], ["label"], to=TensorProto.INT64),
    ]
    artifact = graph(nodes, [output("label", TensorProto.INT64, [None, 1])], width=1)
    bundle = with_model(tmp_path, artifact)
    rows = pd.DataFrame({"n": np.arange(200.0)})
    write_table(tmp_path / "evaluation.parquet", rows, np.arange(200) % 2)
    found = reasons(bundle, thresholds, only=("adversarial_robustness", "bias_fairness"))
    assert all("different answers to the same rows" in reason for reason in found.values())


def test_an_artefact_that_cannot_be_loaded_is_inconclusive(tmp_path: Path, thresholds: Thresholds) -> None:
    bundle = with_model(tmp_path, labels_of_sign()[:-40])
    assert set(reasons(bundle, thresholds, only=BEHAVIOUR)) == set(BEHAVIOUR)


def test_a_format_without_a_runtime_is_named(tmp_path: Path, thresholds: Thresholds) -> None:
    np.save(tmp_path / "weights.npy", np.eye(3))
    bundle = with_model(tmp_path, (tmp_path / "weights.npy").read_bytes(), name="model.npy")
    assert "no runtime for the format 'npy' here" in reasons(bundle, thresholds, only=BEHAVIOUR)[BEHAVIOUR[0]]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([0, 0, 0, 0, 0, 0], "one class only"), ([0, 1, 0, 1, 0, None], r"missing (NaN) in 1 of 6 rows")],
)
def test_a_fault_of_the_data_is_named(tmp_path: Path, thresholds: Thresholds, labels: Any, reason: str) -> None:
    bundle = with_model(tmp_path, labels_of_sign())
    write_table(tmp_path / "evaluation.parquet", pd.DataFrame({"n": np.arange(6.0)}), labels)
    found = reasons(bundle, thresholds, only=BEHAVIOUR)
    assert reason in found["adversarial_robustness"]
    assert reason in found["bias_fairness"]


def test_a_bundle_without_data_says_which_part_it_missed(tmp_path: Path, thresholds: Thresholds) -> None:
    root, _ = with_model(tmp_path, labels_of_sign())
    manifest = manifest_of(FEATURES, evaluation=None)
    found = reasons((root, manifest), thresholds, only=BEHAVIOUR)
    assert "no rows: the manifest names no data.evaluation" in found["adversarial_robustness"]
    assert "names no data.members" in found["data_privacy"]


def test_a_manifest_without_features_says_so(tmp_path: Path, thresholds: Thresholds) -> None:
    root, _ = with_model(tmp_path, labels_of_sign())
    found = reasons((root, manifest_of({})), thresholds, only=("adversarial_robustness",))
    assert "names no data.features" in found["adversarial_robustness"]


@pytest.mark.parametrize("allowed", [True, False])
def test_policy_says_whether_a_model_runs_on_a_kernel_that_holds_less(
    iris: Any, thresholds: Thresholds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.setattr(opened, "Worker", functools.partial(Worker, landlock_abi=lambda: 5))
    document = yaml.safe_load(THRESHOLDS.read_text())
    document["isolation"]["allow_weaker"] = allowed
    (tmp_path / "thresholds.yaml").write_text(yaml.safe_dump(document))
    policy = load_thresholds(tmp_path / "thresholds.yaml")
    assessment = assess(*iris, thresholds=policy, seed=1, only=("adversarial_robustness",))
    (check,) = assessment.checks
    if allowed:
        assert assessment.isolation is not None
        assert "this kernel has ABI 5" in assessment.isolation.degraded[0]
        assert check.value is not None
    else:
        assert assessment.isolation is None
        assert "unless policy allows a weaker isolation" in check.reason
    assert not thresholds.isolation.allow_weaker


def test_a_check_that_fails_is_its_own_result_and_the_others_go_on(iris: Any, thresholds: Thresholds) -> None:
    nobody = SimpleNamespace(presidio=None)
    broken: Any = SimpleNamespace(digest="0" * 64, isolation=thresholds.isolation, data_privacy=nobody)
    found = reasons(iris, broken)
    assert list(found) == list(CHECK_NAMES)
    assert found["adversarial_robustness"] == "the check itself failed (AttributeError)"


def test_an_unknown_check_is_refused(iris: Any, thresholds: Thresholds) -> None:
    with pytest.raises(Invalid, match="no check 'fairness'; there are adversarial_robustness"):
        assess(*iris, thresholds=thresholds, seed=1, only=("fairness",))


@pytest.mark.parametrize("how", ["absent", "link"])
def test_a_file_outside_the_bundle_is_refused(tmp_path: Path, thresholds: Thresholds, how: str) -> None:
    root = tmp_path / "bundle"
    root.mkdir()
    bundle = with_model(root, labels_of_sign())
    (root / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    if how == "link":
        (root / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(Invalid, match=r"'model\.onnx', which is no file of the bundle"):
        assess(*bundle, thresholds=thresholds, seed=1)


class Turncoat:
    """A predictor that is right until it is asked whether it stands by its answers."""

    classes = ("a", "b")
    runtime = "a formula"
    features: Mapping[str, Feature] = manifest_of({"n": {"type": "number"}, "group": {"type": "boolean"}}).data.features
    task = Task.CLASSIFICATION
    failure = ""
    said = "the model gave different answers to the same rows asked twice"

    def __init__(self) -> None:
        self.ledger = QueryLedger()

    def predict(self, table: Table) -> Predictions:
        self.ledger = QueryLedger(self.ledger.rows + len(table), self.ledger.calls + 1)
        return Predictions(canonical_column(np.where(table.columns["n"] > 0, "a", "b").tolist()), None)

    def confirm(self) -> None:
        self.failure = self.said
        raise PredictionFailed(self.failure)


class Steadfast(Turncoat):
    def confirm(self) -> None:
        return


def fair_subject(predictor: Any, thresholds: Thresholds) -> Subject:
    random = np.random.default_rng(2)
    rows = {"n": random.normal(size=4_000), "group": random.integers(0, 2, 4_000).astype(np.float64)}
    truth = canonical_column(np.where(rows["n"] > 0, "a", "b").tolist())
    manifest = manifest_of({"n": {"type": "number"}, "group": {"type": "boolean"}}, sensitive=["group"])
    return Subject(
        manifest=manifest,
        predictor=predictor,
        why_not_run="",
        evaluation=Table({**rows, LABEL: truth}),
        members=None,
        population=None,
        missing={},
        card=None,
        thresholds=thresholds,
        seed=3,
    )


def test_a_pass_does_not_stand_when_the_model_no_longer_stands_by_its_answers(thresholds: Thresholds) -> None:
    results: list[CheckResult] = []
    for predictor in (Steadfast(), Turncoat()):
        model = OpenedModel(predictor=predictor)  # type: ignore[arg-type] # a fake with what is used of it
        results += run_checks(fair_subject(predictor, thresholds), model, ["bias_fairness"], lambda _: None)
    trusted, distrusted = results
    assert [trusted.outcome, distrusted.outcome] == [Outcome.PASS, Outcome.INCONCLUSIVE]
    assert distrusted.reason == f"{Turncoat.said}; before that: {trusted.reason}"
    assert (distrusted.value, distrusted.interval) == (None, None)
    assert trusted.value is not None
    assert trusted.interval is not None
    withdrawn = {"value": trusted.value, "interval": [trusted.interval.low, trusted.interval.high]}
    assert distrusted.details == {**trusted.details, "withdrawn": withdrawn}


@pytest.mark.parametrize(
    ("outcome", "value", "withdrawn"),
    [(Outcome.INCONCLUSIVE, 0.8, True), (Outcome.INCONCLUSIVE, None, False), (Outcome.FAIL, 0.1, False)],
)
def test_of_a_model_that_misbehaved_no_measurement_stands_but_one_against_it(
    thresholds: Thresholds, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, value: float | None, withdrawn: bool
) -> None:
    interval = None if value is None else Interval(value - 0.1, value + 0.1)
    result = CheckResult("bias_fairness", outcome, value, interval, reason="why")

    def measured(name: str, subject: Subject) -> CheckResult:
        assert subject.predictor is not None
        assert subject.evaluation is not None
        subject.predictor.predict(subject.evaluation)
        return result

    monkeypatch.setattr("vallum_validator.assess.run_check", measured)
    predictor = Turncoat()
    model = OpenedModel(predictor=predictor)  # type: ignore[arg-type] # a fake with what is used of it
    (told,) = run_checks(fair_subject(predictor, thresholds), model, ["bias_fairness"], lambda _: None)
    assert told.outcome is outcome
    counted = dataclasses.replace(result, details={"queries": told.details["queries"]})
    assert (told != counted) is withdrawn
    assert (told.value is None) is (withdrawn or value is None)
    assert ("withdrawn" in told.details) is withdrawn


def test_the_seed_follows_from_artefact_and_manifest_alone() -> None:
    seed = seed_of("ab" * 32, b"model: x")
    assert seed == seed_of("ab" * 32, b"model: x") == 9_019_196_883_059
    assert len({seed, seed_of("cd" * 32, b"model: x"), seed_of("ab" * 32, b"model: y")}) == 3
    assert 0 <= seed < 2**48
