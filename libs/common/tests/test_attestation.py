"""Attestations: only what a trusted key signed, about exactly these bytes, and PASSED, is admitted."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum_common import attestation
from vallum_common.attestation import Resource, SigningKey, Statement
from vallum_common.errors import Denied, Invalid

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
FOREIGN = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
KEYS = {KEY.key_id: KEY.private.public_key()}
DIGEST, OTHER_DIGEST = "ab" * 32, "cd" * 32
STATEMENT = Statement(
    subject=Resource("model.onnx", DIGEST),
    resource_uri=attestation.resource_uri("adult-income", "1.2.0"),
    verifier="https://vallum.dev/compliance",
    verified_at=dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC),
    policy=Resource("vallum:policy/release", OTHER_DIGEST),
    passed=True,
    verdict="APPROVED",
    inputs=(Resource("vallum:input", OTHER_DIGEST),),
)


def envelope(change: Callable[[dict[str, Any]], None] = lambda document: None) -> bytes:
    """The good envelope, changed after it was signed."""
    document = json.loads(attestation.sign(STATEMENT, KEY))
    change(document)
    return json.dumps(document).encode()


def signed(payload: bytes) -> bytes:
    """An envelope in which the trusted key signed anything at all, with DSSE written out once more by hand."""
    encoded = b"DSSEv1 28 application/vnd.in-toto+json " + str(len(payload)).encode() + b" " + payload
    signature = base64.b64encode(KEY.private.sign(encoded)).decode()
    document = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": KEY.key_id, "sig": signature}],
    }
    return json.dumps(document).encode()


def payload(**changes: Any) -> bytes:
    """The payload of the good envelope with other top-level members."""
    document = json.loads(base64.b64decode(json.loads(envelope())["payload"]))
    return json.dumps({**document, **changes}).encode()


def test_what_was_signed_comes_back() -> None:
    assert attestation.verify(attestation.sign(STATEMENT, KEY), KEYS) == STATEMENT


def test_same_statement_and_key_give_the_same_bytes() -> None:
    assert attestation.sign(STATEMENT, KEY) == attestation.sign(replace(STATEMENT), KEY)


def test_payload_is_a_slsa_verification_summary() -> None:
    document = json.loads(payload())
    assert document == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model.onnx", "digest": {"sha256": DIGEST}}],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {
            "verifier": {"id": "https://vallum.dev/compliance"},
            "timeVerified": "2026-01-01T12:00:00Z",
            "resourceUri": "vallum:adult-income@1.2.0",
            "policy": {"uri": "vallum:policy/release", "digest": {"sha256": OTHER_DIGEST}},
            "inputAttestations": [{"uri": "vallum:input", "digest": {"sha256": OTHER_DIGEST}}],
            "verificationResult": "PASSED",
            "verifiedLevels": ["VALLUM_APPROVED"],
            "vallum": {"verdict": "APPROVED"},
        },
    }


def test_signature_is_over_the_pre_authentication_encoding_of_dsse() -> None:
    assert attestation.verify(signed(payload()), KEYS) == STATEMENT


def test_key_id_is_the_thumbprint_of_rfc_8037_appendix_a_3() -> None:
    secret = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(secret))
    assert key.key_id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_admits_exactly_the_bytes_and_version_judged() -> None:
    good = attestation.sign(STATEMENT, KEY)
    assert attestation.admit(good, KEYS, sha256=DIGEST, resource="vallum:adult-income@1.2.0") == STATEMENT
    assert attestation.admit(good, KEYS, sha256=DIGEST) == STATEMENT
    with pytest.raises(Denied, match=f"is about sha256 {DIGEST}, the artefact has sha256 {OTHER_DIGEST}"):
        attestation.admit(good, KEYS, sha256=OTHER_DIGEST)
    with pytest.raises(Denied, match=r"is about 'vallum:adult-income@1.2.0', not 'vallum:adult-income@1.3.0'"):
        attestation.admit(good, KEYS, sha256=DIGEST, resource="vallum:adult-income@1.3.0")


def test_failed_verdict_verifies_but_is_not_admitted() -> None:
    refused = attestation.sign(replace(STATEMENT, passed=False, verdict="REJECTED"), KEY)
    assert not attestation.verify(refused, KEYS).passed
    with pytest.raises(Denied, match="says REJECTED"):
        attestation.admit(refused, KEYS, sha256=DIGEST)


def test_tampered_payload_is_denied() -> None:
    def tamper(document: dict[str, Any]) -> None:
        document["payload"] = base64.b64encode(payload(subject=[])).decode()

    with pytest.raises(Denied, match="not signed by a trusted key"):
        attestation.verify(envelope(tamper), KEYS)


def test_foreign_key_is_denied_even_under_a_trusted_key_id() -> None:
    foreign = attestation.sign(STATEMENT, FOREIGN)
    with pytest.raises(Denied, match="not signed by a trusted key"):
        attestation.verify(foreign, KEYS)
    with pytest.raises(Denied, match="not signed by a trusted key"):
        attestation.verify(foreign.replace(FOREIGN.key_id.encode(), KEY.key_id.encode()), KEYS)


def test_other_payload_type_is_refused() -> None:
    with pytest.raises(Invalid, match="payload type 'application/json'"):
        attestation.verify(envelope(lambda document: document.update(payloadType="application/json")), KEYS)


def test_one_good_signature_among_several_is_enough() -> None:
    others = json.loads(attestation.sign(STATEMENT, FOREIGN))["signatures"]
    broken = {"keyid": KEY.key_id, "sig": base64.b64encode(bytes(64)).decode()}

    def surround(document: dict[str, Any]) -> None:
        document["signatures"] = [*others, broken, *document["signatures"]]

    assert attestation.verify(envelope(surround), KEYS) == STATEMENT


@pytest.mark.parametrize("signatures", [None, [], {}, ["x"], [{"keyid": KEY.key_id}], [{"keyid": "k", "sig": "%"}]])
def test_malformed_signatures_are_refused(signatures: Any) -> None:
    with pytest.raises(Invalid):
        attestation.verify(envelope(lambda document: document.update(signatures=signatures)), KEYS)


def test_more_signatures_than_anyone_needs_are_refused() -> None:
    with pytest.raises(Invalid, match="1 to 16 signatures"):
        attestation.verify(envelope(lambda document: document.update(signatures=document["signatures"] * 17)), KEYS)


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b" " * (1024 * 1024 + 1)])
def test_garbage_is_refused_in_one_line(garbage: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        attestation.verify(garbage, KEYS)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "changes",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicateType": "https://slsa.dev/provenance/v1"},
        {"subject": []},
        {"subject": [{"name": "a", "digest": {"sha256": DIGEST}}, {"name": "b", "digest": {"sha256": DIGEST}}]},
        {"subject": [{"name": "a", "digest": {"sha256": "AB" * 32}}]},
        {"subject": [{"name": "a", "digest": {"md5": "00"}}]},
        {"predicate": None},
        {"predicate": {}},
    ],
)
def test_trusted_key_over_anything_but_a_summary_of_one_artefact_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="the signed statement"):
        attestation.verify(signed(payload(**changes)), KEYS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("verificationResult", "MAYBE"), ("verificationResult", ["PASSED"]), ("timeVerified", "2026-01-01T12:00:00")],
)
def test_unknown_result_and_naive_time_are_refused(name: str, value: Any) -> None:
    predicate = json.loads(payload())["predicate"]
    with pytest.raises(Invalid, match="the signed statement"):
        attestation.verify(signed(payload(predicate={**predicate, name: value})), KEYS)


@settings(max_examples=300, derandomize=True)
@given(data=st.data())
def test_mutated_envelope_is_never_admitted_as_something_else(data: st.DataObject) -> None:
    mutant = bytearray(attestation.sign(STATEMENT, KEY))
    for _ in range(data.draw(st.integers(1, 4))):
        mutant[data.draw(st.integers(0, len(mutant) - 1))] = data.draw(st.integers(0, 255))
    try:
        statement = attestation.verify(bytes(mutant), KEYS)
    except (Denied, Invalid):
        return
    assert statement == STATEMENT


def jwks(*keys: SigningKey) -> str:
    """A JWKS of the public halves."""
    entries = [jwt.algorithms.OKPAlgorithm.to_jwk(key.private.public_key(), as_dict=True) for key in keys]
    return json.dumps({"keys": [{**entry, "kid": key.key_id} for entry, key in zip(entries, keys, strict=True)]})


def test_keys_are_read_from_files(tmp_path: Path) -> None:
    pem, public = tmp_path / "key.pem", tmp_path / "keys.json"
    pem.write_bytes(KEY.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_text(jwks(KEY, FOREIGN))
    loaded = attestation.load_signing_key(pem)
    assert attestation.verify(attestation.sign(STATEMENT, loaded), attestation.load_keys(public)) == STATEMENT


def test_files_that_hold_other_keys_or_none_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    elliptic = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"", b"no key", elliptic):
        file.write_bytes(content)
        with pytest.raises(Invalid, match=str(file)):
            attestation.load_signing_key(file)
    private = {**jwt.algorithms.OKPAlgorithm.to_jwk(KEY.private, as_dict=True), "kid": "k"}
    nameless = {key: value for key, value in json.loads(jwks(KEY))["keys"][0].items() if key != "kid"}
    for document in ({}, {"keys": []}, {"keys": [private]}, {"keys": [nameless]}, {"keys": ["x"]}, []):
        file.write_text(json.dumps(document))
        with pytest.raises(Invalid, match=str(file)):
            attestation.load_keys(file)
    for load in (attestation.load_keys, attestation.load_signing_key):
        with pytest.raises(Invalid, match="cannot be read"):
            load(tmp_path / "missing")
