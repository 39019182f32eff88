"""`vallum admission verify`: offline, and only a trusted verdict about exactly these bytes admits them."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vallum_common import attestation
from vallum_common.attestation import Resource, SigningKey, Statement

ARTIFACT = b"a model"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
FOREIGN = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
STATEMENT = Statement(
    subject=Resource("model.onnx", hashlib.sha256(ARTIFACT).hexdigest()),
    resource_uri=attestation.resource_uri("adult-income", "1.2.0"),
    verifier="https://vallum.dev/compliance",
    verified_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    policy=Resource("vallum:policy/release", "cd" * 32),
    passed=True,
    verdict="APPROVED_WITH_CONDITIONS",
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An artefact, its attestation and the trusted keys."""
    public = base64.urlsafe_b64encode(KEY.private.public_key().public_bytes_raw()).rstrip(b"=").decode()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": public, "kid": KEY.key_id}
    artifact, envelope, keys = tmp_path / "model.onnx", tmp_path / "a.dsse.json", tmp_path / "keys.json"
    artifact.write_bytes(ARTIFACT)
    envelope.write_bytes(attestation.sign(STATEMENT, KEY))
    keys.write_text(json.dumps({"keys": [jwk]}))
    return artifact, envelope, keys


def test_exactly_these_bytes_are_admitted(vallum, files) -> None:
    artifact, envelope, keys = files
    typed = vallum("admission", "verify", artifact, envelope, "--key", keys)
    assert typed.code == 0
    assert "admitted  APPROVED_WITH_CONDITIONS" in typed.out
    assert max(map(len, typed.out.splitlines())) <= 80
    typed = vallum("admission", "verify", artifact, envelope, "--key", keys, "--json")
    assert typed.document == {
        "admitted": True,
        "sha256": STATEMENT.subject.sha256,
        "verdict": "APPROVED_WITH_CONDITIONS",
    }


@pytest.mark.parametrize(
    ("statement", "key", "content"),
    [
        (STATEMENT, KEY, b"other bytes"),
        (STATEMENT, FOREIGN, ARTIFACT),
        (replace(STATEMENT, passed=False, verdict="REJECTED"), KEY, ARTIFACT),
    ],
    ids=["other bytes", "foreign key", "refused by policy"],
)
def test_anything_else_is_refused_with_1(vallum, files, statement, key, content) -> None:
    artifact, envelope, keys = files
    artifact.write_bytes(content)
    envelope.write_bytes(attestation.sign(statement, key))
    typed = vallum("admission", "verify", artifact, envelope, "--key", keys)
    assert typed.code == 1
    assert typed.out.startswith("refused\n")
    assert max(map(len, typed.out.splitlines())) <= 80
    document = vallum("admission", "verify", artifact, envelope, "--key", keys, "--json").document
    assert document["admitted"] is False
    assert document["reason"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_file_that_is_not_there_is_one_line_and_3(vallum, files, place) -> None:
    files[place].unlink()
    artifact, envelope, keys = files
    typed = vallum("admission", "verify", artifact, envelope, "--key", keys)
    assert (typed.code, typed.out) == (3, "")
    assert typed.error.count("\n") == 1
    assert str(files[place]) in typed.error


def test_what_is_no_attestation_is_wrong_use(vallum, files) -> None:
    artifact, envelope, keys = files
    envelope.write_text("{}")
    assert vallum("admission", "verify", artifact, envelope, "--key", keys).code == 3
