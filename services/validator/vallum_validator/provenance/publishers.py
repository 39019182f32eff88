"""The policy of publishers: whose signatures are believed, and what each of them may publish.

The file is data (`policies/publishers.yaml`), versioned and named by digest in every report. It holds public keys and
roots only, and what it points at is pinned by digest. Nobody is trusted who is not in it.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from vallum_common.bundle import Manifest
from vallum_common.errors import Invalid, NotFound
from vallum_common.written import mistake

CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
"""What OpenSSF model signing signs with."""

_SHA256: Final = r"^[0-9a-f]{64}$"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def public_key(pem: str) -> ec.EllipticCurvePublicKey:
    """The key in a PEM text.

    Raises:
        ValueError: it is none that model signing knows.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("a key must be a public key in PEM, `-----BEGIN PUBLIC KEY-----`") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise ValueError("a key must be on the curve P-256, P-384 or P-521; model signing knows no other")
    return key


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """The hex SHA-256 of the key in PEM: what model signing writes into a signature as the hint of its key."""
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _checked_key(pem: str) -> str:
    public_key(pem)
    return pem


def _checked_root(pem: str) -> str:
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise ValueError("a root must be a certificate in PEM, `-----BEGIN CERTIFICATE-----`") from error
    if len(certificates) != 1:
        raise ValueError(f"a root must be one certificate, got {len(certificates)}")
    return pem


class CertificateRoot(_Part):
    """An own certificate authority.

    Args:
        root: its certificate, PEM.
        names: if given, a signing certificate must carry one of them: an e-mail address, URI or host among its
            alternative names, or its common name.
    """

    root: Annotated[str, AfterValidator(_checked_root)]
    names: tuple[str, ...] = ()

    @property
    def certificate(self) -> x509.Certificate:
        """The root, parsed."""
        return x509.load_pem_x509_certificate(self.root.encode())


class TrustedRoot(_Part):
    """Where the roots of a Sigstore instance lie, and what the file must hash to.

    Args:
        file: a Sigstore trusted root, JSON; relative to the policy file.
        sha256: its hex digest.
    """

    file: str
    sha256: Annotated[str, Field(pattern=_SHA256)]


class SigstoreIdentity(_Part):
    """Somebody who signs without a key of their own.

    Args:
        identity: exactly as in the certificate, e.g. an e-mail address or the URI of a workflow.
        issuer: OpenID Connect issuer that vouches for it.
        trusted_root: of the Sigstore instance.
    """

    identity: Annotated[str, Field(min_length=1)]
    issuer: Annotated[str, Field(min_length=1)]
    trusted_root: TrustedRoot


class MayPublish(_Part):
    """What a publisher may publish.

    Args:
        models: patterns of model ids, e.g. `credit-*`.
        vendors: whose models; without any, only models that name no vendor.
        formats: in the scan's words; without any, all.
    """

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    vendors: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()

    def objection(self, manifest: Manifest) -> str:
        """Why not this model, in one line; empty where nothing stands against it."""
        if not any(fnmatch.fnmatchcase(manifest.model.id, pattern) for pattern in self.models):
            return f"may publish {', '.join(self.models)}, not {manifest.model.id!r}"
        vendor = manifest.vendor.name if manifest.vendor else ""
        if vendor and vendor not in self.vendors:
            return f"may not publish models of {vendor!r}"
        if self.vendors and not vendor:
            return f"may publish models of {', '.join(self.vendors)}; this one names no vendor"
        return ""


class Publisher(_Part):
    """Somebody whose signature is believed.

    Args:
        name: told in every report.
        source: how it is known that the keys are theirs.
        keys: public keys in PEM.
        certificates: roots whose certificates sign for them.
        sigstore: identities that sign for them.
        may_publish: what.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    source: Annotated[str, Field(min_length=10)]
    keys: tuple[Annotated[str, AfterValidator(_checked_key)], ...] = ()
    certificates: tuple[CertificateRoot, ...] = ()
    sigstore: tuple[SigstoreIdentity, ...] = ()
    may_publish: MayPublish

    @model_validator(mode="after")
    def _can_be_recognised(self) -> Publisher:
        if not (self.keys or self.certificates or self.sigstore):
            raise ValueError("a publisher needs one of keys, certificates, sigstore to be recognised by")
        return self


class Publishers(_Part):
    """The whole policy file.

    Args:
        version: for people; machines go by the digest.
        source: what the policy as a whole rests on.
        publishers: in no order.
        folder: where the file lies; not written in it.
        digest: hex SHA-256 of the file's bytes; not written in it.
    """

    version: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=10)]
    publishers: tuple[Publisher, ...] = ()
    folder: Path
    digest: Annotated[str, Field(pattern=_SHA256)]

    @model_validator(mode="after")
    def _nobody_is_meant_twice(self) -> Publishers:
        names = [publisher.name for publisher in self.publishers]
        keys = [key_id(key) for _, key in self.keys()]
        for kind, values in (("name", names), ("key", keys)):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"two publishers have the {kind} {twice[0]!r}")
        return self

    def keys(self) -> Iterator[tuple[Publisher, ec.EllipticCurvePublicKey]]:
        """Every key with its publisher."""
        for publisher in self.publishers:
            yield from ((publisher, public_key(pem)) for pem in publisher.keys)

    def roots(self) -> Iterator[tuple[Publisher, CertificateRoot]]:
        """Every root with its publisher."""
        for publisher in self.publishers:
            yield from ((publisher, root) for root in publisher.certificates)

    def identities(self) -> Iterator[tuple[Publisher, SigstoreIdentity]]:
        """Every Sigstore identity with its publisher."""
        for publisher in self.publishers:
            yield from ((publisher, identity) for identity in publisher.sigstore)

    def trusted_root(self, identity: SigstoreIdentity) -> str:
        """The text of the trusted root of an identity.

        Raises:
            Invalid: the file is not there, or not the one that is pinned.
        """
        path = self.folder / identity.trusted_root.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise Invalid(f"the trusted root {str(path)!r} cannot be read: {error.strerror}") from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != identity.trusted_root.sha256:
            raise Invalid(f"{str(path)!r} has sha256 {digest}; the policy pins {identity.trusted_root.sha256}")
        return content.decode(errors="replace")


def load_publishers(path: Path) -> Publishers:
    """Read a policy file, and the trusted roots it pins.

    Raises:
        NotFound: there is no such file.
        Invalid: it is not what the classes above describe; one line with the place.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotFound(f"no publishers at {str(path)!r}: {error.strerror}") from error
    try:
        document: Any = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{str(path)!r} is not YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(document, dict) or {"digest", "folder"} & set(document):
        raise Invalid(f"{str(path)!r} must be a mapping with `version`, `source` and `publishers`, and no more")
    digest = hashlib.sha256(content).hexdigest()
    try:
        publishers = Publishers.model_validate({**document, "folder": path.parent, "digest": digest})
    except ValidationError as error:
        # A private key in the wrong place must not be told.
        raise Invalid(f"{str(path)!r}: {mistake(error, Publishers, tell_values=False)}") from error
    for _, identity in publishers.identities():
        publishers.trusted_root(identity)
    return publishers
