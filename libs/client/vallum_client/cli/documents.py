"""Answers as JSON documents, with the field values the command promises."""

from __future__ import annotations

from typing import Any, Final

from vallum.risk.v1 import risk_pb2
from vallum_client.cli.context import as_dict, plain_enum

_WHOLE: Final = 2**53
"""Up to here a double holds every whole number."""


def check_dict(check: Any) -> dict[str, Any]:
    """A check result as `--json` shows it."""
    document = as_dict(check)
    return {
        **document,
        "details": _restored(document.get("details") or {}),
        "outcome": plain_enum(document["outcome"], "CHECK_OUTCOME_"),
        "value": check.value if check.HasField("value") else None,
        "interval": [check.interval.low, check.interval.high] if check.HasField("interval") else None,
    }


def _restored(value: Any) -> Any:
    """The same value, keys by name and whole numbers as such: protobuf keeps keys in an order that differs from one
    process to the next, and of numbers it has one kind, so that 302 rows came out as 302.0."""
    if isinstance(value, dict):
        return {name: _restored(value[name]) for name in sorted(value)}
    if isinstance(value, float) and value.is_integer() and abs(value) <= _WHOLE:
        return int(value)
    return [_restored(one) for one in value] if isinstance(value, list) else value


def scan_dict(scan: Any) -> dict[str, Any]:
    """A scan report with the field values the command promises."""
    return {"verdict": plain_enum(as_dict(scan)["verdict"], "SCAN_VERDICT_"), "files": list(map(file_dict, scan.files))}


def signature_dict(report: Any) -> dict[str, Any]:
    """What a signature is worth, as `--json` shows it."""
    document = as_dict(report)
    return {**document, "outcome": plain_enum(document["outcome"], "SIGNATURE_OUTCOME_")}


def signature_line(signature: dict[str, Any]) -> tuple[str, str, str]:
    """The outcome, its colour, and who signed what."""
    outcome = signature["outcome"]
    colour = {"VERIFIED": "green", "INVALID": "red", "NOT_ALLOWED": "red", "NOT_SIGNED": ""}.get(outcome, "yellow")
    by = signature["publisher"] or signature["key_id"][:16]
    parts = [part for part in (by, signature["method"], signature["scope"]) if part]
    return outcome, colour, "  " + ", ".join(parts) if parts else ""


def file_dict(report: Any) -> dict[str, Any]:
    """The scan of one file with the field values the command promises."""
    findings = [
        {**as_dict(finding), "severity": plain_enum(as_dict(finding)["severity"], "SEVERITY_"),
         "offset": finding.offset if finding.HasField("offset") else None}
        for finding in report.findings
    ]  # fmt: skip
    document = as_dict(report)
    verdict = plain_enum(document["verdict"], "SCAN_VERDICT_")
    return {**document, "verdict": verdict, "findings": findings}


def profile_dict(profile: risk_pb2.RiskProfile) -> dict[str, Any]:
    """A profile as `--json` shows it."""
    document = as_dict(profile)
    return {
        **document,
        "overall": _score_dict(profile.overall),
        "categories": {category.name: _score_dict(category.score) for category in profile.categories},
        "risks": [{**as_dict(risk), **_score_dict(risk.score)} for risk in profile.risks],
    }


def _score_dict(score: risk_pb2.Score) -> dict[str, Any]:
    interval = [score.interval.low, score.interval.high]
    return {"score": score.score, "interval": interval, "probability_high": score.probability_high}
