"""The bill of materials: valid by the strict schema, the same for the same evidence, silent on what nobody knows."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from vallum.compliance.v1 import compliance_service_pb2, decision_pb2
from vallum.registry.v1 import model_pb2, registry_service_pb2
from vallum.validator.v1 import evidence_pb2, validator_service_pb2
from vallum_client.bom import Materials, bill_of_materials, checked
from vallum_client.cli.materials import front_matter
from vallum_common.errors import Denied, NotFound

DIGEST = "ab" * 32
CARD = b"---\nlicense: apache-2.0\nbase_model: acme/base\nlibrary_name: sklearn\n---\n# A card\n"


def check(name: str, outcome: str = "PASS", **changes: Any) -> dict[str, Any]:
    measured = {"value": 0.25, "interval": [0.1, 0.5], "method": "a method", "details": {}}
    return {"name": name, "outcome": outcome, "reason": f"{name} {outcome}", **measured, **changes}


def finding(rule: str, severity: str, member: str = "", offset: int | None = None) -> dict[str, Any]:
    return {"rule": rule, "severity": severity, "member": member, "offset": offset, "message": f"{rule} here"}


FAIR = {
    "families": [
        {
            "columns": ["sex"],
            "groups": [
                {"name": "Female", "impact": {"ratio": 0.5, "low": 0.4, "high": 0.6}, "accuracy": 0.9},
                {"name": "Male", "impact": {"ratio": 1.0, "low": 1.0, "high": 1.0}, "accuracy": 0.8},
            ],
        }
    ]
}
TOLD = {
    "declared_metrics": [{"name": "f1", "declared": 0.9, "reproduced": 0.875, "low": 0.8, "high": 0.95}],
    "importance": [{"feature": "income", "loss": 0.1}, {"feature": "age", "loss": 0.2}],
}
MATERIALS = Materials(
    model={
        "model": "loans", "version": "1.0.0+build", "digest": DIGEST, "verdict": "APPROVED",
        "tier": "high", "task": "classification", "owner": "credit", "intended_use": "To decide.",
        "files": [
            {"role": "FILE_ROLE_ARTIFACT", "path": "model.pkl", "sha256": DIGEST},
            {"role": "FILE_ROLE_EVALUATION", "path": "evaluation.parquet", "sha256": "cd" * 32},
            {"role": "FILE_ROLE_CARD", "path": "card.md", "sha256": "ef" * 32},
        ],
    },
    lineage={
        "vendor": "", "code": "git:abc",
        "ancestors": [
            {"model": "loans", "version": "0.9.0", "digest": "12" * 32}, {"model": "l", "version": "0", "digest": ""}
        ],
        "datasets": [{"name": "applications", "sha256": "34" * 32}, {"name": "census", "sha256": ""}],
    },
    report={
        "completed_at": "2026-11-25T12:00:00Z",
        "thresholds_digest": "56" * 32,
        "signature": {"outcome": "VERIFIED", "publisher": "acme", "key_id": "78" * 32, "publishers_digest": "9a" * 32},
        "checks": [
            check("adversarial_robustness", "FAIL"),
            check("data_privacy", "INCONCLUSIVE", value=None, interval=None),
            check("bias_fairness", details=FAIR),
            check("transparency", details=TOLD),
        ],
        "scan": {
            "verdict": "MALICIOUS", "rules_digest": "bc" * 32,
            "files": [
                {"path": "model.pkl", "sha256": DIGEST, "format": "pickle", "verdict": "MALICIOUS", "findings": [
                    finding("pickle.global-denied", "CRITICAL", offset=0),
                    finding("pickle.trailing-bytes", "HIGH", "data.pkl"),
                ]},
                {"path": "evaluation.parquet", "sha256": "cd" * 32, "format": "parquet", "verdict": "CLEAN",
                 "findings": [finding("personal.found", "MEDIUM", offset=7)]},
            ],
        },
    },
    decision={"policy_digest": "de" * 32, "input_digest": "f0" * 32},
    card=front_matter(CARD),
    tool_version="0.1.0",
)  # fmt: skip
NOTHING_MEASURED = replace(MATERIALS, report={}, decision={}, card={}, tool_version="0.1.0")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(checked(bill_of_materials(MATERIALS)))


def test_the_model_is_told_with_digest_licence_and_descent(document: dict[str, Any]) -> None:
    component = document["metadata"]["component"]
    assert component["type"] == "machine-learning-model"
    assert component["hashes"] == [{"alg": "SHA-256", "content": DIGEST}]
    assert component["purl"] == f"pkg:generic/loans@1.0.0%2Bbuild?checksum=sha256:{DIGEST}"
    assert component["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert (component["supplier"]["name"], component["publisher"]) == ("credit", "acme")
    assert [entry["name"] for entry in component["pedigree"]["ancestors"]] == ["loans", "l", "acme/base"]
    properties = {entry["name"]: entry["value"] for entry in component["properties"]}
    assert properties["vallum:format"] == "pickle"
    assert properties["vallum:scan-rules-digest"] == "bc" * 32
    assert properties["vallum:thresholds-digest"] == "56" * 32
    assert properties["vallum:policy-digest"] == "de" * 32


def test_data_sets_are_components_the_model_depends_on(document: dict[str, Any]) -> None:
    refs = {entry["bom-ref"] for entry in document["components"]}
    assert refs == {"dataset:1:applications", "dataset:2:census", "file:evaluation:evaluation.parquet"}
    assert set(document["dependencies"][0]["dependsOn"]) == refs
    card = document["metadata"]["component"]["modelCard"]
    assert {entry["ref"] for entry in card["modelParameters"]["datasets"]} == refs
    assert [entry["format"] for entry in card["modelParameters"]["inputs"]] == ["column 'age'", "column 'income'"]


def test_what_the_checks_measured_comes_with_intervals_and_slices(document: dict[str, Any]) -> None:
    card = document["metadata"]["component"]["modelCard"]
    metrics = {
        (entry["type"], entry.get("slice", "")): entry for entry in card["quantitativeAnalysis"]["performanceMetrics"]
    }
    assert metrics["f1", "the evaluation rows"]["confidenceInterval"] == {"lowerBound": "0.8", "upperBound": "0.95"}
    assert metrics["adversarial_robustness: a method", ""]["value"] == "0.25"
    assert metrics["accuracy", "sex = Female"]["value"] == "0.9"
    assert not any("data_privacy" in name for name, _ in metrics)
    considerations = card["considerations"]
    assert considerations["useCases"] == ["To decide."]
    assert [line.split(":")[0] for line in considerations["technicalLimitations"]] == [
        "adversarial_robustness FAIL",
        "data_privacy INCONCLUSIVE",
    ]
    assert [entry["groupAtRisk"] for entry in considerations["fairnessAssessments"]] == ["sex = Female"]


def test_each_finding_is_an_entry_with_its_place_and_what_it_means(document: dict[str, Any]) -> None:
    entries = document["vulnerabilities"]
    assert [(entry["id"], entry["analysis"]["state"]) for entry in entries] == [
        ("pickle.global-denied", "exploitable"),
        ("pickle.trailing-bytes", "in_triage"),
        ("personal.found", "not_affected"),
    ]
    assert [entry["affects"][0]["ref"] for entry in entries] == [
        "vallum:loans@1.0.0+build", "vallum:loans@1.0.0+build", "file:evaluation:evaluation.parquet"
    ]  # fmt: skip
    first, second, _ = ({entry["name"]: entry["value"] for entry in one["properties"]} for one in entries)
    assert first["vallum:offset"] == "0"
    assert "vallum:offset" not in second
    assert second["vallum:member"] == "data.pkl"
    assert entries[0]["ratings"][0]["severity"] == "critical"


def test_the_same_evidence_gives_the_same_bytes_and_other_bytes_another_number() -> None:
    again = copy.deepcopy(MATERIALS)
    assert checked(bill_of_materials(again)) == checked(bill_of_materials(MATERIALS))
    other = replace(MATERIALS, model={**MATERIALS.model, "digest": "00" * 32})
    assert bill_of_materials(other)["serialNumber"] != bill_of_materials(MATERIALS)["serialNumber"]


def test_what_nobody_knows_is_left_out() -> None:
    document = json.loads(checked(bill_of_materials(NOTHING_MEASURED)))
    assert document["vulnerabilities"] == []
    component = document["metadata"]["component"]
    assert not {"licenses", "publisher"} & set(component)
    assert "quantitativeAnalysis" not in component["modelCard"]
    properties = {entry["name"]: entry["value"] for entry in component["properties"]}
    assert (properties["vallum:scan-verdict"], properties["vallum:signature"]) == ("UNKNOWN", "UNKNOWN")


@pytest.mark.parametrize(
    "details",
    [
        {"families": 3},
        {"families": [{"groups": [{"impact": "x"}]}]},
        {"declared_metrics": [{"reproduced": "x"}, 3]},
        {"importance": {"a": 1}},
    ],
)
def test_details_of_another_shape_do_no_harm(details: dict[str, Any]) -> None:
    names = ("bias_fairness", "transparency")
    report = {**MATERIALS.report, "checks": [check(name, details=details) for name in names]}
    assert checked(bill_of_materials(replace(MATERIALS, report=report)))


def test_what_is_no_cyclonedx_is_not_handed_out() -> None:
    document = copy.deepcopy(dict(bill_of_materials(MATERIALS)))
    document["metadata"]["component"]["modelCard"]["bogus"] = 1
    with pytest.raises(ValueError, match=r"no CycloneDX 1\.6"):
        checked(document)


@pytest.mark.parametrize(
    ("content", "read"),
    [
        (CARD, {"license": "apache-2.0", "base_model": "acme/base", "library_name": "sklearn"}),
        (b"# no front matter", {}),
        (b"---\na: &x [1]\nb: *x\n---\n", {}),
        (b"---\n[\n---\n", {}),
        (b"---\n- a list\n---\n", {}),
        (b"\xff\xfe", {}),
    ],
)
def test_the_front_matter_of_a_hostile_card_is_nothing(content: bytes, read: dict[str, Any]) -> None:
    assert front_matter(content) == read


@pytest.mark.parametrize("licence", ["MIT", "mit", "Acme's own", "", None, 3, ["mit", "Other"]])
def test_a_licence_is_an_id_where_there_is_one(licence: Any) -> None:
    assert checked(bill_of_materials(replace(NOTHING_MEASURED, card={"license": licence})))


class TestCommand:
    def known(self, platform: Any, **answers: Any) -> None:
        reference = model_pb2.ModelReference(model="loans", version="1", digest=DIGEST)
        sha256 = hashlib.sha256(CARD).hexdigest()
        card = model_pb2.BundleFile(role="FILE_ROLE_CARD", path="card.md", size_bytes=len(CARD), sha256=sha256)
        file = evidence_pb2.FileReport(path="m", sha256=DIGEST, verdict="SCAN_VERDICT_UNKNOWN")
        file.findings.add(rule="r", severity="SEVERITY_HIGH", offset=76, message="m")
        platform.answers |= {
            "GetModel": registry_service_pb2.GetModelResponse(
                model=reference, owner="o", task="regression", files=[card]
            ),
            "GetLineage": registry_service_pb2.GetLineageResponse(model=reference, vendor="Acme"),
            "GetReport": validator_service_pb2.GetReportResponse(
                scan=evidence_pb2.ScanReport(verdict="SCAN_VERDICT_UNKNOWN", files=[file])
            ),
            "GetDecision": compliance_service_pb2.GetDecisionResponse(
                decision=decision_pb2.ComplianceDecided(policy_digest="cd" * 32)
            ),
            "DownloadArtifact": [registry_service_pb2.DownloadArtifactResponse(data=CARD)],
            **answers,
        }

    def test_it_prints_one_document(self, vallum: Any, platform: Any) -> None:
        self.known(platform)
        typed = vallum("models", "bom", "loans@1")
        assert typed.code == 0, typed.error
        component = typed.document["metadata"]["component"]
        assert component["supplier"] == {"name": "Acme"}
        assert component["licenses"] == [{"license": {"id": "Apache-2.0"}}]
        place = {entry["name"]: entry["value"] for entry in typed.document["vulnerabilities"][0]["properties"]}
        assert place["vallum:offset"] == "76"

    def test_it_writes_a_file_and_says_where(self, vallum: Any, platform: Any, tmp_path: Any) -> None:
        self.known(platform, DownloadArtifact=Denied("auditors read no files"), GetReport=NotFound("not measured"),
                   GetDecision=NotFound("not decided"))  # fmt: skip
        typed = vallum("models", "bom", "loans@1", "--output", tmp_path / "bom.json", "--json")
        assert typed.document == {"model": "loans", "version": "1", "bom": str(tmp_path / "bom.json")}
        assert json.loads((tmp_path / "bom.json").read_text())["specVersion"] == "1.6"

    def test_a_card_with_other_bytes_is_not_believed(self, vallum: Any, platform: Any) -> None:
        self.known(platform, DownloadArtifact=[registry_service_pb2.DownloadArtifactResponse(data=CARD + b" ")])
        assert "licenses" not in vallum("models", "bom", "loans@1").document["metadata"]["component"]
