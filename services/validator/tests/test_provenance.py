"""Whose signature is under a bundle, and what it is worth: real keys and chains, signed with the OpenSSF library."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import model_signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from model_signing import hashing

from vallum_common.bundle import open_bundle
from vallum_common.errors import Invalid
from vallum_validator.domain.evidence import SignatureOutcome, SignatureReport, SignatureScope
from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.provenance import load_publishers, verify_signature
from vallum_validator.provenance.envelope import SignatureInvalid, SignatureUnknown, read_envelope, signed_files

from .models.publishing import DAY, NOW, Authority, Publisher, bundle, certificate, edited, entry, policy

Outcome = SignatureOutcome


@pytest.fixture
def acme(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path / "acme")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bundle(tmp_path / "bundle")


def verified(folder: Path, *publishers: dict[str, Any]) -> SignatureReport:
    with open_bundle(folder) as opened:
        return verify_signature(opened, load_publishers(policy(folder.parent / "policy", *publishers)), now=NOW)


def signed_artifact(publisher: Publisher | Authority, folder: Path, **about: Any) -> None:
    publisher.sign(folder / "model.onnx", folder / "model.sig", **about)


# --- keys


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_publishers_key_vouches_for_the_artefact(tmp_path: Path, folder: Path, curve: ec.EllipticCurve) -> None:
    acme = Publisher(tmp_path / "acme", curve)
    signed_artifact(acme, folder)
    report = verified(folder, entry("somebody else", keys=[Publisher(tmp_path / "x").public_pem]),
                      entry(keys=[acme.public_pem]))  # fmt: skip
    digest = hashlib.sha256(b"weights").hexdigest()
    assert (report.outcome, report.publisher, report.method) == (Outcome.VERIFIED, "acme", "key")
    assert (report.scope, report.digest) == (SignatureScope.ARTIFACT, digest)
    assert report.key_id == hashlib.sha256(acme.public_pem.encode()).hexdigest()
    assert report.publishers_digest == load_publishers(tmp_path / "policy" / "publishers.yaml").digest


def test_a_signature_over_the_folder_vouches_for_the_bundle(acme: Publisher, folder: Path) -> None:
    (folder / "train.py").write_text("# signed, and not submitted: the manifest does not name it\n")
    acme.sign(folder, folder / "model.sig")
    report = verified(folder, entry(keys=[acme.public_pem]))
    assert (report.outcome, report.scope) == (Outcome.VERIFIED, SignatureScope.BUNDLE)


def test_nobody_is_believed_whom_policy_does_not_name(acme: Publisher, folder: Path) -> None:
    signed_artifact(acme, folder)
    report = verified(folder)
    assert (report.outcome, report.publisher) == (Outcome.UNTRUSTED, "")
    assert report.key_id == hashlib.sha256(acme.public_pem.encode()).hexdigest()


def test_no_signature_is_no_outcome_to_be_ashamed_of(folder: Path) -> None:
    manifest = folder / "vallum.yaml"
    manifest.write_text(manifest.read_text().replace("signature: model.sig\n", ""))
    assert verified(folder).outcome is Outcome.NOT_SIGNED


def test_another_key_under_a_publishers_name_is_invalid(tmp_path: Path, acme: Publisher, folder: Path) -> None:
    signed_artifact(Publisher(tmp_path / "thief"), folder)
    fingerprint = hashlib.sha256(acme.public_pem.encode()).hexdigest()
    edited(folder / "model.sig", lambda s: s["verificationMaterial"]["publicKey"].update(hint=fingerprint))
    report = verified(folder, entry(keys=[acme.public_pem]))
    assert (report.outcome, report.publisher) == (Outcome.INVALID, "")
    assert "'acme'" in report.reason


def test_a_changed_statement_is_invalid(acme: Publisher, folder: Path) -> None:
    signed_artifact(acme, folder)

    def forge(signature: dict[str, Any]) -> None:
        statement = json.loads(base64.b64decode(signature["dsseEnvelope"]["payload"]))
        digest = hashlib.sha256(b"poison").digest()
        statement["predicate"]["resources"][0]["digest"] = digest.hex()
        statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(digest).hexdigest()
        signature["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    edited(folder / "model.sig", forge)
    (folder / "model.onnx").write_bytes(b"poison")
    assert verified(folder, entry(keys=[acme.public_pem])).outcome is Outcome.INVALID


# --- what is covered


@pytest.mark.parametrize("known", [True, False], ids=["a publisher", "a stranger"])
def test_a_signature_over_other_bytes_is_invalid_whoever_made_it(acme: Publisher, folder: Path, known: bool) -> None:
    signed_artifact(acme, folder)
    (folder / "model.onnx").write_bytes(b"other weights")
    report = verified(folder, *([entry(keys=[acme.public_pem])] if known else []))
    assert report.outcome is Outcome.INVALID
    assert "model.onnx" in report.reason


def test_the_signature_of_another_model_is_invalid(acme: Publisher, folder: Path, tmp_path: Path) -> None:
    other = bundle(tmp_path / "other", content=b"another model")
    signed_artifact(acme, other)
    (folder / "model.sig").write_bytes((other / "model.sig").read_bytes())
    assert verified(folder, entry(keys=[acme.public_pem])).outcome is Outcome.INVALID


def test_a_changed_card_in_a_signed_bundle_is_invalid(acme: Publisher, folder: Path) -> None:
    acme.sign(folder, folder / "model.sig")
    (folder / "card.md").write_text("# A nicer card\n")
    report = verified(folder, entry(keys=[acme.public_pem]))
    assert report.outcome is Outcome.INVALID
    assert "card.md" in report.reason


def test_a_file_left_out_when_a_bundle_was_signed_is_invalid(acme: Publisher, folder: Path) -> None:
    """What the signer chose to ignore the library's own verification ignores, too; here it is an unsigned file."""
    acme.sign(folder, folder / "model.sig", ignored=[folder / "card.md"])
    by_library = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=acme.public_file)
    by_library.verify(folder, folder / "model.sig")
    report = verified(folder, entry(keys=[acme.public_pem]))
    assert report.outcome is Outcome.INVALID
    assert "card.md" in report.reason


def test_a_signature_that_ignores_the_artefact_does_not_cover_it(acme: Publisher, folder: Path) -> None:
    """A publisher leaves the weights out of a signature and anybody puts others in: the library is content."""
    acme.sign(folder, folder / "model.sig", ignored=[folder / "model.onnx"])
    (folder / "model.onnx").write_bytes(b"poison")
    by_library = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=acme.public_file)
    by_library.verify(folder, folder / "model.sig")
    report = verified(folder, entry(keys=[acme.public_pem]))
    assert report.outcome is Outcome.INVALID
    assert "does not cover 'model.onnx'" in report.reason


def test_a_link_inside_the_bundle_is_judged_by_its_bytes(acme: Publisher, folder: Path) -> None:
    signed_artifact(acme, folder)
    (folder / "model.onnx").rename(folder / "kept.onnx")
    (folder / "model.onnx").symlink_to("kept.onnx")
    assert verified(folder, entry(keys=[acme.public_pem])).outcome is Outcome.VERIFIED
    (folder / "kept.onnx").write_bytes(b"poison")
    assert verified(folder, entry(keys=[acme.public_pem])).outcome is Outcome.INVALID


def test_a_signature_that_lies_outside_the_bundle_is_not_read(acme: Publisher, folder: Path) -> None:
    signed_artifact(acme, folder)
    (folder / "model.sig").rename(folder.parent / "outside.sig")
    (folder / "model.sig").symlink_to("../outside.sig")
    with pytest.raises(Invalid, match="leads out of the bundle"):
        verified(folder, entry(keys=[acme.public_pem]))


def statement(files: dict[str, str], **changes: Any) -> dict[str, Any]:
    resources = [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in files.items()]
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in files.values())).hexdigest()
    predicate = {"serialization": {"method": "files", "hash_type": "sha256"}, "resources": resources, **changes}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "m", "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": predicate,
    }


GOOD = hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize("name", ["../model.onnx", "a/../model.onnx", "/model.onnx", "./model.onnx", "a\\b", ""])
def test_a_name_that_leads_out_of_the_bundle_is_invalid(acme: Publisher, folder: Path, name: str) -> None:
    """sigstore/model-transparency#647: `../` in a signed manifest is followed out of the model's folder."""
    document = acme.sign_statement(statement({"model.onnx": GOOD, name: GOOD}))
    (folder / "model.sig").write_text(json.dumps(document))
    report = verified(folder, entry(keys=[acme.public_pem]))
    assert report.outcome is Outcome.INVALID
    assert "no path inside a bundle" in report.reason


def test_a_statement_is_read_strictly() -> None:
    def read(document: dict[str, Any]) -> object:
        return signed_files(json.dumps(document).encode())

    right = statement({"model.onnx": GOOD})
    assert read(right) == {"model.onnx": GOOD}
    twice = statement({"model.onnx": GOOD})
    twice["predicate"]["resources"] *= 2
    other_root = {**right, "subject": [{"name": "m", "digest": {"sha256": "00" * 32}}]}
    for wrong in (
        twice,
        other_root,
        statement({}),
        {**right, "predicateType": "https://model_signing/Digests/v0.1"},
        {**right, "predicate": []},
        {**right, "subject": right["subject"] * 2},
    ):
        with pytest.raises(SignatureInvalid):
            read(wrong)
    shards = statement({"model.onnx": GOOD}, serialization={"method": "shards", "hash_type": "sha256"})
    blake = statement({"model.onnx": GOOD})
    blake["predicate"]["resources"][0]["algorithm"] = "blake3"
    for unknown in (shards, blake):
        with pytest.raises(SignatureUnknown):
            read(unknown)


@pytest.mark.parametrize("how", ["blake3", "shards"])
def test_digests_that_were_not_scanned_are_not_guessed(acme: Publisher, folder: Path, how: str) -> None:
    config = hashing.Config()
    if how == "shards":
        config.use_shard_serialization()
    else:
        config.use_file_serialization(hashing_algorithm="blake3")
    signed_artifact(acme, folder, how=config)
    assert verified(folder, entry(keys=[acme.public_pem])).outcome is Outcome.UNKNOWN


# --- certificates


def test_a_certificate_below_a_publishers_root_vouches(authority: Authority, folder: Path) -> None:
    signed_artifact(authority, folder)
    report = verified(folder, entry(certificates=[{"root": authority.root_pem}]))
    assert (report.outcome, report.method, report.publisher) == (Outcome.VERIFIED, "certificate", "acme")


@pytest.mark.parametrize(
    ("names", "outcome"), [(["models@acme.example"], Outcome.VERIFIED), (["ceo@acme.example"], Outcome.UNTRUSTED)]
)
def test_of_an_authority_only_the_names_in_the_policy_vouch(
    authority: Authority, folder: Path, names: list[str], outcome: SignatureOutcome
) -> None:
    signed_artifact(authority, folder)
    root = {"root": authority.root_pem, "names": names}
    assert verified(folder, entry(certificates=[root])).outcome is outcome


def test_a_certificate_below_another_root_is_untrusted(tmp_path: Path, authority: Authority, folder: Path) -> None:
    signed_artifact(Authority(tmp_path / "other"), folder)
    assert verified(folder, entry(certificates=[{"root": authority.root_pem}])).outcome is Outcome.UNTRUSTED


def test_an_expired_certificate_is_invalid_although_the_library_takes_it(authority: Authority, folder: Path) -> None:
    signed_artifact(authority, folder, begins=NOW - 29 * DAY, ends=NOW - 20 * DAY)
    model_signing.verifying.Config().use_certificate_verifier(certificate_chain=[authority.folder / "root.pem"]).verify(
        folder / "model.onnx", folder / "model.sig"
    )
    report = verified(folder, entry(certificates=[{"root": authority.root_pem}]))
    assert report.outcome is Outcome.INVALID
    assert "2026-11-05" in report.reason


def test_a_certificate_that_is_not_for_signing_is_invalid(authority: Authority, folder: Path) -> None:
    signed_artifact(authority, folder, may_sign=False)
    assert verified(folder, entry(certificates=[{"root": authority.root_pem}])).outcome is Outcome.INVALID


def test_somebody_certified_cannot_certify_others(authority: Authority, folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    somebody = certificate("somebody", key, (authority.root, authority.root_key))
    signed_artifact(authority, folder, issuer=(somebody, key))
    assert verified(folder, entry(certificates=[{"root": authority.root_pem}])).outcome is Outcome.UNTRUSTED


def test_an_expired_root_certifies_nobody(tmp_path: Path, folder: Path) -> None:
    authority = Authority(tmp_path / "old", ends=NOW - DAY)
    signed_artifact(authority, folder)
    assert verified(folder, entry(certificates=[{"root": authority.root_pem}])).outcome is Outcome.UNTRUSTED


def test_an_expired_authority_certifies_nobody(authority: Authority, folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    old = certificate("old", key, (authority.root, authority.root_key), authority=True, ends=NOW - DAY)
    signed_artifact(authority, folder, issuer=(old, key))
    assert verified(folder, entry(certificates=[{"root": authority.root_pem}])).outcome is Outcome.UNTRUSTED


# --- who may publish what


@pytest.mark.parametrize(
    ("model_id", "vendor", "may", "outcome"),
    [
        ("credit-score", "", {"models": ["credit-*"]}, Outcome.VERIFIED),
        ("fraud", "", {"models": ["credit-*"]}, Outcome.NOT_ALLOWED),
        ("fraud", "", {"models": ["credit-*", "fr?ud"]}, Outcome.VERIFIED),
        ("credit-score", "Acme Ltd", {"models": ["*"]}, Outcome.NOT_ALLOWED),
        ("credit-score", "Acme Ltd", {"models": ["*"], "vendors": ["Acme Ltd"]}, Outcome.VERIFIED),
        ("credit-score", "Other Ltd", {"models": ["*"], "vendors": ["Acme Ltd"]}, Outcome.NOT_ALLOWED),
        ("credit-score", "", {"models": ["*"], "vendors": ["Acme Ltd"]}, Outcome.NOT_ALLOWED),
    ],
)
def test_a_publisher_publishes_what_policy_says(
    acme: Publisher, tmp_path: Path, model_id: str, vendor: str, may: dict[str, Any], outcome: SignatureOutcome
) -> None:
    folder = bundle(tmp_path / "b", model_id=model_id, vendor=vendor)
    signed_artifact(acme, folder)
    report = verified(folder, entry(keys=[acme.public_pem], may_publish=may))
    assert (report.outcome, report.publisher) == (outcome, "acme")


def test_the_scan_has_the_last_word_on_bytes_and_format(acme: Publisher, folder: Path) -> None:
    signed_artifact(acme, folder)
    may = {"models": ["*"], "formats": ["onnx"]}
    report = verified(folder, entry(keys=[acme.public_pem], may_publish=may))

    def scanned(form: str, digest: str = GOOD) -> SignatureReport:
        return report.held_against(FileReport("model.onnx", digest, 7, form, ScanVerdict.CLEAN))

    assert scanned("onnx").outcome is Outcome.VERIFIED
    assert scanned("pickle").outcome is Outcome.NOT_ALLOWED
    assert scanned("onnx", "00" * 32).outcome is Outcome.INVALID


# --- hostile files

HOSTILE: dict[str, bytes] = {
    "empty object": b"{}",
    "no JSON": b"\x00\xff garbage",
    "not UTF-8": b'{"mediaType": "\xff"}',
    "a list": b"[]",
    "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep lists": b"[" * 500_000,
    "a huge number": b'{"mediaType": ' + b"9" * 10_000 + b"}",
    "too large": b" " * (1024 * 1024) + b"{}",
    "keys twice": b'{"mediaType": "a", "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}',
    "wrong types": json.dumps(
        {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": [], "dsseEnvelope": 1}
    ).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_signature_file_is_invalid(folder: Path, name: str) -> None:
    (folder / "model.sig").write_bytes(HOSTILE[name])
    assert verified(folder).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    "material",
    [
        {"x509CertificateChain": {"certificates": []}},
        {"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}]}},
        {"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}] * 500}},
        {"x509CertificateChain": {"certificates": [1, None]}},
        {"certificate": {"rawBytes": "AAAA"}},
        {"tlogEntries": [{"logIndex": "x"}]},
    ],
)
def test_hostile_material_is_invalid(acme: Publisher, folder: Path, material: dict[str, Any]) -> None:
    signed_artifact(acme, folder)
    edited(folder / "model.sig", lambda signature: signature.update(verificationMaterial=material))
    assert verified(folder, entry(keys=[acme.public_pem])).outcome is Outcome.INVALID


@pytest.mark.parametrize("material", [{}, {"publicKey": None}, {"somethingNew": {}}])
def test_an_unknown_way_of_signing_is_unknown(acme: Publisher, folder: Path, material: dict[str, Any]) -> None:
    signed_artifact(acme, folder)
    edited(folder / "model.sig", lambda signature: signature.update(verificationMaterial=material))
    assert verified(folder, entry(keys=[acme.public_pem])).outcome is Outcome.UNKNOWN


@given(position=st.integers(min_value=0), flip=st.integers(1, 255))
def test_no_byte_of_a_signature_can_be_changed_unnoticed(
    signed_once: tuple[bytes, Callable[[bytes], SignatureReport]], position: int, flip: int
) -> None:
    """Mutations of a good file: it stays good only where the change does not reach what was signed."""
    content, judge = signed_once
    place = position % len(content)
    mutated = content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :]
    report = judge(mutated)
    if report.outcome is Outcome.VERIFIED:
        before, after = read_envelope(content), read_envelope(mutated)
        assert (before.payload, before.signature) == (after.payload, after.signature)


@pytest.fixture(scope="module", params=["key", "certificate"])
def signed_once(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, Callable[[bytes], SignatureReport]]:
    root = tmp_path_factory.mktemp("mutations")
    acme, authority, folder = Publisher(root / "acme"), Authority(root / "authority"), bundle(root / "bundle")
    signed_artifact(acme if request.param == "key" else authority, folder)
    believed = entry(keys=[acme.public_pem], certificates=[{"root": authority.root_pem}])
    publishers = load_publishers(policy(root / "policy", believed))

    def judge(content: bytes) -> SignatureReport:
        (folder / "model.sig").write_bytes(content)
        with open_bundle(folder) as opened:
            return verify_signature(opened, publishers, now=NOW)

    content = (folder / "model.sig").read_bytes()
    assert judge(content).outcome is Outcome.VERIFIED
    return content, judge
