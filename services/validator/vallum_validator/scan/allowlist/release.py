"""A folder of lists as it is published: an index with the digest of every file, and a signature over the index.

All files are read at once, because a scan goes on where it may open none; each is checked and parsed when it is asked
for. The signature comes first, for the lists in this package as for any others: it takes a few milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from vallum_common.errors import Invalid

SHIPPED: Final = Path(__file__).parent / "data"
INDEX: Final = "index.json"
SIGNATURE: Final = "index.sig"
CURATED: Final = "curated.json"
RELEASE_KEYS: Final[tuple[str, ...]] = ("240ac8001e487a547fe71b75d4ae61c5b18b9b7ca2067ddaf3ff2608b92cb790",)
"""Public halves (Ed25519, hex) of the keys that may sign lists. A new key is pinned here in a commit of its own, the
old one is removed in the release after: how is in the README."""
_DOMAIN: Final = b"vallum allow-lists v1\0"
"""What is signed begins with it, so that a signature for another purpose is none for this one."""


class Release:
    """The lists in one folder.

    Args:
        folder: holds `index.json`, `index.sig`, `curated.json` and a file for each root package.
        keys: one of which must have signed it; `None` while lists are made and nobody has.

    Raises:
        Invalid: the index is not there, is not understood, or bears no valid signature.
    """

    def __init__(self, folder: Path, *, keys: tuple[str, ...] | None = None) -> None:
        index = _read(folder / INDEX)
        if keys is not None:
            check_signature(index, _read(folder / SIGNATURE), keys)
        try:
            document = json.loads(index)
            self.version = str(document["version"])
            self.hooks = frozenset(str(document["hooks"]).split())
            self._digests = {name: str(entry["sha256"]) for name, entry in document["files"].items()}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise Invalid(f"{folder / INDEX} must be a JSON index with version and files: {error!r}") from error
        self._contents = {name: _read(folder / name) for name in self._digests}
        self.digest = hashlib.sha256(index).hexdigest()

    def packages(self) -> list[str]:
        """The root packages that have a list."""
        return sorted(name.removesuffix(".json") for name in self._digests if name != CURATED)

    def curated(self) -> dict[str, Any]:
        """What is curated by hand. Raises: Invalid as `listing`."""
        return self._checked(CURATED)

    def listing(self, package: str) -> dict[str, Any] | None:
        """The list of a root package, or `None` where there is none.

        Raises:
            Invalid: the file is not the one that the index names.
        """
        name = f"{package}.json"
        return self._checked(name) if name in self._digests and name != CURATED else None

    def _checked(self, name: str) -> dict[str, Any]:
        content, due = self._contents.get(name, b""), self._digests.get(name)
        found = hashlib.sha256(content).hexdigest()
        if found != due:
            raise Invalid(f"allow-list {name} has SHA-256 {found}, the index of {self.version} says {due}")
        document: dict[str, Any] = json.loads(content)
        return document


def check_signature(index: bytes, signature: bytes, keys: tuple[str, ...]) -> None:
    """Check that one of the keys signed the index.

    Raises:
        Invalid: none did.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        raw = bytes.fromhex(signature.decode("ascii").strip())
    except ValueError as error:
        raise Invalid(f"{SIGNATURE} must hold a signature as hexadecimal text, got {signature[:40]!r}") from error
    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(raw, _DOMAIN + index)
        except InvalidSignature:
            continue
        return
    raise Invalid(f"{INDEX} is signed by none of the {len(keys)} release keys; take the lists from a release")


def sign(index: bytes, private_key: bytes) -> str:
    """The signature of an index as hexadecimal text, by the raw 32 bytes of a private key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private_key).sign(_DOMAIN + index).hex()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}; it belongs to the allow-lists") from error
