"""The structure of an HDF5 file, walked without its library: objects, their messages, and which bytes belong to what.

What h5py writes by default is walked whole. The newer forms (dense groups and attributes, the chunk indexes of version
1.10) are named in `Structure.unread` and not followed. Source: HDF5 File Format Specification, version 3.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.context import shown
from vallum_validator.scan.reader import Reader

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
HEAP_MAGIC: Final = b"GCOL"
NOWHERE: Final = (1 << 64) - 1
"""The address of what is not there."""
DATASPACE, DATATYPE, LINK, EXTERNAL_FILES, LAYOUT, FILTERS, ATTRIBUTE, SYMBOL_TABLE = 1, 3, 6, 7, 8, 11, 12, 17
_LINK_INFO, _CONTINUATION, _ATTRIBUTE_INFO = 2, 16, 21
_HEAP_HEAD: Final = 16
_MAX_OBJECTS: Final = 200_000
_SHARED: Final = 2


class Message(NamedTuple):
    """One message of an object header.

    Args:
        kind: as `DATATYPE`, `LINK`, ….
        body: without its head.
        shared: whether the body only says where the real one lies.
    """

    kind: int
    body: memoryview
    shared: bool


class Link(NamedTuple):
    """A way from one object to another.

    Args:
        owner: address of the group.
        name: of the link.
        kind: `hard`, `soft` or `external`, or the number of a kind that is not known.
        target: address of the object of a hard link.
    """

    owner: int
    name: str
    kind: str
    target: int = NOWHERE


@dataclass(slots=True)
class Structure:
    """Everything that is reached from the root group.

    Args:
        data: the file.
        objects: address to the messages of each object.
        links: of all groups.
        ranges: bytes that are explained, in no order.
        unread: what is there and was not followed, in words.
        held: address to those of them that are the data of a data set.
        heaps: address to the values of each global heap that was asked for.
    """

    data: memoryview
    objects: dict[int, list[Message]] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    held: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    heaps: dict[int, dict[int, memoryview]] = field(default_factory=dict)
    leaf_k: int = 4
    internal_k: int = 16

    def claim(self, start: int, length: int) -> memoryview:
        """Explain a range. Raises: Invalid where it is not in the file."""
        part = Reader(self.data, start).take(length)
        self.ranges.append((start, start + length))
        return part

    def heap(self, address: int) -> dict[int, memoryview]:
        """The values of a global heap, where attributes and arrays keep what has no fixed length, by number.

        Raises:
            Invalid: there is no such heap.
        """
        if address not in self.heaps:
            self.heaps[address] = dict(_heap(self, address))
        return self.heaps[address]


def read_structure(data: memoryview) -> Structure:
    """Walk the file from its superblock.

    Raises:
        Invalid: the superblock, a header or an index is broken.
        Exhausted: there are more objects than are read.
    """
    structure = Structure(data)
    pending = _superblock(structure)
    while pending:
        address = pending.pop()
        if address in structure.objects or address == NOWHERE:
            continue
        if len(structure.objects) >= _MAX_OBJECTS:
            raise Exhausted(f"more than {_MAX_OBJECTS} HDF5 objects")
        messages = structure.objects[address] = list(_messages(structure, address))
        for message in messages:
            for link in _links(structure, address, message):
                structure.links.append(link)
                pending.append(link.target)
            if message.kind == LAYOUT:
                before = len(structure.ranges)
                _claim_data(structure, message.body)
                structure.held[address] = structure.ranges[before:]
    return structure


def _superblock(structure: Structure) -> list[int]:
    """Read it; gives the addresses to begin with."""
    reader = Reader(structure.data, len(MAGIC))
    version = reader.number("B")
    if version > 3:
        raise Invalid(f"HDF5 superblock version {version} is not known")
    if version >= 2:
        widths = (reader.number("B"), reader.number("B"))
        reader.take(1)
        base, extension, end, root = (reader.number("Q") for _ in range(4))
        reader.take(4)
        roots = [root, extension]
    else:
        reader.take(4)
        widths = (reader.number("B"), reader.number("B"))
        reader.take(1)
        structure.leaf_k, structure.internal_k = reader.number("H"), reader.number("H")
        reader.take(4 if version == 0 else 8)
        base, _, end, driver = (reader.number("Q") for _ in range(4))
        reader.take(8)
        roots = [reader.number("Q")]
        reader.take(24)
        if driver != NOWHERE:
            raise Invalid("the file is written by a driver that spreads it over several files")
    structure.claim(0, reader.offset)
    if widths != (8, 8) or base:
        raise Invalid(f"addresses must have 8 bytes and begin at 0, got {widths} and {base}")
    if end != len(structure.data):
        raise Invalid(f"the HDF5 file ends at {end}, there are {len(structure.data)} bytes")
    return roots


def _messages(structure: Structure, address: int) -> Iterator[Message]:
    reader = Reader(structure.data, address)
    if bytes(structure.data[address : address + 4]) == b"OHDR":
        yield from _messages_v2(structure, reader)
        return
    if reader.number("B") != 1:
        raise Invalid(f"no object header at {address}")
    reader.take(7)
    size = reader.number("I")
    structure.claim(address, 16)
    yield from _blocks(structure, [(address + 16, size, 0)], head="HHB3", order=False)


def _messages_v2(structure: Structure, reader: Reader) -> Iterator[Message]:
    start = reader.offset
    reader.take(4)
    if reader.number("B") != 2:
        raise Invalid(f"the object header at {start} has an unknown version")
    flags = reader.number("B")
    reader.take(16 * bool(flags & 0x20) + 4 * bool(flags & 0x10))
    size = reader.number("BHIQ"[flags & 3])
    structure.claim(start, reader.offset - start)
    structure.claim(reader.offset + size, 4)
    yield from _blocks(structure, [(reader.offset, size, 4)], head="BHB0", order=bool(flags & 4))


def _blocks(structure: Structure, pending: list[tuple[int, int, int]], *, head: str, order: bool) -> Iterator[Message]:
    """The messages of all blocks of a header. The third figure is 4 in a version 2 header, whose further blocks have a
    signature before and a checksum behind them."""
    seen: set[int] = set()
    while pending:
        start, length, frame = pending.pop(0)
        if start in seen:
            raise Invalid(f"the header block at {start} continues in itself")
        seen.add(start)
        block = Reader(structure.claim(start, length))
        while block.left >= (4 + 2 * order if frame else 8):
            kind, size, flags = (block.number(code) for code in head[:3])
            block.take(int(head[3]) + 2 * order)
            body = block.take(size)
            if kind == _CONTINUATION:
                where = Reader(body)
                address, size = where.number("Q"), where.number("Q")
                if frame:
                    structure.claim(address, 4)
                    structure.claim(address + size - 4, 4)
                pending.append((address + frame, size - 2 * frame, frame))
            else:
                _note_dense(structure, kind, body)
                yield Message(kind, body, bool(flags & _SHARED))


def _note_dense(structure: Structure, kind: int, body: memoryview) -> None:
    if kind in (_LINK_INFO, _ATTRIBUTE_INFO):
        reader = Reader(body, 1)
        numbered = reader.number("B") & 1
        reader.take(numbered * (8 if kind == _LINK_INFO else 2))
        if reader.number("Q") != NOWHERE:
            structure.unread.add("dense groups" if kind == _LINK_INFO else "dense attributes")


def _links(structure: Structure, owner: int, message: Message) -> Iterator[Link]:
    if message.kind == LINK:
        yield _link(owner, Reader(message.body))
    elif message.kind == SYMBOL_TABLE:
        reader = Reader(message.body)
        tree, heap = reader.number("Q"), reader.number("Q")
        names = _local_heap(structure, heap)
        for node in _leaves(structure, tree, 0, 8):
            yield from _symbols(structure, owner, node, names)


def _link(owner: int, reader: Reader) -> Link:
    reader.take(1)
    flags = reader.number("B")
    kind = reader.number("B") if flags & 8 else 0
    reader.take(8 * bool(flags & 4) + bool(flags & 16))
    name = str(reader.take(reader.number("BHIQ"[flags & 3])), "utf-8", "replace")
    if kind == 0:
        return Link(owner, name, "hard", reader.number("Q"))
    return Link(owner, name, {1: "soft", 64: "external"}.get(kind, str(kind)))


def _local_heap(structure: Structure, address: int) -> memoryview:
    reader = Reader(structure.claim(address, 32))
    if reader.magic(4) != b"HEAP":
        raise Invalid(f"no local heap at {address}")
    reader.take(4)
    size = reader.number("Q")
    reader.take(8)
    return structure.claim(reader.number("Q"), size)


def _symbols(structure: Structure, owner: int, address: int, names: memoryview) -> Iterator[Link]:
    reader = Reader(structure.claim(address, 8 + 80 * structure.leaf_k))
    if reader.magic(4) != b"SNOD":
        raise Invalid(f"no symbol table node at {address}")
    reader.take(2)
    for _ in range(reader.number("H")):
        place, target, cached = reader.number("Q"), reader.number("Q"), reader.number("I")
        reader.take(20)
        name = str(bytes(names[place : place + 65536]).partition(b"\0")[0], "utf-8", "replace")
        yield Link(owner, name, "soft") if cached == 2 else Link(owner, name, "hard", target)


def _leaves(structure: Structure, root: int, kind: int, key_bytes: int) -> Iterator[int]:
    """The children of the leaves of a version 1 B-tree: kind 0 has the nodes of a group, kind 1 the chunks of data."""
    per_node = 2 * (structure.internal_k if kind == 0 else 32)
    pending, seen = [root], set[int]()
    while pending:
        address = pending.pop()
        if address in seen or address == NOWHERE:
            continue
        seen.add(address)
        reader = Reader(structure.claim(address, 24 + per_node * 8 + (per_node + 1) * key_bytes))
        if reader.magic(4) != b"TREE" or reader.number("B") != kind:
            raise Invalid(f"no B-tree node of kind {kind} at {address}")
        level, used = reader.number("B"), reader.number("H")
        if used > per_node:
            raise Invalid(f"the B-tree node at {address} has {used} entries, {per_node} fit")
        reader.take(16)
        for _ in range(used):
            key = reader.take(key_bytes)
            child = reader.number("Q")
            if level:
                pending.append(child)
            else:
                if kind:
                    structure.claim(child, Reader(key).number("I"))
                yield child


def _claim_data(structure: Structure, body: memoryview) -> None:
    reader = Reader(body)
    version, kind = reader.number("B"), reader.number("B")
    if version not in (3, 4) or (version == 4 and kind == 2):
        structure.unread.add(f"data laid out in version {version}")
    elif kind == 1:
        start, size = reader.number("Q"), reader.number("Q")
        if start != NOWHERE:
            structure.claim(start, size)
    elif kind == 2:
        dimensions, tree = reader.number("B"), reader.number("Q")
        for _ in _leaves(structure, tree, 1, 8 + 8 * dimensions):
            pass
    elif kind > 3:
        raise Invalid(f"the data layout {shown(kind)} is not known")


def _heap(structure: Structure, address: int) -> Iterator[tuple[int, memoryview]]:
    head = Reader(structure.data, address)
    if head.magic(4) != HEAP_MAGIC:
        raise Invalid(f"no global heap at {address}")
    head.take(4)
    reader = Reader(structure.claim(address, head.number("Q")), _HEAP_HEAD)
    while reader.left >= _HEAP_HEAD:
        index = reader.number("H")
        reader.take(6)
        length = reader.number("Q")
        if index == 0:
            return
        yield index, reader.take(length)
        reader.take(min(-length % 8, reader.left))
