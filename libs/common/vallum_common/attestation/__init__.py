"""Verdicts that can be checked without asking anyone: a SLSA Verification Summary in in-toto, signed with DSSE.

Compliance signs one for every verdict, the registry checks it before it deploys, and `vallum admission verify` checks
it offline: three programs that must not differ on what a valid approval is. This package decides nothing: what passes
is policy's business.
"""

from __future__ import annotations

from vallum_common.attestation.envelope import (
    MAX_ENVELOPE_BYTES,
    PAYLOAD_TYPE,
    pre_authentication_encoding,
    seal,
    unseal,
)
from vallum_common.attestation.keys import Keys, SigningKey, load_keys, load_signing_key
from vallum_common.attestation.summary import (
    STATEMENT_TYPE,
    Resource,
    Statement,
    document_of,
    resource_uri,
    statement_of,
)
from vallum_common.errors import Denied

__all__ = [
    "MAX_ENVELOPE_BYTES",
    "PAYLOAD_TYPE",
    "STATEMENT_TYPE",
    "Keys",
    "Resource",
    "SigningKey",
    "Statement",
    "admit",
    "load_keys",
    "load_signing_key",
    "pre_authentication_encoding",
    "resource_uri",
    "seal",
    "sign",
    "unseal",
    "verify",
]


def sign(statement: Statement, key: SigningKey) -> bytes:
    """Put a statement into a signed envelope; the same statement and key give the same bytes.

    Returns:
        The DSSE envelope, JSON.
    """
    return seal(document_of(statement), key)


def verify(envelope: bytes, keys: Keys) -> Statement:
    """The statement in an envelope, after its signature was found good. It may well say FAILED: see `admit`.

    Args:
        envelope: DSSE, JSON.
        keys: the trusted ones. One good signature by any of them is enough; those by others are not looked at.

    Raises:
        Denied: no signature by a trusted key is good.
        Invalid: it is not such an envelope, or a trusted key signed something else than a verification summary.
    """
    return statement_of(unseal(envelope, keys))


def admit(envelope: bytes, keys: Keys, *, sha256: str, resource: str | None = None) -> Statement:
    """Whether a signed verdict allows exactly these bytes to serve; the one rule of admission.

    Args:
        envelope: DSSE, JSON.
        keys: the trusted ones.
        sha256: hex digest of the artefact at hand.
        resource: the version meant (`resource_uri`); `None` where only the bytes are known.

    Returns:
        The statement that allows it.

    Raises:
        Denied: no trusted signature, other bytes, another version, or a verdict that does not allow deployment.
        Invalid: the envelope or statement is malformed.
    """
    statement = verify(envelope, keys)
    if statement.subject.sha256 != sha256:
        raise Denied(f"the attestation is about sha256 {statement.subject.sha256}, the artefact has sha256 {sha256}")
    if resource is not None and statement.resource_uri != resource:
        raise Denied(f"the attestation is about {statement.resource_uri!r}, not {resource!r}")
    if not statement.passed:
        raise Denied(f"the attestation says {statement.verdict}: policy does not allow {statement.resource_uri!r}")
    return statement
