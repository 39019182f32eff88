"""A scan as SARIF 2.1.0: what code-scanning pages, editors and result stores read.

Every finding is a result of kind `fail`, whose level follows from its severity. A file that is UNKNOWN has one result
more, of kind `open`: by the standard, "the tool concluded that there was insufficient information to decide". A finding
that closes the gate is never itself `open`: that kind has the level `none`, which many viewers do not show.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0, 2020, sections as noted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from vallum_validator.domain.findings import FileReport, Finding, ScanReport, ScanVerdict, Severity
from vallum_validator.scan.rules import RULES, Rule

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: Final[Mapping[Severity, str]] = {
    Severity.INFO: "none",
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
_SCORES: Final[Mapping[Severity, str]] = {
    Severity.INFO: "0.0",
    Severity.LOW: "2.0",
    Severity.MEDIUM: "5.0",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.5",
}
"""The middle of the bands by which code-scanning pages sort security rules: low to 3.9, medium to 6.9, high to 8.9."""
_UNKNOWN: Final = Rule(
    "verdict.unknown",
    ScanVerdict.UNKNOWN,
    Severity.INFO,
    "Not every byte of the file was understood, so that nothing says it is harmless.",
)
_RULES: Final = (*RULES.values(), _UNKNOWN)
_INDICES: Final = {rule.id: index for index, rule in enumerate(_RULES)}
_CONSEQUENCES: Final[Mapping[ScanVerdict, str]] = {
    ScanVerdict.CLEAN: "It is told and changes no verdict.",
    ScanVerdict.UNKNOWN: "The file is UNKNOWN: look at the finding, and at who made the file, before it is loaded.",
    ScanVerdict.MALICIOUS: "The file is MALICIOUS: do not load it, and find out how it came here.",
}


def sarif(report: ScanReport, *, version: str, exit_code: int) -> dict[str, Any]:
    """The scan as a SARIF log, ready for JSON; the same report gives the same log.

    Args:
        report: of the scan.
        version: of the tool.
        exit_code: of the command.
    """
    artifacts = _Artifacts()
    results: list[dict[str, Any]] = []
    for file in dict.fromkeys(report.files):
        index = artifacts.add(file)
        results += [_result(finding, file, index, artifacts) for finding in file.findings]
        if file.verdict is ScanVerdict.UNKNOWN:
            results.append(_open(file, index))
    failed = [result for result in results if result["ruleId"] == "scan.failed"]
    invocation: dict[str, Any] = {"executionSuccessful": not failed, "exitCode": exit_code}
    if failed:
        invocation["toolExecutionNotifications"] = [
            {"level": "error", "message": result["message"], "locations": result["locations"]} for result in failed
        ]
    run = {
        "tool": {"driver": _driver(version, report.rules_digest)},
        "invocations": [invocation],
        "artifacts": artifacts.documents,
        "results": results,
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _driver(version: str, rules_digest: str) -> dict[str, Any]:
    return {
        "name": "Vallum",
        "version": version,
        "shortDescription": {"text": "Static, default-deny scan of machine-learning model files."},
        "rules": [_descriptor(rule) for rule in _RULES],
        "properties": {"rulesDigest": rules_digest},
    }


def _descriptor(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.id.replace(".", "-").split("-")),
        "shortDescription": {"text": rule.meaning},
        "help": {"text": f"{rule.meaning} {_CONSEQUENCES[rule.verdict]}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {
            "tags": ["security", "machine-learning"],
            "security-severity": _SCORES[rule.severity],
            "verdict": rule.verdict.value,
        },
    }


class _Artifacts:
    """The files and the members that results point to, each once (3.14.15)."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self._members: dict[tuple[str, int], int] = {}

    def add(self, file: FileReport) -> int:
        """The index of a file; one that could not be read has no hash, rather than one of nothing."""
        document: dict[str, Any] = {
            "location": {"uri": uri(file.path)},
            "roles": ["analysisTarget"],
            "length": file.size_bytes,
            "properties": {"format": file.format, "verdict": file.verdict.value},
        }
        self.documents.append({**document, "hashes": {"sha-256": file.sha256}} if file.sha256 else document)
        return len(self.documents) - 1

    def add_member(self, member: str, parent: int) -> int:
        """The index of a member of a file."""
        key = (member, parent)
        if key not in self._members:
            self._members[key] = len(self.documents)
            self.documents.append({"location": {"uri": quote(_bytes(member))}, "parentIndex": parent})
        return self._members[key]


def _result(finding: Finding, file: FileReport, index: int, artifacts: _Artifacts) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri(file.path), "index": index}}
    location: dict[str, Any] = {"physicalLocation": physical}
    region = {} if finding.offset is None else {"region": {"byteOffset": finding.offset}}
    related: list[dict[str, Any]] = []
    if finding.member:
        # An offset inside a member is no offset of the file: it belongs to an artefact of its own (3.24.3).
        location["logicalLocations"] = [{"fullyQualifiedName": _text(finding.member), "kind": "member"}]
        nested = artifacts.add_member(finding.member, index)
        address = artifacts.documents[nested]["location"]["uri"]
        related.append({"physicalLocation": {"artifactLocation": {"uri": address, "index": nested}, **region}})
    else:
        physical.update(region)
    result = _bare(finding.rule, _text(finding.message), location)
    if finding.severity is not Severity.INFO:
        result.update({"kind": "fail", "level": _LEVELS[finding.severity]})
    result["partialFingerprints"] = {"finding/v1": _fingerprint(finding.rule, finding.member, finding.message)}
    return {**result, "relatedLocations": related} if related else result


def _open(file: FileReport, index: int) -> dict[str, Any]:
    location = {"physicalLocation": {"artifactLocation": {"uri": uri(file.path), "index": index}}}
    result = _bare(_UNKNOWN.id, _UNKNOWN.meaning, location)
    fingerprint = _fingerprint(_UNKNOWN.id, file.path)
    return {**result, "kind": "open", "partialFingerprints": {"finding/v1": fingerprint}}


def _bare(rule: str, message: str, location: Mapping[str, Any]) -> dict[str, Any]:
    """A result of the kind that says of itself that nothing is wrong; 3.27.10 gives it the level `none`."""
    return {
        "ruleId": rule,
        "ruleIndex": _INDICES[rule],
        "kind": "informational",
        "level": "none",
        "message": {"text": message},
        "locations": [dict(location)],
    }


def _fingerprint(*parts: str) -> str:
    """The same finding has the same one also when its place moves."""
    return hashlib.sha256(b"\0".join(map(_bytes, parts))).hexdigest()[:32]


def uri(path: str) -> str:
    """A path as a URI reference; bytes that are no UTF-8 stay what they are."""
    address = quote(os.fsencode(PurePath(path).as_posix()))
    return f"file://{address}" if address.startswith("/") else address


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
