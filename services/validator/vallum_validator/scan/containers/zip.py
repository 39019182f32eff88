"""Zip archives, read by our own parser: the central directory against the local headers, and every byte explained.

Readers of zip disagree when headers disagree (CVE-2025-10156, CVE-2025-10157 fooled scanners that trusted one of them),
so what differs is reported, and the content is scanned all the same.
"""

from __future__ import annotations

import posixpath
import zlib
from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.containers.expand import bzip2, expand, raw_deflate, zip_lzma
from vallum_validator.scan.containers.zip_records import UTF8_NAME, Entry, read_end, read_entry, read_local
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.reader import Reader

_STORED, _DEFLATED, _BZIP2, _LZMA = 0, 8, 12, 14
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_SYMLINK: Final = 0o120000
_CHECKED_BYTES: Final = 16 * 1024**2
"""Larger members are not held against their CRC: that would read every byte a second time, after the hash."""


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
        elif entry.method == _LZMA:
            content = zip_lzma(raw, entry.size, self._context.budget)
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
        found = read_end(self._data)
        for objection in found.objections:
            self._context.report("file.polyglot", objection, found.ranges[0][0])
        if not found.count:
            self._context.report("file.empty", "the archive has no entries")
        self._context.budget.enter(found.count)
        reader = Reader(self._data, found.offset)
        entries = [read_entry(reader) for _ in range(found.count)]
        if reader.offset != found.offset + found.size:
            raise Invalid(f"the central directory ends at {reader.offset}, {found.offset + found.size} is written")
        for entry in entries:
            for objection in entry.objections:
                self._context.report("file.polyglot", f"{shown(entry.name)} has {objection}", found.offset)
        self._ranges += [*found.ranges, (found.offset, reader.offset)]
        return entries

    def _check_local(self, entry: Entry) -> int:
        """Hold the local header against the directory; returns where the content begins."""
        local = read_local(self._data, entry)
        for objection in local.objections:
            message = f"the local header of {shown(entry.name)} says {objection}"
            self._context.report("archive.header-mismatch", message, entry.header)
        self._ranges.append((entry.header, local.end))
        return local.start

    def _check_names(self) -> None:
        seen: dict[str, str] = {}
        for entry in self.entries:
            check_name(entry.name, self._context, entry.header)
            if not entry.name.isascii() and not entry.flags & UTF8_NAME:
                self._context.report("archive.name", f"{shown(entry.name)} is in no known encoding", entry.header)
            # What one reader looks up is another's file: miniz ignores case, file systems tidy paths.
            plain = posixpath.normpath(entry.name.replace("\\", "/")).casefold()
            if plain in seen:
                other = "" if seen[plain] == entry.name else f" and {shown(seen[plain])}"
                message = f"two entries are named {shown(entry.name)}{other}"
                self._context.report("archive.duplicate", message, entry.header)
            seen[plain] = entry.name
            if entry.mode & 0o170000 == _SYMLINK:
                self._context.report("archive.link", f"{shown(entry.name)} is a link", entry.header)

    def _check_coverage(self) -> None:
        position = 0
        for start, end in sorted(self._ranges):
            if start > position:
                message = f"{start - position} bytes between the parts of the zip are not explained"
                self._context.report("file.polyglot", message, position)
            elif start < position:
                self._context.report("archive.header-mismatch", "two parts of the zip overlap", start)
            position = max(position, end)


def check_name(name: str, context: Context, offset: int | None) -> None:
    """Report a path that leads out of its archive."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\", "~")) or ".." in parts or name[1:2] == ":" or "\0" in name:
        context.report("archive.traversal", f"the path {shown(name)} leads out of the archive", offset)
    elif any(ord(character) < 32 for character in name) or not name:
        context.report("archive.name", f"the name {shown(name)} is empty or holds control characters", offset)
