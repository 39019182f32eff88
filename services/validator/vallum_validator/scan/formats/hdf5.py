"""HDF5, as Keras and pandas write it: every object is visited, every attribute looked into, no way out of the file.

Attributes are where programs hide: Keras keeps its configuration in one (CVE-2025-9905: a Lambda there runs even in
safe mode), PyTables keeps pickles in others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.configs import inspect_config
from vallum_validator.scan.formats.hdf5_structure import (
    ATTRIBUTE,
    DATASPACE,
    DATATYPE,
    EXTERNAL_FILES,
    FILTERS,
    HEAP_MAGIC,
    LAYOUT,
    MAGIC,
    Message,
    Structure,
    read_structure,
)
from vallum_validator.scan.formats.text import NotJson, load_json
from vallum_validator.scan.pickled.streams import inspect_pickle, probe
from vallum_validator.scan.reader import Reader
from vallum_validator.scan.texts import Noted

__all__ = ["MAGIC", "inspect_hdf5", "inventory"]

_TEXT, _VARIABLE = 3, 9
_NUMBERS: Final = frozenset({0, 1, 4, 8})
"""Classes of types: integers, floats, bits, enumerations."""
_BYTES: Final = frozenset({3, 5})
"""Classes of types whose values are bytes of any kind: texts, and what is opaque."""
_HICKLE: Final = "hickle_types_table"
_BUILT_IN_FILTERS: Final = frozenset({1, 2, 3, 4, 5, 6})
_MOST_UNWRITTEN: Final = 1024**3
_MOST_RATIO: Final = 1_100
"""Deflate packs 1032 bytes into one, and not more. Source: zlib, "Technical Details"."""
_VIRTUAL: Final = 3
_PLACE_BYTES: Final = 16
_BLOCK: Final = 1024**2
_JSON: Final = later(rb"[ \t\r\n]*+[\[{]")
_CONFIG: Final = later(rb'\{\s*"[ -~]{2,60}"\s*:')
_MAX_CONFIG: Final = 16 * 1024**2
_MAX_CONFIGS: Final = 200


class Attribute(NamedTuple):
    """An attribute of an object.

    Args:
        owner: address of the object.
        name: of the attribute.
        values: its content, one item for each text of variable length, otherwise one item.
    """

    owner: int
    name: str
    values: tuple[memoryview, ...]


def inspect_hdf5(data: memoryview, context: Context) -> str:
    """Visit every object, look into every attribute, and account for every byte."""
    try:
        structure = read_structure(data)
        attributes = list(_attributes(structure))
    except Invalid:
        _sweep(data, context)
        raise
    for what in sorted(structure.unread):
        context.report("file.unsupported", f"HDF5 {what} cannot be judged here")
        _sweep(data, context)
    for link in structure.links:
        if link.kind not in ("hard", "soft"):
            context.report("hdf5.external", f"{shown(link.name)} is a link of kind {link.kind}", link.owner)
    for address, messages in structure.objects.items():
        for message in messages:
            _judge(message, address, context)
    for attribute in attributes:
        for value in attribute.values:
            _look_into(value, context.enter(attribute.name or "an attribute"))
    _account(structure, context)
    _pickles_in_data(structure, context)
    context.budget.noted = Noted()  # the pickles of attributes have noted what lies in those
    for address, ranges in structure.held.items():
        _size(structure.objects[address], ranges, context.enter(f"object {address}"))
        _note(structure, structure.objects[address], ranges, context)
    return "hdf5"


def inventory(data: memoryview) -> Iterator[str]:
    """What is in the file, a line each: objects by address, their attributes, the links of groups."""
    structure = read_structure(data)
    for address in structure.objects:
        yield f"object {address}"
    for attribute in _attributes(structure):
        yield f"attribute {attribute.owner} {attribute.name}"
    for link in structure.links:
        yield f"{link.kind} link {link.owner} {link.name}"


def _judge(message: Message, address: int, context: Context) -> None:
    if message.kind == EXTERNAL_FILES:
        context.report("hdf5.external", "data lies in another file", address)
    elif message.kind == LAYOUT and bytes(message.body[1:2]) == bytes([_VIRTUAL]):
        context.report("hdf5.external", "a virtual data set is put together from other files", address)
    elif message.kind == FILTERS:
        for number in _filters(Reader(message.body)):
            if number not in _BUILT_IN_FILTERS:
                context.report("file.unsupported", f"data is packed by the plug-in filter {number}", address)
    elif message.shared and message.kind in (DATATYPE, LAYOUT, FILTERS):
        context.report("file.unsupported", "a shared description cannot be judged here", address)


def _note(structure: Structure, messages: list[Message], ranges: list[tuple[int, int]], context: Context) -> None:
    """Note the data of a data set; texts of fixed length one by one, where they lie in one piece."""
    kinds = [message.body for message in messages if message.kind == DATATYPE and not message.shared]
    kind = kinds[0][0] & 15 if kinds else _TEXT
    plain = len(ranges) == 1 and not any(message.kind == FILTERS for message in messages)
    for start, end in ranges:
        if kind in _NUMBERS:
            context.budget.noted.number(start, end)
        elif kind == _TEXT and kinds and plain:
            context.budget.noted.typed("S", structure.data[start:end], Reader(kinds[0], 4).number("I"), start)
        else:
            context.budget.noted.constant(start, end)


def _pickles_in_data(structure: Structure, context: Context) -> None:
    """hickle keeps what it has no form for as pickles in bytes, and the classes of all else, too."""
    packed = any(message.kind == FILTERS for messages in structure.objects.values() for message in messages)
    if packed and any(link.name == _HICKLE for link in structure.links):
        context.report("file.unsupported", "hickle unpickles data, which is packed here and cannot be judged")
    for address, ranges in structure.held.items():
        kinds = [message.body for message in structure.objects[address] if message.kind == DATATYPE]
        if any(kind[0] & 15 in _BYTES or Reader(kind, 4).number("I") == 1 for kind in kinds):
            for start, end in ranges:
                _act(structure.data[start:end], context.enter(f"object {address}"))


def _size(messages: list[Message], ranges: list[tuple[int, int]], context: Context) -> None:
    """A loader makes room for the shape that is written, whatever is there (CVE-2026-0897)."""
    spaces = [message.body for message in messages if message.kind == DATASPACE and not message.shared]
    kinds = [message.body for message in messages if message.kind == DATATYPE and not message.shared]
    if spaces and kinds:
        written = _count(Reader(spaces[0])) * Reader(kinds[0], 4).number("I")
        if written > _MOST_UNWRITTEN + _MOST_RATIO * sum(end - start for start, end in ranges):
            context.report("hdf5.size-bomb", f"data of {written} bytes is described, and is not there")


def _filters(reader: Reader) -> Iterator[int]:
    version, count = reader.number("B"), reader.number("B")
    if version not in (1, 2):
        raise Invalid(f"filter version {version} is not known")
    reader.take(6 if version == 1 else 0)
    for _ in range(count):
        number = reader.number("H")
        named = reader.number("H") if version == 1 or number >= 256 else 0
        reader.take(2)
        values = reader.number("H")
        reader.take(named + 4 * values + (4 * (values % 2) if version == 1 else 0))
        yield number


def _attributes(structure: Structure) -> Iterator[Attribute]:
    for address, messages in structure.objects.items():
        for message in messages:
            if message.kind == ATTRIBUTE:
                yield _attribute(structure, address, Reader(message.body))


def _attribute(structure: Structure, owner: int, reader: Reader) -> Attribute:
    version, flags = reader.number("B"), reader.number("B")
    if version not in (1, 2, 3) or (version > 1 and flags):
        structure.unread.add(f"attributes of version {version} with flags {flags}")
        return Attribute(owner, "", ())
    sizes = [reader.number("H") for _ in range(3)]
    reader.take(version == 3)
    parts = []
    for size in sizes:
        parts.append(reader.take(size))
        reader.take(-size % 8 if version == 1 else 0)
    name = str(bytes(parts[0]).partition(b"\0")[0], "utf-8", "replace")
    kind, size = parts[1][0] & 15, Reader(parts[1], 4).number("I")
    count = _count(Reader(parts[2]))
    content = reader.take(min(count * size, reader.left))
    if kind != _VARIABLE or size != _PLACE_BYTES:
        return Attribute(owner, name, (content,))
    places = (Reader(content, at) for at in range(0, len(content) - size + 1, size))
    return Attribute(owner, name, tuple(_heap_value(structure, place) for place in places))


def _count(reader: Reader) -> int:
    version, rank = reader.number("B"), reader.number("B")
    reader.take(6 if version == 1 else 2)
    return math.prod(reader.number("Q") for _ in range(rank))


def _heap_value(structure: Structure, place: Reader) -> memoryview:
    """A value of variable length: its size, and where in which global heap it lies."""
    place.take(4)
    address, wanted = place.number("Q"), place.number("I")
    if not address:
        return structure.data[:0]
    heap = structure.heap(address)
    if wanted not in heap:
        raise Invalid(f"the heap at {address} has no value {wanted}")
    return heap[wanted]


def _look_into(value: memoryview, context: Context) -> None:
    if _JSON.match(value):
        try:
            inspect_config(load_json(memoryview(bytes(value).rstrip(b"\0"))), context, keras=True)
        except Invalid as error:
            if _CONFIG.search(value) or not isinstance(error, NotJson):
                context.report("format.broken", f"a configuration cannot be read: {error.message}")
            _act(value, context)
    else:
        _act(value, context)


def _act(value: memoryview, context: Context) -> None:
    if probe(value, context).acts:
        inspect_pickle(value, context)


def _sweep(data: memoryview, context: Context) -> None:
    """Walk whatever looks like a configuration, where the structure that would lead to it cannot be followed."""
    decoder, position, tries = json.JSONDecoder(), 0, 0
    while tries < _MAX_CONFIGS and (found := _CONFIG.search(data, position)):
        tries += 1
        position = found.end()
        try:
            text = str(data[found.start() : found.start() + _MAX_CONFIG], "latin-1")
            document, length = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            continue
        position = found.start() + length
        inspect_config(document, context, keras=True)


def _account(structure: Structure, context: Context) -> None:
    """Report bytes that belong to nothing; heaps that only packed data refers to are looked into."""
    position = 0
    for start, end in [*sorted(structure.ranges), (len(structure.data),) * 2]:
        while start > position and bytes(structure.data[position : position + 4]) == HEAP_MAGIC:
            heap = structure.heap(position)
            for value in heap.values():
                _look_into(value, context)
            position = structure.ranges[-1][1]
        if start > position and not _is_zero(structure.data[position:start]):
            context.report("file.polyglot", f"{start - position} bytes belong to no object of the file", position)
        position = max(position, end)


def _is_zero(part: memoryview) -> bool:
    return all(not any(part[start : start + _BLOCK]) for start in range(0, len(part), _BLOCK))
