"""`vallum signature verify`: no server, and an exit code that tells what a signature is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, signing

from vallum.registry.v1 import model_pb2, registry_service_pb2
from vallum.risk.v1 import risk_service_pb2
from vallum.validator.v1 import evidence_pb2, validator_service_pb2


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that is not signed yet."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    (folder / "vallum.yaml").write_text(
        "model: {id: credit-score, version: '1', artifact: model.json, owner: x}\nsignature: model.sig\n"
    )
    return folder


@pytest.fixture
def publishers(tmp_path: Path, bundle: Path) -> Callable[[dict[str, Any]], Path]:
    """Signs the whole bundle, and writes a policy in which the signer may publish what a test says."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = tmp_path / "key.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    signature = bundle / "model.sig"
    config = signing.Config().use_elliptic_key_signer(private_key=private)
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[signature])).sign(bundle, signature)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip

    def write(may_publish: dict[str, Any]) -> Path:
        publisher = {"name": "acme", "source": "made by a test", "keys": [public.decode()], "may_publish": may_publish}
        path = tmp_path / "publishers.yaml"
        document = {"version": "1", "source": "made by a test", "publishers": [publisher]}
        path.write_text(yaml.safe_dump(document))
        return path

    return write


@pytest.mark.parametrize(
    ("may_publish", "code", "outcome"),
    [
        ({"models": ["credit-*"]}, 0, "VERIFIED"),
        ({"models": ["credit-*"], "formats": ["json"]}, 0, "VERIFIED"),
        ({"models": ["credit-*"], "formats": ["onnx"]}, 1, "NOT_ALLOWED"),
        ({"models": ["fraud"]}, 1, "NOT_ALLOWED"),
    ],
)
def test_policy_decides_what_a_good_signature_is_worth(
    vallum: Any, bundle: Path, publishers: Any, may_publish: dict[str, Any], code: int, outcome: str
) -> None:
    policy = publishers(may_publish)
    typed = vallum("signature", "verify", bundle, "--publishers", policy, "--json")
    assert (typed.code, typed.document["outcome"]) == (code, outcome)
    assert (typed.document["publisher"], typed.document["scope"]) == ("acme", "bundle")
    for_people = vallum("signature", "verify", bundle, "--publishers", policy)
    assert for_people.out.startswith(outcome)
    assert "acme" in for_people.out


def test_nobody_is_believed_without_a_policy(vallum: Any, bundle: Path, publishers: Any) -> None:
    typed = vallum("signature", "verify", bundle)
    assert (typed.code, typed.out.split()[0]) == (2, "UNTRUSTED")


def test_a_changed_file_is_1(vallum: Any, bundle: Path, publishers: Any) -> None:
    (bundle / "model.json").write_text("[]")
    typed = vallum("signature", "verify", bundle, "--publishers", publishers({"models": ["*"]}))
    assert (typed.code, typed.out.split()[0]) == (1, "INVALID")
    assert "model.json" in typed.out


def test_no_signature_is_2(vallum: Any, bundle: Path) -> None:
    manifest = bundle / "vallum.yaml"
    manifest.write_text(manifest.read_text().replace("signature: model.sig\n", ""))
    assert vallum("signature", "verify", bundle, "--json").document["outcome"] == "NOT_SIGNED"
    assert vallum("signature", "verify", bundle).code == 2


@pytest.mark.parametrize("words", [["nowhere"], ["bundle", "--publishers", "nowhere.yaml"], ["bundle"]])
def test_wrong_use_is_3_in_one_line(vallum: Any, bundle: Path, words: Sequence[str]) -> None:
    typed = vallum("signature", "verify", *words)
    assert (typed.code, typed.out) == (3, "")
    assert len(typed.error.splitlines()) == 1


@pytest.mark.parametrize(
    ("signature", "shown"),
    [
        (None, ""),
        (evidence_pb2.SignatureReport(outcome="SIGNATURE_OUTCOME_NOT_SIGNED"), "signature NOT_SIGNED\n"),
        (
            evidence_pb2.SignatureReport(
                outcome="SIGNATURE_OUTCOME_VERIFIED", publisher="acme", method="key", scope="artifact"
            ),
            "signature VERIFIED  acme, key, artifact\n",
        ),
    ],
)
def test_a_version_is_shown_with_what_its_signature_is_worth(
    vallum: Any, platform: Any, signature: evidence_pb2.SignatureReport | None, shown: str
) -> None:
    reference = model_pb2.ModelReference(model="m", version="1", digest="ab" * 32)
    platform.answers |= {
        "GetModel": registry_service_pb2.GetModelResponse(model=reference),
        "GetReport": validator_service_pb2.GetReportResponse(signature=signature),
        "GetRiskProfile": risk_service_pb2.GetRiskProfileResponse(),
    }
    typed = vallum("models", "show", "m@1")
    assert (shown or "sha256") in typed.out
    assert ("signature" in typed.out) == bool(shown)
    told = vallum("models", "show", "m@1", "--json").document["signature"]
    assert (told["outcome"] if told else "") == (shown.split()[1] if shown else "")
