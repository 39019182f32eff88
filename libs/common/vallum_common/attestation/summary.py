"""The statement: a SLSA Verification Summary about one artefact, as a value and as JSON.

Source: in-toto Attestation Framework, Statement v1; SLSA Verification Summary v1.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vallum_common.errors import Invalid

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/verification_summary/v1"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Resource:
    """Something a statement points at.

    Args:
        uri: names it.
        sha256: hex digest of its bytes.
    """

    uri: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A verdict about exact bytes.

    Args:
        subject: the artefact: `uri` is its name, `sha256` its digest.
        resource_uri: the version judged, as `resource_uri(model, version)` writes it.
        verifier: who judged, e.g. `https://vallum.dev/compliance`.
        verified_at: when, UTC.
        policy: what it was judged by.
        passed: whether the verdict allows deployment.
        verdict: the verdict's name, e.g. `APPROVED_WITH_CONDITIONS`.
        inputs: what the verdict rests on.
    """

    subject: Resource
    resource_uri: str
    verifier: str
    verified_at: dt.datetime
    policy: Resource
    passed: bool
    verdict: str
    inputs: tuple[Resource, ...] = ()


def resource_uri(model: str, version: str) -> str:
    """How a statement names a version."""
    return f"vallum:{model}@{version}"


def document_of(statement: Statement) -> dict[str, Any]:
    """The JSON of a statement."""
    result = "PASSED" if statement.passed else "FAILED"
    predicate: dict[str, Any] = {
        "verifier": {"id": statement.verifier},
        "timeVerified": statement.verified_at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
        "resourceUri": statement.resource_uri,
        "policy": _descriptor(statement.policy),
        "verificationResult": result,
        # SLSA wants `FAILED` here for a refusal, and leaves names that do not begin with SLSA_ to others.
        "verifiedLevels": [f"VALLUM_{statement.verdict}" if statement.passed else result],
        "vallum": {"verdict": statement.verdict},
    }
    if statement.inputs:
        predicate["inputAttestations"] = [_descriptor(resource) for resource in statement.inputs]
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": statement.subject.uri, "digest": {"sha256": statement.subject.sha256}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def _descriptor(resource: Resource) -> dict[str, Any]:
    return {"uri": resource.uri, "digest": {"sha256": resource.sha256}}


def statement_of(document: Mapping[str, Any]) -> Statement:
    """The statement in a JSON document.

    Raises:
        Invalid: it is another kind of statement, or not whole.
    """
    for name, right in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if document.get(name) != right:
            raise Invalid(f"the signed statement has the {name} {document.get(name)!r}; {right!r} is right")
    try:
        (subject,) = document["subject"]
        predicate = document["predicate"]
        return Statement(
            subject=Resource(_text(subject["name"]), _digest(subject["digest"]["sha256"])),
            resource_uri=_text(predicate["resourceUri"]),
            verifier=_text(predicate["verifier"]["id"]),
            verified_at=_time(predicate["timeVerified"]),
            policy=_resource(predicate["policy"]),
            passed={"PASSED": True, "FAILED": False}[predicate["verificationResult"]],
            verdict=_text(predicate["vallum"]["verdict"]),
            inputs=tuple(_resource(entry) for entry in predicate.get("inputAttestations", ())),
        )
    except KeyError as error:
        raise Invalid(f"the signed statement lacks, or has no known value for, {error.args[0]!r}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise Invalid(f"the signed statement is not a verification summary about one artefact: {error}") from error


def _resource(entry: Mapping[str, Any]) -> Resource:
    return Resource(_text(entry["uri"]), _digest(entry["digest"]["sha256"]))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text")
    return value


def _digest(value: object) -> str:
    if not _SHA256.fullmatch(_text(value)):
        raise ValueError(f"{value!r} is not a SHA-256 in hex")
    return _text(value)


def _time(value: object) -> dt.datetime:
    moment = dt.datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return moment.astimezone(dt.UTC)
