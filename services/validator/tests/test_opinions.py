"""Second opinions: programs whose word can close the gate and never open it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from vallum_common.errors import Invalid
from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.scan import opinions, scan_file, scan_paths
from vallum_validator.scan.opinions import ask, find

HONEST, HOSTILE = b"N.", b"\x80\x04cos\nsystem\n."
INFECTED = "{}: dangerous import 'posix system' FOUND\n----\nScanned files: 1\nInfected files: 1"
PASSED = "----\nScanned files: 1\nInfected files: 0"


def hayward(*severities: str) -> str:
    findings = [{"rule_id": "MFV-1", "message": "a call", "severity": severity} for severity in severities]
    return json.dumps({"schema_version": 1, "findings": findings})


def program(folder: Path, name: str, output: str, code: int = 0, body: str = "") -> dict[str, str]:
    """A program that answers so."""
    path = folder / name
    path.write_text(f"#!{sys.executable} -I\nimport os, sys, time\n{body}\nprint({output!r})\nsys.exit({code})\n")
    path.chmod(0o755)
    return {name: str(path)}


@pytest.fixture
def report(tmp_path: Path) -> FileReport:
    (tmp_path / "model.pkl").write_bytes(HONEST)
    report = scan_file(tmp_path / "model.pkl")
    assert report.verdict is ScanVerdict.CLEAN
    return report


@pytest.mark.parametrize(
    ("name", "output", "code", "told"),
    [
        ("picklescan", INFECTED, 1, "picklescan refuses it: \"dangerous import 'posix system'\""),
        ("picklescan", "Infected files: 1", 1, "picklescan refuses it: exit code 1"),
        ("hayward", hayward("critical"), 1, "hayward refuses it: 'MFV-1: a call'"),
        ("hayward", hayward(*["high"] * 5), 1, "hayward refuses it: " + "'MFV-1: a call', " * 3 + "…"),
    ],
)
def test_what_they_refuse_is_unknown(
    name: str, output: str, code: int, told: str, report: FileReport, tmp_path: Path
) -> None:
    asked = ask(report, program(tmp_path, name, output, code))
    assert asked.verdict is ScanVerdict.UNKNOWN
    assert [(finding.rule, finding.message) for finding in asked.findings] == [(f"opinion.{name}", told)]


@pytest.mark.parametrize(
    ("name", "output", "code"), [("picklescan", PASSED, 0), ("hayward", hayward("low", "medium"), 0)]
)
def test_what_they_pass_changes_nothing(name: str, output: str, code: int, report: FileReport, tmp_path: Path) -> None:
    asked = program(tmp_path, name, output, code)
    assert ask(report, asked) == report
    (tmp_path / "hostile.pkl").write_bytes(HOSTILE)
    hostile = scan_file(tmp_path / "hostile.pkl")
    assert ask(hostile, asked) == hostile
    assert hostile.verdict is ScanVerdict.MALICIOUS


@pytest.mark.parametrize(
    ("name", "output", "code", "body"),
    [
        ("picklescan", "", 0, ""),
        ("picklescan", "Traceback", 1, ""),
        ("picklescan", PASSED, 2, ""),
        ("picklescan", PASSED, 0, "os.kill(os.getpid(), 9)"),
        ("picklescan", PASSED, 0, "time.sleep(600)"),
        ("picklescan", PASSED, 0, "bytearray(2 << 30)"),
        ("hayward", "[" * 100_000, 0, ""),
        ("hayward", "[]", 0, ""),
        ("hayward", hayward(), 1, ""),
        ("hayward", hayward("high"), 0, ""),
        ("hayward", '{"findings": [{}]}', 0, ""),
    ],
)
def test_that_they_fail_is_noted_and_changes_no_verdict(
    name: str, output: str, code: int, body: str, report: FileReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opinions, "_SECONDS", 1.0)
    monkeypatch.setattr(opinions, "_MEMORY_BYTES", 1 << 30)
    asked = ask(report, program(tmp_path, name, output, code, body))
    assert asked.verdict is ScanVerdict.CLEAN
    assert [(finding.rule, finding.severity.value) for finding in asked.findings] == [("opinion.failed", "INFO")]


def test_they_see_neither_our_environment_nor_the_folder_we_work_in(
    report: FileReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some scanners take settings, even a whole policy, from the folder they are started in."""
    monkeypatch.setenv("VALLUM_SECRET", "secret")
    monkeypatch.chdir(tmp_path)
    body = "refused = 'VALLUM_SECRET' in os.environ or os.listdir() or os.listdir(os.environ['HOME'])"
    asked = program(tmp_path, "picklescan", PASSED, body=f"{body}\nif refused: sys.exit(3)")
    assert ask(report, asked) == report


def test_name_of_a_file_is_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("--help").write_bytes(HONEST)
    body = "if not os.path.isabs(sys.argv[-1]): sys.exit(3)"
    assert ask(scan_file(Path("--help")), program(tmp_path, "picklescan", PASSED, body=body)).findings == ()


def test_file_that_could_not_be_read_is_not_asked_about(tmp_path: Path) -> None:
    missing = scan_file(tmp_path / "missing")
    assert ask(missing, program(tmp_path, "picklescan", PASSED)) == missing


def test_of_many_files_each_is_asked_about(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.pkl" for number in range(4)]
    for file in files:
        file.write_bytes(HONEST)
    told = scan_paths(files, processes=2, programs=program(tmp_path, "picklescan", INFECTED, 1))
    assert {finding.rule for report in told.files for finding in report.findings} == {"opinion.picklescan"}


def test_programs_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    expected = program(tmp_path, "hayward", "")
    assert find(["hayward"]) == expected
    with pytest.raises(Invalid, match="there are picklescan, hayward"):
        find(["virustotal"])
    with pytest.raises(Invalid, match=r"picklescan is not installed; install vallum-validator\[second-opinions\]"):
        find(["hayward", "picklescan"])
