"""The keys under attestations: Ed25519 and nothing else, private in PEM, public in a JWKS."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vallum_common.errors import Invalid

Keys = Mapping[str, Ed25519PublicKey]
"""Public keys by key id."""


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
