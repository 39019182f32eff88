"""A file is judged in a process of its own, which is bounded from outside and trusted in nothing it says.

The process is forked, not started: that takes a few milliseconds, and the scanner is loaded already. It tells each
finding as it makes it, so that what it found before it had to be ended is not lost. A process that breaks off, takes
too long or answers nonsense leaves its file UNKNOWN.

Where the caller has other threads, a fork may inherit a lock that nobody will open again. The limit on time then ends
the scan as UNKNOWN; nothing passes by it.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, NoReturn

from vallum_common.errors import Invalid
from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan.confinement import confine, signals_held
from vallum_validator.scan.context import Budget, Context, Ledger, Limits
from vallum_validator.scan.dispatch import inspect
from vallum_validator.scan.rules import RULES

_LINE_BYTES: Final = 64 * 1024
_ANSWER_BYTES: Final = 8 * 1024**2
"""Of all findings together: twice as many as are kept, each as long as a message may be, in the longest spelling."""
_MEMBER_CHARACTERS: Final = 4_000
_FORMAT_CHARACTERS: Final = 40
_MAX_OFFSET: Final = 2**63
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MOMENT_S: Final = 0.5
"""To become a process that can be waited for, once its end of the pipe is closed."""


class Scanning:
    """The scan of one file, in a child process; use it as a context manager.

    Args:
        content: gives the bytes; called in the child.
        size_bytes: of the file.
        limits: of the scan.
        ledger: gets the findings.
        descriptor: that `content` reads from; it stays open in the child.
    """

    def __init__(
        self,
        content: Callable[[], memoryview],
        size_bytes: int,
        *,
        limits: Limits,
        ledger: Ledger,
        descriptor: int | None = None,
    ) -> None:
        self._content, self._size, self._limits = content, size_bytes, limits
        self._ledger, self._descriptor = ledger, descriptor
        self._format = ""
        self._buffer = bytearray()
        self._heard = 0
        self._child = 0
        self._reading = -1
        self._spool: str | None = None
        self._refused: OSError | None = None
        self._allowed_s = limits.wall_s(size_bytes)

    def __enter__(self) -> Scanning:
        try:
            self._start()
        except BaseException:  # a Ctrl-C, too, must leave nothing behind
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _start(self) -> None:
        try:
            self._spool = tempfile.mkdtemp(prefix="vallum-scan-")
        except OSError as error:
            self._refused = error  # most files need none
        self._reading, writing = os.pipe()
        kept = [writing] if self._descriptor is None else [writing, self._descriptor]
        give_up = partial(confine, self._limits, self._size, parent=os.getpid(), keep=kept, spool=self._spool)
        self._deadline = time.monotonic() + self._allowed_s
        try:
            with signals_held():
                self._child = os.fork()
                if self._child == 0:
                    _judge(self._content, give_up, Budget.of(self._limits, self._size), writing)
        finally:
            os.close(writing)
        self._poll = select.poll()
        self._poll.register(self._reading, select.POLLIN)

    def listen(self) -> None:
        """Take what the child has said by now, without waiting: a child that is not heard stops at a full pipe."""
        while self._child and self._poll.poll(0):
            self._hear()

    def result(self) -> str:
        """Wait for the end, and report what went wrong.

        Returns:
            the name of the format; `unknown` where the child did not come to tell.
        """
        while self._child:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                self._end()
                self._report("limit.wall-time", f"the scan took longer than {self._allowed_s:.1f} s and was ended")
            elif self._poll.poll(left_s * 1000):
                self._hear()
        return self._format or "unknown"

    def _hear(self) -> None:
        try:
            block = os.read(self._reading, _LINE_BYTES)
            self._heard += len(block)
            self._buffer += block
            *lines, rest = self._buffer.split(b"\n")
            self._buffer = rest
            if self._heard > _ANSWER_BYTES or len(rest) > _LINE_BYTES:
                raise Invalid("more than any honest scan has to say")
            for line in lines:
                self._take(_answer(bytes(line)))
        except Invalid as error:
            self._end()
            self._report("scan.failed", f"the scanning process answered nonsense: {error.message}")
            return
        if not block:
            status = self._end(patience_s=_MOMENT_S)
            if not self._format:
                self._report(*_how(status))

    def _take(self, answer: list[Any]) -> None:
        match answer:
            case [str(rule), str(member), int() | None as offset, str(message)]:
                self._finding(rule, member, offset, message)
            case [str(found), str(verdict)]:
                self._conclude(found, verdict)
            case [str(trace)]:
                import logging  # for our own bugs only, and it takes its time

                logging.getLogger(__name__).error("scan_failed\n%s", trace)
                self._format = "unknown"
                self._report("scan.failed", "the scanner failed on this file; see the log")
            case _:
                raise Invalid("no answer has this shape")

    def _finding(self, rule: str, member: str, offset: int | None, message: str) -> None:
        if rule not in RULES or len(member) > _MEMBER_CHARACTERS or not 0 <= (offset or 0) < _MAX_OFFSET:
            raise Invalid("a finding that none of our rules makes")
        if self._refused and rule == "scan.spool":  # the child only knows that it has no folder
            rule, message = _unspooled(self._refused)
        self._ledger.add(rule, member, offset, message)

    def _conclude(self, found: str, verdict: str) -> None:
        if self._format or not (0 < len(found) <= _FORMAT_CHARACTERS and found.isascii() and found.isprintable()):
            raise Invalid("no format has this name")
        if verdict not in ScanVerdict.__members__:
            raise Invalid("no file has this verdict")
        self._format = found
        # Findings over the limit are counted and not told; the verdict is the worse of what was told and what is said.
        if verdict == ScanVerdict.MALICIOUS or self._ledger.verdict is ScanVerdict.CLEAN:
            self._ledger.verdict = ScanVerdict(verdict)

    def _report(self, rule: str, message: str) -> None:
        self._ledger.add(rule, "", None, message)

    def _end(self, *, patience_s: float = 0.0) -> int:
        """Reap the child, killing it when it is not gone by itself; return its status, 0 the second time."""
        child, self._child = self._child, 0
        reading, self._reading = self._reading, -1
        spool, self._spool = self._spool, None
        try:
            if reading >= 0:
                os.close(reading)
            return _reap(child, patience_s) if child else 0
        finally:
            if spool:
                shutil.rmtree(spool, ignore_errors=True)


def _reap(child: int, patience_s: float) -> int:
    """Wait so long for the child to end by itself, then kill it; return its status."""
    until = time.monotonic() + patience_s
    while True:
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            return status
        if time.monotonic() >= until:
            break
        time.sleep(0.001)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _answer(line: bytes) -> list[Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Invalid("no JSON") from error
    if not isinstance(answer, list):
        raise Invalid("no list")
    return answer


def _how(status: int) -> tuple[str, str]:
    """The finding that says how a child ended which did not come to its verdict."""
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGXCPU:
        return "limit.wall-time", "the scan took more processor time than a file of this size may, and was ended"
    if code >= 0:
        return "scan.failed", f"the scanning process ended with code {code} and without a verdict"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return "scan.failed", f"the scanning process was ended by {name}"


class _TellingLedger(Ledger):
    """A ledger that tells each finding at once.

    Args:
        limit: as of every ledger.
        channel: descriptor that is written to.
    """

    def __init__(self, limit: int, channel: int) -> None:
        super().__init__(limit)
        self._channel = channel

    def add(self, rule_id: str, member: str, offset: int | None, message: str) -> None:
        known = len(self.findings)
        super().add(rule_id, member, offset, message)
        for finding in self.findings[known:]:
            _tell(self._channel, finding.rule, finding.member, finding.offset, finding.message)


def _tell(channel: int, *answer: str | int | None) -> None:
    rest = memoryview(json.dumps(answer).encode() + b"\n")
    while rest:
        rest = rest[os.write(channel, rest) :]


def _judge(content: Callable[[], memoryview], give_up: Callable[[], str], budget: Budget, channel: int) -> NoReturn:
    """The child, from its birth to its end: it never returns to the code that was running when it was forked."""
    try:
        gc.freeze()  # nothing of the parent's is collected here, where its descriptors mean something else
        ledger = _TellingLedger(budget.limits.findings, channel)
        context = Context("", 0, ledger, budget, inspect)
        found = _guarded(content, context) if _has_given_up(give_up, context) else "unknown"
        _tell(channel, found, ledger.verdict.value)
        os._exit(0)
    except BaseException:  # noqa: BLE001 (the edge of a process: whatever happens here, it must end here)
        with suppress(BaseException):
            import traceback

            _tell(channel, traceback.format_exc()[-_LINE_BYTES // 16 :])
    finally:
        os._exit(1)


def _has_given_up(give_up: Callable[[], str], context: Context) -> bool:
    try:
        left = give_up()
    except OSError as error:
        reason = error.strerror or str(error)
        context.report("scan.failed", f"the scanning process could not be confined before it read the file: {reason}")
        return False
    if left:
        context.report("scan.unconfined", f"a parser that this file took over could {left}")
    return True


def _guarded(content: Callable[[], memoryview], context: Context) -> str:
    try:
        return inspect(content(), context)
    except MemoryError:
        context.report("limit.memory", "the scan needs more private memory than it may have")
    except OSError as error:
        context.report(*_unspooled(error))
    return "unknown"


def _unspooled(error: OSError) -> tuple[str, str]:
    """The finding where what a file expands to cannot be kept."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return "limit.spool", f"no room for what the file expands to: {reason}"
    return (
        "scan.spool",
        f"what the file expands to cannot be kept in a temporary file: {reason}; TMPDIR may name a folder",
    )
