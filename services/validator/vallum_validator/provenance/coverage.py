"""What a signature vouches for, held against the files that were submitted.

A signature over the artefact alone, or over a vendor's folder that holds it, vouches for the artefact (`artifact`).
One that covers the manifest vouches for the whole bundle (`bundle`), and then for every file of it but itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vallum_common.bundle import MANIFEST_NAME
from vallum_validator.domain.evidence import SignatureScope
from vallum_validator.provenance.envelope import WHOLE, SignatureInvalid


def scope_of(signed: Mapping[str, str], files: Mapping[str, str], *, artifact: str, signature: str) -> SignatureScope:
    """Which part of a bundle a signature vouches for.

    Args:
        signed: path to hex SHA-256, as signed.
        files: path to hex SHA-256 of every file of the bundle, the manifest included.
        artifact: path of the artefact.
        signature: path of the signature itself.

    Raises:
        SignatureInvalid: it is not about these bytes, or leaves a file unsigned beside a signed manifest.
    """
    if set(signed) == {WHOLE}:
        signed = {artifact: signed[WHOLE]}
    if artifact not in signed:
        raise SignatureInvalid(f"the signature does not cover {artifact!r}; it covers {_listed(signed)}")
    changed = [path for path in files if path in signed and signed[path] != files[path]]
    if changed:
        raise SignatureInvalid(f"signed were other bytes than these: {_listed(changed)}")
    if MANIFEST_NAME not in signed:
        return SignatureScope.ARTIFACT
    unsigned = set(files) - set(signed) - {signature}
    if unsigned:
        raise SignatureInvalid(f"the manifest is signed, and beside it not {_listed(unsigned)}")
    return SignatureScope.BUNDLE


def _listed(paths: Iterable[str]) -> str:
    names = sorted(map(repr, paths))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
