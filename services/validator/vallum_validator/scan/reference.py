"""The second reading: a format's own parser, confined, looks into a file that the static scan calls clean.

Two parsers that read one file differently are an attacker's way in. So what the reference parser finds is compared,
line by line, with what our own found, and anything but agreement costs the file its CLEAN. The parser runs in a worker
of its own that may read this one file; what it answers is checked like everything else that comes from a worker.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vallum_common.errors import Exhausted, Invalid, Unavailable
from vallum_validator.domain.findings import Finding
from vallum_validator.scan.containers.zip import ZipArchive
from vallum_validator.scan.context import Budget, Context, Ledger, Limits, shown
from vallum_validator.scan.formats import gguf, hdf5, onnx, safetensors, skops
from vallum_validator.scan.rules import RULES

if TYPE_CHECKING:
    from vallum_validator.sandbox.child import Limits as WorkerLimits
    from vallum_validator.sandbox.process import Worker

_SECONDS: Final = 120.0
_MEMORY: Final = 1024**3
"""Bytes for a parser and its libraries, whatever the size of the file."""
_MAX_LINES: Final = 500_000


@dataclass(frozen=True, slots=True)
class Reading:
    """How a format is read a second time.

    Args:
        ours: what our own reader finds, a line each.
        whole: whether both must find the same; otherwise the reference may find less, but nothing that we do not.
        copies: how many times the file the parser holds in memory.
    """

    ours: Callable[[memoryview], Iterable[str]]
    whole: bool = True
    copies: int = 0


def second_reading(path: Path, format_name: str) -> tuple[Finding, ...]:
    """Have the reference parser of a format read a file, and compare.

    Args:
        path: of a file that the static scan calls clean.
        format_name: as the scan names it; a format without a reference parser is not read.

    Returns:
        nothing where both readings agree, otherwise one finding that says why they do not.
    """
    reading = READINGS.get(format_name)
    if reading is None:
        return ()
    from vallum_validator.sandbox.process import WorkerFailed, WorkerRefused  # with numpy, which a scan does without

    try:
        ours = _own(path, reading)
        theirs = _reference(path, format_name, reading)
    except WorkerRefused as error:
        return (_finding("reference.refused", error.message),)
    except WorkerFailed as error:
        told = "what its own library breaks on, nobody should load; a newer library may tell more"
        return (_finding("reference.crashed", f"{error.message}: {told}"),)
    except (Unavailable, OSError) as error:
        return (_finding("reference.unavailable", str(error)),)
    except (Invalid, Exhausted) as error:
        return (_finding("reference.disagrees", f"our own reading failed: {error.message}"),)
    return tuple(_differences(ours, theirs, whole=reading.whole))


def _own(path: Path, reading: Reading) -> set[str]:
    # The map is closed with the last view of it, and a traceback may hold one.
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return set(reading.ours(memoryview(mapped)))


def _reference(path: Path, format_name: str, reading: Reading) -> set[str]:
    from vallum_validator.sandbox.process import WorkerFailed

    with _worker(path, reading) as worker:
        question = {"command": "reference", "path": str(path.resolve(strict=True)), "format": format_name}
        answer = worker.call(question, seconds=_SECONDS)
    lines = answer.arrays.get("lines")
    if lines is None or lines.ndim != 1 or lines.dtype != object or len(lines) > _MAX_LINES:
        raise WorkerFailed("the reference parser sent something else than lines of text")
    found = lines.tolist()
    if not all(isinstance(line, str) for line in found):
        raise WorkerFailed("the reference parser sent a line that is no text")
    return set(found)


def _worker(path: Path, reading: Reading) -> Worker:
    """The process that is to read. Raises: Unavailable where it does not even start, whatever the file."""
    from vallum_validator.sandbox.process import Worker, WorkerFailed

    try:
        return Worker("the reference parser", [path], limits=_limits(path, reading))
    except WorkerFailed as error:
        raise Unavailable(
            f"{error.message}, before it was given the file; it may read the interpreter and {sys.prefix!r} and no "
            f"other folder: install Vallum and all that it needs there, and give it memory"
        ) from error


def _limits(path: Path, reading: Reading) -> WorkerLimits:
    from vallum_validator.sandbox.child import Limits as WorkerLimits

    return WorkerLimits(
        memory_bytes=_MEMORY + reading.copies * path.stat().st_size,
        call_s=_SECONDS,
        total_s=2 * _SECONDS,
    )


def _differences(ours: set[str], theirs: set[str], *, whole: bool) -> Iterator[Finding]:
    more, fewer = sorted(theirs - ours), sorted(ours - theirs) if whole else []
    if more or fewer:
        said = [f"it finds {shown(more[0])}" if more else "", f"it does not find {shown(fewer[0])}" if fewer else ""]
        counts = f"{len(more)} lines more and {len(fewer)} fewer than our own reading: "
        yield _finding("reference.disagrees", counts + ", ".join(filter(None, said)))


def _finding(rule_id: str, message: str) -> Finding:
    rule = RULES[rule_id]
    return Finding(rule.id, rule.severity, "", None, message)


def _archive(data: memoryview) -> ZipArchive:
    """The archive, which the static scan has judged: what it reports here is known already."""
    limits = Limits()
    context = Context("", 0, Ledger(limits.findings), Budget.of(limits, len(data)), lambda _data, _context: "")
    return ZipArchive(data, context)


def _skops(data: memoryview) -> Iterator[str]:
    return skops.inventory(_archive(data))


def _keras(data: memoryview) -> Iterator[str]:
    archive = _archive(data)
    for entry in archive.entries:
        yield f"member {entry.name}"
        if entry.name.endswith(".h5"):
            for line in hdf5.inventory(archive.read(entry)):
                yield f"{entry.name} {line}"


READINGS: Final[Mapping[str, Reading]] = {
    "safetensors": Reading(safetensors.inventory),
    "onnx": Reading(onnx.inventory, copies=4),
    # It names the types it does not trust by itself, so fewer than the schema does.
    "skops": Reading(_skops, whole=False, copies=1),
    "gguf": Reading(gguf.inventory),
    "hdf5": Reading(hdf5.inventory),
    "keras": Reading(_keras, copies=1),
}
"""The formats that have a reference parser."""
