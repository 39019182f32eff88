"""SARIF 2.1.0: valid by the schema, complete by the standard, and blind to no verdict."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from vallum_validator.domain.findings import FileReport, Finding, ScanReport, ScanVerdict, Severity
from vallum_validator.scan import scan_paths
from vallum_validator.scan.rules import RULES
from vallum_validator.scan.sarif import sarif, uri

SCHEMA = json.loads((Path(__file__).parent / "data" / "sarif-2.1.0.json").read_text())
HOSTILE = b"\x80\x02cos\nsystem\n(X\x02\0\0\0idtR."


def valid(report: ScanReport) -> dict[str, Any]:
    """The one run of the log, which is valid."""
    log = json.loads(json.dumps(sarif(report, version="1.2.3", exit_code=1)))
    jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(log)
    (run,) = log["runs"]
    return dict(run)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The scan of files of every kind."""
    monkeypatch.chdir(tmp_path)
    Path("a clean.pkl").write_bytes(pickle.dumps([1]))
    Path("hostile.pkl").write_bytes(HOSTILE)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("inner/model.pkl", HOSTILE)
    Path("model.zip").write_bytes(archive.getvalue())
    Path(os.fsdecode(b"odd\xff\x1b.bin")).write_bytes(bytes(range(256)))
    return valid(scan_paths([*sorted(Path().iterdir()), Path("missing")]))


def test_every_file_is_an_artifact_with_its_hash_and_verdict(run: dict[str, Any]) -> None:
    told = {file["location"]["uri"]: file for file in run["artifacts"] if "parentIndex" not in file}
    assert list(told) == ["a%20clean.pkl", "hostile.pkl", "model.zip", "odd%FF%1B.bin", "missing"]
    assert [file["properties"]["verdict"] for file in told.values()] == [
        "CLEAN", "MALICIOUS", "MALICIOUS", "UNKNOWN", "UNKNOWN",
    ]  # fmt: skip
    assert len(told["hostile.pkl"]["hashes"]["sha-256"]) == 64
    assert told["hostile.pkl"]["length"] == len(HOSTILE)
    assert "hashes" not in told["missing"]


def test_finding_has_rule_level_place_and_fingerprint(run: dict[str, Any]) -> None:
    first = next(result for result in run["results"] if result["ruleId"] == "pickle.global-denied")
    assert (first["kind"], first["level"]) == ("fail", "error")
    assert run["tool"]["driver"]["rules"][first["ruleIndex"]]["id"] == "pickle.global-denied"
    (location,) = first["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "hostile.pkl", "index": 1},
        "region": {"byteOffset": 2},
    }
    assert len(first["partialFingerprints"]["finding/v1"]) == 32


def test_place_in_a_member_is_an_offset_in_an_artifact_of_its_own(run: dict[str, Any]) -> None:
    inside = [r for r in run["results"] if r["ruleId"] == "pickle.global-denied" and "relatedLocations" in r]
    (location,), (related,) = inside[0]["locations"], inside[0]["relatedLocations"]
    assert location["logicalLocations"] == [{"fullyQualifiedName": "inner/model.pkl", "kind": "member"}]
    assert "region" not in location["physicalLocation"]
    where = related["physicalLocation"]
    assert where["region"] == {"byteOffset": 2}
    nested = run["artifacts"][where["artifactLocation"]["index"]]
    parent = run["artifacts"][nested["parentIndex"]]
    assert (nested["location"]["uri"], parent["location"]["uri"]) == ("inner/model.pkl", "model.zip")


def test_file_that_is_unknown_is_an_open_result_beside_its_findings(run: dict[str, Any]) -> None:
    opened = [result for result in run["results"] if result["kind"] == "open"]
    assert [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in opened] == [
        "odd%FF%1B.bin", "missing",
    ]  # fmt: skip
    assert {result["level"] for result in opened} == {"none"}
    closing = [result for result in run["results"] if result["ruleId"] in ("file.unrecognised", "file.unreadable")]
    assert [(result["kind"], result["level"]) for result in closing] == [("fail", "warning"), ("fail", "error")]


def test_tool_tells_version_and_every_rule_with_help(run: dict[str, Any]) -> None:
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("Vallum", "1.2.3")
    assert len(driver["properties"]["rulesDigest"]) == 64
    assert {rule["id"] for rule in driver["rules"]} == {*RULES, "verdict.unknown"}
    for rule in driver["rules"]:
        assert rule["help"]["text"].startswith(rule["shortDescription"]["text"])
        assert 0 <= float(rule["properties"]["security-severity"]) <= 10


def test_all_that_can_be_found_is_valid() -> None:
    findings = tuple(
        Finding(rule.id, rule.severity, "m\udcff!/\x00", 2**62, f"{rule.meaning} \udcff \x1b[2J")
        for rule in RULES.values()
    )
    file = FileReport("/a/b\udcff#?%.pkl", "", 0, "unknown", ScanVerdict.UNKNOWN, findings)
    told = valid(ScanReport((file, file), "0" * 64))
    assert len(told["results"]) == len(RULES) + 1
    assert len(told["artifacts"]) == 2
    info = [result for result in told["results"] if RULES.get(result["ruleId"]) and "level" in result
            and RULES[result["ruleId"]].severity is Severity.INFO]  # fmt: skip
    assert {(result["kind"], result["level"]) for result in info} == {("informational", "none")}


def test_a_scanner_that_failed_says_so() -> None:
    failed = Finding("scan.failed", Severity.HIGH, "", None, "x")
    report = ScanReport((FileReport("a", "", 0, "unknown", ScanVerdict.UNKNOWN, (failed,)),), "0" * 64)
    (invocation,) = valid(report)["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["toolExecutionNotifications"][0]["message"] == {"text": "x"}
    assert valid(ScanReport((), "0" * 64))["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]


def test_fingerprint_stays_when_the_place_moves() -> None:
    def fingerprint(offset: int) -> Any:
        finding = Finding("pickle.global-denied", Severity.CRITICAL, "a", offset, "x")
        file = FileReport("a", "ab" * 32, 1, "pickle", ScanVerdict.MALICIOUS, (finding,))
        return valid(ScanReport((file,), ""))["results"][0]["partialFingerprints"]

    assert fingerprint(1) == fingerprint(2)


def test_path_is_a_reference() -> None:
    assert uri("/models/größe 1.pkl") == "file:///models/gr%C3%B6%C3%9Fe%201.pkl"
    assert uri("a:b/c?d#e") == "a%3Ab/c%3Fd%23e"
