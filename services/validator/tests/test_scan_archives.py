"""Zip and tar: records that disagree, names that lead astray, bytes nobody owns, and what real writers write."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.scan import scan_file


def zipped(*members: tuple[str, bytes], mode: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", mode) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


class Pipe(io.RawIOBase):
    """A target that cannot seek: writers put sizes behind the content."""

    def __init__(self) -> None:
        self.content = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.content += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def streamed(mode: int) -> bytes:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", mode) as archive:  # type: ignore[arg-type]
        archive.writestr("a.txt", "hello " * 20)
        archive.writestr("b/c.txt", "x")
    return pipe.content


def large_form() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        with archive.open("a.txt", "w", force_zip64=True) as member:
            member.write(b"hello")
        archive.writestr("ü.txt", "named in UTF-8")
        archive.mkdir("folder")
    return buffer.getvalue()


def extra(kind: int, content: bytes) -> bytes:
    info = zipfile.ZipInfo("a.txt")
    info.extra = struct.pack("<HH", kind, len(content)) + content
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, b"x")
    return buffer.getvalue()


def tarred(*members: tuple[str, bytes], form: int = tarfile.PAX_FORMAT, **headers: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.pax_headers = len(content), 1.5 if form == tarfile.PAX_FORMAT else 1, headers
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


LONG = "folder/" * 30 + "name.txt"
HONEST: Mapping[str, bytes] = {
    "stored": zipped(("a.txt", b"x"), ("b/c.txt", b"y")),
    "deflated": zipped(("a.txt", b"x" * 1000), mode=zipfile.ZIP_DEFLATED),
    "bzip2": zipped(("a.txt", b"x" * 1000), mode=zipfile.ZIP_BZIP2),
    "streamed, stored": streamed(zipfile.ZIP_STORED),
    "streamed, deflated": streamed(zipfile.ZIP_DEFLATED),
    "zip64 and UTF-8": large_form(),
    "times of Info-ZIP": extra(0x5455, b"\x03" + bytes(8)),
    "padding of PyTorch": extra(0x4246, b"Z" * 40),
    "the same name again": extra(0x7075, b"\x01" + struct.pack("<I", zlib.crc32(b"a.txt")) + b"a.txt"),
    "tar, ustar": tarred(("a.txt", b"x"), form=tarfile.USTAR_FORMAT),
    "tar, gnu": tarred(("a.txt", b"x"), (LONG, b"y"), form=tarfile.GNU_FORMAT),
    "tar, pax": tarred(("a.txt", b"x"), (LONG, b"y"), ("ü.txt", b"z")),
    "tar with a zip in it": tarred(("a.zip", zipped(("a.txt", b"x")))),
    "zip with a tar in it": zipped(("a.tar", tarred(("a.txt", b"x")))),
}


def scan(data: bytes, tmp_path: Path) -> FileReport:
    (tmp_path / "model").write_bytes(data)
    return scan_file(tmp_path / "model")


@pytest.mark.parametrize("name", HONEST)
def test_archive_of_a_real_writer_is_clean(name: str, tmp_path: Path) -> None:
    report = scan(HONEST[name], tmp_path)
    assert (report.verdict, report.findings) == (ScanVerdict.CLEAN, ())


PLAIN = zipped(("a.txt", b"hello"), ("b.txt", b"world"))
END = PLAIN.index(b"PK\x05\x06")
CENTRAL = PLAIN.index(b"PK\x01\x02")


def patched(data: bytes, offset: int, form: str, value: int) -> bytes:
    out = bytearray(data)
    struct.pack_into(form, out, offset, value)
    return bytes(out)


def inserted(data: bytes, offset: int, more: bytes) -> bytes:
    return data[:offset] + more + data[offset:]


def gap() -> bytes:
    """Bytes between the members and the directory, which the end record steps over."""
    return patched(inserted(PLAIN, CENTRAL, b"x" * 16), END + 16 + 16, "<I", CENTRAL + 16)


def overlapping() -> bytes:
    """Two entries for one content, as in bombs without recursion."""
    out = bytearray(PLAIN)
    second = PLAIN.index(b"PK\x01\x02", CENTRAL + 4)
    out[second + 46 : second + 51] = b"a.txt"
    struct.pack_into("<I", out, second + 42, 0)
    struct.pack_into("<I", out, second + 16, zlib.crc32(b"hello"))
    return bytes(out)


def fake_zip64() -> bytes:
    """A zip64 record that no number of the plain one asks for; Python believes it, others do not."""
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, END - CENTRAL, CENTRAL)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, END, 1)
    return inserted(PLAIN, END, record + locator)


def unicode_name() -> bytes:
    return extra(0x7075, b"\x01" + struct.pack("<I", zlib.crc32(b"a.txt")) + b"evil.pkl")


HOSTILE: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "entries of this volume": ("file.polyglot", lambda: patched(PLAIN, END + 8, "<H", 1)),
    "comment": ("file.polyglot", lambda: patched(PLAIN, END + 20, "<H", 2) + b"hi"),
    "comment that is not announced": ("file.polyglot", lambda: PLAIN + b"hi"),
    "comment of an entry": ("file.polyglot", lambda: _entry_comment()),
    "bytes before the directory": ("file.polyglot", gap),
    "zip64 record for nothing": ("file.polyglot", fake_zip64),
    "two entries for one content": ("archive.header-mismatch", overlapping),
    "second name": ("file.polyglot", unicode_name),
    "unknown extra field": ("file.polyglot", lambda: extra(0x1234, b"payload")),
    "padding that is none": ("file.polyglot", lambda: extra(0x4246, b"Z" * 10 + b"payload")),
    "size in the local header": ("archive.header-mismatch", lambda: patched(PLAIN, 22, "<I", 4)),
    "CRC in the local header": ("archive.header-mismatch", lambda: patched(PLAIN, 14, "<I", 1)),
    "name in the local header": ("archive.header-mismatch", lambda: PLAIN[:30] + b"z.txt" + PLAIN[35:]),
    "method in the local header": ("archive.header-mismatch", lambda: patched(PLAIN, 8, "<H", 8)),
    "encrypted flag (CVE-2025-10156)": ("archive.encrypted", lambda: patched(PLAIN, CENTRAL + 8, "<H", 1)),
    "content": ("archive.checksum", lambda: PLAIN.replace(b"hello", b"hellO")),
    "duplicate in another case": ("archive.duplicate", lambda: zipped(("a/b.txt", b"x"), ("A/B.TXT", b"y"))),
    "duplicate by another way": ("archive.duplicate", lambda: zipped(("a/b.txt", b"x"), ("a//b.txt", b"y"))),
    "duplicate with the other slash": ("archive.duplicate", lambda: zipped(("a/b.txt", b"x"), ("a\\b.txt", b"y"))),
    "name in no encoding": ("archive.name", lambda: zipped(("xyz.txt", b"x")).replace(b"xyz", b"x\xfcz")),
    "name with a line break": ("archive.name", lambda: zipped(("a\nb.txt", b"x"))),
    "path out of it, Windows": ("archive.traversal", lambda: zipped(("..\\..\\a.txt", b"x"))),
    "absolute path, Windows": ("archive.traversal", lambda: zipped(("C:\\a.txt", b"x"))),
    "NUL in the name": ("archive.traversal", lambda: zipped(("axb.txt", b"x")).replace(b"axb", b"a\0b")),
    "no entries": ("file.empty", lambda: zipped()),
    "descriptor that is wrong": ("file.polyglot", lambda: _broken_descriptor()),
    "method that is unknown": (
        "format.broken",
        lambda: PLAIN[:8] + b"\x0e\0" + PLAIN[10 : CENTRAL + 10] + b"\x0e\0" + PLAIN[CENTRAL + 12 :],
    ),
    "tar: link": ("archive.link", lambda: _tar_of(tarfile.SYMTYPE)),
    "tar: hard link": ("archive.link", lambda: _tar_of(tarfile.LNKTYPE)),
    "tar: device": ("archive.link", lambda: _tar_of(tarfile.CHRTYPE)),
    "tar: path out of it": ("archive.traversal", lambda: tarred(("../a.txt", b"x"))),
    "tar: duplicate": ("archive.duplicate", lambda: tarred(("a.txt", b"x"), ("A.txt", b"y"))),
    "tar: bytes in the padding": ("file.polyglot", lambda: inserted_padding()),
    "tar: bytes behind it": ("file.polyglot", lambda: tarred(("a.txt", b"x")) + b"payload"),
    "tar: size in the extended header": ("file.unsupported", lambda: tarred(("a.txt", b"x"), size="1")),
    "tar: sparse": ("file.unsupported", lambda: tarred(("a.txt", b"x"), **{"GNU.sparse.name": "b"})),
}


def _entry_comment() -> bytes:
    info = zipfile.ZipInfo("a.txt")
    info.comment = b"payload"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, b"x")
    return buffer.getvalue()


def _broken_descriptor() -> bytes:
    data = streamed(zipfile.ZIP_STORED)
    place = data.index(b"PK\x07\x08")
    return patched(data, place + 4, "<I", 7)


def _tar_of(kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("a")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return buffer.getvalue()


def inserted_padding() -> bytes:
    data = bytearray(tarred(("a.txt", b"x"), form=tarfile.USTAR_FORMAT))
    data[600:604] = b"evil"
    return bytes(data)


@pytest.mark.parametrize("name", HOSTILE)
def test_archive_that_readers_disagree_on_is_not_clean(name: str, tmp_path: Path) -> None:
    rule, make = HOSTILE[name]
    report = scan(make(), tmp_path)
    assert report.verdict is not ScanVerdict.CLEAN
    assert rule in {finding.rule for finding in report.findings}, report.findings


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_are_told_by_the_names_they_have(tmp_path: Path) -> None:
    for other, said in (("a.txt", "are named 'a.txt'"), ("A.txt", "are named 'A.txt' and 'a.txt'")):
        (tmp_path / "x.zip").write_bytes(zipped(("a.txt", b"x"), (other, b"x")))
        (message,) = [f.message for f in scan_file(tmp_path / "x.zip").findings if f.rule == "archive.duplicate"]
        assert message.endswith(said)


def test_content_is_scanned_whatever_disagrees(tmp_path: Path) -> None:
    payload = b"cos\nsystem\n(S'true'\ntR."
    data = zipped(("a.bin", payload))
    assert scan(patched(data, data.index(b"PK\x01\x02") + 8, "<H", 1), tmp_path).verdict is ScanVerdict.MALICIOUS
    assert scan(data + b"tail", tmp_path).verdict is ScanVerdict.MALICIOUS


def test_expansion_without_recursion_is_stopped(tmp_path: Path) -> None:
    """A kernel of zeros that many entries share: small on disk, terabytes unpacked."""
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = kernel.compress(bytes(8 << 20)) + kernel.flush()
    local, directory = b"", b""
    for number in range(200):
        name = b"%03d" % number
        directory += (
            b"PK\x01\x02"
            + struct.pack(
                "<6H3I5H2I", 20, 20, 0, 8, 0, 33, zlib.crc32(bytes(8 << 20)), len(packed), 8 << 20, 3, 0, 0, 0, 0, 0, 0
            )
            + name
        )
    header = struct.pack("<5H3I2H", 20, 0, 8, 0, 33, zlib.crc32(bytes(8 << 20)), len(packed), 8 << 20, 3, 0)
    local = b"PK\x03\x04" + header + b"000" + packed
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 200, 200, len(directory), len(local), 0)
    report = scan(local + directory + end, tmp_path)
    assert report.verdict is ScanVerdict.UNKNOWN
    assert "archive.header-mismatch" in {finding.rule for finding in report.findings}


def header(name: str, content: bytes, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content), kind
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


OUT, IN = "../../out", "in.txt"
LONG = {name: header("././@LongLink", name.encode() + b"\0", b"L") for name in (OUT, IN)}
PAX = {name: header("pax", b"%d path=%s\n" % (len(name) + 9, name.encode()), b"x") for name in (OUT, IN)}
TIME = header("pax", b"11 mtime=1\n", b"x")
LINK = header("././@LongLink", b"in.txt\0", b"K")
GLOBAL = header("pax", b"%d path=%s\n" % (len(OUT) + 9, OUT.encode()), b"g")


@pytest.mark.parametrize(
    "before",
    [
        LONG[OUT] + PAX[IN],
        PAX[OUT] + LONG[IN],
        LONG[OUT] + TIME,
        PAX[OUT] + TIME,
        PAX[OUT] + LINK,
        LONG[OUT] + LONG[IN],
        GLOBAL,
    ],
    ids=["long, pax", "pax, long", "long, time", "pax, time", "pax, link", "long, long", "global"],
)
def test_every_name_that_a_member_of_a_tar_has_is_judged(before: bytes, tmp_path: Path) -> None:
    """`tarfile` unpacks the first, the last or the global name, whichever header came first: it wrote outside."""
    data = before + header("ok.txt", b"hi", b"0") + bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        named = archive.getnames()
    report = scan(data, tmp_path)
    assert OUT in named or before in (LONG[OUT] + LONG[IN], PAX[OUT] + LONG[IN])
    assert report.verdict is ScanVerdict.MALICIOUS
    assert "archive.traversal" in {finding.rule for finding in report.findings}


TWICE = header("pax", b"".join(b"%d path=%s\n" % (len(name) + 9, name.encode()) for name in (OUT, IN)), b"x")


def unprefixed() -> bytes:
    """A member of the folder `a` called `/etc/x`, which is a file of the host where no prefix is known."""
    block = bytearray(tarfile.TarInfo("/etc/x").tobuf(tarfile.USTAR_FORMAT))
    block[345:346], block[148:156] = b"a", b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "members",
    [
        PAX[IN] + header(OUT, b"hi", b"0"),
        LONG[IN] + header(OUT, b"hi", b"0"),
        TWICE + header("ok.txt", b"hi", b"0"),
        header(OUT, b"11 mtime=1\n", b"x") + header("ok.txt", b"hi", b"0"),
        header("pax", b"32 GNU.sparse.name=../../../out\n", b"x") + header("ok.txt", b"hi", b"0"),
        unprefixed(),
    ],
    ids=["pax before it", "long before it", "two paths", "extended header", "sparse", "prefix"],
)
def test_name_that_some_readers_of_tar_take_is_judged(members: bytes, tmp_path: Path) -> None:
    report = scan(members + bytes(1024), tmp_path)
    assert report.verdict is ScanVerdict.MALICIOUS
    assert "archive.traversal" in {finding.rule for finding in report.findings}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("name", ["ü" * 120, "a" * 97 + "/..hidden", "d/" * 70 + "e" * 130])
def test_name_that_is_cut_in_its_header_is_clean(name: str, form: int, tmp_path: Path) -> None:
    report = scan(tarred((name, b"x"), form=form), tmp_path)
    assert (report.verdict, report.findings) == (ScanVerdict.CLEAN, ())
