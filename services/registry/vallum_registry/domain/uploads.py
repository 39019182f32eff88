"""What an upload must bring, and in which order: the rule the client and the registry share.

The bytes of the files follow each other as one sequence, **each distinct content once**: contents in the order in which
their SHA-256 first appears in `files`, with nothing in between. A file that serves two roles (the same SHA-256 under
two entries) is therefore sent once. Offsets count from the first byte of that sequence.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vallum_common.bundle import BundleFile, Manifest, Role, parse_manifest
from vallum_common.bundle.source import named_files
from vallum_common.errors import Exhausted, Invalid

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """How much one upload may bring, and how long it may take.

    Args:
        total_bytes: of all contents together.
        files: entries in the header.
        manifest_bytes: of `vallum.yaml`.
        chunk_bytes: of one chunk.
        uploads: begun and not completed, at one time.
        idle_s: seconds without a chunk after which the stream is given up; the upload can be resumed.
        keep_s: seconds after its last chunk for which an upload can be resumed.
    """

    total_bytes: int = 4 * 1024**3
    files: int = 64
    manifest_bytes: int = 256 * 1024
    chunk_bytes: int = 1024 * 1024
    uploads: int = 32
    idle_s: float = 60.0
    keep_s: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class UploadHeader:
    """What a client says it will send.

    Args:
        upload_id: a UUID of the client's choice.
        manifest: `vallum.yaml` as written.
        files: what will follow.
    """

    upload_id: str
    manifest: bytes
    files: tuple[BundleFile, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """Distinct bytes of the sequence.

    Args:
        name: the first file that has them, for messages.
        sha256: hex digest.
        offset: where they begin.
        size_bytes: how many.
    """

    name: str
    sha256: str
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """A header that was checked.

    Args:
        header: as sent.
        manifest: as read.
        contents: the sequence.
    """

    header: UploadHeader
    manifest: Manifest
    contents: tuple[Content, ...]

    @property
    def total_bytes(self) -> int:
        """Length of the sequence."""
        return sum(content.size_bytes for content in self.contents)

    @property
    def manifest_sha256(self) -> str:
        """Hex digest of the manifest as written."""
        return hashlib.sha256(self.header.manifest).hexdigest()

    @property
    def fingerprint(self) -> bytes:
        """The header in few bytes: equal for two headers that announce the same sequence and the same manifest."""
        files = [[file.role, file.path, file.size_bytes, file.sha256] for file in self.header.files]
        return json.dumps({"manifest": self.manifest_sha256, "files": files}, indent=1).encode()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of the sequence.

    Args:
        offset: where they begin.
        data: at least one byte.
    """

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload is.

    Args:
        received_bytes: how many have arrived.
        submission_id: of the completed upload; empty until then.
    """

    received_bytes: int
    submission_id: str = ""


def plan_upload(header: UploadHeader, limits: UploadLimits) -> UploadPlan:
    """Check a header before the first byte is taken.

    Raises:
        Invalid: the upload id is no UUID, the manifest is not right, or the files are not exactly those it names.
        Exhausted: it would be larger than a limit, which is named.
    """
    checked_upload_id(header.upload_id)
    _within("manifest_bytes", len(header.manifest), limits.manifest_bytes)
    _within("files", len(header.files), limits.files)
    manifest = parse_manifest(header.manifest)
    for file in header.files:
        _check_file(file)
    _check_named(manifest, header.files)
    plan = UploadPlan(header, manifest, _contents(header.files))
    _within("total_bytes", plan.total_bytes, limits.total_bytes)
    return plan


def checked_upload_id(text: str) -> str:
    """An upload id, which becomes a file name, in its one canonical form.

    Raises:
        Invalid: it is not a UUID as `str(uuid.uuid4())` writes it.
    """
    try:
        canonical = str(uuid.UUID(text)) == text
    except ValueError:
        canonical = False
    if not canonical:
        raise Invalid(f"the upload id {text[:80]!r} is not a UUID in lower case with dashes", field="upload_id")
    return text


def _within(name: str, value: int, limit: int) -> None:
    if value > limit:
        raise Exhausted(f"the upload has {name} = {value}; the limit is {limit}", limit=name)


def _check_file(file: BundleFile) -> None:
    if file.size_bytes <= 0:
        raise Invalid(f"{file.role.value}: {file.path!r} has {file.size_bytes} bytes; an empty file is no file")
    if not _SHA256.fullmatch(file.sha256):
        raise Invalid(f"{file.role.value}: {file.path!r} has the sha256 {file.sha256[:80]!r}, not 64 lower-case hex")


def _check_named(manifest: Manifest, files: Sequence[BundleFile]) -> None:
    announced = [(file.role, file.path) for file in files]
    named = named_files(manifest)
    for role, path in named:
        if (role, path) not in announced:
            raise Invalid(f"the manifest names {role.value} {path!r}, the upload does not bring it")
    for role, path in announced:
        if (role, path) not in named:
            raise Invalid(f"the upload brings {role.value} {path[:255]!r}, the manifest does not name it")
        if announced.count((role, path)) > 1:
            raise Invalid(f"the upload brings {role.value} {path!r} twice")


def _contents(files: Sequence[BundleFile]) -> tuple[Content, ...]:
    contents: dict[str, Content] = {}
    digests: dict[str, str] = {}
    offset = 0
    for file in files:
        if digests.setdefault(file.path, file.sha256) != file.sha256:
            raise Invalid(f"{file.path!r} is announced with two digests: {digests[file.path]} and {file.sha256}")
        known = contents.setdefault(file.sha256, Content(file.path, file.sha256, offset, file.size_bytes))
        if known.size_bytes != file.size_bytes:
            raise Invalid(
                f"{known.name!r} and {file.path!r} have one digest but {known.size_bytes} and {file.size_bytes} bytes"
            )
        offset = max(offset, known.offset + known.size_bytes)
    return tuple(contents.values())


def artifact_of(files: Sequence[BundleFile]) -> BundleFile:
    """The model itself among the files of a checked plan."""
    return next(file for file in files if file.role is Role.ARTIFACT)
