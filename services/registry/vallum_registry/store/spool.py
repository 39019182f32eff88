"""Half uploads on the registry's own disk: `<upload id>.header` first, then `<upload id>.part`.

A process that is killed leaves both, and whoever goes on reads them again. Nothing is synchronised to the disk at each
chunk: after a power failure the digests show what is missing, and the client sends it again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from vallum_common.errors import Conflict, Exhausted, Unavailable, VallumError

_BLOCK: Final = 1024 * 1024


class FileSpool:
    """Half uploads in a folder.

    Args:
        folder: made where it is missing; no other process uses it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, upload_id: str, fingerprint: bytes) -> SpoolFile:
        """Begin an upload, or go on with it.

        Raises:
            Conflict: it was begun with another header.
            Exhausted: the disk is full.
            Unavailable: the folder cannot be written to.
        """
        part, draft, header = self._paths(upload_id)
        with _disk_errors():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not header.exists():
                part.unlink(missing_ok=True)
                draft.write_bytes(fingerprint)
                draft.replace(header)
            elif header.read_bytes() != fingerprint:
                raise Conflict(f"upload {upload_id!r} was begun with another header; take a new upload id")
            return SpoolFile(part.open("a+b"))

    def received(self, upload_id: str) -> int:
        """How many bytes have arrived; 0 for an unknown upload."""
        try:
            return self._paths(upload_id)[0].stat().st_size
        except FileNotFoundError:
            return 0

    def upload_ids(self) -> frozenset[str]:
        """Every upload that was begun and not discarded."""
        return frozenset(path.stem for path in self._folder.glob("*.*"))

    def discard(self, upload_id: str) -> None:
        """Forget an upload. The header goes last: without it the bytes mean nothing."""
        with _disk_errors():
            for path in self._paths(upload_id):
                path.unlink(missing_ok=True)

    def discard_older(self, than: dt.datetime) -> frozenset[str]:
        """Forget every upload that was last written to before a moment.

        Returns:
            Their ids.
        """
        old = frozenset(upload_id for upload_id in self.upload_ids() if self._written_at(upload_id) < than.timestamp())
        for upload_id in old:
            self.discard(upload_id)
        return old

    def _written_at(self, upload_id: str) -> float:
        newest = 0.0
        for path in self._paths(upload_id):
            with contextlib.suppress(FileNotFoundError):
                newest = max(newest, path.stat().st_mtime)
        return newest

    def _paths(self, upload_id: str) -> tuple[Path, Path, Path]:
        part, draft, header = (self._folder / f"{upload_id}.{suffix}" for suffix in ("part", "draft", "header"))
        return part, draft, header


class SpoolFile:
    """The bytes of one upload.

    Args:
        file: opened for reading and appending.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def append(self, data: bytes) -> None:
        """Write the next bytes; handed to the operating system, they outlive the process.

        Raises:
            Exhausted: the disk is full.
            Unavailable: it cannot be written to.
        """
        with _disk_errors():
            self._file.write(data)
            self._file.flush()

    def read(self, offset: int = 0, size_bytes: int | None = None) -> Iterator[bytes]:
        """Bytes that were written, in pieces; all that follow the offset, or so many."""
        end = os.fstat(self._file.fileno()).st_size if size_bytes is None else offset + size_bytes
        while offset < end:
            piece = os.pread(self._file.fileno(), min(_BLOCK, end - offset), offset)
            if not piece:
                raise Unavailable(f"the spooled upload ends at {offset}, before {end}; resume it")
            offset += len(piece)
            yield piece

    def close(self) -> None:
        """Leave it for later."""
        self._file.close()


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind: type[VallumError] = Exhausted if error.errno in (errno.ENOSPC, errno.EDQUOT) else Unavailable
        raise kind(f"the registry's disk does not take the upload: {error.strerror}") from error
