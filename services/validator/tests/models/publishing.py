"""Publishers for tests: keys, an authority of their own, bundles signed with the OpenSSF library, and policies."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, signing

from vallum_common.attestation import PAYLOAD_TYPE, pre_authentication_encoding

NOW = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@dataclass
class Publisher:
    """Somebody with a key of their own.

    Args:
        folder: where the key lies.
    """

    folder: Path
    curve: ec.EllipticCurve = field(default_factory=ec.SECP256R1)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(self.curve)
        self.key_file = self.folder / "key.pem"
        self.key_file.write_bytes(private_pem(self.key))
        self.public_file = self.folder / "key.pub"
        self.public_file.write_text(self.public_pem)

    @property
    def public_pem(self) -> str:
        """The public half."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()  # fmt: skip

    def sign(
        self, model: Path, signature: Path, *, how: hashing.Config | None = None, ignored: Sequence[Path] = ()
    ) -> None:
        """Sign a file or folder as `model_signing sign key [--ignore-paths …]` does."""
        hashed = (how or hashing.Config()).set_ignored_paths(paths=[signature, *ignored])
        config = signing.Config().use_elliptic_key_signer(private_key=self.key_file)
        config.set_hashing_config(hashed).sign(model, signature)

    def sign_statement(self, statement: Mapping[str, Any]) -> dict[str, Any]:
        """A signature file over any statement, as no honest tool makes them."""
        payload = json.dumps(statement).encode()
        signature = self.key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload), ec.ECDSA(hashes.SHA256()))
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": ""}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }


@dataclass
class Authority:
    """A root, an authority below it, and whoever they certify.

    Args:
        folder: where keys and certificates lie.
        ends: when the root does.
    """

    folder: Path
    ends: dt.datetime = NOW + 30 * DAY

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.root_key = ec.generate_private_key(ec.SECP384R1())
        self.root = certificate("root", self.root_key, None, authority=True, ends=self.ends)
        self.between_key = ec.generate_private_key(ec.SECP256R1())
        self.between = certificate("between", self.between_key, (self.root, self.root_key), authority=True)

    @property
    def root_pem(self) -> str:
        """The root."""
        return self.root.public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, model: Path, signature: Path, **about: Any) -> None:
        """Certify somebody and have them sign as `model_signing sign certificate` does."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = about.pop("issuer", (self.between, self.between_key))
        leaf = certificate("models@acme.example", key, issuer, **about)
        files = {"leaf.key": private_pem(key)}
        for name, one in (("leaf.pem", leaf), ("between.pem", issuer[0]), ("root.pem", self.root)):
            files[name] = one.public_bytes(serialization.Encoding.PEM)
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        ignoring = hashing.Config().set_ignored_paths(paths=[signature])
        config = signing.Config().use_certificate_signer(
            private_key=self.folder / "leaf.key",
            signing_certificate=self.folder / "leaf.pem",
            certificate_chain=[self.folder / "between.pem"],
        )
        config.set_hashing_config(ignoring).sign(model, signature)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as the library reads it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    *,
    authority: bool = False,
    begins: dt.datetime = NOW - 30 * DAY,
    ends: dt.datetime = NOW + 30 * DAY,
    may_sign: bool = True,
) -> x509.Certificate:
    """A certificate for a name; signed by itself where there is no issuer."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only", "crl_sign"), False
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(may_sign and not authority, key_cert_sign=authority, **usage), critical=True)
    )
    if "@" in name:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(name)]), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256())


def bundle(folder: Path, *, model_id: str = "credit-score", vendor: str = "", content: bytes = b"weights") -> Path:
    """A small bundle that names its signature; the signature itself is not there yet."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "card.md").write_text("# A card\n")
    manifest: dict[str, Any] = {
        "model": {"id": model_id, "version": "1.0.0", "artifact": "model.onnx", "owner": "somebody"},
        "card": "card.md",
        "signature": "model.sig",
    }
    if vendor:
        manifest["vendor"] = {"name": vendor}
    (folder / "vallum.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def policy(folder: Path, *publishers: Mapping[str, Any]) -> Path:
    """A policy file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "publishers.yaml"
    document = {"version": "test", "source": "made by a test", "publishers": list(publishers)}
    path.write_text(yaml.safe_dump(document))
    return path


def entry(name: str = "acme", **changes: Any) -> dict[str, Any]:
    """One publisher of a policy, who may publish `credit-*`."""
    return {"name": name, "source": "made by a test", "may_publish": {"models": ["credit-*"]}, **changes}


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
