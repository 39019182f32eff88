"""A Sigstore instance of our own: an authority, a certificate log and a transparency log, none of which asks anybody.

It makes what a verifier needs to find in a signature file and nothing more, by the rules of RFC 6962 and of Rekor's
entries of kind `dsse` 0.0.1.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from .publishing import DAY, NOW

ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
SIGNED_AT = NOW - DAY


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip


def signed(key: ec.EllipticCurvePrivateKey, content: bytes) -> bytes:
    return key.sign(content, ec.ECDSA(hashes.SHA256()))


class Instance:
    """The three parts, with keys of their own."""

    def __init__(self) -> None:
        self.authority_key, self.certificates_key, self.log_key = (
            ec.generate_private_key(ec.SECP256R1()) for _ in range(3)
        )
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fulcio of a test")])
        usage = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "encipher_only", "decipher_only"), False
        )  # fmt: skip
        public = self.authority_key.public_key()
        self.authority = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 300 * DAY)
            .not_valid_after(NOW + 300 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.authority_key, hashes.SHA256())
        )

    def trusted_root(self) -> str:
        """What a verifier has to know."""
        valid = {"start": "2020-01-01T00:00:00Z"}

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            return {
                "baseUrl": "https://log.invalid",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": b64(spki(key)),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": valid,
                },
                "logId": {"keyId": b64(hashlib.sha256(spki(key)).digest())},
            }

        authority = {
            "subject": {"organization": "a test", "commonName": "fulcio of a test"},
            "uri": "https://fulcio.invalid",
            "certChain": {"certificates": [{"rawBytes": b64(self.authority.public_bytes(serialization.Encoding.DER))}]},
            "validFor": valid,
        }
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [log(self.log_key)],
                "certificateAuthorities": [authority],
                "ctlogs": [log(self.certificates_key)],
                "timestampAuthorities": [],
            }
        )

    def vouch(self, signature: Mapping[str, Any], key: ec.EllipticCurvePrivateKey, who: str, issuer: str) -> Any:
        """Turn a signature by a key that nobody will see again into one by an identity.

        Args:
            signature: a signature file, as `Publisher.sign` writes it.
            key: the key it is by.
            who: URI of the identity.
            issuer: who vouches for it.
        """
        certificate = self._certificate(key, who, issuer)
        envelope = signature["dsseEnvelope"]
        material = {
            "certificate": {"rawBytes": b64(certificate.public_bytes(serialization.Encoding.DER))},
            "tlogEntries": [self._entry(envelope, certificate)],
            "timestampVerificationData": {"rfc3161Timestamps": []},
        }
        return {**signature, "verificationMaterial": material}

    def _certificate(self, key: ec.EllipticCurvePrivateKey, who: str, issuer: str) -> x509.Certificate:
        """Valid for ten minutes, as Fulcio's are, with the promise of the certificate log in it."""
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only", "crl_sign", "key_cert_sign"), False
        )  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(SIGNED_AT)
            .not_valid_after(SIGNED_AT + dt.timedelta(minutes=10))
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority_key.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(who)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(ISSUER, issuer.encode()), critical=False)
        )
        before = builder.sign(self.authority_key, hashes.SHA256())
        promise = self._promise(before.tbs_certificate_bytes)
        return builder.add_extension(x509.UnrecognizedExtension(SCT_LIST, promise), critical=False).sign(
            self.authority_key, hashes.SHA256()
        )

    def _promise(self, certificate: bytes) -> bytes:
        """A list of one signed certificate timestamp, as the extension carries it (RFC 6962, section 3.3)."""
        moment = int(SIGNED_AT.timestamp() * 1000)
        entry = hashlib.sha256(spki(self.authority_key)).digest() + len(certificate).to_bytes(3, "big") + certificate
        signature = signed(self.certificates_key, struct.pack("!BBQH", 0, 0, moment, 1) + entry + b"\0\0")
        timestamp = b"\0" + hashlib.sha256(spki(self.certificates_key)).digest() + struct.pack("!QH", moment, 0)
        timestamp += b"\x04\x03" + struct.pack("!H", len(signature)) + signature
        listed = struct.pack("!H", len(timestamp)) + timestamp
        content = struct.pack("!H", len(listed)) + listed
        return b"\x04" + (bytes([len(content)]) if len(content) < 128 else b"\x81" + bytes([len(content)])) + content

    def _entry(self, envelope: Mapping[str, Any], certificate: x509.Certificate) -> dict[str, Any]:
        """The only leaf of the transparency log, with its proofs."""
        body = json.dumps(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": {"algorithm": "sha256", "value": "00" * 32},
                    "payloadHash": {
                        "algorithm": "sha256",
                        "value": hashlib.sha256(base64.b64decode(envelope["payload"])).hexdigest(),
                    },
                    "signatures": [
                        {
                            "signature": envelope["signatures"][0]["sig"],
                            "verifier": b64(certificate.public_bytes(serialization.Encoding.PEM)),
                        }
                    ],
                },
            }
        ).encode()
        log_id = hashlib.sha256(spki(self.log_key)).digest()
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"log.invalid\n1\n{b64(root)}\n"
        checkpoint = f"{note}\n— log.invalid {b64(log_id[:4] + signed(self.log_key, note.encode()))}\n"
        moment = int(SIGNED_AT.timestamp()) + 60
        promised = {"body": b64(body), "integratedTime": moment, "logID": log_id.hex(), "logIndex": 0}
        canonical = json.dumps(promised, sort_keys=True, separators=(",", ":")).encode()
        return {
            "logIndex": "0",
            "logId": {"keyId": b64(log_id)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(moment),
            "inclusionPromise": {"signedEntryTimestamp": b64(signed(self.log_key, canonical))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": b64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": b64(body),
        }
