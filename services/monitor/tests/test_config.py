"""Policy files: what is not one is refused with one line that says where."""

from __future__ import annotations

import hashlib

import pytest
import yaml

from vallum_common.errors import Invalid
from vallum_monitor.config import Config, read_policy
from vallum_monitor.detectors.policy import DetectionPolicy
from vallum_monitor.domain.models import Severity
from vallum_monitor.playbooks.correction import CorrectionPolicy

RULE = {"when": {"detector": "d", "severity": "HIGH"}, "action": "quarantine", "reason": "why"}


def written(tmp_path, document) -> object:
    """A file with this document."""
    path = tmp_path / "policy.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


def test_shipped_policies_are_policies_and_named_by_their_bytes(given):
    detection, digest = read_policy(given.policies / "detection.yaml", DetectionPolicy)
    assert digest == hashlib.sha256((given.policies / "detection.yaml").read_bytes()).hexdigest()
    assert detection.population_drift.window_rows.value > 0
    risk_model = yaml.safe_load((given.policies / "risk.yaml").read_text())
    assert detection.risk_exposure.high_probability.value == risk_model["recommendation_probability"]
    correction, _ = read_policy(given.policies / "correction.yaml", CorrectionPolicy)
    assert correction.rules[0].when.severity is Severity.HIGH


def test_detection_policy_lies_beside_the_correction_policy_unless_named(tmp_path):
    settings = dict.fromkeys(("grpc_address", "kafka", "jwks"), "x")
    url = "postgresql+asyncpg://user@host/monitor"
    config = Config(**settings, database_url=url, data_dir=tmp_path, correction_policy=tmp_path / "correction.yaml")
    assert config.detection_policy_file == tmp_path / "detection.yaml"
    named = config.model_copy(update={"detection_policy": tmp_path / "mine.yaml"})
    assert named.detection_policy_file == tmp_path / "mine.yaml"


def test_first_rule_that_holds_decides(alert):
    rollback = {**RULE, "action": "rollback", "when": {"detector": "population-drift", "severity": "CRITICAL"}}
    quarantine = {**RULE, "when": {"detector": "population-drift", "severity": "HIGH", "confirmed": False}}
    policy = CorrectionPolicy.model_validate({"version": "1", "source": "s", "rules": [rollback, quarantine]})
    assert policy.choose(alert(severity=Severity.CRITICAL)).action == "rollback"
    assert policy.choose(alert(severity=Severity.HIGH, confirmed=False)).action == "quarantine"
    assert policy.choose(alert(severity=Severity.CRITICAL, confirmed=False)).action == "quarantine"
    assert policy.choose(alert(severity=Severity.LOW)) is None


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("rules: [", "is not YAML"),
        ("- a list", "the document"),
        ({"version": "1", "source": "s"}, "rules"),
        ({"version": "1", "source": "s", "rules": [{**RULE, "action": "delete"}]}, "rules.0.action"),
        (
            {"version": "1", "source": "s", "rules": [{**RULE, "when": {"detector": "d", "severity": "BAD"}}]},
            "rules.0.when.severity",
        ),
        ({"version": "1", "source": "s", "rules": [{**RULE, "whenn": {}}]}, "rules.0.whenn"),
    ],
)
def test_correction_policy_that_is_none_is_refused(tmp_path, document, place):
    with pytest.raises(Invalid, match=place):
        read_policy(written(tmp_path, document), CorrectionPolicy)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("population_drift", "window_rows", 1),
        ("population_drift", "false_alarm_rate", 0.0),
        ("population_drift", "false_alarm_rate", 1.5),
        ("population_drift", "medium_psi", -1.0),
        ("population_drift", "high_psi", 0.01),
        ("risk_exposure", "high_probability", 0.0),
        ("risk_exposure", "high_probability", 1.01),
    ],
)
def test_detection_policy_with_an_impossible_limit_is_refused(given, tmp_path, part, name, value):
    document = yaml.safe_load((given.policies / "detection.yaml").read_text())
    document[part][name]["value"] = value
    with pytest.raises(Invalid, match=part):
        read_policy(written(tmp_path, document), DetectionPolicy)


def test_figure_without_a_source_is_refused(given, tmp_path):
    document = yaml.safe_load((given.policies / "detection.yaml").read_text())
    del document["population_drift"]["high_psi"]["source"]
    with pytest.raises(Invalid, match="source"):
        read_policy(written(tmp_path, document), DetectionPolicy)


def test_policy_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Invalid, match="nowhere"):
        read_policy(tmp_path / "nowhere.yaml", CorrectionPolicy)
