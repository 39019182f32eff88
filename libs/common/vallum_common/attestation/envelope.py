"""The envelope: signed bytes, and what says who signed them.

Source: DSSE 1.0.2, protocol and envelope.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vallum_common.attestation.keys import Keys, SigningKey
from vallum_common.errors import Denied, Invalid

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_ENVELOPE_BYTES: Final = 1024 * 1024
"""A real envelope has about 2 KiB; more is not read."""
_MAX_SIGNATURES: Final = 16


def seal(statement: Mapping[str, Any], key: SigningKey) -> bytes:
    """Sign a statement; the same statement and key give the same bytes.

    Returns:
        The envelope, JSON.
    """
    payload = _json(statement)
    signature = key.private.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    return _json(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": key.key_id, "sig": base64.b64encode(signature).decode()}],
        }
    )


def unseal(envelope: bytes, keys: Keys) -> Mapping[str, Any]:
    """The statement in an envelope, after a signature by a trusted key was found good.

    Raises:
        Denied: no signature by a trusted key is good.
        Invalid: it is not such an envelope.
    """
    document = _object(envelope, "the attestation")
    payload_type = document.get("payloadType")
    if payload_type != PAYLOAD_TYPE:
        raise Invalid(f"the attestation has the payload type {payload_type!r}; {PAYLOAD_TYPE!r} is right")
    payload = _base64(document.get("payload"), "payload")
    signed = pre_authentication_encoding(PAYLOAD_TYPE, payload)
    signers = _signatures(document.get("signatures"))
    if not any(_is_good(keys[key_id], signature, signed) for key_id, signature in signers if key_id in keys):
        raise Denied(
            f"the attestation is not signed by a trusted key: it names {[key_id for key_id, _ in signers]}, "
            f"trusted are {sorted(keys)}"
        )
    return _object(payload, "the signed statement")


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What is signed (DSSE 1.0.2, "PAE"): the lengths make it impossible to move bytes between type and payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _is_good(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _signatures(entries: object) -> list[tuple[str, bytes]]:
    if not isinstance(entries, list) or not 1 <= len(entries) <= _MAX_SIGNATURES:
        raise Invalid(f"the attestation must carry 1 to {_MAX_SIGNATURES} signatures")
    if not all(isinstance(entry, dict) for entry in entries):
        raise Invalid("the attestation's signatures must be objects with keyid and sig")
    return [(str(entry.get("keyid", "")), _base64(entry.get("sig"), "sig")) for entry in entries]


def _base64(value: object, name: str) -> bytes:
    if isinstance(value, str) and value:
        with contextlib.suppress(ValueError):
            # DSSE: verifiers take the standard and the URL-safe alphabet.
            return base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
    raise Invalid(f"the attestation's {name} is not base64")


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
