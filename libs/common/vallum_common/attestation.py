"""Verdicts that can be checked without asking anyone: a SLSA Verification Summary in in-toto, signed with DSSE.

Compliance signs one for every verdict, the registry checks it before it deploys, and `vallum admission verify` checks
it offline: three programs that must not differ on what a valid approval is. Only Ed25519 is known here, and this
module decides nothing: what PASSED means is policy's business.

Source: DSSE 1.0.2 (envelope, protocol); in-toto Attestation Framework, Statement v1; SLSA Verification Summary v1.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vallum_common.errors import Denied, Invalid

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/verification_summary/v1"
MAX_ENVELOPE_BYTES: Final = 1024 * 1024
"""A real envelope has about 2 KiB; more is not read."""
_MAX_SIGNATURES: Final = 16
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

Keys = Mapping[str, Ed25519PublicKey]
"""Public keys by key id."""


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


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with the id under which verifiers know its public half.

    Args:
        private: never leaves the process.
    """

    private: Ed25519PrivateKey

    @property
    def key_id(self) -> str:
        """The thumbprint of the public key (RFC 7638), the `kid` of its JWK (RFC 8037, appendix A.3)."""
        x = base64.urlsafe_b64encode(self.private.public_key().public_bytes_raw()).rstrip(b"=").decode()
        canonical = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, sort_keys=True, separators=(",", ":"))
        return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def load_signing_key(path: Path) -> SigningKey:
    """Read a private key from a PKCS #8 PEM file.

    Raises:
        Invalid: the file cannot be read or holds no Ed25519 private key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise Invalid(f"the signing key {str(path)!r} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Invalid(f"{str(path)!r} is not an unencrypted PEM private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Invalid(f"{str(path)!r} holds a {type(key).__name__}; an Ed25519 private key is needed")
    return SigningKey(key)


def load_keys(path: Path) -> Keys:
    """Read public keys from a JWKS file.

    Raises:
        Invalid: the file cannot be read, or holds anything but Ed25519 public keys with a `kid`.
    """
    try:
        entries = json.loads(path.read_bytes())["keys"]
        keys = {entry.get("kid"): jwt.PyJWK(entry, algorithm="EdDSA").key for entry in entries}
    except OSError as error:
        raise Invalid(f"the attestation keys {str(path)!r} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise Invalid(f"{str(path)!r} is not a JWKS of Ed25519 keys: {error}") from error
    if not keys or not all(name and isinstance(key, Ed25519PublicKey) for name, key in keys.items()):
        raise Invalid(f"the JWKS {str(path)!r} must hold Ed25519 public keys, each with a kid")
    return keys


def sign(statement: Statement, key: SigningKey) -> bytes:
    """Put a statement into a signed envelope; the same statement and key give the same bytes.

    Returns:
        The DSSE envelope, JSON.
    """
    payload = _json(_document(statement))
    signature = key.private.sign(_pre_authentication_encoding(PAYLOAD_TYPE, payload))
    return _json(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": key.key_id, "sig": base64.b64encode(signature).decode()}],
        }
    )


def verify(envelope: bytes, keys: Keys) -> Statement:
    """The statement in an envelope, after its signature was found good. It may well say FAILED: see `admit`.

    Args:
        envelope: DSSE, JSON.
        keys: the trusted ones. One good signature by any of them is enough; those by others are not looked at.

    Raises:
        Denied: no signature by a trusted key is good.
        Invalid: it is not such an envelope, or a trusted key signed something else than a verification summary.
    """
    document = _object(envelope, "the attestation")
    payload_type = document.get("payloadType")
    if payload_type != PAYLOAD_TYPE:
        raise Invalid(f"the attestation has the payload type {payload_type!r}; {PAYLOAD_TYPE!r} is right")
    payload = _base64(document.get("payload"), "payload")
    signed = _pre_authentication_encoding(PAYLOAD_TYPE, payload)
    signers = _signatures(document.get("signatures"))
    if not any(_is_good(keys[key_id], signature, signed) for key_id, signature in signers if key_id in keys):
        raise Denied(
            f"the attestation is not signed by a trusted key: it names {[key_id for key_id, _ in signers]}, "
            f"trusted are {sorted(keys)}"
        )
    return _statement(_object(payload, "the signed statement"))


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


def _pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What is signed (DSSE 1.0.2, "PAE"): the lengths make it impossible to move bytes between type and payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _is_good(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _document(statement: Statement) -> dict[str, Any]:
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


def _statement(document: Mapping[str, Any]) -> Statement:
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


def _signatures(entries: object) -> list[tuple[str, bytes]]:
    if not isinstance(entries, list) or not 1 <= len(entries) <= _MAX_SIGNATURES:
        raise Invalid(f"the attestation must carry 1 to {_MAX_SIGNATURES} signatures")
    if not all(isinstance(entry, dict) for entry in entries):
        raise Invalid("the attestation's signatures must be objects with keyid and sig")
    return [(str(entry.get("keyid", "")), _base64(entry.get("sig"), "sig")) for entry in entries]


def _base64(value: object, name: str) -> bytes:
    try:
        # DSSE: verifiers take the standard and the URL-safe alphabet.
        return base64.b64decode(_text(value).replace("-", "+").replace("_", "/"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise Invalid(f"the attestation's {name} is not base64") from error


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _object(content: bytes, name: str) -> dict[str, Any]:
    if len(content) > MAX_ENVELOPE_BYTES:
        raise Invalid(f"{name} has {len(content)} bytes; at most {MAX_ENVELOPE_BYTES} are read")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{name} is not JSON") from error
    if not isinstance(document, dict):
        raise Invalid(f"{name} must be a JSON object, got {type(document).__name__}")
    return document
