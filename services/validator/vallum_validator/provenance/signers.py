"""Who signed: a publisher's key, a certificate below a publisher's root, or a Sigstore identity. Fully offline.

Keys and chains are checked here with `cryptography` and not by the `model_signing` library, which holds a certificate
against its own first day, so that one expired long ago passes (`tests/test_provenance.py` shows it).
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from vallum_validator.domain.evidence import SignatureMethod
from vallum_validator.provenance.envelope import Envelope, SignatureInvalid, SignatureUnknown, decoded
from vallum_validator.provenance.publishers import CURVES, CertificateRoot, Publisher, Publishers, key_id

_MOST_CERTIFICATES: Final = 10
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_HASHES: Final = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
_MOST_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed.

    Args:
        method: how it is known.
        key_id: fingerprint or identity; only claimed where there is no publisher.
        publisher: whose; `None` where policy names nobody of this key, root or identity.
    """

    method: SignatureMethod
    key_id: str
    publisher: Publisher | None = None


def signer_of(envelope: Envelope, publishers: Publishers, now: dt.datetime) -> Signer:
    """Who signed an envelope.

    Args:
        envelope: as read.
        publishers: those whose signatures are believed.
        now: a certificate must be valid now, for nothing else in the file says credibly when it was used.

    Raises:
        SignatureInvalid: a publisher is claimed and the signature is not good, or the certificate has expired.
        SignatureUnknown: nobody here knows this way of signing.
    """
    material = envelope.material
    if material.get("tlogEntries") or "certificate" in material:
        return _by_identity(envelope, publishers)
    match material:
        case {"publicKey": dict(claimed)}:
            return _by_key(envelope, claimed, publishers)
        case {"x509CertificateChain": {"certificates": [*chain]}}:
            return _by_certificate(envelope, _certificates(chain), publishers, now)
        case _:
            raise SignatureUnknown("the signature names neither a key nor a certificate")


def _by_key(envelope: Envelope, claimed: dict[str, Any], publishers: Publishers) -> Signer:
    hint = str(claimed.get("hint") or "")
    for publisher, key in publishers.keys():  # noqa: SIM118 (a method of ours)
        fingerprint = key_id(key)
        if hint not in ("", fingerprint):
            continue
        if _is_good(key, envelope):
            return Signer(SignatureMethod.KEY, fingerprint, publisher)
        if hint:
            raise SignatureInvalid(f"the signature is not by the key of {publisher.name!r} that it names")
    return Signer(SignatureMethod.KEY, hint if _FINGERPRINT.fullmatch(hint) else "")


def _is_good(key: ec.EllipticCurvePublicKey, envelope: Envelope) -> bool:
    try:
        key.verify(envelope.signature, envelope.signed, ec.ECDSA(_HASHES[key.curve.key_size]))
    except InvalidSignature:
        return False
    return True


def _certificates(chain: list[Any]) -> list[x509.Certificate]:
    if not 1 <= len(chain) <= _MOST_CERTIFICATES:
        raise SignatureInvalid(f"the signature carries {len(chain)} certificates; 1 to {_MOST_CERTIFICATES} are read")
    return [_certificate(entry) for entry in chain]


def _certificate(entry: Any) -> x509.Certificate:
    content = decoded(entry.get("rawBytes") if isinstance(entry, dict) else None, "certificate")
    try:
        return x509.load_der_x509_certificate(content)
    except (ValueError, x509.InvalidVersion) as error:
        raise SignatureInvalid("a certificate in the signature file cannot be read") from error


def _by_certificate(
    envelope: Envelope, chain: list[x509.Certificate], publishers: Publishers, now: dt.datetime
) -> Signer:
    leaf, *between = chain
    fingerprint = leaf.fingerprint(hashes.SHA256()).hex()
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise SignatureInvalid("the signing certificate has no key on P-256, P-384 or P-521")
    if not _is_good(key, envelope):
        raise SignatureInvalid("the signature is not by the certificate that it carries")
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        valid = f"{leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
        raise SignatureInvalid(f"the signing certificate is valid from {valid}, not now")
    if not _may_sign(leaf):
        raise SignatureInvalid("the signing certificate may not be used for signatures")
    for publisher, root in publishers.roots():
        if _is_below(leaf, between, root.certificate, now) and _is_named(leaf, root):
            return Signer(SignatureMethod.CERTIFICATE, fingerprint, publisher)
    return Signer(SignatureMethod.CERTIFICATE, fingerprint)


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        pass
    except ValueError as error:
        raise SignatureInvalid("the extensions of the signing certificate cannot be read") from error
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CODE_SIGNING in usage


def _is_below(
    leaf: x509.Certificate, between: list[x509.Certificate], root: x509.Certificate, now: dt.datetime
) -> bool:
    """Whether a chain leads from a root to a certificate, all of it valid now.

    The profile of web servers, which is the library's default, asks for host names; an authority of one's own has none.
    """
    authority = verification.ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, verification.Criticality.AGNOSTIC, _check_authority
    )
    builder = verification.PolicyBuilder().store(verification.Store([root])).time(now)
    builder = builder.extension_policies(ca_policy=authority, ee_policy=verification.ExtensionPolicy.permit_all())
    try:
        builder.build_client_verifier().verify(leaf, between)
    except verification.VerificationError:
        return False
    return True


def _check_authority(_policy: Any, certificate: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints is None or not constraints.ca:
        raise ValueError("not an authority")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.key_cert_sign:
        raise ValueError("may not sign certificates")


def _is_named(certificate: x509.Certificate, root: CertificateRoot) -> bool:
    return not root.names or bool(_names(certificate) & set(root.names))


def _names(certificate: x509.Certificate) -> set[str]:
    """E-mail addresses, URIs and hosts among the alternative names, and the common name."""
    common = {str(entry.value) for entry in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)}
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return common
    kinds: tuple[Any, ...] = (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName)
    return common.union(*(alternative.get_values_for_type(kind) for kind in kinds))


def _by_identity(envelope: Envelope, publishers: Publishers) -> Signer:
    """By whoever Sigstore vouched for; nothing is fetched, so everything needed must lie in the file.

    Only a certificate for an identity that policy names is looked into: any other may claim what it likes.
    """
    # A fifth of a second to import, and most submissions have no such signature.
    from pydantic import ValidationError
    from sigstore.errors import Error
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier, policy
    from sigstore_models.trustroot.v1 import TrustedRoot as RootDocument

    try:
        bundle = Bundle.from_json(envelope.text)
    except (Error, ValidationError, ValueError, KeyError, TypeError) as error:
        raise SignatureInvalid(f"the Sigstore bundle cannot be read: {_line(error)}") from error
    for publisher, entry in publishers.identities():
        identity = policy.Identity(identity=entry.identity, issuer=entry.issuer)
        try:
            identity.verify(bundle.signing_certificate)
        except Error:
            continue
        root = TrustedRoot(RootDocument.from_json(publishers.trusted_root(entry)))
        try:
            _, payload = Verifier(trusted_root=root).verify_dsse(bundle, identity)
        except (Error, ValueError) as error:
            raise SignatureInvalid(f"Sigstore does not vouch for {entry.identity!r}: {_line(error)}") from error
        if payload != envelope.payload:
            raise SignatureInvalid("the Sigstore bundle can be read in two ways")
        return Signer(SignatureMethod.SIGSTORE, f"{entry.identity} ({entry.issuer})", publisher)
    return Signer(SignatureMethod.SIGSTORE, ", ".join(sorted(_names(bundle.signing_certificate)))[:_MOST_CHARACTERS])


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:_MOST_CHARACTERS] or type(error).__name__
