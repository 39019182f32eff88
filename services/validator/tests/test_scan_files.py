"""From path to report: no file passes by accident, and no file costs more than it may."""

from __future__ import annotations

import gzip
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.scan import Limits, files, rules_digest, scan_file, scan_paths

HONEST = pickle.dumps({"weights": list(range(100))})


def scan(tmp_path: Path, data: bytes, name: str = "model.bin") -> FileReport:
    file = tmp_path / name
    file.write_bytes(data)
    return scan_file(file)


def rules(report: FileReport) -> set[str]:
    return {finding.rule for finding in report.findings}


@pytest.mark.parametrize("cut", range(1, len(HONEST), 7))
def test_truncated_pickle_is_not_clean(tmp_path: Path, cut: int) -> None:
    assert scan(tmp_path, HONEST[:cut]).verdict is not ScanVerdict.CLEAN


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "file.empty"),
        (bytes(range(200, 256)) * 9, "file.unrecognised"),
        (HONEST + b"garbage", "pickle.trailing-bytes"),
        (b"\x7fELF" + bytes(100), "file.program"),
        (b"#!/bin/sh\necho\n", "file.program"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(50), "file.unsupported"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(50), "file.unsupported"),
        (b"\x80\x04\x82\x01.", "pickle.extension-code"),
        (b"\x80\x04K\x01Q.", "pickle.persistent-id"),
        (b"\x80\x05\x97.", "pickle.buffer"),
        (b"\x80\x04cmypackage\nThing\n)\x81.", "pickle.global-unlisted"),
        (b"\x80\x04\x95\x03\0\0\0\0\0\0\0\x8c\x04math0.", "limit.reached"),
        (b"\x80\x02]r\xff\xff\xff\xff.", "pickle.memo-bomb"),
    ],
)
def test_what_is_not_understood_is_unknown(tmp_path: Path, data: bytes, rule: str) -> None:
    report = scan(tmp_path, data)
    assert report.verdict is ScanVerdict.UNKNOWN
    assert rule in rules(report)


@pytest.mark.parametrize(
    "name", ["model.onnx", "model.skops", "model.safetensors", "data.csv", "data.parquet", "a.npz"]
)
def test_name_that_promises_another_format_is_unknown(tmp_path: Path, name: str) -> None:
    report = scan(tmp_path, HONEST, name)
    assert report.verdict is ScanVerdict.UNKNOWN
    assert rules(report) == {"file.extension"}


def test_submitted_name_counts_and_not_the_path(tmp_path: Path) -> None:
    (tmp_path / "a1b2").write_bytes(HONEST)
    assert scan_file(tmp_path / "a1b2", name="model.pkl").verdict is ScanVerdict.CLEAN
    report = scan_file(tmp_path / "a1b2", name="model.onnx")
    assert (report.path, report.verdict) == ("model.onnx", ScanVerdict.UNKNOWN)


def test_missing_folder_pipe_and_link_loop_are_unknown(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    reports = [scan_file(tmp_path / name) for name in ("missing", "", "pipe", "loop")]
    assert {report.verdict for report in reports} == {ScanVerdict.UNKNOWN}
    assert scan_file(Path("/dev/zero")).verdict is ScanVerdict.UNKNOWN


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_file_that_may_not_be_read_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(HONEST)
    (tmp_path / "model.pkl").chmod(0)
    assert rules(scan_file(tmp_path / "model.pkl")) == {"file.unreadable"}


def test_report_names_digest_size_and_rules(tmp_path: Path) -> None:
    import hashlib

    report = scan(tmp_path, HONEST, "model.pkl")
    assert report.sha256 == hashlib.sha256(HONEST).hexdigest()
    assert report.size_bytes == len(HONEST)
    whole = scan_paths([tmp_path / "model.pkl", tmp_path / "missing"])
    assert (whole.verdict, whole.rules_digest) == (ScanVerdict.UNKNOWN, rules_digest())
    assert len(whole.rules_digest) == 64


@pytest.mark.parametrize(
    "file", ["scan/formats/xml.py", "scan/formats/keras_objects.txt", "scan/context.py", "personal.py", "national.py"]
)
def test_digest_of_the_rules_covers_whatever_decides(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expression, a table, a limit: the same digest must mean the same verdict."""
    before = rules_digest()
    package = Path(files.__file__).parents[1]
    shutil.copytree(package / "scan", tmp_path / "scan", ignore=shutil.ignore_patterns("data", "*.pyc"))
    for beside in ("personal.py", "national.py"):
        shutil.copy(package / beside, tmp_path)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "scan" / "files.py"))
    assert rules_digest() == before
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes() + b" ")
    assert rules_digest() != before


@pytest.mark.parametrize("line", ["import os", "cat this", "in the end"])
def test_text_that_begins_like_an_opcode_is_text(line: str, tmp_path: Path) -> None:
    """GLOBAL and INST take lines; a module whose name has a blank can be imported by nobody."""
    report = scan(tmp_path, f'{line}\nos.system("id")\n'.encode(), "notes.txt")
    assert report.format == "text"
    assert rules(report) == ({"file.program"} if line == "import os" else set())


def test_same_bytes_same_report(tmp_path: Path) -> None:
    data = b"\x80\x04cos\nsystem\n)R."
    assert scan(tmp_path, data) == scan(tmp_path, data)


BOMBS = {
    "gigabyte of zeros": lambda: zlib.compress(b"\0" * (256 << 20), 9),
    "gigabyte of None": lambda: gzip.compress(b"\x80\x04(" + b"N" * (200 << 20) + b"t.", 9),
    "marks": lambda: b"\x80\x04" + b"(" * 1_000_000,
    "tiny streams": lambda: b"N." * 500_000,
    "empty lists": lambda: b"\x80\x04" + b"]" * 1_000_000,
    "memo doubling": lambda: (
        b"\x80\x04]\x94"
        + b"".join(b"](j%bj%be\x94" % (struct.pack("<I", i), struct.pack("<I", i)) for i in range(60))
        + b"."
    ),
    "nested zips": lambda: _nested_zip(30),
}


def _nested_zip(levels: int) -> bytes:
    import io
    import zipfile

    content = b"x" * 1000
    for level in range(levels):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{level}.zip", content)
        content = buffer.getvalue()
    return content


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_not_clean_and_costs_little(name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(BOMBS[name]())
    program = (
        "import sys, pathlib; from vallum_validator.scan import scan_file;"
        "print(scan_file(pathlib.Path(sys.argv[1])).verdict.value)"
    )

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_DATA, (400 << 20, 400 << 20))

    result = subprocess.run(
        [sys.executable, "-c", program, file], capture_output=True, text=True, timeout=120, preexec_fn=bounded
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() in ("UNKNOWN", "MALICIOUS")


def test_sparse_file_larger_than_memory_is_refused_without_reading_it_into_memory(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    with file.open("wb") as stream:
        stream.write(b"\x80\x04\x8e" + struct.pack("<Q", (1 << 28) - 12) + b"")
        stream.truncate(1 << 28)
    report = scan_file(file)
    assert report.verdict is ScanVerdict.UNKNOWN
    assert report.size_bytes == 1 << 28


def test_limits_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(list(range(1000))))
    tight = Limits(base_opcodes=10, opcodes_per_byte=0)
    assert rules(scan_file(file, limits=tight)) == {"limit.reached"}


def test_secret_is_reported_without_its_value(tmp_path: Path) -> None:
    token = "ghp_" + "a1B2" * 9
    report = scan(tmp_path, pickle.dumps({"comment": f"use {token}"}), "model.pkl")
    assert report.verdict is ScanVerdict.UNKNOWN
    assert rules(report) == {"secret.found"}
    assert token not in report.findings[0].message
    key = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE"
    assert rules(scan(tmp_path, key.encode(), "card.md")) == {"secret.found"}
