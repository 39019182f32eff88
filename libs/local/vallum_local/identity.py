"""Keys and bearer tokens of one local platform: an identity provider for development, and nothing more.

In production tokens come from the company's own identity provider, and services are told its JWKS address instead.
Keys are Ed25519, as PKCS#8 PEM closed to others; what services need to verify them is a JWKS file beside each.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from vallum_common.attestation import SigningKey
from vallum_common.errors import Invalid, NotFound
from vallum_local.folder import private_folder, read_private, write_private
from vallum_local.ports import SERVICES

ISSUER = "vallum-local"
AUDIENCE = "vallum"
OPERATOR = "operator"
SERVICE_ROLES = tuple(f"service-{name}" for name in SERVICES)
PEOPLE_ROLES = ("platform", "soc", "auditor", "risk-officer", OPERATOR)
LONGEST_TTL = timedelta(days=30)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def public_jwk(key: SigningKey) -> dict[str, str]:
    """The public half of a key as a JSON Web Key.

    Source: RFC 8037 section 2 (members of an Ed25519 key), RFC 7517 section 4 (`use`, `alg`, `kid`).
    """
    x = base64.urlsafe_b64encode(key.private.public_key().public_bytes_raw()).rstrip(b"=").decode()
    return {"crv": "Ed25519", "kty": "OKP", "x": x, "use": "sig", "alg": "EdDSA", "kid": key.key_id}


def load_key(path: Path) -> SigningKey:
    """The key kept in a PEM file.

    Raises:
        NotFound: there is no such file.
        Denied: others may read it.
        Invalid: it holds no Ed25519 key.
    """
    try:
        key = load_pem_private_key(read_private(path).encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Invalid(f"{str(path)!r} cannot be read as a key: {error}; it should be an unencrypted PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Invalid(f"{str(path)!r} holds a {type(key).__name__}; it should be an Ed25519 key")
    return SigningKey(key)


def load_or_create_key(path: Path) -> SigningKey:
    """The key kept in a PEM file, made the first time; its public half is (re)written beside it as `<name>.jwks.json`.

    Raises:
        Denied: others may read it.
        Invalid: it holds no Ed25519 key.
    """
    try:
        key = load_key(path)
    except NotFound:
        key = SigningKey(Ed25519PrivateKey.generate())
        pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(path, pem.decode())
    write_private(path.with_suffix(".jwks.json"), json.dumps({"keys": [public_jwk(key)]}, indent=2) + "\n")
    return key


def issue_token(key: SigningKey, *, subject: str, roles: Sequence[str], ttl: timedelta, now: datetime) -> str:
    """A signed bearer token (JWT, EdDSA).

    Args:
        key: the issuer's.
        subject: who is named by it.
        roles: what they may do.
        ttl: how long it is valid, from `now`.
        now: aware; the token is not valid before it.
    """
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "roles": list(roles),
        "iat": now,
        "nbf": now,
        "exp": now + ttl,
        "jti": secrets.token_hex(16),
    }
    return jwt.encode(claims, key.private, algorithm="EdDSA", headers={"kid": key.key_id})


def issue_for_command(folder: Path, *, subject: str, role: str, ttl: timedelta, now: datetime) -> str:
    """What `vallum token issue` prints: a token for a person or a program, signed by the platform in `folder`.

    Args:
        folder: where `vallum up` keeps its data.
        subject: who is named by it; not empty.
        role: one of the roles in use.
        ttl: more than nothing, 30 days at most.
        now: aware.

    Raises:
        Invalid: a role nobody has, an empty subject, or a time out of range.
        NotFound: the folder holds no issuer key.
        Denied: others may read that key.
    """
    known = PEOPLE_ROLES + SERVICE_ROLES
    if role not in known:
        near = get_close_matches(role, known, n=1)
        raise Invalid(f"role {role!r} is unknown; " + (f"did you mean {near[0]!r}?" if near else f"one of {known!r}"))
    if not subject.strip():
        raise Invalid(f"subject {subject!r} is empty; it should name the person or program")
    if not timedelta(0) < ttl <= LONGEST_TTL:
        raise Invalid(f"a token for {ttl} is not issued; it should be more than nothing and at most {LONGEST_TTL}")
    return issue_token(load_key(issuer_key(folder)), subject=subject, roles=[role], ttl=ttl, now=now)


def issuer_key(folder: Path) -> Path:
    """Where a platform's folder keeps the key that signs tokens."""
    return folder / "keys" / "issuer.pem"


def attestation_key(folder: Path) -> Path:
    """Where a platform's folder keeps the key that signs verdicts."""
    return folder / "keys" / "attestation.pem"


def service_token(folder: Path, name: str) -> Path:
    """Where a platform's folder keeps the token one service shows to the others."""
    return folder / "tokens" / f"{name}.token"


def prepare_identity(folder: Path, now: datetime) -> None:
    """Make the keys the first time, and fresh tokens for the developer and the five services every time.

    Args:
        folder: the platform's; afterwards holds `keys/`, `tokens/` and `client.token`.
        now: aware; tokens end 30 days later.

    Raises:
        Denied: others may read a key.
        Invalid: a key file was damaged.
    """
    private_folder(folder / "keys")
    private_folder(folder / "tokens")
    load_or_create_key(attestation_key(folder))
    issuer = load_or_create_key(issuer_key(folder))
    developer = issue_token(issuer, subject="developer", roles=[OPERATOR], ttl=LONGEST_TTL, now=now)
    write_private(folder / "client.token", developer)
    for name, role in zip(SERVICES, SERVICE_ROLES, strict=True):
        token = issue_token(issuer, subject=f"service:{name}", roles=[role], ttl=LONGEST_TTL, now=now)
        write_private(service_token(folder, name), token)


def parse_ttl(text: str) -> timedelta:
    """A time like `90s`, `15m`, `1h` or `7d`.

    Raises:
        Invalid: it has another form.
    """
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise Invalid(f"{text!r} is not a time; it should be a number with s, m, h or d, like '1h'")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
