"""The policy of publishers: what it must hold, and what is refused before anybody is believed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from vallum_common.errors import Invalid, NotFound
from vallum_validator.provenance import load_publishers

from .models.publishing import Authority, Publisher, entry, policy

SHIPPED = Path(__file__).parents[3] / "policies" / "publishers.yaml"
GITHUB = {"identity": "https://example.org/release.yml", "issuer": "https://token.example.org"}


def test_the_shipped_policy_believes_nobody() -> None:
    publishers = load_publishers(SHIPPED)
    assert publishers.publishers == ()
    assert publishers.digest == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()


def test_all_three_ways_can_stand_in_one_policy(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text("{}")
    pinned = {"file": "root.json", "sha256": hashlib.sha256(b"{}").hexdigest()}
    loaded = load_publishers(
        policy(
            tmp_path,
            entry(
                keys=[Publisher(tmp_path / "a").public_pem],
                certificates=[{"root": Authority(tmp_path / "b").root_pem, "names": ["x@y.z"]}],
                sigstore=[{**GITHUB, "trusted_root": pinned}],
            ),
        )
    )
    assert [len(list(part)) for part in (loaded.keys(), loaded.roots(), loaded.identities())] == [1, 1, 1]


def ed25519_pem() -> str:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    ("publisher", "said"),
    [
        (entry(), "needs one of keys, certificates, sigstore"),
        (entry(keys=["no key"]), "public key in PEM"),
        (entry(keys=[ed25519_pem()]), "P-256"),
        (entry(certificates=[{"root": "no certificate"}]), "certificate in PEM"),
        (entry(keys=[], may_publish={"models": []}), "may_publish.models"),
        (entry(keys=[], may_publish={"models": ["*"], "vendor": ["Acme"]}), "may_publish.vendor:"),
        (entry(may_publsh={}), "publishers.0.may_publsh: unknown key; did you mean 'may_publish'?"),
        (
            entry(keys=[], may_publish={"model": ["*"]}),
            "publishers.0.may_publish.model: unknown key; did you mean 'models'?",
        ),
        (entry(source="x", keys=[]), "publishers.0.source: must have at least 10 characters"),
        (entry(sigstore=[{**GITHUB, "trusted_root": {"file": "nowhere.json", "sha256": "00" * 32}}]), "nowhere.json"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_place(tmp_path: Path, publisher: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as refused:
        load_publishers(policy(tmp_path, publisher))
    assert said in refused.value.message
    assert "\n" not in refused.value.message


def test_a_key_has_one_owner(tmp_path: Path) -> None:
    pem = Publisher(tmp_path / "a").public_pem
    with pytest.raises(Invalid, match="two publishers have the key"):
        load_publishers(policy(tmp_path, entry("one", keys=[pem]), entry("two", keys=[pem])))
    with pytest.raises(Invalid, match="two publishers have the name"):
        load_publishers(policy(tmp_path, entry("one", keys=[pem]), entry("one", keys=[pem])))


def test_a_private_key_is_no_key_and_is_not_told(tmp_path: Path) -> None:
    secret = Publisher(tmp_path / "a").key_file.read_text()
    with pytest.raises(Invalid) as refused:
        load_publishers(policy(tmp_path, entry(keys=[secret])))
    assert secret.splitlines()[1] not in refused.value.message


def test_a_trusted_root_that_changed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text("{}")
    pinned = {"file": "root.json", "sha256": hashlib.sha256(b"{}").hexdigest()}
    path = policy(tmp_path, entry(sigstore=[{**GITHUB, "trusted_root": pinned}]))
    load_publishers(path)
    (tmp_path / "root.json").write_text("{} ")
    with pytest.raises(Invalid, match="the policy pins"):
        load_publishers(path)


@pytest.mark.parametrize("content", [b"\xff", b"[]", b"version: [", b"digest: x\nversion: y"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "publishers.yaml"
    path.write_bytes(content)
    with pytest.raises(Invalid):
        load_publishers(path)
    with pytest.raises(NotFound):
        load_publishers(tmp_path / "none.yaml")
