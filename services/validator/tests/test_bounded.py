"""Evidence that fits into its event, however much a submission gives to tell."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
from google.protobuf import json_format

from vallum_common.errors import Invalid
from vallum_common.testing import START, SequentialIds
from vallum_validator import wire
from vallum_validator.domain.evidence import (
    CHECK_NAMES,
    Assessment,
    CheckResult,
    Detail,
    FeatureBaseline,
    Interval,
    Outcome,
    Step,
    Validated,
)
from vallum_validator.domain.findings import FileReport, Finding, ScanReport, ScanVerdict, Severity
from vallum_validator.measure.bounded import bounded, bounded_check, bounded_scan
from vallum_validator.measure.process import ProcessMeasurer
from vallum_validator.scan import scan_file

from .fakes import ASSESSMENT, DIGEST, SUBMISSION

EVENT_BYTES = 900_000


def event_bytes(assessment: Assessment) -> int:
    """How large the event is that tells this."""
    event = wire.EventWriter(SequentialIds()).event(Validated(SUBMISSION, None, assessment, START, START))
    return len(event.message.SerializeToString())


def finding(severity: Severity, number: int, characters: int = 0) -> Finding:
    return Finding(f"rule.{severity.value.lower()}", severity, f"member-{number}", number, "x" * characters)


def scanned(*files: tuple[Finding, ...]) -> ScanReport:
    """One malicious file for each tuple of findings."""
    return ScanReport(
        tuple(FileReport(f"f-{n}", DIGEST, 1, "zip", ScanVerdict.MALICIOUS, some) for n, some in enumerate(files)),
        "rules",
    )


class Runs:
    """A pickle that would end the process that loads it."""

    def __reduce__(self) -> tuple[object, ...]:
        return exit, (1,)


def test_a_zip_of_members_with_endless_names_is_told_as_malicious(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number in range(120):
            archive.writestr(f"{number}-" + "n" * 65_000, pickle.dumps(Runs(), protocol=0))
    (tmp_path / "model.zip").write_bytes(content.getvalue())
    report = scan_file(tmp_path / "model.zip", name="model.zip")
    assert report.verdict is ScanVerdict.MALICIOUS
    assert len([found for found in report.findings if found.rule == "pickle.global-denied"]) > 50
    assert max(len(found.member) for found in report.findings) < 200
    assert max(len(found.message) for found in report.findings) < 1_100
    assert event_bytes(dataclasses.replace(ASSESSMENT, scan=ScanReport((report,) * 3, "rules"))) < EVENT_BYTES


async def test_what_a_measuring_child_tells_is_cut_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child has opened hostile files: what it tells is cut by who hears it."""
    scan = scanned(tuple(finding(Severity.HIGH, number, 9_000) for number in range(100)))
    message = wire.assessment_message(dataclasses.replace(ASSESSMENT, scan=scan))
    (file,) = message.scan.files
    answers = (
        {"stage": "scan", "check": None, "scan": json_format.MessageToDict(message.scan)},
        {"assessment": base64.b64encode(message.SerializeToString()).decode()},
        {"file": base64.b64encode(file.SerializeToString()).decode()},
    )
    (tmp_path / "answers").write_text("\n".join(map(json.dumps, answers)))
    child = tmp_path / "child"
    child.write_text(f'#!/bin/sh\ncase "$3" in assess) head -2;; *) tail -1;; esac < {tmp_path}/answers\n')
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    steps: list[Step] = []

    async def note(step: Step) -> None:
        steps.append(step)

    measurer = ProcessMeasurer(tmp_path, tmp_path, "thresholds", "rules", 60.0)
    told = await measurer.assess(tmp_path, SUBMISSION.artifact, note)
    assert [step.scan for step in steps] == [told.scan] == [bounded_scan(scan)]
    assert (await measurer.scan(tmp_path, "m.zip"))[0] == told.scan.files[0] != scan.files[0]


def test_what_fits_is_not_touched() -> None:
    assert bounded(ASSESSMENT) == ASSESSMENT


def test_the_worst_findings_stay_and_each_file_says_how_many_do_not() -> None:
    files = [
        tuple(finding(severity, number, 4_000) for number, severity in enumerate([Severity.LOW, Severity.HIGH] * 40)),
        tuple(finding(Severity.CRITICAL, number, 4_000) for number in range(50)),
    ]
    scan = scanned(*files)
    cut = bounded_scan(scan)
    first, second = cut.files
    assert (first.verdict, second) == (ScanVerdict.MALICIOUS, scan.files[1])
    *kept, note = first.findings
    assert kept == [found for found in files[0] if found.severity is Severity.HIGH][: len(kept)]
    assert len(kept) > 20
    assert note.message == f"{80 - len(kept)} findings are left out to keep the evidence small"
    assert (note.rule, note.severity) == ("scan.finding-limit", Severity.INFO)
    assert wire.scan_message(cut).ByteSize() <= 300_000


def test_a_finding_too_large_alone_does_not_displace_the_others() -> None:
    scan = scanned((finding(Severity.CRITICAL, 0, 10_000_000), finding(Severity.LOW, 1)))
    (file,) = bounded_scan(scan).files
    assert [found.rule for found in file.findings] == ["rule.low", "scan.finding-limit"]


def test_of_a_check_the_largest_details_go_first_and_the_measurement_stays() -> None:
    details: dict[str, Detail] = {
        "huge": ["x" * 100] * 10_000,
        "threshold": 0.2,
        "large": ["x" * 100] * 700,
        "groups": {"a": 0.5},
    }
    check = CheckResult("data_privacy", Outcome.FAIL, 0.3, Interval(0.2, 0.4), 0.95, 100, "m", 1, "r" * 9_000, details)
    cut = bounded_check(check)
    assert cut.details == {
        "threshold": 0.2,
        "large": details["large"],
        "groups": {"a": 0.5},
        "left_out": {"huge": 10_000},
    }
    assert cut.reason == "r" * 4_000
    assert dataclasses.replace(cut, details=details, reason=check.reason) == check


def compared(number: int, outcome: Outcome, groups: int) -> dict[str, Detail]:
    group: dict[str, Detail] = {"name": f"g-{number}", "note": "x" * 400}
    return {"columns": [f"c-{number}", "d"], "outcome": outcome.value, "groups": [group] * groups}


def test_of_comparisons_the_failed_ones_stay_and_the_reader_is_told_what_does_not() -> None:
    families = [compared(number, Outcome.FAIL if number % 20 == 7 else Outcome.PASS, 20) for number in range(100)]
    check = CheckResult("bias_fairness", Outcome.FAIL, details={"threshold": 0.8, "families": families})
    cut = bounded_check(check)
    told = cut.details["families"]
    # All are told, those with a verdict against the model with their groups, in the order they had.
    assert [one["columns"] for one in told] == [one["columns"] for one in families]
    assert [one for one in told if one["outcome"] == "FAIL"] == families[7::20]
    bare = [one for one in told if not one["groups"]]
    assert 80 < len(bare) < 95
    assert all(one["left_out"] == {"groups": 20} for one in bare)
    assert cut.details["left_out"] == {"families": 0}
    assert wire.check_message(cut).ByteSize() <= 80_000


def test_more_comparisons_than_can_be_told_at_all_are_counted() -> None:
    families = [compared(number, Outcome.FAIL if number >= 4_990 else Outcome.PASS, 1) for number in range(5_000)]
    cut = bounded_check(CheckResult("bias_fairness", Outcome.FAIL, details={"families": families}))
    told = cut.details["families"]
    assert told[-10:] == families[-10:]
    assert cut.details["left_out"] == {"families": 5_000 - len(told)}
    assert wire.check_message(cut).ByteSize() <= 80_000


def test_the_baseline_gets_what_is_left_and_keeps_the_prediction() -> None:
    columns = tuple(FeatureBaseline(f"n-{n}", (), tuple(map(float, range(900))), (1,) * 901) for n in range(400))
    told = bounded(
        dataclasses.replace(ASSESSMENT, baseline=(*columns, FeatureBaseline("prediction", ("a",), (), (1, 0))))
    )
    assert told.baseline[-1].name == "prediction"
    assert 50 < len(told.baseline) < 400
    assert event_bytes(told) < EVENT_BYTES


def test_everything_at_once_fits_into_one_event() -> None:
    details = {f"d-{n}": "x" * 5_000 for n in range(100)}
    told = bounded(
        Assessment(
            scan=scanned(*[tuple(finding(Severity.HIGH, n, 9_000) for n in range(100)) for _ in range(6)]),
            checks=tuple(CheckResult(name, Outcome.FAIL, reason="r" * 90_000, details=details) for name in CHECK_NAMES),
            isolation=None,
            baseline=tuple(FeatureBaseline(f"n-{n}", ("c" * 9_000,), (), (1, 0)) for n in range(100)),
            thresholds_digest="thresholds",
        )
    )
    assert event_bytes(told) < EVENT_BYTES
    assert told.scan.verdict is ScanVerdict.MALICIOUS
    assert [check.outcome for check in told.checks] == [Outcome.FAIL] * 4


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(Invalid, match="even when cut"):
        bounded(dataclasses.replace(ASSESSMENT, thresholds_digest="x" * 1_000_000))
