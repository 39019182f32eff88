"""A decision: the rules that fired, the verdict that follows from them, and what it was based on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vallum_compliance.domain.evidence import Json, ModelReference, PolicyInput


class Verdict(StrEnum):
    """What policy says of a submission."""

    APPROVED = "APPROVED"
    APPROVED_WITH_CONDITIONS = "APPROVED_WITH_CONDITIONS"
    REJECTED = "REJECTED"
    NEEDS_REVIEW = "NEEDS_REVIEW"

    @property
    def allows_deployment(self) -> bool:
        """Whether the model may serve."""
        return self in (Verdict.APPROVED, Verdict.APPROVED_WITH_CONDITIONS)


class Severity(StrEnum):
    """What a rule that fired demands, from the mildest to the worst."""

    CONDITION = "condition"
    REVIEW = "review"
    REJECT = "reject"

    @property
    def rank(self) -> int:
        """0 for the mildest."""
        return list(Severity).index(self)


_VERDICTS: Final = {
    Severity.CONDITION: Verdict.APPROVED_WITH_CONDITIONS,
    Severity.REVIEW: Verdict.NEEDS_REVIEW,
    Severity.REJECT: Verdict.REJECTED,
}


@dataclass(frozen=True, slots=True)
class Reason:
    """A rule that fired.

    Args:
        rule: its name.
        severity: what it demands.
        message: for a person, with the values filled in.
        values: what it saw, by the names policy gives.
    """

    rule: str
    severity: Severity
    message: str
    values: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a policy says of an input; the same policy and input always give an equal one.

    Args:
        verdict: follows from the reasons.
        reasons: every rule that fired, the worst first, else in the order of the policy.
    """

    verdict: Verdict
    reasons: tuple[Reason, ...]


def judgement_of(fired: Iterable[Reason]) -> Judgement:
    """The verdict is what the worst reason demands; without any, the submission is approved."""
    reasons = tuple(sorted(fired, key=lambda reason: -reason.severity.rank))
    return Judgement(_VERDICTS[reasons[0].severity] if reasons else Verdict.APPROVED, reasons)


@dataclass(frozen=True, slots=True)
class Decision:
    """A judgement that stands: at most one for each submission.

    Args:
        submission_id: what was decided on.
        model: the exact bytes it is about.
        judgement: the verdict and why.
        policy_digest: hex SHA-256 of the policy file in force.
        policy_input: what policy was run on.
        decided_at: when, UTC.
        attestation: the signed verdict; empty until it is signed.
        scan_attestation: what the scan found, signed; empty for evidence older than these.
    """

    submission_id: str
    model: ModelReference
    judgement: Judgement
    policy_digest: str
    policy_input: PolicyInput
    decided_at: dt.datetime
    attestation: bytes = b""
    scan_attestation: bytes = b""

    @property
    def verdict(self) -> Verdict:
        """The verdict of the judgement."""
        return self.judgement.verdict


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A policy run again on a recorded input.

    Args:
        judgement: what the policy in force says now.
        policy_digest: of the policy in force.
        recorded: the decision that stands.
    """

    judgement: Judgement
    policy_digest: str
    recorded: Decision

    @property
    def agrees(self) -> bool:
        """Whether the verdict and every reason are those of the recorded decision."""
        return self.judgement == self.recorded.judgement
