"""Tar archives: members inspected one by one, links and devices refused, every header held to its checksum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.containers.zip import check_name
from vallum_validator.scan.context import Context, shown

_BLOCK: Final = 512
_FILE, _FOLDER, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = (b"0", b"\0", b"7"), b"5", b"L", b"K", b"x", b"g"
_NAMING: Final = frozenset({_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL})
_LINKS: Final = frozenset({b"1", b"2", b"3", b"4", b"6"})
_MAX_PADDING: Final = 64 * _BLOCK
_PAX_NAMES: Final = frozenset({b"path", b"GNU.sparse.name"})
_PAX_KEYS: Final = frozenset(
    {"path", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "size", "comment", "hdrcharset", "charset"}
)


def is_tar(data: memoryview) -> bool:
    """Whether the first block is a tar header with a right checksum."""
    return len(data) >= _BLOCK and _checksum_holds(bytes(data[:_BLOCK])) and any(data[:100])


def inspect_tar(data: memoryview, context: Context) -> str:
    """Inspect each member; nothing is unpacked."""
    offset, names, seen = 0, list[str](), set[str]()
    while offset + _BLOCK <= len(data):
        header = bytes(data[offset : offset + _BLOCK])
        if not any(header):
            break
        if not _checksum_holds(header):
            raise Invalid(f"the tar header at offset {offset} has a wrong checksum")
        context.budget.enter()
        size, kind = _number(header[124:136]), header[156:157]
        content = data[offset + _BLOCK : offset + _BLOCK + size]
        if len(content) < size:
            raise Invalid(f"the member at offset {offset} is cut")
        following = offset + _BLOCK + -(-size // _BLOCK) * _BLOCK
        _check_padding(data[offset + _BLOCK + size : following], offset, context)
        own = _name(header)
        _check_own(header, own, names, offset, context)
        if kind in _NAMING:
            names += _names(kind, bytes(content), offset, context)
        else:
            name = (names or [own])[-1]
            if len(names) > 1:
                context.report("archive.name", f"a member is named {shown(tuple(names))}: readers take one", offset)
            names = []
            _member(name, kind, content, offset, context)
            plain = name.rstrip("/").removeprefix("./").casefold()
            if plain in seen:
                context.report("archive.duplicate", f"two members are named {shown(name)}", offset)
            seen.add(plain)
        offset = following
    if offset + _BLOCK > len(data):
        raise Invalid(f"the archive is cut at {len(data)} bytes: it has no end")
    if any(bytes(data[offset : offset + _MAX_PADDING])) or len(data) - offset > _MAX_PADDING:
        context.report("file.polyglot", f"{len(data) - offset} bytes follow the archive", offset)
    if not seen:
        context.report("file.empty", "the archive has no members")
    return "tar"


def _names(kind: bytes, content: bytes, offset: int, context: Context) -> list[str]:
    """What a header in front of a member calls it: nothing, or a name that leads out of the archive like any other."""
    if kind == _LONG_LINK:
        return []  # a link is reported for what it is
    names = [_text(content)] if kind == _LONG_NAME else _pax_names(content, offset, context)
    names = [name for name in names if name]
    for name in names:
        check_name(name, context, offset)
    if names and kind == _PAX_GLOBAL:
        context.report("archive.name", f"a global header names every member {shown(names[-1])}", offset)
        return []
    return names


def _check_own(header: bytes, own: str, names: Sequence[str], offset: int, context: Context) -> None:
    """Judge the name in a header itself: readers that do not know what stands in front of it take that, and older ones
    do so without its prefix. Writers cut a long name there, and half of a good one is good."""
    for name in {own, _text(header[:100])}:
        if name and not any(one.startswith(name) for one in names):
            check_name(name, context, offset)


def _member(name: str, kind: bytes, content: memoryview, offset: int, context: Context) -> None:
    if not name:
        check_name(name, context, offset)
    if kind in _LINKS:
        context.report("archive.link", f"{shown(name)} is a link or device", offset)
    elif kind == _FOLDER:
        if len(content):
            context.report("file.polyglot", f"the folder {shown(name)} has {len(content)} bytes", offset)
    elif kind in _FILE:
        context.inspect(content, context.enter(name))
    else:
        context.report("file.unsupported", f"{shown(name)} has the tar type {kind!r}", offset)


def _check_padding(padding: memoryview, offset: int, context: Context) -> None:
    if any(padding):
        context.report("file.polyglot", "bytes hide in the padding of a member", offset)


def _checksum_holds(header: bytes) -> bool:
    try:
        written = int(_text(header[148:156]).strip() or "x", 8)
    except ValueError:
        return False
    return written == sum(header[:148]) + 8 * ord(" ") + sum(header[156:])


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ((1 << 95) - 1)
    try:
        number = int(_text(field).strip() or "0", 8)
    except ValueError as error:
        raise Invalid(f"the size {field!r} is no octal number") from error
    if number < 0:
        raise Invalid(f"the size {field!r} is negative")
    return number


def _name(header: bytes) -> str:
    prefix = _text(header[345:500]) if header[257:262] == b"ustar" else ""
    return f"{prefix}/{_text(header[:100])}" if prefix else _text(header[:100])


def _text(field: bytes) -> str:
    return str(field.partition(b"\0")[0], "utf-8", "surrogateescape")


def _pax_names(content: bytes, offset: int, context: Context) -> list[str]:
    """All paths in extended headers: readers take the first or the last. A size in them would move what follows."""
    names, rest = list[str](), content
    while rest:
        length, _, _ = rest.partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(rest):
            raise Invalid(f"the extended header at offset {offset} is broken")
        record, rest = rest[len(length) + 1 : int(length)], rest[int(length) :]
        key, _, value = record.rstrip(b"\n").partition(b"=")
        if key in _PAX_NAMES:
            names.append(str(value, "utf-8", "surrogateescape"))
        if key == b"size" or str(key, "utf-8", "replace") not in _PAX_KEYS:
            context.report("file.unsupported", f"the extended header {shown(key)} cannot be judged here", offset)
    return names
