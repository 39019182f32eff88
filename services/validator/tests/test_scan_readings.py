"""Files that one loader reads otherwise than a scanner might, and files that are made to cost much."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lz4.frame
import numpy as np
import pytest
import zstandard
from joblib.numpy_pickle import NumpyPickler
from sklearn.cluster import DBSCAN

from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.scan.containers.frames import MAX_WINDOW
from vallum_validator.scan.files import scan_file

EVIL = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x06touch x\x85R."
HONEST = pickle.dumps({"weights": np.arange(500.0), "name": "a" * 200})
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.compress,
}


@pytest.fixture
def scan(tmp_path: Path) -> Callable[[bytes], FileReport]:
    def scan(data: bytes) -> FileReport:
        path = tmp_path / "file.bin"
        path.write_bytes(data)
        return scan_file(path)

    return scan


Scan = Callable[[bytes], FileReport]


def rules(report: FileReport) -> set[str]:
    return {finding.rule for finding in report.findings}


@pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "lzma", "xz", "lz4"])
def test_joblib_files_are_clean_however_they_are_compressed(tmp_path: Path, method: str) -> None:
    joblib.dump({"weights": np.arange(500.0)}, tmp_path / "m.joblib", compress=(method, 3))
    report = scan_file(tmp_path / "m.joblib")
    assert (report.verdict, report.format) == (ScanVerdict.CLEAN, "joblib")


def test_the_oldest_compression_of_joblib_is_looked_into(scan: Scan) -> None:
    for content, verdict in ((HONEST, ScanVerdict.CLEAN), (EVIL, ScanVerdict.MALICIOUS)):
        packed = b"ZF" + hex(len(content)).ljust(19).encode() + zlib.compress(content)
        assert scan(packed).verdict is verdict
        assert scan(packed[:21] + b" " + packed[21:]).verdict is verdict


@pytest.mark.parametrize("name", COMPRESS)
def test_streams_that_follow_each_other_are_read_as_one(scan: Scan, name: str) -> None:
    compress = COMPRESS[name]
    for content, verdict in ((HONEST, ScanVerdict.CLEAN), (EVIL, ScanVerdict.MALICIOUS)):
        assert scan(compress(content[:20]) + compress(content[20:])).verdict is verdict


@pytest.mark.parametrize("name", set(COMPRESS) - {"bzip2"})
def test_a_payload_before_the_damage_is_found(scan: Scan, name: str) -> None:
    noise = np.random.default_rng(0).bytes(300_000)
    report = scan(COMPRESS[name](EVIL + noise)[:-100])
    assert report.verdict is ScanVerdict.MALICIOUS
    assert "format.broken" in rules(report)


@pytest.mark.parametrize("name", COMPRESS)
def test_bytes_behind_a_stream_are_told(scan: Scan, name: str) -> None:
    assert "file.polyglot" in rules(scan(COMPRESS[name](HONEST) + b"behind"))


def test_frames_that_are_skipped_are_told(scan: Scan) -> None:
    skipped = b"\x50\x2a\x4d\x18" + struct.pack("<I", 6) + b"hidden"
    for data in (skipped + zstandard.compress(HONEST), zstandard.compress(HONEST) + skipped):
        assert scan(data).verdict is ScanVerdict.UNKNOWN


def test_a_zstd_window_is_refused_before_anything_is_expanded(scan: Scan) -> None:
    huge = zstandard.ZstdCompressionParameters(window_log=30, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=huge).compressobj()
    report = scan(packer.compress(HONEST) + packer.flush())
    assert rules(report) == {"limit.reached"}
    assert str(MAX_WINDOW) in report.findings[0].message


def test_a_zstd_frame_with_a_dictionary_is_not_clean(scan: Scan) -> None:
    samples = [b"%d" % index * index for index in range(1, 200)]
    dictionary = zstandard.train_dictionary(1000, samples)
    packed = zstandard.ZstdCompressor(dict_data=dictionary).compress(HONEST)
    assert scan(packed).verdict is ScanVerdict.UNKNOWN


@pytest.mark.parametrize("name", COMPRESS)
def test_bombs_end_at_the_limit(scan: Scan, name: str) -> None:
    assert "limit.reached" in rules(scan(COMPRESS[name](bytes(150 * 1024**2))))


def joblib_file(code: str, state: Any = None, *, extra: bytes = b"", alignment: int | None = None) -> bytes:
    """A wrapper of one element and what follows it: what joblib takes for data depends on the dtype."""
    fields = {"subclass": None, "shape": (1,), "order": "C", "allow_mmap": False}
    if alignment is not None:
        fields["numpy_array_alignment_bytes"] = alignment
    built = pickle.dumps(state, 2)[2:-1] + b"b" if state is not None else b""
    dtype = b"X\5\0\0\0dtypecnumpy\ndtype\nU" + bytes([len(code)]) + code.encode() + b"\x85R" + built + b"s"
    head = b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81q\x63"
    return head + pickle.dumps(fields, 2)[2:-1] + dtype + b"b" + extra


_LENGTH = ord("N")
HIDDEN = b"U" + bytes([_LENGTH]) + (EVIL[2:] + b"N0" * _LENGTH)[:_LENGTH]
"""Text, to whoever begins to read at its first byte; a call, to whoever begins one or two bytes later."""


@pytest.mark.parametrize(
    "data",
    [
        joblib_file("i", extra=b"\0N" + HIDDEN + b"0."),
        joblib_file("M", extra=b"\0NNNNN" + HIDDEN + b"0."),
        joblib_file("f8", (3, "<", None, None, None, -1, -1, 1), extra=b"\x80\4N0N0U\1" + HIDDEN + b"0."),
        joblib_file("O8", (3, "|", None, None, None, -1, -1, 0), extra=b"N........."),
        joblib_file("V3", (3, "|", None, None, None, -1, 1, 0), extra=b"N" * 20 + b"."),
        joblib_file("V3", (2, "|", None, None, None, 3, 1, 1), extra=b"N" * 20 + b"."),
    ],
    ids=["i is four bytes", "M is eight", "flags of f8", "flags of O8", "no size", "no flags"],
)
def test_a_dtype_that_numpy_does_not_write_is_not_clean(scan: Scan, data: bytes) -> None:
    assert scan(data).verdict is not ScanVerdict.CLEAN


def test_a_wrapper_that_is_built_twice_is_not_clean(scan: Scan) -> None:
    data = joblib_file(
        "u1", alignment=16, extra=b"\0\1h\x63}(U\5shapeK\0\x85U\5dtypecnumpy\ndtype\nU\2u1\x85Rub0" + b"N0" * 24 + b"N."
    )
    assert scan(data).verdict is not ScanVerdict.CLEAN


def test_an_array_of_objects_that_ends_inside_a_frame_is_not_clean(scan: Scan) -> None:
    nested = b"\x80\x04\x95" + struct.pack("<Q", 2 + len(HIDDEN)) + b"N." + HIDDEN
    assert scan(joblib_file("O8", extra=nested + b"0.")).verdict is not ScanVerdict.CLEAN


def test_an_object_that_becomes_a_wrapper_is_malicious(scan: Scan) -> None:
    counter = b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R"
    wrapper = b"\x8c\x13joblib.numpy_pickle\x8c\x11NumpyArrayWrapper\x93"
    report = scan(counter + b"N}\x8c\x09__class__" + wrapper + b"s\x86b.")
    assert "pickle.class-changed" in rules(report)


def unpadded_joblib_file(path: Path, value: Any, **beside: Any) -> Path:
    """As joblib before 1.2 wrote it: an empty array is no byte at all, so plain pickle reads on behind it."""

    class Pickler(NumpyPickler):
        def _create_array_wrapper(self, array: np.ndarray) -> Any:
            wrapper = super()._create_array_wrapper(array)
            wrapper.numpy_array_alignment_bytes = None
            vars(wrapper).update(beside)
            return wrapper

    with path.open("wb") as file:
        Pickler(file, protocol=4).dump(value)
    return path


def test_plain_pickle_that_reads_on_behind_an_empty_array_of_an_honest_model_does_no_harm(tmp_path: Path) -> None:
    model = DBSCAN(eps=1e-9).fit(np.arange(12.0).reshape(6, 2))
    assert model.components_.size == 0
    assert scan_file(unpadded_joblib_file(tmp_path / "m.joblib", model)).verdict is ScanVerdict.CLEAN


def test_a_wrapper_that_holds_more_than_the_class_of_its_array_answers_to_plain_pickle(tmp_path: Path) -> None:
    path = unpadded_joblib_file(tmp_path / "m.joblib", [np.empty(0), np.empty(0)], maker=np.full)
    assert "file.polyglot" in rules(scan_file(path))


def test_a_companion_file_of_old_joblib_is_told(scan: Scan) -> None:
    wrapper = b"\x80\x04\x8c\x1ajoblib.numpy_pickle_compat\x8c\x0eNDArrayWrapper\x93)\x81"
    assert "pickle.companion-file" in rules(scan(wrapper + b"}\x8c\x08filename\x8c\x0b../evil.npysb."))


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("numpy.random._pickle", "__generator_ctor", b"\x8c\1x\x8c\x0bjoblib.disk\x8c\x09disk_used\x93\x86"),
        ("torch._tensor", "_rebuild_from_type_v2", b"(\x8c\x08builtins\x8c\7getattr\x93NN\x8c\1x\x86Nt"),
        ("copyreg", "_reconstructor", b"\x8c\6joblib\x8c\6Logger\x93\x8c\6joblib\x8c\6Logger\x93N\x87"),
    ],
)
def test_callables_that_call_their_arguments_are_asked_what_they_call(
    scan: Scan, module: str, name: str, arguments: bytes
) -> None:
    named = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)) + b"\x93"
    assert scan(b"\x80\x04" + named + arguments + b"R.").verdict is not ScanVerdict.CLEAN


def filled(head: bytes, unit: bytes, size: int = 300_000) -> bytes:
    return b"\x80\x04" + head + unit * (size // len(unit)) + b"."


CALL = b"\x8c\3foo\x8c\3bar\x93\x940"
LONG = b"\x8d" + struct.pack("<Q", 60_000)


@pytest.mark.parametrize(
    "data",
    [
        filled(b")", b"\x85"),
        filled(b")", b"2\x86"),
        filled(b"]\x94", b"](h\0h\0h\0e\x94q\0"),
        filled(b"}\x94", b"}(K\0h\0K\1h\0u\x94q\0"),
        filled(b"N", b"r\xff\xff\xff\xff"),
        filled(b"", b"("),
        filled(b"", b"N."),
        filled(CALL + LONG + b"a" * 60_000 + b"\x85\x940", b"h\0h\1R0"),
        filled(LONG + b"a." * 30_000 + b"\x940", b"h\0h\0\x930"),
        filled(CALL + b"\x8b" + struct.pack("<i", 60_000) + b"\x7f" * 60_000 + b"\x85\x940", b"h\0h\1R0"),
        filled(CALL + b")" + b"2\x86" * 39 + b"\x85\x940", b"h\0h\1R0"),
    ],
    ids=["nested", "tuples", "lists", "dicts", "memo", "marks", "streams", "text", "names", "numbers", "shown"],
)
def test_hostile_costs_are_bounded_by_counting(scan: Scan, data: bytes) -> None:
    report = scan(data)
    assert report.verdict is not ScanVerdict.CLEAN
    assert all(finding.offset is not None for finding in report.findings if finding.rule.startswith("pickle."))
