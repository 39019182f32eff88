"""A signature file as values: an OpenSSF model signing bundle, read as what it is, bytes from a stranger.

Reading proves nothing: who signed is for `signers`, what was signed for `coverage`.

Source: OpenSSF Model Signing 1.0 (predicate `https://model_signing/signature/v1.0`); Sigstore bundle 0.3; DSSE 1.0.2.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from vallum_common.attestation import PAYLOAD_TYPE, pre_authentication_encoding

MAX_SIGNATURE_BYTES: Final = 1024 * 1024
"""A signature has about 200 bytes for each file it covers; more is not read."""
MAX_SIGNED_FILES: Final = 4096
WHOLE: Final = "."
"""How a signature over a single file names that file."""

_BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle"
_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class SignatureInvalid(Exception):
    """The signature is worth nothing; the text says why."""


class SignatureUnknown(Exception):
    """What the signature is worth cannot be told here; the text says why."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What lies in a signature file.

    Args:
        text: the whole of it.
        material: what says who signed, as in the Sigstore bundle.
        payload: the signed statement, as bytes.
        signature: under it.
    """

    text: str
    material: Mapping[str, Any]
    payload: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The bytes the signature is over."""
        return pre_authentication_encoding(PAYLOAD_TYPE, self.payload)


def read_envelope(content: bytes) -> Envelope:
    """Read a signature file.

    Raises:
        SignatureInvalid: it is none.
    """
    document = _object(content, "the signature file")
    if not str(document.get("mediaType", "")).startswith(_BUNDLE_TYPE):
        raise SignatureInvalid("the signature file is no Sigstore bundle; `model_signing sign` writes one")
    material, envelope = document.get("verificationMaterial"), document.get("dsseEnvelope")
    if not isinstance(material, dict) or not isinstance(envelope, dict):
        raise SignatureInvalid("the signature file lacks verificationMaterial or dsseEnvelope")
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        raise SignatureInvalid(f"the signed payload is no in-toto statement: {envelope.get('payloadType')!r:.100}")
    match envelope.get("signatures"):
        case [{"sig": signature}]:
            payload = decoded(envelope.get("payload"), "payload")
            return Envelope(content.decode(), material, payload, decoded(signature, "sig"))
        case _:
            raise SignatureInvalid("the signature file must carry exactly one signature")


def decoded(value: object, name: str) -> bytes:
    """The bytes behind a base64 text.

    Raises:
        SignatureInvalid: it is none.
    """
    if isinstance(value, str) and value:
        with contextlib.suppress(ValueError):
            return base64.b64decode(value, validate=True)
    raise SignatureInvalid(f"{name} in the signature file is not base64")


def signed_files(payload: bytes) -> Mapping[str, str]:
    """The files a statement names, each with the hex SHA-256 of its bytes; a single file is named `WHOLE`.

    Raises:
        SignatureInvalid: it is no statement about a model, or not consistent with itself.
        SignatureUnknown: it tells of its files by other digests than SHA-256 of the whole file.
    """
    statement = _object(payload, "the signed statement")
    kind = (statement.get("_type"), statement.get("predicateType"))
    if kind != (_STATEMENT_TYPE, _PREDICATE_TYPE):
        raise SignatureInvalid(f"the signed statement is of type {kind!r:.200}; {_PREDICATE_TYPE!r} is right")
    match statement:
        case {
            "subject": [{"digest": {"sha256": str(root)}}],
            "predicate": {"resources": [*resources], "serialization": {"method": str(method)}},
        }:
            if method != "files":
                raise SignatureUnknown(f"the signature is over {method!r:.40}; sign whole files instead")
            if not 1 <= len(resources) <= MAX_SIGNED_FILES:
                raise SignatureInvalid(f"the signature names {len(resources)} files; 1 to {MAX_SIGNED_FILES} are read")
            files = dict(map(_resource, resources))
        case _:
            raise SignatureInvalid("the signed statement lacks subject, resources or serialization")
    if len(files) != len(resources):
        raise SignatureInvalid("the signature names a file twice")
    if hashlib.sha256(b"".join(bytes.fromhex(entry["digest"]) for entry in resources)).hexdigest() != root:
        raise SignatureInvalid("the signed statement contradicts itself: its files do not add up to its subject")
    return files


def _resource(entry: object) -> tuple[str, str]:
    match entry:
        case {"name": str(name), "algorithm": str(algorithm), "digest": str(digest)}:
            if algorithm != "sha256":
                raise SignatureUnknown(f"the signature is over {algorithm!r:.40} digests; sign with sha256 instead")
            if not _SHA256.fullmatch(digest):
                raise SignatureInvalid(f"the signature names a digest that is no SHA-256: {digest!r:.80}")
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name:
                # sigstore/model-transparency#647: a verifier that follows such a name reads outside the model.
                raise SignatureInvalid(f"the signature names {name!r:.100}, which is no path inside a bundle")
            return name, digest
        case _:
            raise SignatureInvalid("the signature names a file without name, algorithm or digest")


def _object(content: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(content, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise SignatureInvalid(f"{name} is not JSON") from error
    if not isinstance(document, dict):
        raise SignatureInvalid(f"{name} must be a JSON object, got {type(document).__name__}")
    return document


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a repeated key each reader takes another; what one verifies another would not see."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is written twice")
    return document
