"""The evidence a decision rests on, as plain values, and the one document policy is run on.

The names of the fields are the names policies use. Whatever differs from submission to submission stands in a list,
never in a map: CEL goes through the keys of a map in an order that changes from run to run, and a decision must not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from vallum_common.bundle import Tier
from vallum_common.errors import Conflict

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Document: TypeAlias = Mapping[str, Any]
"""A JSON object whose shape the dataclasses below give."""


class Outcome(StrEnum):
    """How a check ended."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class ScanVerdict(StrEnum):
    """What static analysis can say of bytes; UNKNOWN is not CLEAN."""

    CLEAN = "CLEAN"
    MALICIOUS = "MALICIOUS"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class ModelReference:
    """One version of one model, by its exact bytes.

    Args:
        id: model id.
        version: version.
        digest: hex SHA-256 of the artefact.
    """

    id: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class Model(ModelReference):
    """A version with what its manifest says of it.

    Args:
        tier: how much depends on it.
        task: e.g. `classification`.
        vendor: who made it; empty for an own model.
        has_signature: whether a signature file came with it.
    """

    tier: Tier
    task: str
    vendor: str
    has_signature: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the scan saw; `severity` is one of INFO, LOW, MEDIUM, HIGH, CRITICAL."""

    rule: str
    severity: str


@dataclass(frozen=True, slots=True)
class FileScan:
    """The scan of one file; `format` is what its content is, whatever its name says."""

    path: str
    format: str
    verdict: ScanVerdict
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Scan:
    """The scan of all files of a submission."""

    verdict: ScanVerdict
    files: tuple[FileScan, ...]


class SignatureOutcome(StrEnum):
    """What the signature in a submission is worth; only VERIFIED speaks for the model."""

    NOT_SIGNED = "NOT_SIGNED"
    VERIFIED = "VERIFIED"
    UNTRUSTED = "UNTRUSTED"
    NOT_ALLOWED = "NOT_ALLOWED"
    INVALID = "INVALID"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Signature:
    """The check of the signature in a submission.

    Args:
        outcome: what it is worth.
        publisher: who signed, as the policy of publishers names them; empty where nobody was recognised.
        method: `key`, `certificate`, `sigstore`, or empty.
        key_id: fingerprint or identity; only claimed where the outcome is UNTRUSTED.
        scope: `artifact`, `bundle`, or empty: what is vouched for.
        reason: one line for a person.
        publishers_digest: hex SHA-256 of the policy of publishers it was judged by.
    """

    outcome: SignatureOutcome
    publisher: str = ""
    method: str = ""
    key_id: str = ""
    scope: str = ""
    reason: str = ""
    publishers_digest: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """The evidence of one check.

    Args:
        name: e.g. `data_privacy`.
        outcome: three-valued.
        value: the headline measurement; `None` where nothing could be measured.
        low: lower end of its interval; `None` where there is none.
        high: upper end.
        samples: rows behind it.
        reason: one line for a person.
    """

    name: str
    outcome: Outcome
    value: float | None
    low: float | None
    high: float | None
    samples: int
    reason: str


@dataclass(frozen=True, slots=True)
class Isolation:
    """What held the worker in which the model ran; `degraded` names what could not be enforced."""

    mechanism: str
    landlock_abi: int
    seccomp: bool
    degraded: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A risk score on [0, 1] with its 90 % interval and the probability that it is above 0.7."""

    score: float
    low: float
    high: float
    probability_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryScore(Score):
    """The score of one of the four categories."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskScore(Score):
    """The score of one of the twelve risks; where it was not measured, the score is only the prior."""

    name: str
    measured: bool


@dataclass(frozen=True, slots=True)
class Validation:
    """What the validator found out about a submission.

    Args:
        submission_id: which.
        model: the exact bytes, and what the manifest says of them.
        signature: what the signature is worth.
        scan: of all files.
        checks: in order.
        isolation: `None` where the model was never run.
        scan_predicate: what is attested of the scan (`wire.scan`); no rule sees it.
    """

    submission_id: str
    model: Model
    signature: Signature
    scan: Scan
    checks: tuple[Check, ...]
    isolation: Isolation | None
    scan_predicate: Document

    def document(self) -> Document:
        """Its half of the policy input: `model`, `signature`, `scan`, `checks`, `isolation`."""
        document = asdict(self)
        del document["submission_id"], document["scan_predicate"]
        return document


@dataclass(frozen=True, slots=True)
class RiskAssessment:
    """How risky a submission was found when it was scored first."""

    submission_id: str
    model: ModelReference
    overall: Score
    categories: tuple[CategoryScore, ...]
    risks: tuple[RiskScore, ...]

    def document(self) -> Document:
        """Its half of the policy input: `risk`; and `model`, by which the halves are known to belong together."""
        document = asdict(self)
        risk = {name: document[name] for name in ("overall", "categories", "risks")}
        return {"model": document["model"], "risk": risk}


@dataclass(frozen=True, slots=True)
class PolicyInput:
    """The document policy is run on.

    Args:
        text: canonical JSON (`canonical_json`); policy sees what is parsed from it, at the first decision and at every
            replay alike.
    """

    text: str

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def document(self) -> dict[str, Any]:
        """The text, parsed."""
        document: dict[str, Any] = json.loads(self.text)
        return document


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known so far about a submission; a half that has not arrived is `None`, and with validation its scan."""

    submission_id: str
    validation: Document | None = None
    risk: Document | None = None
    scan: Document | None = None

    def policy_input(self) -> PolicyInput | None:
        """The document policy is run on; `None` until both halves are there.

        Raises:
            Conflict: the halves are about different bytes, so together they are evidence about nothing.
        """
        if self.validation is None or self.risk is None:
            return None
        validated, scored = self.validation["model"], self.risk["model"]
        for name, value in scored.items():
            if validated[name] != value:
                raise Conflict(
                    f"submission {self.submission_id!r}: validation is about model {name} {validated[name]!r}, "
                    f"risk about {value!r}; they must be the same"
                )
        return PolicyInput(canonical_json({**self.validation, "risk": self.risk["risk"]}))


def canonical_json(document: Json | Document) -> str:
    """JSON with sorted keys and no white space, each number in the shortest form that reads back the same.

    Raises:
        ValueError: a number is not finite; `wire` lets none in.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
