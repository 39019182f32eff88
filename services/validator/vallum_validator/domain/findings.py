"""What a scan says: findings, a verdict for each file, and one for all of them.

Apart from the rest of the domain, because `vallum scan` starts in a tenth of a second and needs nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ScanVerdict(StrEnum):
    """What static analysis can say of bytes. CLEAN means every byte was accounted for; UNKNOWN is not CLEAN."""

    CLEAN = "CLEAN"
    MALICIOUS = "MALICIOUS"
    UNKNOWN = "UNKNOWN"


class Severity(StrEnum):
    """How much a finding matters, in the words SARIF and the SOC use."""

    INFO = "INFO"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the scan saw.

    Args:
        rule: stable rule id, e.g. `pickle.global-denied`.
        severity: how much it matters.
        member: path inside the container, `""` for the file itself; nested members are joined by `!/`.
        offset: byte offset inside the member, `None` where it has no place.
        message: what was seen, with the value.
    """

    rule: str
    severity: Severity
    member: str
    offset: int | None
    message: str


@dataclass(frozen=True, slots=True)
class FileReport:
    """The scan of one file.

    Args:
        path: as the caller named it.
        sha256: hex digest of the bytes that were scanned.
        size_bytes: how many bytes were scanned.
        format: what the content is (`onnx`, `pickle`, `joblib`, `skops`, …), `unknown` where nothing matched.
        verdict: three-valued.
        findings: in order of offset.
    """

    path: str
    sha256: str
    size_bytes: int
    format: str
    verdict: ScanVerdict
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanReport:
    """The scan of all files of a submission.

    Args:
        files: one report each.
        rules_digest: hex SHA-256 of the allow-lists and the scanner in force, so that a verdict can be repeated.
    """

    files: tuple[FileReport, ...]
    rules_digest: str

    @property
    def verdict(self) -> ScanVerdict:
        """The worst of the files: MALICIOUS over UNKNOWN over CLEAN; nothing scanned is UNKNOWN."""
        verdicts = {report.verdict for report in self.files}
        if ScanVerdict.MALICIOUS in verdicts:
            return ScanVerdict.MALICIOUS
        return ScanVerdict.CLEAN if verdicts == {ScanVerdict.CLEAN} else ScanVerdict.UNKNOWN
