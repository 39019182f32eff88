"""Signatures of an identity instead of a key: verified offline against a trusted root that policy pins."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vallum_common.bundle import open_bundle
from vallum_validator.domain.evidence import SignatureOutcome, SignatureReport
from vallum_validator.provenance import load_publishers, verify_signature

from .models.publishing import NOW, Publisher, bundle, edited, entry, policy
from .models.sigstore_instance import Instance

Outcome = SignatureOutcome
WHO, ISSUER = "https://ci.example/acme/release.yml", "https://token.example"


@pytest.fixture(scope="module")
def instance() -> Instance:
    return Instance()


@pytest.fixture
def folder(tmp_path: Path, instance: Instance) -> Path:
    """A bundle signed as a whole by an identity."""
    folder, somebody = bundle(tmp_path / "bundle"), Publisher(tmp_path / "somebody")
    signature = folder / "model.sig"
    somebody.sign(folder, signature)
    vouched = instance.vouch(json.loads(signature.read_text()), somebody.key, WHO, ISSUER)
    signature.write_text(json.dumps(vouched))
    return folder


@pytest.fixture
def verified(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SignatureReport]:
    """Judges the bundle by a policy with one identity; whoever reaches for the network is found out."""

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    def judge(instance: Instance, who: str = WHO, issuer: str = ISSUER) -> SignatureReport:
        content = instance.trusted_root().encode()
        (tmp_path / "policy").mkdir(exist_ok=True)
        (tmp_path / "policy" / "root.json").write_bytes(content)
        pinned = {"file": "root.json", "sha256": hashlib.sha256(content).hexdigest()}
        publisher = entry(sigstore=[{"identity": who, "issuer": issuer, "trusted_root": pinned}])
        publishers = load_publishers(policy(tmp_path / "policy", publisher))
        monkeypatch.setattr(socket.socket, "connect", refuse)
        with open_bundle(folder) as opened:
            return verify_signature(opened, publishers, now=NOW)

    return judge


def test_an_identity_vouches_long_after_its_certificate_ended(instance: Instance, verified: Any) -> None:
    """Its certificate is valid for ten minutes; the transparency log says that it signed within them."""
    report = verified(instance)
    assert (report.outcome, report.publisher, report.method) == (Outcome.VERIFIED, "acme", "sigstore")
    assert (report.scope, report.key_id) == ("bundle", f"{WHO} ({ISSUER})")


@pytest.mark.parametrize(("who", "issuer"), [("https://ci.example/eve", ISSUER), (WHO, "https://other.example")])
def test_another_identity_or_issuer_is_untrusted(instance: Instance, verified: Any, who: str, issuer: str) -> None:
    report = verified(instance, who, issuer)
    assert (report.outcome, report.key_id) == (Outcome.UNTRUSTED, WHO)


def test_the_right_name_from_another_instance_is_invalid(verified: Any) -> None:
    """Anybody can run an authority that certifies anybody; only the pinned one counts."""
    assert verified(Instance()).outcome is Outcome.INVALID


def test_other_bytes_than_were_signed_are_invalid(instance: Instance, folder: Path, verified: Any) -> None:
    (folder / "model.onnx").write_bytes(b"poison")
    assert verified(instance).outcome is Outcome.INVALID


def entry_of(signature: dict[str, Any]) -> dict[str, Any]:
    return signature["verificationMaterial"]["tlogEntries"][0]


BREAKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no log entry": lambda s: s["verificationMaterial"].update(tlogEntries=[]),
    "no promise": lambda s: entry_of(s).pop("inclusionPromise"),
    "another time": lambda s: entry_of(s).update(integratedTime="1"),
    "another leaf": lambda s: entry_of(s).update(canonicalizedBody="e30="),
    "another root": lambda s: entry_of(s)["inclusionProof"].update(rootHash="AA=="),
    "no checkpoint": lambda s: entry_of(s)["inclusionProof"].pop("checkpoint"),
    "no proof": lambda s: entry_of(s).pop("inclusionProof"),
    "another signature": lambda s: s["dsseEnvelope"]["signatures"][0].update(sig="AAAA"),
    "another payload": lambda s: s["dsseEnvelope"].update(payload="e30="),
    "an old bundle": lambda s: s.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_whatever_is_broken_it_is_never_good(instance: Instance, folder: Path, verified: Any, name: str) -> None:
    edited(folder / "model.sig", lambda signature: BREAKS[name](signature) and None)
    assert verified(instance).outcome in {Outcome.INVALID, Outcome.UNKNOWN}
