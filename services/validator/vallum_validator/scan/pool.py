"""Many files at a time: a few processes that each hash and supervise, so that every core has work.

They read hostile bytes only to hash them; each file is judged in one more process. The reports come back in the order
of the paths, whichever is done first.
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import signal
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from vallum_validator.domain.findings import FileReport, Finding, ScanVerdict, Severity
from vallum_validator.scan.confinement import end_with, signals_held
from vallum_validator.scan.rules import RULES

_INDEX: Final = struct.Struct("<I")
_BLOCK: Final = 64 * 1024


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclasses.dataclass(slots=True)
class _Worker:
    """A process that scans one file after the other.

    Args:
        process: its id.
        asking: descriptor that takes the index of a file.
        answering: descriptor that gives the report.
        current: index of the file it has.
        heard: what it said so far.
    """

    process: int
    asking: int
    answering: int
    current: int
    heard: bytearray = dataclasses.field(default_factory=bytearray)


class Pool:
    """The scan of many files; used once.

    Args:
        paths: of the files.
        scan: of one file.
        on_report: told of each when it is done.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        scan: Callable[[Path], FileReport],
        *,
        on_report: Callable[[FileReport], None] = lambda _: None,
    ) -> None:
        self._paths, self._scan, self._on_report = paths, scan, on_report
        self._waiting: Iterator[int] = iter(range(len(paths)))
        self._workers: dict[int, _Worker] = {}
        self._reports: dict[int, FileReport] = {}
        self._spool: tempfile.TemporaryDirectory[str] | None = None

    def run(self, processes: int) -> tuple[FileReport, ...]:
        """Scan all, so many at a time; return the reports in the order of the paths."""
        with suppress(OSError):  # a full disk: files that expand will be UNKNOWN, the others need no room
            self._spool = tempfile.TemporaryDirectory(prefix="vallum-scan-", ignore_cleanup_errors=True)
        try:
            for _ in range(processes):
                self._start()
            while self._workers:
                poll = select.poll()
                for descriptor in self._workers:
                    poll.register(descriptor, select.POLLIN)
                for descriptor, _ in poll.poll():
                    self._hear(self._workers[descriptor])
        finally:
            for worker in tuple(self._workers.values()):
                self._end(worker)
            if self._spool:
                self._spool.cleanup()
        return tuple(self._reports[index] for index in range(len(self._paths)))

    def _start(self) -> None:
        """Start a worker, if there is a file for it."""
        index = next(self._waiting, None)
        if index is None:
            return
        their_asking, asking = os.pipe()
        answering, their_answering = os.pipe()
        parent = os.getpid()
        with signals_held():
            process = os.fork()
            if process == 0:
                self._work(parent, their_asking, their_answering, unused=(asking, answering))
            self._workers[answering] = worker = _Worker(process, asking, answering, index)
        os.close(their_asking)
        os.close(their_answering)
        self._ask(worker, index)

    def _work(self, parent: int, asking: int, answering: int, *, unused: tuple[int, ...]) -> NoReturn:
        """The worker, from its birth to its end."""
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends us
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            end_with(parent)
            if self._spool:
                tempfile.tempdir = self._spool.name  # emptied by the parent, however we end
            for descriptor in unused:
                os.close(descriptor)
            while len(request := os.read(asking, _INDEX.size)) == _INDEX.size:
                report = self._scan(self._paths[_INDEX.unpack(request)[0]])
                rest = memoryview(json.dumps(dataclasses.asdict(report)).encode() + b"\n")
                while rest:
                    rest = rest[os.write(answering, rest) :]
        finally:
            os._exit(1)

    def _ask(self, worker: _Worker, index: int) -> None:
        worker.current = index
        with suppress(BrokenPipeError):  # it is gone: its end of the other pipe will tell
            os.write(worker.asking, _INDEX.pack(index))

    def _hear(self, worker: _Worker) -> None:
        block = os.read(worker.answering, _BLOCK)
        if not block:
            self._end(worker)
            self._keep(worker.current, _failed(self._paths[worker.current]))
            self._start()
            return
        worker.heard += block
        if not block.endswith(b"\n"):  # it is the last byte of a report and of nothing else
            return
        self._keep(worker.current, _report(json.loads(worker.heard)))
        worker.heard.clear()
        following = next(self._waiting, None)
        if following is None:
            self._end(worker)
        else:
            self._ask(worker, following)

    def _keep(self, index: int, report: FileReport) -> None:
        self._reports[index] = report
        self._on_report(report)

    def _end(self, worker: _Worker) -> None:
        del self._workers[worker.answering]
        os.close(worker.asking)
        os.close(worker.answering)
        with suppress(ProcessLookupError):
            os.kill(worker.process, signal.SIGKILL)
        os.waitpid(worker.process, 0)


def _failed(path: Path) -> FileReport:
    rule = RULES["scan.failed"]
    finding = Finding(rule.id, rule.severity, "", None, "the process that supervised the scan of this file ended")
    return FileReport(str(path), "", 0, "unknown", rule.verdict, (finding,))


def _report(told: dict[str, Any]) -> FileReport:
    findings = tuple(Finding(**{**f, "severity": Severity(f["severity"])}) for f in told["findings"])
    return FileReport(**{**told, "verdict": ScanVerdict(told["verdict"]), "findings": findings})
