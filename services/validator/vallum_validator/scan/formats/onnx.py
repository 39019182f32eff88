"""ONNX: operators of known domains, tensors with exactly their data inside, and no field that no reader knows.

The graph is walked on the wire format; nothing is built, and neither `onnx` nor a runtime is called.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.configs import inspect_strings
from vallum_validator.scan.formats.metadata import declare
from vallum_validator.scan.formats.protobuf import LENGTH, Field, fields, varints
from vallum_validator.scan.formats.text import is_text
from vallum_validator.scan.texts import LARGE

_DOMAINS: Final = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft",
     "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc"}
)  # fmt: skip
_FOREIGN_CODE: Final = frozenset(
    {"PythonOp", "PythonOpGrad", "ATen", "ATenGrad", "EPContext", "PyOp", "PyCustomOp", "TritonOp", "ExternalCustomOp"}
)
_KNOWN: Final[Mapping[str, frozenset[int]]] = {
    "model": frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}),
    "graph": frozenset({1, 2, 5, 10, 11, 12, 13, 14, 15, 16}),
    "node": frozenset(range(1, 11)),
    "attribute": frozenset({*range(1, 12), 13, 14, 15, 20, 21, 22, 23}),
    "tensor": frozenset({*range(1, 15), 16}),
    "sparse tensor": frozenset({1, 2, 3}),
    "function": frozenset({1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}),
    "training": frozenset({1, 2, 3, 4}),
    "value": frozenset({1, 2, 3, 4}),
    "type": frozenset({1, 4, 5, 6, 7, 8, 9}),
}
"""Field numbers of each message. Source: onnx 1.23, `onnx.proto`."""
_WIDTHS: Final = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 14: 8, 15: 16, 16: 2,
                  17: 1, 18: 1, 19: 1, 20: 1, 24: 1}  # fmt: skip
_PACKED: Final = {21: 2, 22: 2, 23: 2, 25: 4, 26: 4}
"""Bytes per element of a data type, and elements per byte of those that are smaller. Source: as above."""
_FLOAT_DATA, _STRING_DATA, _RAW, _DOUBLE_DATA = 4, 6, 9, 10
_MAX_VARINT: Final = 10
_MESSAGES: Final = _KNOWN["model"] - {1, 5}
"""The fields of a model that are no numbers."""
_TEXTS: Final = frozenset({2, 3, 4, 6})
_WAYS: Final[Mapping[str, Mapping[int, str | None]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 7: None, 8: None, 10: "tensor", 11: "graph", 22: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": dict.fromkeys((4, 5, 7, 9, 10, 11)),
}
"""Through which fields one comes to numbers; subgraphs are as deep as `_Walk` goes."""
_MEMORY: Final = "*/_ORT_MEM_ADDR_/*"
"""With this place ONNX Runtime takes the offset for an address in its own memory."""
_SETTINGS: Final = "ort_config"
"""Read where `ORT_LOAD_CONFIG_FROM_MODEL` is set."""
_MAX_DEPTH: Final = 60
_MAX_ELEMENTS: Final = 1 << 31


def is_onnx(data: memoryview) -> bool:
    """Whether the whole file is a ModelProto: known fields only, a graph, and an IR version or operator sets."""
    seen: set[int] = set()
    try:
        for entry in fields(data):
            if entry.number not in _KNOWN["model"] or (entry.number in _MESSAGES) != (entry.wire == LENGTH):
                return False
            seen.add(entry.number)
    except Invalid:
        return False
    return 7 in seen and bool(seen & {1, 8})


@dataclass(slots=True)
class _Walk:
    """What is told of each part on the way.

    Args:
        operator: gets domain and name of every node.
        tensor: gets the bytes of every tensor.
        unknown: gets what message has a field that is not known, and its number.
    """

    operator: Callable[[str, str], object]
    tensor: Callable[[memoryview], object]
    unknown: Callable[[str, int], object] = field(default=lambda _what, _number: None)

    def parts(self, what: str, data: memoryview) -> Iterator[Field]:
        """The known fields of a message."""
        known = _KNOWN[what]
        for entry in fields(data):
            if entry.number in known:
                yield entry
            else:
                self.unknown(what, entry.number)

    def model(self, data: memoryview) -> None:
        """Walk the graph with its subgraphs, functions and tensors."""
        for entry in self.parts("model", data):
            if entry.number == 7:
                self.graph(entry.data, 0)
            elif entry.number == 25:
                self.function(entry.data)
            elif entry.number == 20:
                for part in self.parts("training", entry.data):
                    if part.number in (1, 2) and part.wire == LENGTH:
                        self.graph(part.data, 0)

    def function(self, data: memoryview) -> None:
        """Walk the nodes of a function and the defaults of its attributes."""
        for entry in self.parts("function", data):
            if entry.number == 7:
                self.node(entry.data, 0)
            elif entry.number == 11:
                self.attribute(entry.data, 0)

    def graph(self, data: memoryview, depth: int) -> None:
        """Walk nodes and initializers."""
        if depth > _MAX_DEPTH:
            raise Exhausted(f"subgraphs are nested deeper than {_MAX_DEPTH} levels")
        for entry in self.parts("graph", data):
            if entry.number == 1:
                self.node(entry.data, depth)
            elif entry.number == 5:
                self.tensor(entry.data)
            elif entry.number == 15:
                self.sparse(entry.data)
            elif entry.number in (11, 12, 13):
                for part in self.parts("value", entry.data):
                    if part.number == 2 and part.wire == LENGTH:
                        collections.deque(self.parts("type", part.data), maxlen=0)

    def node(self, data: memoryview, depth: int) -> None:
        """Tell the operator, and walk what its attributes hold."""
        operator, domain = "", ""
        for entry in self.parts("node", data):
            if entry.number == 4:
                operator = entry.text
            elif entry.number == 7:
                domain = entry.text
            elif entry.number == 5:
                self.attribute(entry.data, depth)
        self.operator(domain, operator)

    def attribute(self, data: memoryview, depth: int) -> None:
        """Walk graphs and tensors in an attribute."""
        for entry in self.parts("attribute", data):
            if entry.number in (6, 11):
                self.graph(entry.data, depth + 1)
            elif entry.number in (5, 10):
                self.tensor(entry.data)
            elif entry.number in (22, 23):
                self.sparse(entry.data)

    def sparse(self, data: memoryview) -> None:
        """Walk the two tensors of a sparse one."""
        for entry in self.parts("sparse tensor", data):
            if entry.number in (1, 2):
                self.tensor(entry.data)


def inspect_onnx(data: memoryview, context: Context) -> str:
    """Judge every operator and tensor of the model."""
    functions = _functions(data)
    for entry in fields(data):
        if entry.number in _TEXTS and not is_text(entry.data):
            context.report("file.polyglot", f"field {entry.number} of the model must be text", entry.offset)
    metadata = dict(pair for entry in fields(data) if entry.number == 14 for pair in _key_value(entry.data))
    declare(metadata, context)
    inspect_strings(metadata, context)
    if _SETTINGS in metadata:
        context.report("config.file", "the model brings settings for ONNX Runtime, which can have it write profiles")

    def operator(domain: str, name: str) -> None:
        if (domain, name) not in functions and (domain not in _DOMAINS or name in _FOREIGN_CODE):
            context.report("onnx.operator-unknown", f"operator {shown(name)} of domain {shown(domain)}")

    def unknown(what: str, number: int) -> None:
        context.report("file.polyglot", f"a {what} has field {number}, which no reader knows")

    _Walk(operator, lambda tensor: _tensor(tensor, context), unknown).model(data)
    _check_ends(functions)
    context.budget.noted.numbers += _arrays(data, "model", 0)
    return "onnx"


def _arrays(data: memoryview, what: str, base: int) -> Iterator[tuple[int, int]]:
    """Where the numbers of large tensors lie; texts are left out, for they are searched."""
    ways = _WAYS[what]
    for entry in fields(data):
        if entry.number in ways and len(entry.data) >= LARGE:
            begin = base + entry.begin
            if (inner := ways[entry.number]) is None:
                yield begin, begin + len(entry.data)
            else:
                yield from _arrays(entry.data, inner, begin)


def inventory(data: memoryview) -> Iterator[str]:
    """What is in the model, a line each: operators, and tensors with name, type and shape."""
    lines: list[str] = []

    def tensor(part: memoryview) -> None:
        name, kind, shape = "", 0, list[int]()
        for entry in fields(part):
            if entry.number == 1:
                shape += varints(entry)
            elif entry.number == 2:
                kind = entry.value
            elif entry.number == 8:
                name = entry.text
        lines.append(f"tensor {name} {kind} {shape}")

    _Walk(lambda domain, name: lines.append(f"operator {domain} {name}"), tensor).model(data)
    yield from lines


_Name = tuple[str, str]


def _functions(data: memoryview) -> dict[_Name, set[_Name]]:
    """The functions of the model itself, and which operators each is made of."""
    found: dict[_Name, set[_Name]] = {}
    for entry in fields(data):
        if entry.number == 25 and entry.wire == LENGTH:
            _Walk(_adder(found.setdefault(_function_name(entry.data), set())), lambda _: None).function(entry.data)
    return found


def _adder(used: set[_Name]) -> Callable[[str, str], object]:
    return lambda domain, name: used.add((domain, name))


def _check_ends(functions: dict[_Name, set[_Name]]) -> None:
    """A runtime puts functions in the place of their calls, which never ends where one calls itself."""
    open_ones = dict(functions)
    while ended := [name for name, used in open_ones.items() if not used & open_ones.keys()]:
        for name in ended:
            del open_ones[name]
    if open_ones:
        raise Invalid(f"the function {shown(next(iter(open_ones))[1])} of the model calls itself")


def _function_name(data: memoryview) -> tuple[str, str]:
    name = domain = ""
    for entry in fields(data):
        if entry.number == 1:
            name = entry.text
        elif entry.number == 10:
            domain = entry.text
    return domain, name


def _tensor(data: memoryview, context: Context) -> None:
    shape: list[int] = []
    held: dict[int, int] = {}
    kind = location = 0
    for entry in fields(data):
        if entry.number == 1:
            shape += varints(entry)
        elif entry.number == 2:
            kind = entry.value
        elif entry.number in (4, 5, 6, 7, 9, 10, 11):
            held[entry.number] = held.get(entry.number, 0) + (len(entry.data) or 1)
        elif entry.number == 13:
            _external(entry.data, context)
        elif entry.number == 14:
            location = entry.value
        elif entry.number not in _KNOWN["tensor"]:
            context.report("file.polyglot", f"a tensor has field {entry.number}, which no reader knows")
    if not location:
        _size(math.prod(shape), kind, held, context)


def _size(elements: int, kind: int, held: dict[int, int], context: Context) -> None:
    """Hold the bytes of a tensor against its shape."""
    total = sum(held.values())
    # A packed varint takes a byte or more, so eight times the bytes held is never less than what is really there.
    if elements < 0 or elements > min(_MAX_ELEMENTS, 8 * total + 1024):
        context.report("onnx.size-bomb", f"a tensor of {elements} elements has {total} bytes of data")
    elif len(held) > 1:
        message = f"a tensor keeps its data in the fields {sorted(held)}, of which readers take one"
        context.report("onnx.tensor-size", message)
    elif _STRING_DATA not in held and not _fits(elements, kind, held):
        context.report("onnx.tensor-size", f"a tensor of {elements} elements of type {kind} has {total} bytes of data")


def _fits(elements: int, kind: int, held: dict[int, int]) -> bool:
    if _RAW in held:
        known = kind in _WIDTHS or kind in _PACKED
        return known and held[_RAW] == (elements * _WIDTHS.get(kind, 0) or -(-elements // _PACKED.get(kind, 1)))
    for number, width in ((_FLOAT_DATA, 4), (_DOUBLE_DATA, 8)):
        if number in held:
            return held[number] in (elements * width, 2 * elements * width)
    return sum(held.values()) <= _MAX_VARINT * elements


def _external(data: memoryview, context: Context) -> None:
    pairs = dict(_key_value(data))
    location = pairs.get("location")
    if location is None:
        return
    parts = location.replace("\\", "/").split("/")
    if location.startswith(("/", "\\", _MEMORY)) or ".." in parts or location[1:2] == ":" or "\0" in location:
        context.report("onnx.external-path", f"tensor data is read from {shown(location)}")
    else:
        context.report("onnx.external-data", f"tensor data is read from {shown(location)}, which is not in this file")


def _key_value(data: memoryview) -> Iterator[tuple[str, str]]:
    texts = {entry.number: entry.text for entry in fields(data) if entry.number in (1, 2)}
    yield texts.get(1, ""), texts.get(2, "")
