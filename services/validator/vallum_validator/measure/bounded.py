"""Evidence small enough to be told: an event that does not fit is never published, and nobody hears of the submission.

Verdicts, outcomes and values always stay; of the rest, what matters most: the worst findings, the smaller details.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import structlog

from vallum_common.errors import Invalid
from vallum_validator import wire
from vallum_validator.domain.evidence import Assessment, CheckResult, FeatureBaseline, Outcome, SignatureReport
from vallum_validator.domain.findings import FileReport, Finding, ScanReport, ScanVerdict, Severity
from vallum_validator.scan.rules import RULES

MAX_BYTES: Final = 880_000
"""Of all evidence. An event holds at most 1,000,000 bytes, and says beside this what was submitted and when."""
_SCAN_BYTES: Final = 300_000
_CHECK_BYTES: Final = 80_000
_REASON_CHARACTERS: Final = 4_000
_FRAME_BYTES: Final = 8
"""Tag and length of a protobuf field, at most."""
_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}

Item = TypeVar("Item")

log = structlog.get_logger(__name__)


def bounded(assessment: Assessment) -> Assessment:
    """The evidence in at most `MAX_BYTES`: scan and checks cut each for itself, the baseline to what they leave.

    Raises:
        Invalid: what is never cut is too large, as no measuring process makes it that does its work.
    """
    scan, checks = bounded_scan(assessment.scan), tuple(map(bounded_check, assessment.checks))
    signature = bounded_signature(assessment.signature)
    told = dataclasses.replace(assessment, scan=scan, checks=checks, baseline=(), signature=signature)
    room = MAX_BYTES - wire.assessment_message(told).ByteSize()
    if room < 0:
        raise Invalid(f"evidence of {MAX_BYTES - room} bytes even when cut; at most {MAX_BYTES} can be told")
    columns = assessment.baseline
    # The model's own output, which matters most, is the last.
    kept = set(_fitting(reversed(range(len(columns))), lambda number: _column_bytes(columns[number]), room))
    if len(kept) < len(columns):
        log.warning("baseline_cut", columns=len(columns), kept=len(kept))
    return dataclasses.replace(told, baseline=tuple(columns[number] for number in sorted(kept)))


def bounded_scan(scan: ScanReport) -> ScanReport:
    """The scan with as many findings as fit, the worst first; each file says how many of its own are left out."""
    if wire.scan_message(scan).ByteSize() <= _SCAN_BYTES:
        return scan
    bare = [dataclasses.replace(file, findings=(_left_out(len(file.findings)),)) for file in scan.files]
    room = _SCAN_BYTES - wire.scan_message(dataclasses.replace(scan, files=tuple(bare))).ByteSize()
    places = [(file, number) for file, report in enumerate(scan.files) for number in range(len(report.findings))]

    def finding(place: tuple[int, int]) -> Finding:
        return scan.files[place[0]].findings[place[1]]

    worst_first = sorted(places, key=lambda place: -_RANKS[finding(place).severity])
    kept = set(_fitting(worst_first, lambda place: _finding_bytes(finding(place)), room))
    files = tuple(
        _with_findings(report, [number for number in range(len(report.findings)) if (file, number) in kept])
        for file, report in enumerate(scan.files)
    )
    return dataclasses.replace(scan, files=files)


def bounded_check(check: CheckResult) -> CheckResult:
    """The check with a reason of bounded length and, of the details, as many as fit; the largest are left out first."""
    check = dataclasses.replace(check, reason=check.reason[:_REASON_CHARACTERS])
    size = wire.check_message(check).ByteSize()
    if size <= _CHECK_BYTES:
        return check
    sizes = {name: _detail_bytes(name, check) for name in check.details}
    note = {"left_out": len(sizes)}
    room = _CHECK_BYTES - wire.check_message(dataclasses.replace(check, details=note)).ByteSize()
    kept = _fitting(sorted(sizes, key=lambda name: sizes[name]), lambda name: sizes[name], room)
    details = {name: detail for name, detail in check.details.items() if name in kept}
    return dataclasses.replace(check, details={**details, "left_out": len(sizes) - len(kept)})


def bounded_signature(signature: SignatureReport) -> SignatureReport:
    """The report with texts of bounded length."""
    texts = {name: getattr(signature, name)[:_REASON_CHARACTERS] for name in ("publisher", "key_id", "reason")}
    return dataclasses.replace(signature, **texts)


def _fitting(items: Iterable[Item], size: Callable[[Item], int], room: int) -> list[Item]:
    """Those that fit into so many bytes, tried in this order."""
    kept = []
    for item in items:
        cost = size(item) + _FRAME_BYTES
        if cost <= room:
            kept.append(item)
            room -= cost
    return kept


def _with_findings(report: FileReport, numbers: list[int]) -> FileReport:
    left_out = len(report.findings) - len(numbers)
    note = (_left_out(left_out),) if left_out else ()
    return dataclasses.replace(report, findings=(*(report.findings[number] for number in numbers), *note))


def _left_out(count: int) -> Finding:
    rule = RULES["scan.finding-limit"]
    return Finding(rule.id, rule.severity, "", None, f"{count} findings are left out to keep the evidence small")


def _finding_bytes(finding: Finding) -> int:
    return wire.file_message(FileReport("", "", 0, "", ScanVerdict.UNKNOWN, (finding,))).ByteSize()


def _detail_bytes(name: str, check: CheckResult) -> int:
    alone = CheckResult("", Outcome.INCONCLUSIVE, details={name: check.details[name]})
    return wire.check_message(alone).ByteSize()


def _column_bytes(column: FeatureBaseline) -> int:
    return wire.assessment_message(Assessment(ScanReport((), ""), (), None, (column,), "")).ByteSize()
