"""The process in which a file is judged: whatever it does, its file is not CLEAN, and it can do little."""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import io
import mmap
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from vallum_validator.domain.findings import Finding, ScanVerdict
from vallum_validator.sandbox.isolation import kernel_landlock_abi
from vallum_validator.scan import Limits, scan_file
from vallum_validator.scan.confinement import private_bytes
from vallum_validator.scan.context import Ledger
from vallum_validator.scan.supervision import Scanning

HONEST = pickle.dumps({"weights": [1.0, 2.0]})
PROGRAM = b"\x7fELF" + bytes(100)
PATIENT = Limits(seconds=20.0)

needs_landlock = pytest.mark.skipif(kernel_landlock_abi() < 4, reason="this kernel has no Landlock of ABI 4")


def judge(content: Callable[[], object], limits: Limits = PATIENT) -> tuple[str, Ledger]:
    """What is reported of bytes that this gives, or fails to give, inside the scanning process."""
    ledger = Ledger(100)
    with Scanning(content, 1000, limits=limits, ledger=ledger) as child:  # type: ignore[arg-type]
        child.listen()
        return child.result(), ledger


def rules(ledger: Ledger) -> list[str]:
    return [finding.rule for finding in ledger.findings]


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def fan_out(levels: int, width: int) -> bytes:
    """A zip of zips of zips, which takes more time to walk through than it has bytes."""
    content = b"x" * 1000
    for _ in range(levels):
        content = zipped(**{f"{number}": content for number in range(width)})
    return content


def test_bytes_are_judged() -> None:
    found, ledger = judge(lambda: memoryview(HONEST))
    assert (found, ledger.verdict, ledger.findings) == ("pickle", ScanVerdict.CLEAN, [])


class TestEnds:
    def test_a_scan_that_hangs_is_ended(self) -> None:
        found, ledger = judge(lambda: time.sleep(600), Limits(seconds=0.2, patience=1))
        assert (found, ledger.verdict, rules(ledger)) == ("unknown", ScanVerdict.UNKNOWN, ["limit.wall-time"])

    def test_a_scan_that_stops_talking_to_us_is_ended(self) -> None:
        """It closes its end of the pipe and goes on."""
        found, ledger = judge(lambda: (os.closerange(3, 1000), time.sleep(600)))
        assert (found, ledger.verdict, rules(ledger)) == ("unknown", ScanVerdict.UNKNOWN, ["scan.failed"])

    def test_a_scan_that_uses_up_its_processor_time_is_ended(self) -> None:
        def burn() -> None:
            while True:
                pass

        _, ledger = judge(burn, Limits(seconds=0.5, patience=1000))
        assert (ledger.verdict, rules(ledger)) == (ScanVerdict.UNKNOWN, ["limit.wall-time"])
        assert "processor time" in ledger.findings[0].message

    def test_a_scan_that_takes_too_much_memory_is_ended(self) -> None:
        _, ledger = judge(lambda: bytearray(300 << 20), Limits(memory_bytes=200 << 20))
        assert (ledger.verdict, rules(ledger)) == (ScanVerdict.UNKNOWN, ["limit.memory"])

    def test_memory_is_counted_from_what_the_process_has_at_its_start(self) -> None:
        """A caller with large libraries must not make honest files UNKNOWN."""
        ballast = bytearray(b"x") * (200 << 20)
        assert private_bytes() > 200 << 20
        found, ledger = judge(lambda: memoryview(HONEST), Limits(memory_bytes=100 << 20, seconds=20))
        assert (found, ledger.verdict, len(ballast)) == ("pickle", ScanVerdict.CLEAN, 200 << 20)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
    def test_a_scan_that_is_killed_is_no_verdict(self, number: signal.Signals) -> None:
        _, ledger = judge(lambda: os.kill(os.getpid(), number))
        assert (ledger.verdict, rules(ledger)) == (ScanVerdict.UNKNOWN, ["scan.failed"])
        assert number.name in ledger.findings[0].message

    @pytest.mark.parametrize("code", [0, 3])
    def test_a_scan_that_ends_without_an_answer_is_no_verdict(self, code: int) -> None:
        _, ledger = judge(lambda: os._exit(code))
        assert (ledger.verdict, rules(ledger)) == (ScanVerdict.UNKNOWN, ["scan.failed"])

    def test_our_own_bug_is_no_verdict_and_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        _, ledger = judge(lambda: memoryview(b"")[1])
        assert (ledger.verdict, rules(ledger)) == (ScanVerdict.UNKNOWN, ["scan.failed"])
        assert "IndexError" in caplog.text

    def test_a_file_that_is_cut_off_while_it_is_mapped_is_no_verdict(self, tmp_path: Path) -> None:
        """Reading such a page is SIGBUS, which no exception handler meets."""
        with (tmp_path / "model").open("w+b") as file:
            file.truncate(1 << 20)
            mapped = mmap.mmap(file.fileno(), 1 << 20, access=mmap.ACCESS_READ)
            file.truncate(0)
            _, ledger = judge(lambda: memoryview(mapped))
        assert (ledger.verdict, rules(ledger)) == (ScanVerdict.UNKNOWN, ["scan.failed"])
        assert "SIGBUS" in ledger.findings[0].message

    def test_nothing_is_left_of_it(self) -> None:
        before = {child.pid for child in psutil.Process().children()}
        with (
            contextlib.suppress(KeyboardInterrupt),
            Scanning(
                lambda: time.sleep(600),
                1,
                limits=PATIENT,
                ledger=Ledger(1),  # type: ignore[arg-type, return-value]
            ),
        ):
            raise KeyboardInterrupt
        assert {child.pid for child in psutil.Process().children()} == before

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
    def test_it_ends_with_its_parent(self, tmp_path: Path) -> None:
        program = (
            "import time\nfrom vallum_validator.scan.context import Ledger, Limits\n"
            "from vallum_validator.scan.supervision import Scanning\n"
            "with Scanning(lambda: time.sleep(600), 1, limits=Limits(seconds=600), ledger=Ledger(1)) as child:\n"
            "    print(child._child, flush=True)\n    child.result()\n"
        )
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
        ) as parent:
            assert parent.stdout is not None
            child = psutil.Process(int(parent.stdout.readline()))
            time.sleep(0.1)  # into its sleep
            parent.kill()
            parent.wait()
            with contextlib.suppress(psutil.NoSuchProcess):
                child.wait(timeout=30)


class TestAnswers:
    """The process has read hostile bytes: it may say anything."""

    @pytest.mark.parametrize(
        "said",
        [
            b"CLEAN\n",
            b"{}\n",
            b"[]\n",
            b'["pickle"]\n["pickle", "CLEAN"]\n',
            b'["pickle", "CLEAN", "CLEAN"]\n',
            b'["pickle", "FINE"]\n',
            b'["", "CLEAN"]\n',
            b'["pickle\\u001b[2J", "CLEAN"]\n',
            b'["' + b"p" * 100 + b'", "CLEAN"]\n',
            b'["pickle", "CLEAN"]\n["pickle", "CLEAN"]\n',
            b'["no.such-rule", "", null, "x"]\n',
            b'["file.empty", "", -1, "x"]\n',
            b'["file.empty", "", 9223372036854775808, "x"]\n',
            b'["file.empty", "", 1.5, "x"]\n',
            b'["file.empty", "' + b"m" * 5000 + b'", 1, "x"]\n',
            b"[" * 50_000 + b"\n",
            b"9" * 5_000 + b"\n",
            b"\xff\n",
            b"x" * 100_000,
        ],
    )  # fmt: skip
    def test_nonsense_is_no_verdict(self, said: bytes) -> None:
        def lie() -> memoryview:
            for descriptor in range(3, 64):
                with contextlib.suppress(OSError):
                    os.write(descriptor, said)
            return memoryview(HONEST)

        _, ledger = judge(lie)
        assert ledger.verdict is ScanVerdict.UNKNOWN
        assert "scan.failed" in rules(ledger)

    def test_endless_talk_is_ended(self) -> None:
        def talk() -> None:
            while True:
                for descriptor in range(3, 64):
                    with contextlib.suppress(OSError):
                        os.write(descriptor, b'["file.empty", "", 1, "%s"]\n' % (b"x" * 10_000))

        _, ledger = judge(talk)
        assert ledger.verdict is ScanVerdict.UNKNOWN
        assert len(ledger.findings) == 2

    def test_severity_and_verdict_of_a_finding_are_ours(self) -> None:
        def lie() -> memoryview:
            for descriptor in range(3, 64):
                with contextlib.suppress(OSError):
                    os.write(descriptor, b'["pickle.global-denied", "", 7, "os.system"]\n')
            return memoryview(HONEST)

        _, ledger = judge(lie)
        assert ledger.verdict is ScanVerdict.MALICIOUS
        assert [(finding.severity.value, finding.offset) for finding in ledger.findings] == [("CRITICAL", 7)]

    def test_what_was_found_before_the_end_is_not_lost(self, tmp_path: Path) -> None:
        file = tmp_path / "model.zip"
        file.write_bytes(zipped(**{"a.pkl": b"\x80\x02cos\nsystem\n.", "b": fan_out(5, 14)}))
        report = scan_file(file, limits=Limits(seconds=1, entries=10**9))
        assert report.verdict is ScanVerdict.MALICIOUS
        assert {finding.rule for finding in report.findings} >= {"limit.wall-time", "pickle.global-denied"}
        assert len(report.sha256) == 64

    def test_findings_that_are_not_kept_count(self, tmp_path: Path) -> None:
        """Their verdict is told at the end, though they are not."""
        file = tmp_path / "model.zip"
        file.write_bytes(zipped(a=b"write to me@gmail.com", b=PROGRAM))
        report = scan_file(file, limits=Limits(findings=1))
        assert [finding.rule for finding in report.findings] == ["scan.finding-limit", "personal.found"]
        assert report.verdict is ScanVerdict.UNKNOWN


class TestConfinement:
    """Each attempt gives honest bytes when it fails, so that only what is confined can be CLEAN."""

    @pytest.mark.parametrize(
        "attempt",
        [
            lambda folder: (folder / "secret").read_text(),
            lambda folder: (folder / "new").write_text("x"),
            lambda folder: os.unlink(folder / "secret"),
            lambda folder: os.listdir("/etc"),
            lambda folder: Path("/proc/self/environ").read_bytes(),
            lambda folder: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
            lambda folder: os.kill(os.getppid(), 0),
            lambda folder: os.execv("/bin/true", ["true"]),
            lambda folder: socket.create_connection(("127.0.0.1", 9), 1),
        ],
        ids=["read", "write", "remove", "list", "own environment", "environment", "signal", "program", "connect"],
    )  # fmt: skip
    @needs_landlock
    def test_an_attempt_fails(self, attempt: Callable[[Path], object], tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret")

        def content() -> memoryview:
            try:
                attempt(tmp_path)
            except PermissionError:
                return memoryview(HONEST)
            return memoryview(PROGRAM)

        _, ledger = judge(content)
        assert ledger.verdict is ScanVerdict.CLEAN
        assert sorted(file.name for file in tmp_path.iterdir()) == ["secret"]

    def test_no_descriptor_of_the_caller_is_open(self) -> None:
        reading, writing = os.pipe()
        content = lambda: memoryview(HONEST if not _open(reading, writing) else PROGRAM)  # noqa: E731
        assert judge(content)[1].verdict is ScanVerdict.CLEAN
        os.close(reading)
        os.close(writing)

    def test_limits_are_set_for_good(self) -> None:
        def content() -> memoryview:
            held = all(
                resource.getrlimit(which)[0] == resource.getrlimit(which)[1] != resource.RLIM_INFINITY
                for which in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)
            )
            held &= resource.getrlimit(resource.RLIMIT_CPU) == (21, 22)  # for 20 s and 1000 bytes
            quiet = resource.getrlimit(resource.RLIMIT_CORE) == resource.getrlimit(resource.RLIMIT_NPROC) == (0, 0)
            no_new_privileges = sys.platform != "linux" or ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) == 1
            return memoryview(HONEST if held and quiet and no_new_privileges else PROGRAM)

        assert judge(content)[1].verdict is ScanVerdict.CLEAN

    def test_what_it_prints_goes_nowhere(self, capfd: pytest.CaptureFixture[str]) -> None:
        judge(lambda: (os.write(1, b"\x1b[2J"), os.write(2, b"\x1b[2J"), memoryview(HONEST))[2])
        assert "\x1b" not in "".join(capfd.readouterr())


def _open(*descriptors: int) -> list[int]:
    found = []
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            found.append(descriptor)
    return found


def test_a_disk_that_is_full_is_unknown_and_said(tmp_path: Path) -> None:
    """A file that expands beyond what may be written stands in for the disk."""
    file = tmp_path / "model.gz"
    file.write_bytes(gzip.compress(bytes(40 << 20)))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        os.write(writing, repr([finding.rule for finding in scan_file(file).findings]).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        assert answer.read() == "['limit.spool']"
    os.waitpid(child, 0)


def test_a_folder_that_may_not_be_used_is_not_called_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.gz"
    file.write_bytes(gzip.compress(bytes(40 << 20)))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    (finding,) = scan_file(file).findings
    assert finding.rule == "scan.spool"
    assert "No such file or directory; TMPDIR may name a folder" in finding.message
    small = tmp_path / "model.pkl"
    small.write_bytes(HONEST)
    assert scan_file(small).verdict is ScanVerdict.CLEAN


def test_the_finding_of_a_limit_is_kept_beside_all_others() -> None:
    """Also where a hostile file has filled the ledger with others first."""
    report_limit = 3
    ledger = Ledger(2 * report_limit + 8)
    for number in range(2 * report_limit):
        ledger.add("pickle.global-denied", "", number, str(number))
    with Scanning(
        lambda: time.sleep(600),
        1,
        limits=Limits(seconds=0.1),
        ledger=ledger,  # type: ignore[arg-type, return-value]
    ) as child:
        child.result()
    assert isinstance(ledger.findings[-1], Finding)
    assert ledger.findings[-1].rule == "limit.wall-time"
