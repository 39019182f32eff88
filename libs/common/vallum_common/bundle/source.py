"""Where a bundle lies on the submitter's disk: a folder or a .tar.gz of it, and the files its manifest names."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from vallum_common.bundle.manifest import MANIFEST_NAME, Manifest, parse_manifest
from vallum_common.errors import Invalid

MAX_ARCHIVE_BYTES: Final = 8 * 1024**3
"""What an unpacked .tar.gz may hold; a larger model is submitted as a folder."""
MAX_ARCHIVE_ENTRIES: Final = 10_000
_READ_BYTES: Final = 1024 * 1024


class Role(StrEnum):
    """What a file of a bundle is for."""

    ARTIFACT = "artifact"
    EVALUATION = "evaluation"
    MEMBERS = "members"
    POPULATION = "population"
    CARD = "card"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A file of a bundle.

    Args:
        role: what it is for.
        path: relative to the bundle, with `/`.
        size_bytes: its length.
        sha256: hex digest of its bytes.
    """

    role: Role
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle.

    Args:
        root: the folder.
        manifest: checked.
        manifest_bytes: as written; what is sent and recorded.
        files: the artefact first, then the others in the order of `Role`; one file may serve two roles.
    """

    root: Path
    manifest: Manifest
    manifest_bytes: bytes
    files: tuple[BundleFile, ...]


def named_files(manifest: Manifest) -> tuple[tuple[Role, str], ...]:
    """Every file a manifest names, with its role, the artefact first."""
    data = manifest.data
    named = (
        (Role.ARTIFACT, manifest.model.artifact),
        (Role.EVALUATION, data.evaluation.file if data.evaluation else None),
        (Role.MEMBERS, data.members.file if data.members else None),
        (Role.POPULATION, data.population.file if data.population else None),
        (Role.CARD, manifest.card),
        (Role.SIGNATURE, manifest.signature),
    )
    return tuple((role, path) for role, path in named if path is not None)


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a bundle; an archive is unpacked to a temporary folder that goes with the context.

    Raises:
        Invalid: no such bundle, an archive that is damaged, too large or tries to write elsewhere, a manifest that is
            not right, or a named file that is missing, empty, unreadable or not a plain file.
    """
    if path.is_dir():
        yield _read(path)
    elif path.is_file():
        with tempfile.TemporaryDirectory(prefix="vallum-bundle-") as folder:
            yield _read(_unpack(path, Path(folder)))
    else:
        raise Invalid(f"no bundle at {str(path)!r}; a bundle is a folder or a .tar.gz with {MANIFEST_NAME} in it")


def _unpack(archive: Path, target: Path) -> Path:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            size = 0
            for count, member in enumerate(tar, start=1):
                size += member.size
                if count > MAX_ARCHIVE_ENTRIES or size > MAX_ARCHIVE_BYTES:
                    raise Invalid(
                        f"{str(archive)!r} unpacks to more than {MAX_ARCHIVE_ENTRIES} entries or "
                        f"{MAX_ARCHIVE_BYTES} bytes; submit the folder instead"
                    )
                if member.issym() or member.islnk() or member.isdev():
                    raise Invalid(
                        f"{str(archive)!r} holds {member.name!r}, a link or device; only plain files are read"
                    )
                tar.extract(member, target, filter="data")
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:  # ValueError: a zero in a name
        raise Invalid(f"{str(archive)!r} cannot be unpacked as .tar.gz: {error}") from error
    roots = [target, *sorted(entry for entry in target.iterdir() if entry.is_dir())]
    return next((root for root in roots if (root / MANIFEST_NAME).is_file()), target)


def _read(root: Path) -> Bundle:
    manifest_path = root / MANIFEST_NAME
    try:
        content = manifest_path.read_bytes()
    except OSError as error:
        raise Invalid(f"{str(manifest_path)!r} cannot be read: {error.strerror}") from error
    manifest = parse_manifest(content)
    files = tuple(_describe(root, role, path) for role, path in named_files(manifest))
    return Bundle(root=root, manifest=manifest, manifest_bytes=content, files=files)


def _describe(root: Path, role: Role, relative: str) -> BundleFile:
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise Invalid(f"manifest: {role.value}: {relative!r} is a link that leads out of the bundle")
    if not path.is_file():
        raise Invalid(f"manifest: {role.value}: no file {relative!r} in the bundle {str(root)!r}")
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(_READ_BYTES):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise Invalid(f"manifest: {role.value}: {relative!r} cannot be read: {error.strerror}") from error
    if size == 0:
        raise Invalid(f"manifest: {role.value}: {relative!r} is empty")
    return BundleFile(role=role, path=relative, size_bytes=size, sha256=digest.hexdigest())
