"""Files that are no files, cannot be read, or change under our eyes: never CLEAN by accident."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.scan import files, scan_file

HONEST = pickle.dumps({"weights": [1.0, 2.0]})
LARGE = pickle.dumps(bytes(9 << 20))
"""More than is read at once, so that it is mapped."""


def rules(report: FileReport) -> set[str]:
    return {finding.rule for finding in report.findings}


@pytest.fixture(params=[HONEST, LARGE], ids=["small", "large"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / "model.pkl"
    file.write_bytes(request.param)
    return file


def test_the_file_itself_is_clean(model: Path) -> None:
    """Or all that follows would show nothing."""
    assert scan_file(model).verdict is ScanVerdict.CLEAN


def _grow(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"x")


def _shrink(file: Path) -> None:
    os.truncate(file, 10)


def _rewrite_and_set_back_the_clock(file: Path) -> None:
    before = file.stat()
    with file.open("r+b") as stream:
        stream.write(HONEST[:4])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _put_another_in_its_place(file: Path) -> None:
    file.with_name("other").write_bytes(HONEST)
    file.with_name("other").rename(file)


@pytest.mark.parametrize(
    "change", [_grow, _shrink, _rewrite_and_set_back_the_clock, _put_another_in_its_place, Path.unlink]
)
def test_file_that_changes_during_the_scan_is_unknown(
    model: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = files._scan

    def meanwhile(*arguments: object) -> object:
        result = judged(*arguments)  # type: ignore[arg-type]
        change(model)
        return result

    monkeypatch.setattr(files, "_scan", meanwhile)
    report = scan_file(model)
    assert (report.verdict, rules(report)) == (ScanVerdict.UNKNOWN, {"file.changed"})


def test_file_that_shrinks_before_it_is_read_is_unknown(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapped page that is no longer there ends the scanning process; what was hashed is what could be read."""
    judged = files._scan

    def late(descriptor: int, *rest: object) -> object:
        _shrink(model)
        return judged(descriptor, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "_scan", late)
    report = scan_file(model)
    assert report.verdict is ScanVerdict.UNKNOWN
    assert "file.changed" in rules(report)


def test_file_that_never_ends_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the kernel have no size, and content."""
    assert rules(scan_file(Path("/proc/self/maps"))) >= {"file.changed"}


def test_link_to_a_file_is_scanned_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(HONEST)
    (tmp_path / "model.pkl").symlink_to("blob")
    report = scan_file(tmp_path / "model.pkl")
    assert (report.verdict, report.size_bytes) == (ScanVerdict.CLEAN, len(HONEST))
    (tmp_path / "model.onnx").symlink_to("blob")
    assert rules(scan_file(tmp_path / "model.onnx")) == {"file.extension"}


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(path.parent)
        listening.bind(path.name)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda path: None, "file.unreadable"),
        (lambda path: path.mkdir(), "file.not-regular"),
        (os.mkfifo, "file.not-regular"),
        (_socket, "file.unreadable"),
        (lambda path: path.symlink_to(path.name), "file.unreadable"),
        (lambda path: path.symlink_to("nowhere"), "file.unreadable"),
        (lambda path: path.symlink_to("."), "file.not-regular"),
        (lambda path: path.symlink_to("/dev/zero"), "file.not-regular"),
        (lambda path: path.write_bytes(b""), "file.empty"),
    ],
    ids=["missing", "folder", "pipe", "socket", "loop", "dangling", "folder loop", "device", "empty"],
)
def test_what_is_no_file_with_content_is_unknown(
    make: Callable[[Path], object], rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "model.pkl")
    report = scan_file(tmp_path / "model.pkl")
    assert (report.verdict, rules(report)) == (ScanVerdict.UNKNOWN, {rule})
    assert bool(report.sha256) == (rule == "file.empty")


def test_name_that_no_system_takes_is_unknown() -> None:
    assert scan_file(Path("a\0b")).verdict is ScanVerdict.UNKNOWN


def test_file_that_may_not_be_read_is_unknown(model: Path) -> None:
    """As an ordinary user, because root reads everything."""
    model.chmod(0)
    model.parent.chmod(0o755)
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        descriptor = os.open("/", os.O_RDONLY)  # wherever the tests lie, an ordinary user may not get there
        os.close(descriptor)
        report = scan_file(model)
        os._exit(0 if (report.verdict, rules(report)) == (ScanVerdict.UNKNOWN, {"file.unreadable"}) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_ordinary_user_gets_the_same_report(model: Path) -> None:
    """Limits on processes and Landlock hold for root and others in different ways."""
    expected = scan_file(model)
    descriptor = os.open(model, os.O_RDONLY)
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        report = scan_file(Path(f"/dev/fd/{descriptor}"), name=str(model))
        os._exit(0 if report == expected else 1)
    os.close(descriptor)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("opcode", [b"I%b\n.", b"L%bL\n.", b"I-%b\n."])
def test_number_of_more_digits_than_the_unpickler_reads_is_broken(opcode: bytes, tmp_path: Path) -> None:
    refused, read = opcode % (b"1" * 4301), opcode % (b"1" * 4300)
    with pytest.raises(ValueError, match=r"4300 digits|string to int"):
        pickle.loads(refused)
    assert pickle.loads(read)
    file = tmp_path / "number.pkl"
    for content, verdict in ((refused, ScanVerdict.UNKNOWN), (read, ScanVerdict.CLEAN)):
        for begin in (b"", b"\x80\x02"):
            file.write_bytes(begin + content)
            assert scan_file(file).verdict is verdict
    file.write_bytes(b"\x80\x02" + refused)
    assert [finding.rule for finding in scan_file(file).findings] == ["pickle.broken"]
