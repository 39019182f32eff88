"""Zip archives, read by our own parser: the central directory against the local headers, and every byte explained.

Readers of zip disagree when headers disagree (CVE-2025-10156, CVE-2025-10157 fooled scanners that trusted one of them),
so what differs is reported, and the content is scanned all the same.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.containers.expand import bzip2, expand, raw_deflate
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.reader import Reader

_EOCD: Final = b"PK\x05\x06"
_EOCD64: Final = b"PK\x06\x06"
_LOCATOR64: Final = b"PK\x06\x07"
_CENTRAL: Final = b"PK\x01\x02"
_LOCAL: Final = b"PK\x03\x04"
_DESCRIPTOR_SIZES: Final = (12, 16, 20, 24)
_TAIL: Final = 22 + 65535
_STORED, _DEFLATED, _BZIP2 = 0, 8, 12
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_SYMLINK: Final = 0o120000
_CHECKED_BYTES: Final = 16 * 1024**2
"""Larger members are not held against their CRC: that would read every byte a second time, after the hash."""


@dataclass(frozen=True, slots=True)
class Entry:
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
    """

    name: str
    method: int
    flags: int
    crc: int
    compressed: int
    size: int
    header: int
    mode: int


class ZipArchive:
    """An opened archive: entries that were held against their local headers.

    Args:
        data: the whole archive.
        context: where disagreements are reported.

    Raises:
        Invalid: there is no readable central directory.
        Exhausted: there are too many entries.
    """

    def __init__(self, data: memoryview, context: Context) -> None:
        self._data = data
        self._context = context
        self._ranges: list[tuple[int, int]] = []
        self.entries = tuple(self._directory())
        self._starts = {entry.header: self._check_local(entry) for entry in self.entries}
        self._check_names()
        self._check_coverage()

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of all members."""
        return tuple(entry.name for entry in self.entries)

    def read(self, entry: Entry) -> memoryview:
        """The expanded content of a member.

        Raises:
            Invalid: it is encrypted, compressed in a way that is not known, or damaged.
            Exhausted: it expands to more than is allowed.
        """
        start = self._starts[entry.header]
        raw = self._data[start : start + entry.compressed]
        if entry.flags & _ENCRYPTED:
            # Loaders that ignore the flag read the content as it lies there, so it is looked at all the same.
            self._context.report("archive.encrypted", f"{shown(entry.name)} is encrypted", entry.header)
        if entry.method == _STORED:
            content = raw
        elif entry.method == _DEFLATED:
            content = expand(raw, raw_deflate(), self._context.budget)
        elif entry.method == _BZIP2:
            content = expand(raw, bzip2(), self._context.budget)
        else:
            raise Invalid(f"{shown(entry.name)} is compressed by method {entry.method}, which is not read here")
        self._check_content(entry, content)
        return content

    def _check_content(self, entry: Entry, content: memoryview) -> None:
        if len(content) != entry.size:
            message = f"{shown(entry.name)} has {len(content)} bytes, {entry.size} are written"
            self._context.report("archive.header-mismatch", message, entry.header)
        if len(content) <= _CHECKED_BYTES and zlib.crc32(content) != entry.crc:
            message = f"{shown(entry.name)} does not have the CRC {entry.crc:#010x}"
            self._context.report("archive.checksum", message, entry.header)

    def _directory(self) -> list[Entry]:
        data = self._data
        tail = bytes(data[-_TAIL:])
        found = tail.rfind(_EOCD)
        if found < 0:
            raise Invalid("the archive has no end of central directory")
        end = len(data) - len(tail) + found
        _, disk, disk_start, _, count, size, offset, comment = struct.unpack("<4s4H2IH", Reader(data, end).take(22))
        if disk or disk_start:
            raise Invalid("the archive is one of several volumes")
        if comment or end + 22 + comment != len(data):
            self._context.report(
                "file.polyglot", f"{len(data) - end - 22} bytes follow the directory of the zip", end + 22
            )
        self._ranges.append((end, end + 22))
        if 0xFFFFFFFF in (size, offset) or count == 0xFFFF:
            count, size, offset = self._directory64(end)
        self._context.budget.enter(count)
        reader = Reader(data, offset)
        entries = [self._central(reader) for _ in range(count)]
        if reader.offset != offset + size:
            raise Invalid(f"the central directory ends at {reader.offset}, {offset + size} is written")
        self._ranges.append((offset, reader.offset))
        return entries

    def _directory64(self, end: int) -> tuple[int, int, int]:
        locator = Reader(self._data, end - 20)
        if locator.magic(4) != _LOCATOR64:
            raise Invalid("the zip64 directory is not where it is written")
        locator.number("I")
        start = locator.number("Q")
        record = Reader(self._data, start)
        if record.magic(4) != _EOCD64:
            raise Invalid("the zip64 directory is not where it is written")
        length = record.number("Q")
        record.take(20)
        count, size, offset = record.number("Q"), record.number("Q"), record.number("Q")
        self._ranges += [(start, start + 12 + length), (end - 20, end)]
        return count, size, offset

    def _central(self, reader: Reader) -> Entry:
        if reader.magic(4) != _CENTRAL:
            raise Invalid(f"no entry of the central directory at offset {reader.offset - 4}")
        fields = struct.unpack("<6H3I5H2I", reader.take(42))
        (
            _,
            _,
            flags,
            method,
            _,
            _,
            crc,
            compressed,
            size,
            name_size,
            extra_size,
            comment_size,
            _,
            _,
            attributes,
            header,
        ) = fields
        name = str(reader.take(name_size), "utf-8", "surrogateescape")
        extra = reader.take(extra_size)
        reader.take(comment_size)
        if 0xFFFFFFFF in (compressed, size, header):
            size, compressed, header = _sizes64(extra, size, compressed, header)
        return Entry(name, method, flags, crc, compressed, size, header, attributes >> 16)

    def _check_local(self, entry: Entry) -> int:
        """Hold the local header against the directory; returns where the content begins."""
        reader = Reader(self._data, entry.header)
        if reader.magic(4) != _LOCAL:
            raise Invalid(f"no local header for {shown(entry.name)} at offset {entry.header}")
        _, flags, method, _, _, crc, compressed, size, name_size, extra_size = struct.unpack("<5H3I2H", reader.take(26))
        name = str(reader.take(name_size), "utf-8", "surrogateescape")
        extra = reader.take(extra_size)
        if 0xFFFFFFFF in (compressed, size):
            size, compressed, _ = _sizes64(extra, size, compressed, 0)
        later = bool(flags & 8)
        same_sizes = (crc, compressed, size) == (entry.crc, entry.compressed, entry.size)
        if name != entry.name or method != entry.method or flags != entry.flags or not (same_sizes or later):
            said = f"{shown(name)}, method {method}, flags {flags:#x}, {size} bytes"
            message = f"the local header of {shown(entry.name)} says {said}"
            self._context.report("archive.header-mismatch", message, entry.header)
        start = reader.offset
        reader.take(entry.compressed)
        self._ranges.append((entry.header, reader.offset))
        return start

    def _check_names(self) -> None:
        seen: set[str] = set()
        for entry in self.entries:
            check_name(entry.name, self._context, entry.header)
            if entry.name in seen:
                self._context.report("archive.duplicate", f"two entries are named {shown(entry.name)}", entry.header)
            seen.add(entry.name)
            if entry.mode & 0o170000 == _SYMLINK:
                self._context.report("archive.link", f"{shown(entry.name)} is a link", entry.header)

    def _check_coverage(self) -> None:
        position = 0
        for start, end in sorted(self._ranges):
            gap = start - position
            if gap > 0 and not (position and gap in _DESCRIPTOR_SIZES):
                self._context.report(
                    "file.polyglot", f"{gap} bytes between the parts of the zip are not explained", position
                )
            elif gap < 0:
                self._context.report("archive.header-mismatch", "two parts of the zip overlap", start)
            position = max(position, end)


def _sizes64(extra: memoryview, size: int, compressed: int, header: int) -> tuple[int, int, int]:
    reader = Reader(extra)
    while reader.left >= 4:
        kind, length = reader.number("H"), reader.number("H")
        field = Reader(reader.take(length))
        if kind == 1:
            return tuple(field.number("Q") if value == 0xFFFFFFFF else value for value in (size, compressed, header))  # type: ignore[return-value]
    raise Invalid("a zip64 entry has no zip64 sizes")


def check_name(name: str, context: Context, offset: int | None) -> None:
    """Report a path that leads out of its archive."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or name[1:2] == ":" or "\0" in name:
        context.report("archive.traversal", f"the path {shown(name)} leads out of the archive", offset)
