"""From a path to a report: opening without following tricks, hashing, scanning, and never a pass by accident.

The hash is taken here, while the scan runs apart: the digest in a report is never the word of a process that has read
hostile bytes.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.domain.findings import FileReport, ScanReport, ScanVerdict
from vallum_validator.scan import allowlist
from vallum_validator.scan.context import Budget, Context, Ledger, Limits
from vallum_validator.scan.dispatch import inspect
from vallum_validator.scan.extensions import check_extension
from vallum_validator.scan.pool import Pool, usable_cores
from vallum_validator.scan.supervision import Scanning

_IN_MEMORY: Final = 8 * 1024**2
"""Smaller files are read at once; larger ones are mapped, so that memory does not grow with the file."""
_BLOCK: Final = 1024**2
_OWN_FINDINGS: Final = 8

_READ_AGAIN: Final = frozenset({"safetensors", "onnx", "skops", "gguf", "hdf5", "keras"})
"""The formats of `reference`."""


def rules_digest() -> str:
    """Hex SHA-256 of the allow-lists and of the scanner's own source: rules, expressions, tables, default limits.

    Beside the bytes it is all a verdict depends on, where no other parser is asked: see `reference` and `opinions`.
    """
    total = hashlib.sha256(allowlist.digest().encode())
    scanner = Path(__file__).parent
    beside = (scanner.parent / name for name in ("national.py", "personal.py"))
    for source in sorted((*scanner.rglob("*.py"), *scanner.rglob("*.txt"), *beside)):
        total.update(hashlib.sha256(source.read_bytes()).digest())
    return total.hexdigest()


def scan_paths(
    paths: Iterable[Path],
    *,
    limits: Limits | None = None,
    processes: int | None = None,
    on_report: Callable[[FileReport], None] = lambda _: None,
    programs: Mapping[str, str] | None = None,
) -> ScanReport:
    """Scan each of the files, several at a time.

    Args:
        paths: of files; a folder is reported as no file.
        limits: for each file.
        processes: how many at a time; `None` for one per core that this process may use.
        on_report: told of each file when it is done, in whatever order that comes about.
        programs: other scanners to ask for an opinion on each file: see `opinions.find`.

    Returns:
        the reports in the order of the paths.
    """
    every = tuple(paths)
    scan = partial(_with_opinions, limits=limits, programs=programs or {})
    at_once = min(processes or usable_cores(), len(every))
    if len(every) > 1:
        allowlist.shipped().read_all()  # once, not in the process of every file
    if at_once > 1:
        return ScanReport(Pool(every, scan, on_report=on_report).run(at_once), rules_digest())
    reports = []
    for path in every:
        reports.append(scan(path))
        on_report(reports[-1])
    return ScanReport(tuple(reports), rules_digest())


def _with_opinions(path: Path, *, limits: Limits | None, programs: Mapping[str, str]) -> FileReport:
    report = scan_file(path, limits=limits)
    if programs:
        from vallum_validator.scan.opinions import ask  # subprocess with it, which most scans do without

        return ask(report, programs)
    return report


def scan_file(path: Path, *, name: str | None = None, limits: Limits | None = None) -> FileReport:
    """Scan one file without running, importing or unpickling anything of it.

    The bytes are judged in a child process, bounded and confined: see `supervision`.

    Args:
        path: of the file.
        name: as the submitter calls it, where that is not `path`; its ending is held against the content.
        limits: what the scan may cost.

    Returns:
        the report; a file that cannot be read or understood is UNKNOWN, never an exception.
    """
    limits = limits or Limits()
    ledger = Ledger(2 * limits.findings + _OWN_FINDINGS)
    context = Context("", 0, ledger, Budget.of(limits, 0), inspect)
    digest, size, found = "", 0, "unknown"
    _read_lists(context)
    try:
        with _opened(path) as descriptor:
            before = os.fstat(descriptor)
            size = before.st_size
            digest, count, found = _scan(descriptor, size, limits, ledger)
            check_extension(name or path.name, found, context)
            _read_again(path, found, ledger)
            _check_unchanged(before, os.fstat(descriptor), count, context)
    except Invalid as error:
        context.report("file.not-regular", error.message)
    except OSError as error:
        context.report("file.unreadable", f"{error.strerror or error}")
    except Exception:  # the last line of defence: our own bug must not pass a file
        import logging

        logging.getLogger(__name__).exception("scan_failed", extra={"path": str(path)})
        context.report("scan.failed", "the scanner failed on this file; see the log")
    findings = tuple(sorted(ledger.findings, key=lambda finding: (finding.member, finding.offset or 0)))
    return FileReport(name or str(path), digest, size, found, ledger.verdict, findings)


def _read_lists(context: Context) -> None:
    """Read the allow-lists here: the child may open no file. Nothing is clean where they are not what was published."""
    try:
        allowlist.shipped()
    except Invalid as error:
        context.report("scan.lists-invalid", error.message)


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


def _scan(descriptor: int, size: int, limits: Limits, ledger: Ledger) -> tuple[str, int, str]:
    """Hash the file here and judge it in a child; return digest, number of bytes read, and format."""
    if size <= _IN_MEMORY:
        data = _read(descriptor, size)
        digest = hashlib.sha256(data).hexdigest()
        with Scanning(lambda: memoryview(data), len(data), limits=limits, ledger=ledger) as child:
            return digest, len(data), child.result()
    content = partial(_mapped, descriptor, size)
    with Scanning(content, size, limits=limits, ledger=ledger, descriptor=descriptor) as child:
        digest, count = _hash(descriptor, size, child.listen)
        return digest, count, child.result()


def _read_again(path: Path, found: str, ledger: Ledger) -> None:
    """Have the reference parser of its format open, in the sandbox, what is clean so far; its word only closes."""
    if ledger.verdict is not ScanVerdict.CLEAN or found not in _READ_AGAIN:
        return
    from vallum_validator.scan.reference import second_reading  # every format with it, which most scans do without

    for finding in second_reading(path, found):
        ledger.add(finding.rule, finding.member, finding.offset, finding.message)


def _read(descriptor: int, size: int) -> bytes:
    """The bytes of a file; one more than it is said to have, where it has."""
    blocks, left = [], size + 1
    while left and (block := os.read(descriptor, left)):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def _hash(descriptor: int, size: int, meanwhile: Callable[[], None]) -> tuple[str, int]:
    """Hash at most one byte more than the file is said to have: one that grows has no end."""
    total, count = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_BLOCK))
    with open(descriptor, "rb", buffering=0, closefd=False) as stream:
        while count <= size and (more := stream.readinto(buffer[: size + 1 - count])):
            total.update(buffer[:more])
            count += more
            meanwhile()
    return total.hexdigest(), count


def _mapped(descriptor: int, size: int) -> memoryview:
    return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))


def _check_unchanged(before: os.stat_result, after: os.stat_result, count: int, context: Context) -> None:
    """Report a change; the time of the inode tells it even where somebody has set back that of the content."""
    same = (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    if not same or count != after.st_size:
        read = f"more than {before.st_size}" if count > before.st_size else str(count)
        context.report("file.changed", f"{before.st_size} bytes before, {after.st_size} after, {read} read")
