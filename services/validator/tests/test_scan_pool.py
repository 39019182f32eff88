"""Many files at a time: the same reports in the same order, and no file without one."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path

import psutil
import pytest

from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.scan import scan_file, scan_paths
from vallum_validator.scan.pool import Pool

HONEST = pickle.dumps({"weights": [1.0, 2.0]})


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Files of every verdict, one of them with a name that is no Unicode, and one that is none."""
    contents = {
        "a.pkl": HONEST,
        "b.pkl": b"\x80\x04cos\nsystem\n(X\x02\0\0\0idtR.",
        "c.bin": bytes(range(256)),
        os.fsdecode(b"d\xff\n\x1b[2J.pkl"): HONEST,
        "e.onnx": HONEST,
        "large.npy": b"\x93NUMPY" + bytes(9 << 20),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [*sorted(tmp_path.iterdir()), tmp_path / "missing"] * 10


def test_reports_are_those_of_one_after_the_other_in_the_order_of_the_paths(files: list[Path]) -> None:
    told: list[FileReport] = []
    report = scan_paths(files, processes=3, on_report=told.append)
    assert report.files == tuple(map(scan_file, files))
    assert report == scan_paths(files, processes=1)
    assert sorted(told, key=repr) == sorted(report.files, key=repr)
    assert {file.verdict for file in report.files} == set(ScanVerdict)


def test_nothing_scanned_is_not_clean() -> None:
    assert scan_paths([]).verdict is ScanVerdict.UNKNOWN


def test_file_whose_supervisor_dies_is_unknown_and_the_others_are_scanned(files: list[Path]) -> None:
    def scan(path: Path) -> FileReport:
        if path.name == "b.pkl":
            os.kill(os.getpid(), signal.SIGKILL)
        return scan_file(path)

    reports = Pool(files, scan).run(2)
    assert [report.path for report in reports] == list(map(str, files))
    dead = [report for report in reports if report.path.endswith("b.pkl")]
    assert len(dead) == 10
    assert {(report.verdict, report.findings[0].rule) for report in dead} == {(ScanVerdict.UNKNOWN, "scan.failed")}
    assert [r for r in reports if r not in dead] == [scan_file(path) for path in files if path.name != "b.pkl"]


def test_supervisors_are_ended_when_the_caller_gives_up(files: list[Path]) -> None:
    def give_up(_: FileReport) -> None:
        raise KeyboardInterrupt

    before = set(psutil.Process().children())  # a broker and a database of other tests may be among them
    pool = Pool(files, scan_file, on_report=give_up)
    with pytest.raises(KeyboardInterrupt):
        pool.run(2)
    assert set(psutil.Process().children()) <= before
