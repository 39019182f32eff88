"""What is attested of a scan: the predicate of an in-toto statement, as the validator's event tells it.

Its fields are described in the README; they are a promise to strangers, and only grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from vallum.validator.v1 import events_pb2, evidence_pb2
from vallum_compliance.domain.evidence import Document
from vallum_compliance.wire.fields import enum_name

SCANNER: Final = "https://vallum.dev/validator"
MOST_FINDINGS: Final = 500
"""Of all files together, the worst first; a signed envelope must stay below what verifiers read (1 MiB)."""
_MOST_CHARACTERS: Final = 300


def scan_predicate(message: events_pb2.ValidationCompleted) -> Document:
    """Who scanned what, when, by which rules, and what was found.

    Raises:
        Invalid: a verdict or severity is not set.
    """
    scan = message.scan
    told = _worst([finding.severity for file in scan.files for finding in file.findings])
    place = 0
    files = []
    for file in scan.files:
        kept = [finding for number, finding in enumerate(file.findings, place) if number in told]
        files.append(_file(file, kept))
        place += len(file.findings)
    predicate: dict[str, Any] = {
        "scanner": {"id": SCANNER, "version": scan.scanner_version, "rules": {"sha256": scan.rules_digest}},
        "verdict": _verdict(scan.verdict) if message.HasField("scan") else "UNKNOWN",
        "files": files,
        "submission": message.submission_id,
    }
    for name in ("started_at", "completed_at"):
        if message.HasField(name):
            predicate[name.replace("_at", "On")] = getattr(message, name).ToJsonString()
    if message.HasField("signature"):
        predicate["signature"] = _signature(message.signature)
    return predicate


def _worst(severities: Sequence[int]) -> frozenset[int]:
    """The places of the findings that are told."""
    ranked = sorted(range(len(severities)), key=lambda place: -severities[place])
    return frozenset(ranked[:MOST_FINDINGS])


def _file(file: evidence_pb2.FileReport, told: Sequence[evidence_pb2.Finding]) -> Document:
    document: dict[str, Any] = {
        "name": file.path,
        "digest": {"sha256": file.sha256},
        "sizeBytes": file.size_bytes,
        "format": file.format,
        "verdict": _verdict(file.verdict),
        "findings": [_finding(finding) for finding in told],
    }
    if len(told) < len(file.findings):
        document["findingsLeftOut"] = len(file.findings) - len(told)
    return document


def _finding(finding: evidence_pb2.Finding) -> Document:
    document: dict[str, Any] = {
        "rule": finding.rule,
        "severity": enum_name(evidence_pb2.Severity, "SEVERITY_", finding.severity, "findings.severity"),
        "message": finding.message[:_MOST_CHARACTERS],
    }
    if finding.member:
        document["member"] = finding.member[:_MOST_CHARACTERS]
    if finding.HasField("offset"):
        document["offset"] = finding.offset
    return document


def _signature(signature: evidence_pb2.SignatureReport) -> Document:
    outcome = enum_name(evidence_pb2.SignatureOutcome, "SIGNATURE_OUTCOME_", signature.outcome, "signature.outcome")
    return {
        "outcome": outcome,
        "publisher": signature.publisher,
        "method": signature.method,
        "keyId": signature.key_id[:_MOST_CHARACTERS],
        "scope": signature.scope,
        "digest": {"sha256": signature.digest} if signature.digest else {},
        "reason": signature.reason[:_MOST_CHARACTERS],
        "publishers": {"sha256": signature.publishers_digest},
    }


def _verdict(value: int) -> str:
    return enum_name(evidence_pb2.ScanVerdict, "SCAN_VERDICT_", value, "scan.verdict")
