"""Signs verdicts and what the scan found, as in-toto statements about the artefact's bytes. Judges nothing.

The verdict is a SLSA Verification Summary. The scan has a predicate type of our own: that of in-toto for
vulnerabilities knows only a list of findings, in which nothing found and nothing understood look alike.
"""

from __future__ import annotations

import hashlib
from typing import Final

from vallum_common import attestation
from vallum_common.attestation import Resource, SigningKey, Statement
from vallum_compliance.domain.decision import Decision
from vallum_compliance.domain.evidence import Document, ModelReference

VERIFIER: Final = "https://vallum.dev/compliance"
SCAN_PREDICATE: Final = "https://vallum.dev/attestation/scan/v1"
"""Described in this service's README."""


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
        inputs = [Resource(f"vallum:policy-input/{decision.submission_id}", decision.policy_input.digest)]
        if decision.scan_attestation:
            digest = hashlib.sha256(decision.scan_attestation).hexdigest()
            inputs.append(Resource(f"vallum:scan/{decision.submission_id}", digest))
        statement = Statement(
            subject=Resource(resource, model.digest),
            resource_uri=resource,
            verifier=VERIFIER,
            verified_at=decision.decided_at,
            policy=Resource("vallum:release-policy", decision.policy_digest),
            passed=decision.verdict.allows_deployment,
            verdict=decision.verdict,
            inputs=tuple(inputs),
        )
        return attestation.sign(statement, self._key)

    def sign_scan(self, model: ModelReference, predicate: Document) -> bytes:
        """The DSSE envelope, JSON, of what the scan of these bytes found, as the validator told it."""
        subject = {"name": attestation.resource_uri(model.id, model.version), "digest": {"sha256": model.digest}}
        statement = {
            "_type": attestation.STATEMENT_TYPE,
            "subject": [subject],
            "predicateType": SCAN_PREDICATE,
            "predicate": predicate,
        }
        return attestation.seal(statement, self._key)
