"""ONNX: operators of known domains, tensors with their data inside, sizes that the file can hold.

The graph is walked on the wire format; nothing is built, and neither `onnx` nor a runtime is called.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.protobuf import LENGTH, Field, fields, varints

_DOMAINS: Final = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft",
     "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc"}
)  # fmt: skip
_FOREIGN_CODE: Final = frozenset(
    {"PythonOp", "PythonOpGrad", "ATen", "EPContext", "PyOp", "PyCustomOp", "TritonOp", "ExternalCustomOp"}
)
_MODEL_FIELDS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
_MAX_DEPTH: Final = 60
_MAX_ELEMENTS: Final = 1 << 31


def is_onnx(data: memoryview) -> bool:
    """Whether the whole file is a ModelProto: known fields only, a graph, and an IR version or operator sets."""
    seen: set[int] = set()
    try:
        for entry in fields(data):
            if entry.number not in _MODEL_FIELDS or (entry.number in (7, 8) and entry.wire != LENGTH):
                return False
            seen.add(entry.number)
    except Invalid:
        return False
    return 7 in seen and bool(seen & {1, 8})


@dataclass(slots=True)
class _Walk:
    context: Context
    functions: set[tuple[str, str]] = field(default_factory=set)


def inspect_onnx(data: memoryview, context: Context) -> str:
    """Walk the graph with its subgraphs, functions and tensors."""
    walk = _Walk(context)
    model = list(fields(data))
    for entry in model:
        if entry.number == 25 and entry.wire == LENGTH:
            walk.functions.add(_function_name(entry.data))
    for entry in model:
        if entry.number == 7:
            _graph(entry.data, walk, 0)
        elif entry.number == 25:
            _function(entry.data, walk)
        elif entry.number == 20:
            for part in fields(entry.data):
                if part.number in (1, 2) and part.wire == LENGTH:
                    _graph(part.data, walk, 0)
    return "onnx"


def _function_name(data: memoryview) -> tuple[str, str]:
    name = domain = ""
    for entry in fields(data):
        if entry.number == 1:
            name = entry.text
        elif entry.number == 10:
            domain = entry.text
    return domain, name


def _function(data: memoryview, walk: _Walk) -> None:
    for entry in fields(data):
        if entry.number == 7:
            _node(entry.data, walk, 0)
        elif entry.number == 11:
            _attribute(entry.data, walk, 0)


def _graph(data: memoryview, walk: _Walk, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise Exhausted(f"subgraphs are nested deeper than {_MAX_DEPTH} levels")
    for entry in fields(data):
        if entry.number == 1:
            _node(entry.data, walk, depth)
        elif entry.number == 5:
            _tensor(entry.data, walk)
        elif entry.number == 15:
            _sparse(entry.data, walk)


def _node(data: memoryview, walk: _Walk, depth: int) -> None:
    operator, domain = "", ""
    attributes: list[Field] = []
    for entry in fields(data):
        if entry.number == 4:
            operator = entry.text
        elif entry.number == 7:
            domain = entry.text
        elif entry.number == 5:
            attributes.append(entry)
    for attribute in attributes:
        _attribute(attribute.data, walk, depth)
    if (domain, operator) in walk.functions:
        return
    if domain not in _DOMAINS or operator in _FOREIGN_CODE:
        walk.context.report("onnx.operator-unknown", f"operator {shown(operator)} of domain {shown(domain)}")


def _attribute(data: memoryview, walk: _Walk, depth: int) -> None:
    for entry in fields(data):
        if entry.number in (6, 11):
            _graph(entry.data, walk, depth + 1)
        elif entry.number in (5, 10):
            _tensor(entry.data, walk)
        elif entry.number in (22, 23):
            _sparse(entry.data, walk)


def _sparse(data: memoryview, walk: _Walk) -> None:
    for entry in fields(data):
        if entry.number in (1, 2):
            _tensor(entry.data, walk)


def _tensor(data: memoryview, walk: _Walk) -> None:
    shape: list[int] = []
    held = location = 0
    for entry in fields(data):
        if entry.number == 1:
            shape += varints(entry)
        elif entry.number in (4, 5, 6, 7, 9, 10, 11):
            held += len(entry.data) or 8
        elif entry.number == 13:
            _external(entry.data, walk.context)
        elif entry.number == 14:
            location = entry.value
    elements = math.prod(shape)
    # A packed varint takes a byte or more, so eight times the bytes held is never less than what is really there.
    if not location and elements > min(_MAX_ELEMENTS, 8 * held + 1024):
        walk.context.report("onnx.size-bomb", f"a tensor of shape {shown(shape)} has {held} bytes of data")


def _external(data: memoryview, context: Context) -> None:
    pairs = dict(_key_value(data))
    location = pairs.get("location")
    if location is None:
        return
    parts = location.replace("\\", "/").split("/")
    if location.startswith(("/", "\\")) or ".." in parts or location[1:2] == ":" or "\0" in location:
        context.report("onnx.external-path", f"tensor data is read from {shown(location)}")
    else:
        context.report("onnx.external-data", f"tensor data is read from {shown(location)}, which is not in this file")


def _key_value(data: memoryview) -> Iterator[tuple[str, str]]:
    texts = {entry.number: entry.text for entry in fields(data) if entry.number in (1, 2)}
    yield texts.get(1, ""), texts.get(2, "")
