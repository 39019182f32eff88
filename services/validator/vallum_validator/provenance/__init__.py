"""Where a model comes from: the signature in a bundle, who made it, and whether they may publish this model.

It looks before the scan does and decides nothing: what an unsigned or wrongly signed model may do is release policy.
Nothing is fetched; the only secrets anywhere near are those of the signers, and they are not here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import logging

from vallum_common.bundle import MANIFEST_NAME, Bundle, Role
from vallum_common.errors import Invalid
from vallum_validator.domain.evidence import SignatureOutcome, SignatureReport
from vallum_validator.provenance.coverage import scope_of
from vallum_validator.provenance.envelope import (
    MAX_SIGNATURE_BYTES,
    SignatureInvalid,
    SignatureUnknown,
    read_envelope,
    signed_files,
)
from vallum_validator.provenance.publishers import Publishers, load_publishers
from vallum_validator.provenance.signers import signer_of

__all__ = ["Publishers", "load_publishers", "verify_signature"]

logger = logging.getLogger(__name__)


def verify_signature(bundle: Bundle, publishers: Publishers, *, now: dt.datetime) -> SignatureReport:
    """What the signature in a bundle is worth; whatever the file holds, this returns a report.

    Args:
        bundle: its digests are what the signature is held against.
        publishers: whose signatures are believed.
        now: UTC.
    """
    try:
        report = _verified(bundle, publishers, now)
    except SignatureInvalid as error:
        report = SignatureReport(SignatureOutcome.INVALID, reason=str(error))
    except SignatureUnknown as error:
        report = SignatureReport(SignatureOutcome.UNKNOWN, reason=str(error))
    except Invalid as error:
        report = SignatureReport(SignatureOutcome.UNKNOWN, reason=error.message)
    except Exception as error:  # the last line of defence: our own bug must not make a signature good
        logger.exception("signature_check_failed")
        reason = f"the check of the signature itself failed ({type(error).__name__})"
        report = SignatureReport(SignatureOutcome.UNKNOWN, reason=reason)
    return report.under(publishers.digest)


def _verified(bundle: Bundle, publishers: Publishers, now: dt.datetime) -> SignatureReport:
    manifest = bundle.manifest
    if manifest.signature is None:
        return SignatureReport(SignatureOutcome.NOT_SIGNED, reason="the manifest names no signature")
    files = {file.path: file.sha256 for file in bundle.files}
    files[MANIFEST_NAME] = hashlib.sha256(bundle.manifest_bytes).hexdigest()
    artifact = next(file for file in bundle.files if file.role is Role.ARTIFACT)
    envelope = read_envelope(_content(bundle, manifest.signature))
    signer = signer_of(envelope, publishers, now)
    scope = scope_of(signed_files(envelope.payload), files, artifact=artifact.path, signature=manifest.signature)
    known = SignatureReport(
        SignatureOutcome.UNTRUSTED,
        method=signer.method,
        key_id=signer.key_id,
        scope=scope,
        digest=artifact.sha256,
        reason="policy names no publisher with this key, certificate or identity",
    )
    if signer.publisher is None:
        return known
    name, may_publish = signer.publisher.name, signer.publisher.may_publish
    objection = may_publish.objection(manifest)
    return dataclasses.replace(
        known,
        outcome=SignatureOutcome.NOT_ALLOWED if objection else SignatureOutcome.VERIFIED,
        publisher=name,
        reason=f"{name!r} {objection}" if objection else f"signed by {name!r}",
        publisher_formats=may_publish.formats,
    )


def _content(bundle: Bundle, path: str) -> bytes:
    described = next(file for file in bundle.files if file.path == path)
    with (bundle.root / path).open("rb") as stream:
        content = stream.read(MAX_SIGNATURE_BYTES + 1)
    if len(content) > MAX_SIGNATURE_BYTES:
        raise SignatureInvalid(f"the signature file is larger than {MAX_SIGNATURE_BYTES} bytes")
    if hashlib.sha256(content).hexdigest() != described.sha256:
        raise SignatureUnknown("the signature file changed while it was read")
    return content
