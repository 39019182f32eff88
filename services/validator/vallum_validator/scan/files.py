"""From a path to a report: opening without following tricks, hashing, scanning, and never a pass by accident."""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.domain import FileReport, ScanReport
from vallum_validator.scan import allowlist
from vallum_validator.scan.context import Budget, Context, Ledger, Limits
from vallum_validator.scan.dispatch import check_extension, inspect
from vallum_validator.scan.rules import RULES

_IN_MEMORY: Final = 8 * 1024**2
"""Smaller files are read at once; larger ones are mapped, so that memory does not grow with the file."""
_BLOCK: Final = 1024**2

logger = logging.getLogger(__name__)


def rules_digest() -> str:
    """Hex SHA-256 of the allow-lists and of the rules: what a verdict depends on beside the bytes."""
    total = hashlib.sha256(allowlist.digest().encode())
    for rule in RULES.values():
        total.update(f"{rule.id}\0{rule.verdict}\0{rule.severity}\n".encode())
    return total.hexdigest()


def scan_paths(paths: Iterable[Path], *, limits: Limits | None = None) -> ScanReport:
    """Scan each of the files.

    Args:
        paths: of files; a folder is reported as no file.
        limits: for each file.
    """
    return ScanReport(tuple(scan_file(path, limits=limits) for path in paths), rules_digest())


def scan_file(path: Path, *, name: str | None = None, limits: Limits | None = None) -> FileReport:
    """Scan one file without running, importing or unpickling anything of it.

    Args:
        path: of the file.
        name: as the submitter calls it, where that is not `path`; its ending is held against the content.
        limits: what the scan may cost.

    Returns:
        the report; a file that cannot be read or understood is UNKNOWN, never an exception.
    """
    limits = limits or Limits()
    ledger = Ledger(limits.findings)
    digest, size, found = "", 0, "unknown"
    context = Context("", 0, ledger, Budget.of(limits, 0), inspect)
    try:
        with _opened(path) as descriptor:
            before = os.fstat(descriptor)
            digest, size = _hash(descriptor)
            context = Context("", 0, ledger, Budget.of(limits, size), inspect)
            with _content(descriptor, size) as data:
                found = inspect(data, context)
            _check_unchanged(before, os.fstat(descriptor), size, context)
        check_extension(name or path.name, found, context)
    except (Invalid, Exhausted) as error:
        context.report("file.not-regular", error.message)
    except OSError as error:
        context.report("file.unreadable", f"{error.strerror or error}")
    except Exception:  # the last line of defence: our own bug must not pass a file
        logger.exception("scan_failed", extra={"path": str(path)})
        context.report("scan.failed", "the scanner failed on this file; see the log")
    findings = tuple(sorted(ledger.findings, key=lambda finding: (finding.member, finding.offset or 0)))
    return FileReport(name or str(path), digest, size, found, ledger.verdict, findings)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of a plain file; never waits on a pipe or touches a device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise Invalid(f"{str(path)!r} is no plain file: {stat.filemode(mode)}")
        yield descriptor
    finally:
        os.close(descriptor)


def _hash(descriptor: int) -> tuple[str, int]:
    total, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_BLOCK))
    with open(descriptor, "rb", buffering=0, closefd=False) as stream:
        while count := stream.readinto(buffer):
            total.update(buffer[:count])
            size += count
    return total.hexdigest(), size


@contextmanager
def _content(descriptor: int, size: int) -> Iterator[memoryview]:
    if size <= _IN_MEMORY:
        yield memoryview(os.pread(descriptor, size, 0))
        return
    mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    try:
        yield memoryview(mapped)
    finally:
        # A view may live on in a traceback; the map is closed with the last of them.
        del mapped


def _check_unchanged(before: os.stat_result, after: os.stat_result, size: int, context: Context) -> None:
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or after.st_size != size:
        context.report("file.changed", f"{before.st_size} bytes before, {after.st_size} after, {size} read")
