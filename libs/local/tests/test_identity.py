"""Keys and tokens of a local platform, verified the way services verify them."""

from __future__ import annotations

import base64
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vallum_common.attestation import SigningKey
from vallum_common.errors import Denied, Invalid, NotFound
from vallum_local.folder import write_private
from vallum_local.identity import (
    LONGEST_TTL,
    attestation_key,
    issue_for_command,
    issue_token,
    issuer_key,
    load_key,
    load_or_create_key,
    parse_ttl,
    prepare_identity,
    public_jwk,
    service_token,
)
from vallum_local.ports import SERVICES

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def verified(token: str, jwks: Path) -> dict[str, object]:
    """The claims of a token, after checking its signature with the published key it names; times are not checked."""
    keys = jwt.PyJWKSet.from_dict(json.loads(jwks.read_text()))
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(
        token,
        key,
        algorithms=["EdDSA"],
        audience="vallum",
        issuer="vallum-local",
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare_identity(tmp_path, NOW)
    return tmp_path


def test_key_id_is_the_thumbprint_of_the_standard() -> None:
    """RFC 8037 appendices A.1 to A.3 print this key, its JWK and its thumbprint."""
    secret = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(secret))

    assert key.key_id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert public_jwk(key) == {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "use": "sig",
        "alg": "EdDSA",
        "kid": key.key_id,
    }


def test_token_says_who_may_do_what_until_when() -> None:
    key = SigningKey(Ed25519PrivateKey.generate())
    token = issue_token(key, subject="alice", roles=["soc"], ttl=HOUR, now=NOW)
    claims = jwt.decode(token, options={"verify_signature": False})

    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": key.key_id, "typ": "JWT"}
    identifier = claims.pop("jti")
    assert len(identifier) == 32
    start = int(NOW.timestamp())
    assert claims == {
        "iss": "vallum-local",
        "aud": "vallum",
        "sub": "alice",
        "roles": ["soc"],
        "iat": start,
        "nbf": start,
        "exp": start + 3600,
    }


def test_two_tokens_never_have_the_same_id() -> None:
    key = SigningKey(Ed25519PrivateKey.generate())
    tokens = [issue_token(key, subject="a", roles=[], ttl=HOUR, now=NOW) for _ in range(2)]

    assert len({jwt.decode(token, options={"verify_signature": False})["jti"] for token in tokens}) == 2


def test_developer_may_do_everything_a_person_may(folder: Path) -> None:
    claims = verified((folder / "client.token").read_text(), folder / "keys" / "issuer.jwks.json")

    assert (claims["sub"], claims["roles"]) == ("developer", ["operator"])
    assert claims["exp"] == int((NOW + timedelta(days=30)).timestamp())


def test_each_service_has_a_token_of_its_own_role(folder: Path) -> None:
    for name in SERVICES:
        claims = verified(service_token(folder, name).read_text(), folder / "keys" / "issuer.jwks.json")
        assert (claims["sub"], claims["roles"]) == (f"service:{name}", [f"service-{name}"])


def test_verdicts_and_tokens_are_signed_with_different_keys(folder: Path) -> None:
    assert load_key(issuer_key(folder)).key_id != load_key(attestation_key(folder)).key_id


def test_secrets_are_closed_to_others(folder: Path) -> None:
    secrets = [issuer_key(folder), attestation_key(folder), folder / "client.token"]
    secrets += [service_token(folder, name) for name in SERVICES]

    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


def test_keys_survive_a_restart_and_old_tokens_stay_good(folder: Path) -> None:
    old = (folder / "client.token").read_text()

    prepare_identity(folder, NOW + HOUR)

    assert verified(old, folder / "keys" / "issuer.jwks.json")["sub"] == "developer"
    assert (folder / "client.token").read_text() != old


def test_command_issues_what_was_asked_for(folder: Path) -> None:
    token = issue_for_command(folder, subject="eve", role="auditor", ttl=HOUR, now=NOW)
    claims = verified(token, folder / "keys" / "issuer.jwks.json")

    assert (claims["sub"], claims["roles"], claims["exp"]) == ("eve", ["auditor"], int((NOW + HOUR).timestamp()))


def test_unknown_role_is_refused_with_the_nearest_one(folder: Path) -> None:
    with pytest.raises(Invalid, match="did you mean 'auditor'"):
        issue_for_command(folder, subject="eve", role="auditer", ttl=HOUR, now=NOW)


@pytest.mark.parametrize("ttl", [timedelta(0), -HOUR, LONGEST_TTL + timedelta(seconds=1)])
def test_token_for_no_time_or_too_long_is_refused(folder: Path, ttl: timedelta) -> None:
    with pytest.raises(Invalid, match="30 days"):
        issue_for_command(folder, subject="eve", role="auditor", ttl=ttl, now=NOW)


def test_token_for_nobody_is_refused(folder: Path) -> None:
    with pytest.raises(Invalid, match="subject"):
        issue_for_command(folder, subject=" ", role="auditor", ttl=HOUR, now=NOW)


def test_folder_without_a_platform_issues_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"issuer\.pem"):
        issue_for_command(tmp_path, subject="eve", role="auditor", ttl=HOUR, now=NOW)


def test_key_that_others_may_read_is_refused(folder: Path) -> None:
    issuer_key(folder).chmod(0o644)

    with pytest.raises(Denied, match=r"issuer\.pem"):
        prepare_identity(folder, NOW)


@pytest.mark.parametrize("content", ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_damaged_key_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    write_private(tmp_path / "issuer.pem", content)

    with pytest.raises(Invalid, match=r"issuer\.pem"):
        load_or_create_key(tmp_path / "issuer.pem")

    assert (tmp_path / "issuer.pem").read_text() == content


def test_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(tmp_path / "issuer.pem", pem.decode())

    with pytest.raises(Invalid, match="Ed25519"):
        load_key(tmp_path / "issuer.pem")


@pytest.mark.parametrize(
    ("text", "ttl"),
    [("90s", timedelta(seconds=90)), ("15m", timedelta(minutes=15)), ("1h", HOUR), ("7d", timedelta(days=7))],
)
def test_times_are_read_with_their_unit(text: str, ttl: timedelta) -> None:
    assert parse_ttl(text) == ttl


@pytest.mark.parametrize("text", ["", "1", "h", "1.5h", "-1h", "1w", "1h "])
def test_time_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="1h"):
        parse_ttl(text)
