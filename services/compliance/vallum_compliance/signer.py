"""Signs verdicts: a decision becomes a SLSA Verification Summary about the artefact's bytes. Judges nothing."""

from __future__ import annotations

from typing import Final

from vallum_common import attestation
from vallum_common.attestation import Resource, SigningKey, Statement
from vallum_compliance.domain.decision import Decision

VERIFIER: Final = "https://vallum.dev/compliance"


class VerdictSigner:
    """Signs every decision, refusals too: who shows a verdict cannot choose to show another.

    Args:
        key: known to verifiers by its thumbprint.
    """

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    def sign(self, decision: Decision) -> bytes:
        """The DSSE envelope, JSON; the same decision gives the same bytes."""
        model = decision.model
        resource = attestation.resource_uri(model.id, model.version)
        statement = Statement(
            subject=Resource(resource, model.digest),
            resource_uri=resource,
            verifier=VERIFIER,
            verified_at=decision.decided_at,
            policy=Resource("vallum:release-policy", decision.policy_digest),
            passed=decision.verdict.allows_deployment,
            verdict=decision.verdict,
            inputs=(Resource(f"vallum:policy-input/{decision.submission_id}", decision.policy_input.digest),),
        )
        return attestation.sign(statement, self._key)
