"""Changes to files that keep most of their structure: opcodes, header fields, nodes of JSON, fields of protobuf."""

from __future__ import annotations

import io
import itertools
import json
import pickletools
import random
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, Final

SNIPPETS: Final = (
    *(
        b"(",
        b".",
        b"R",
        b"\x94",
        b"h\0",
        b"q\0",
        b"\x93",
        b"0",
        b"1",
        b"2",
        b"N",
        b"t",
        b"b",
        b"\x81",
        b"\x92",
        b"o",
        b"]",
    ),
    *(b"}", b"e", b"a", b"u", b"s", b"\x85", b"\x86", b"\x8f", b"\x90", b"\x91", b"\x80\x04", b"\x80\x00", b"K\x07"),
    *(
        b"cos\nsystem\n",
        b"ios\nsystem\n",
        b"\x8c\x02os",
        b"\x8c\x06system",
        b"cbuiltins\neval\n",
        b"cbuiltins\ngetattr\n",
    ),
    *(b"ccollections\nOrderedDict\n", b"cnumpy\ndtype\n", b"\x95\x05\0\0\0\0\0\0\0", b"\x95\xff\xff\0\0\0\0\0\0", b"Q"),
    *(b"Pid\n", b"\x82\x01", b"V\\u006fs\n", b"S'os'\n", b"I1\n", b"L1L\n", b"F1.5\n", b"r\xff\0\0\0", b"j\xff\0\0\0"),
    *(
        b"\x8e\x10\0\0\0\0\0\0\0",
        b"X\xff\xff\xff\xff",
        b"T\x02\0\0\0os",
        b"\x8a\x01\x01",
        b"\x97",
        b"\x98",
        b"\x96" + b"\0" * 8,
    ),
)
_YAML: Final = (
    *(b"!!python/name:os.system", b"%TAG ! tag:yaml.org,2002:p\n---\n!ython/name:os.system", b"\n---\n", b"\n...\n"),
    *(
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
        b"\n  ",
        b"\\\n",
        b"%70",
        b"!!",
        b"!<",
        b"&a ",
        b"*a",
        b" # ",
        b"|\n ",
    ),
    *(bytes([letter]) for letter in b"!>\r\n\t {}[],#'\"a"),
    *(b": ", b"- ", b"? "),
)
_NUMBERS: Final = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
_TEXTS: Final = (
    "os",
    "system",
    "__lambda__",
    "Lambda",
    "keras",
    "builtins",
    "",
    "a" * 300,
    "{{ x.__class__ }}",
    "../x",
)
_ZIP_HEADERS: Final = re.compile(rb"PK\x03\x04|PK\x01\x02|PK\x05\x06|PK\x07\x08|PK\x06\x06")
_MAX_OPCODES: Final = 400

Mutation = Callable[[bytes, random.Random], bytes]


def _splice(data: bytes, start: int, end: int, middle: bytes) -> bytes:
    return data[:start] + middle + data[end:]


def opcodes(data: bytes, chosen: random.Random) -> bytes:
    """Insert, delete, repeat or swap whole opcodes."""
    places = _opcode_places(data)
    if len(places) < 3:
        return tokens(data, chosen)
    first, second = sorted(chosen.sample(range(len(places) - 1), 2)) if len(places) > 3 else (0, 1)
    start, end = places[first], places[first + 1]
    match chosen.randrange(5):
        case 0:
            return _splice(data, start, start, chosen.choice(SNIPPETS))
        case 1:
            return _splice(data, start, end, b"")
        case 2:
            return _splice(data, start, start, data[start:end] * chosen.randrange(1, 4))
        case 3:
            return (
                data[:start]
                + data[places[second] : places[second + 1]]
                + data[start : places[second]]
                + data[places[second + 1] :]
            )
        case _:
            return _splice(data, start, end, chosen.choice(SNIPPETS))


def arguments(data: bytes, chosen: random.Random) -> bytes:
    """Change a byte of an opcode's argument, or its length."""
    places = _opcode_places(data)
    wide = [(start, end) for start, end in itertools.pairwise(places) if end - start > 1]
    if not wide:
        return tokens(data, chosen)
    start, end = chosen.choice(wide)
    place = chosen.randrange(start + 1, end)
    return _splice(
        data, place, place + 1, bytes([chosen.choice((0, 1, 2, 10, 0x7F, 0x80, 0xFF, chosen.randrange(256)))])
    )


def _opcode_places(data: bytes) -> list[int]:
    places = []
    try:
        for _, _, place in pickletools.genops(data):
            places.append(place or 0)
            if len(places) >= _MAX_OPCODES:
                break
    except Exception:  # noqa: BLE001 - where the stream breaks is where the list ends
        return places
    return [*places, len(data)]


def tokens(data: bytes, chosen: random.Random) -> bytes:
    """Bytes and tokens anywhere."""
    place = chosen.randrange(len(data) + 1)
    match chosen.randrange(6):
        case 0:
            return _splice(data, place, place + 1, bytes([chosen.randrange(256)]))
        case 1:
            return _splice(data, place, place, chosen.choice(SNIPPETS))
        case 2:
            return _splice(data, place, place + chosen.randrange(1, 9), b"")
        case 3:
            return _splice(data, place, place, data[place : place + chosen.randrange(1, 40)])
        case 4:
            return data[:place]
        case _:
            return data + data[: chosen.randrange(1, 200)]


def yaml_tokens(data: bytes, chosen: random.Random) -> bytes:
    """Tokens of YAML in a text that has a tag, in front of one or anywhere."""
    tags = [found.start() for found in re.finditer(rb"!|\n", data)]
    if not tags or b"\0" in data:
        return tokens(data, chosen)
    place = chosen.choice((chosen.choice(tags), chosen.randrange(len(data) + 1)))
    return _splice(data, place, place + chosen.choice((0, 0, 0, 1)), chosen.choice(_YAML))


def numbers(data: bytes, chosen: random.Random) -> bytes:
    """A number of some width, anywhere: lengths, counts and offsets of every binary format."""
    width, code = chosen.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    if len(data) <= width:
        return tokens(data, chosen)
    place = chosen.randrange(min(len(data) - width, 400))
    return _splice(
        data, place, place + width, struct.pack("<" + code, chosen.choice(_NUMBERS) & ((1 << 8 * width) - 1))
    )


def zip_fields(data: bytes, chosen: random.Random) -> bytes:
    """A field of a header of a zip."""
    headers = [found.start() for found in _ZIP_HEADERS.finditer(data)]
    if not headers:
        return numbers(data, chosen)
    place = chosen.choice(headers) + chosen.choice(
        (4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 38, 42, 46)
    )
    value = struct.pack("<H", chosen.choice(_NUMBERS) & 0xFFFF)
    return _splice(data, place, place + 2, value) if place + 2 <= len(data) else data


def zip_members(data: bytes, chosen: random.Random) -> bytes:
    """A member of a zip, mutated and packed again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()][:20]
    except Exception:  # noqa: BLE001 - it is no zip any more
        return tokens(data, chosen)
    if not members:
        return tokens(data, chosen)
    place = chosen.randrange(len(members))
    name, content = members[place]
    members[place] = (name, chosen.choice((opcodes, arguments, json_nodes, npy_header, tokens))(content, chosen))
    if chosen.randrange(8) == 0:
        members.append(members[chosen.randrange(len(members))])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name are what is wanted
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def json_nodes(data: bytes, chosen: random.Random) -> bytes:
    """A value, key or place in a JSON document, also one that lies inside another format."""
    start = data.find(b"{")
    if start < 0:
        return tokens(data, chosen)
    try:
        document, end = json.JSONDecoder().raw_decode(str(data[start:], "latin-1"))
    except (ValueError, RecursionError):
        return tokens(data, chosen)
    nodes = [node for node in _containers(document) if node]
    if not nodes:
        return tokens(data, chosen)
    node = chosen.choice(nodes)
    key = chosen.choice(list(node)) if isinstance(node, dict) else chosen.randrange(len(node))
    match chosen.randrange(4):
        case 0:
            node[key] = chosen.choice((*_TEXTS, *_NUMBERS, None, [], {}, -1, 1e308))
        case 1:
            node[key] = chosen.choice(nodes)
        case 2:
            del node[key]
        case _ if isinstance(node, dict):
            node[chosen.choice(_TEXTS)] = node.pop(key)
    try:
        text = json.dumps(document).encode("latin-1", "replace")
    except (ValueError, RecursionError):  # a node may have come to lie in itself
        return tokens(data, chosen)
    if start == 8 and len(data) > 8:  # safetensors
        return struct.pack("<Q", len(text)) + text + data[start + end :]
    return data[:start] + text + data[start + end :]


def _containers(document: Any) -> list[Any]:
    found, pending = [], [document]
    while pending and len(found) < 200:
        node = pending.pop()
        if isinstance(node, dict | list):
            found.append(node)
            pending.extend(node.values() if isinstance(node, dict) else node)
    return found


def npy_header(data: bytes, chosen: random.Random) -> bytes:
    """Type, order or shape in the header of an array."""
    found = re.search(rb"\{'descr'[^\n]*\n", data)
    if not found:
        return tokens(data, chosen)
    kind = chosen.choice((b"'|O'", b"'<f8'", b"'|V8'", b"[('a', '|O')]", b"'<U3'", b"'|S0'", b"None"))
    shape = chosen.choice((b"(1,)", b"()", b"(0,)", b"(99999999999,)", b"(-1,)", b"(1, 2)", b"(True,)"))
    header = b"{'descr': " + kind + b", 'fortran_order': False, 'shape': " + shape + b", }"
    width = found.end() - found.start()
    return _splice(data, found.start(), found.end(), header.ljust(width - 1)[: width - 1] + b"\n")


def protobuf_fields(data: bytes, chosen: random.Random) -> bytes:
    """A tag, length or content of a field, on some level."""
    fields = _protobuf(data, 0, len(data), 0)
    if not fields:
        return numbers(data, chosen)
    start, body, end = chosen.choice(fields)
    match chosen.randrange(4):
        case 0:
            return _splice(data, start, start + 1, bytes([chosen.randrange(256)]))
        case 1:
            return _splice(data, body - 1, body, bytes([chosen.randrange(256)]))
        case 2:
            return _splice(data, end, end, data[start:end])
        case _:
            return _splice(data, start, end, b"")


def _protobuf(data: bytes, start: int, end: int, depth: int) -> list[tuple[int, int, int]]:
    """Start, body and end of the fields with a length, as far as they can be told."""
    fields: list[tuple[int, int, int]] = []
    while start + 2 <= end and len(fields) < 100:
        body = start + 2
        length = data[start + 1]
        if data[start] & 7 == 0:
            start = body
            continue
        if data[start] & 7 != 2 or length & 0x80 or body + length > end:
            break
        fields.append((start, body, body + length))
        if depth < 4:
            fields += _protobuf(data, body, body + length, depth + 1)
        start = body + length
    return fields


MUTATIONS: Final[Sequence[Mutation]] = (
    *(opcodes, opcodes, opcodes, arguments, arguments, tokens, numbers),
    *(zip_fields, zip_members, json_nodes, npy_header, protobuf_fields, yaml_tokens),
)


def mutated(data: bytes, chosen: random.Random) -> bytes:
    """The file after one to four changes."""
    for _ in range(chosen.randrange(1, 5)):
        data = chosen.choice(MUTATIONS)(data, chosen) or b"."
    return data
