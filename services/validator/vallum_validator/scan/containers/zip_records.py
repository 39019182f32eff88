"""The records of a zip archive, each read at its place: directory, entries, local headers, data descriptors."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from vallum_common.errors import Invalid
from vallum_validator.scan.context import shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.reader import Reader

END: Final = b"PK\x05\x06"
CENTRAL: Final = b"PK\x01\x02"
LOCAL: Final = b"PK\x03\x04"
_END64: Final = b"PK\x06\x06"
_LOCATOR64: Final = b"PK\x06\x07"
_DESCRIPTOR: Final = b"PK\x07\x08"
_END64_BYTES: Final = 56
_LOCATOR_BYTES: Final = 20
_TAIL: Final = 22 + 65535
_SATURATED: Final = 0xFFFFFFFF
_LATER: Final = 0x8
UTF8_NAME: Final = 0x800
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_HARMLESS_EXTRAS: Final = {
    0x5455: later(rb".{5,13}", re.DOTALL),  # times
    0x5855: later(rb".{8,12}", re.DOTALL),  # times and owner, older
    0x7855: later(rb".{0,4}", re.DOTALL),  # owner, older
    0x7875: later(rb"\x01\x04.{4}\x04.{4}", re.DOTALL),  # owner
    0x000A: later(rb"\0{4}\x01\0\x18\0.{24}", re.DOTALL),  # times, Windows
    0xCAFE: later(rb""),  # Java
    0x4246: later(rb"(Z|\0)*"),  # padding, PyTorch
    0xD935: later(rb"..\0*", re.DOTALL),  # alignment, Android
}
"""Further fields of a header that carry nothing but what they are for. Source: APPNOTE.TXT 6.3.10, extrafld.txt of
Info-ZIP, pytorch caffe2/serialize/inline_container.cc."""


class Entry(NamedTuple):
    """A member as the central directory describes it.

    Args:
        name: path, as written.
        method: of compression.
        flags: general purpose bits.
        crc: of the expanded content.
        compressed: size in the file.
        size: expanded.
        header: offset of the local header.
        mode: Unix mode, 0 where not given.
        objections: what is odd about the record.
    """

    name: str
    method: int
    flags: int
    crc: int
    compressed: int
    size: int
    header: int
    mode: int
    objections: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the central directory lies, and what is written about it.

    Args:
        count: entries.
        offset: of the first.
        size: of all, in bytes.
        ranges: bytes that the records at the end take.
        objections: what is odd about them.
    """

    count: int
    offset: int
    size: int
    ranges: tuple[tuple[int, int], ...]
    objections: tuple[str, ...]


def find_end(data: memoryview) -> int | None:
    """The offset of the last end-of-directory record, which is where every reader begins."""
    tail = bytes(data[-_TAIL:])
    found = tail.rfind(END)
    return None if found < 0 else len(data) - len(tail) + found


def begin_of(data: memoryview) -> int | None:
    """Where the archive begins that content ends in, whatever it begins with; `None` where there is none.

    Readers look for the directory from the end, and take bytes before the archive into account.
    """
    end = find_end(data)
    if end is None or len(data) - end < 22:
        return None
    size, offset = struct.unpack_from("<2I", data, end + 12)
    if _SATURATED in (size, offset) or bytes(data[offset : offset + 4]) == CENTRAL:
        return 0
    begin = end - size - offset
    return begin if size and begin > 0 and bytes(data[end - size : end - size + 4]) == CENTRAL else None


def read_end(data: memoryview) -> Directory:
    """Read the record at the end, and the longer one where there is one.

    Raises:
        Invalid: there is none, or the archive is one of several volumes.
    """
    end = find_end(data)
    if end is None:
        raise Invalid("the archive has no end of central directory")
    _, disk, disk_start, here, count, size, offset, comment = struct.unpack("<4s4H2IH", Reader(data, end).take(22))
    if disk or disk_start:
        raise Invalid("the archive is one of several volumes")
    objections = []
    if here != count:
        objections.append(f"{here} entries are written for this volume and {count} for all")
    if comment or end + 22 + comment != len(data):
        objections.append(f"{len(data) - end - 22} bytes follow the directory of the zip")
    ranges = [(end, end + 22)]
    locator = end - _LOCATOR_BYTES
    if locator >= 0 and bytes(data[locator : locator + 4]) == _LOCATOR64:
        start, count64, size64, offset64 = _end64(data, locator)
        for small, large, limit in (
            (count, count64, 0xFFFF),
            (size, size64, _SATURATED),
            (offset, offset64, _SATURATED),
        ):
            if small not in (large, limit):
                objections.append(f"the end record says {small}, its zip64 form {large}")
        count, size, offset = count64, size64, offset64
        ranges += [(start, start + _END64_BYTES), (locator, end)]
    elif _SATURATED in (size, offset) or count == 0xFFFF:
        raise Invalid("the zip64 directory is not where it is written")
    return Directory(count, offset, size, tuple(ranges), tuple(objections))


def _end64(data: memoryview, locator: int) -> tuple[int, int, int, int]:
    """Offset of the record, number of entries, size and offset of the directory."""
    start = Reader(data, locator + 8).number("Q")
    record = Reader(data, start)
    if record.magic(4) != _END64 or record.number("Q") != _END64_BYTES - 12:
        raise Invalid("the zip64 directory is not where it is written, or has parts of its own")
    record.take(12)
    here, count, size, offset = (record.number("Q") for _ in range(4))
    if here != count:
        raise Invalid(f"{here} entries are written for this volume and {count} for all")
    return start, count, size, offset


def read_entry(reader: Reader) -> Entry:
    """Read the next record of the central directory."""
    if reader.magic(4) != CENTRAL:
        raise Invalid(f"no entry of the central directory at offset {reader.offset - 4}")
    numbers = struct.unpack("<6H3I5H2I", reader.take(42))
    flags, method, crc, compressed, size = *numbers[2:4], *numbers[6:9]
    name_size, extra_size, comment_size, attributes, header = *numbers[9:12], *numbers[14:16]
    raw_name = bytes(reader.take(name_size))
    extra = reader.take(extra_size)
    reader.take(comment_size)
    size, compressed, header = _sizes64(extra, size, compressed, header)
    objections = [*_odd_extras(extra, raw_name), *([f"a comment of {comment_size} bytes"] if comment_size else [])]
    name = str(raw_name, "utf-8", "surrogateescape")
    return Entry(name, method, flags, crc, compressed, size, header, attributes >> 16, tuple(objections))


class Local(NamedTuple):
    """What stands before and behind the content of a member.

    Args:
        start: of the content.
        end: behind the content and what describes it there.
        objections: in what it differs from the directory, or is odd.
    """

    start: int
    end: int
    objections: tuple[str, ...]


def read_local(data: memoryview, entry: Entry) -> Local:
    """Hold the local header of a member, and its data descriptor, against the directory."""
    reader = Reader(data, entry.header)
    if reader.magic(4) != LOCAL:
        raise Invalid(f"no local header for {shown(entry.name)} at offset {entry.header}")
    _, flags, method, _, _, crc, compressed, size, name_size, extra_size = struct.unpack("<5H3I2H", reader.take(26))
    raw_name = bytes(reader.take(name_size))
    extra = reader.take(extra_size)
    size, compressed, _ = _sizes64(extra, size, compressed, 0)
    name = str(raw_name, "utf-8", "surrogateescape")
    later = bool(flags & _LATER)
    written = (crc, compressed, size)
    right = (entry.crc, entry.compressed, entry.size)
    objections = list(_odd_extras(extra, raw_name))
    same = all(one == other or (later and not one) for one, other in zip(written, right, strict=True))
    if (name, method, flags) != (entry.name, entry.method, entry.flags) or not same:
        objections.append(f"{shown(name)}, method {method}, flags {flags:#x}, {size} bytes")
    start = reader.offset
    reader.take(entry.compressed)
    return Local(start, reader.offset + (_descriptor(data, reader.offset, right) if later else 0), tuple(objections))


def _descriptor(data: memoryview, offset: int, right: tuple[int, int, int]) -> int:
    """How many bytes the descriptor behind a member takes; none where there is no right one."""
    for form in ("<4s3I", "<4sI2Q", "<3I", "<I2Q"):
        width = struct.calcsize(form)
        values = struct.unpack_from(form, data, offset) if offset + width <= len(data) else ()
        if values and values[-3:] == right and values[:-3] in ((), (_DESCRIPTOR,)):
            return width
    return 0


def _extras(extra: memoryview) -> Iterator[tuple[int, memoryview]]:
    reader = Reader(extra)
    while reader.left >= 4:
        kind, length = reader.number("H"), reader.number("H")
        yield kind, reader.take(min(length, reader.left))
    if reader.left:
        yield -1, reader.take(reader.left)


def _odd_extras(extra: memoryview, name: bytes) -> Iterator[str]:
    for kind, content in _extras(extra):
        known = _HARMLESS_EXTRAS.get(kind)
        if kind == _UNICODE_PATH:
            if bytes(content[5:]) != name:
                yield f"a second name {shown(bytes(content[5:]))}"
        elif kind == _ZIP64:
            if len(content) not in (8, 16, 24, 28):
                yield f"zip64 sizes of {len(content)} bytes"
        elif known is None or not known.fullmatch(content):
            yield f"an extra field {kind:#06x} of {len(content)} bytes"


def _sizes64(extra: memoryview, size: int, compressed: int, header: int) -> tuple[int, int, int]:
    if _SATURATED not in (size, compressed, header):
        return size, compressed, header
    for kind, content in _extras(extra):
        if kind == _ZIP64:
            field = Reader(content)
            long = [field.number("Q") if value == _SATURATED else value for value in (size, compressed, header)]
            return long[0], long[1], long[2]
    raise Invalid("a zip64 entry has no zip64 sizes")
