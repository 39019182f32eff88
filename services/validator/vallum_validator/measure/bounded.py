"""Evidence small enough to be told: an event that does not fit is never published, and nobody hears of the submission.

Verdicts, outcomes and values always stay; of the rest, what matters most: the worst findings, the smaller details.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import structlog

from vallum_common.errors import Invalid
from vallum_validator import wire
from vallum_validator.domain.evidence import Assessment, CheckResult, Detail, FeatureBaseline, Outcome, SignatureReport
from vallum_validator.domain.findings import FileReport, Finding, ScanReport, ScanVerdict, Severity
from vallum_validator.scan.rules import RULES

MAX_BYTES: Final = 880_000
"""Of all evidence. An event holds at most 1,000,000 bytes, and says beside this what was submitted and when."""
_SCAN_BYTES: Final = 300_000
_CHECK_BYTES: Final = 80_000
_REASON_CHARACTERS: Final = 4_000
_FRAME_BYTES: Final = 8
"""Tag and length of a protobuf field, at most."""
_OUTCOME_RANKS: Final = {Outcome.FAIL.value: 0, Outcome.INCONCLUSIVE.value: 1, Outcome.PASS.value: 2}
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
    """The check with a reason of bounded length and, of the details, as many as fit; `left_out` names the others.

    Small details go before large ones. A list of judged comparisons is not dropped for being the largest: it keeps what
    it can, failures first, and how many entries it lacks stands in `left_out`, as does the length of a dropped list.
    """
    check = dataclasses.replace(check, reason=check.reason[:_REASON_CHARACTERS])
    if wire.check_message(check).ByteSize() <= _CHECK_BYTES:
        return check
    sizes = {name: _detail_bytes(detail, name) for name, detail in check.details.items()}
    note = {"left_out": {name: _entries(detail) for name, detail in check.details.items()}}
    room = _CHECK_BYTES - wire.check_message(dataclasses.replace(check, details=note)).ByteSize()
    told = set(_fitting(sorted(sizes, key=lambda name: sizes[name]), lambda name: sizes[name], room))
    room -= sum(sizes[name] + _FRAME_BYTES for name in told)
    details, left_out = {}, {}
    for name, detail in check.details.items():
        if name in told:
            details[name] = detail
            continue
        judged = _judged(detail)
        kept = _worst(judged, room - _FRAME_BYTES - _detail_bytes([], name)) if judged else []
        room -= sum(_detail_bytes(one) + _FRAME_BYTES for one in kept)
        details |= {name: kept} if kept else {}
        left_out[name] = _entries(detail) - len(kept)
    return dataclasses.replace(check, details={**details, "left_out": left_out})


def _judged(detail: Detail) -> list[Mapping[str, Detail]]:
    """The entries of a list of which each has an outcome; none of any other detail."""
    entries = detail if isinstance(detail, list | tuple) else []
    judged = [one for one in entries if isinstance(one, Mapping) and one.get("outcome") in _OUTCOME_RANKS]
    return judged if len(judged) == len(entries) else []


def _worst(judged: Sequence[Mapping[str, Detail]], room: int) -> list[Mapping[str, Detail]]:
    """Those that fit, in their own order: failures whole in half of the room, then all without their lists, then what
    else fits of these."""
    bare = [_without_lists(one) for one in judged]
    whole_bytes, bare_bytes = ([_detail_bytes(one) for one in some] for some in (judged, bare))
    worst_first = sorted(range(len(judged)), key=lambda place: _OUTCOME_RANKS[str(judged[place]["outcome"])])
    failed = [place for place in worst_first if judged[place]["outcome"] == Outcome.FAIL.value]
    whole = set(_fitting(failed, lambda place: whole_bytes[place], room // 2))
    room -= sum(whole_bytes[place] + _FRAME_BYTES for place in whole)
    told = _fitting((place for place in worst_first if place not in whole), lambda place: bare_bytes[place], room)
    room -= sum(bare_bytes[place] + _FRAME_BYTES for place in told)
    more = _fitting(told, lambda place: max(0, whole_bytes[place] - bare_bytes[place]), room)
    whole_too = whole.union(more)
    return [judged[place] if place in whole_too else bare[place] for place in sorted(whole.union(told))]


def _without_lists(judged: Mapping[str, Detail]) -> Mapping[str, Detail]:
    """The entry without what it lists, and how much that is."""
    lists = {
        name: detail
        for name, detail in judged.items()
        if isinstance(detail, list | tuple) and detail and all(isinstance(one, Mapping) for one in detail)
    }
    emptied: dict[str, Detail] = {name: [] for name in lists}
    return {**judged, **emptied, "left_out": {name: len(detail) for name, detail in lists.items()}}


def _entries(detail: Detail) -> int:
    return len(detail) if isinstance(detail, list | tuple | Mapping) else 1


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


def _detail_bytes(detail: Detail, name: str = "") -> int:
    return wire.check_message(CheckResult("", Outcome.INCONCLUSIVE, details={name: detail})).ByteSize()


def _column_bytes(column: FeatureBaseline) -> int:
    return wire.assessment_message(Assessment(ScanReport((), ""), (), None, (column,), "")).ByteSize()
