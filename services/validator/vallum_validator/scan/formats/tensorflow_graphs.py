"""Graphs of TensorFlow and the functions beside them, as nodes that name each other; texts are read where asked for.

Messages of protocol buffers that are written twice are joined by readers, so every field counts wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from vallum_validator.scan.formats.protobuf import LENGTH, fields, varint, varints

_NAME, _OPERATOR, _INPUT, _ATTRIBUTE = 1, 2, 3, 5
_NODE, _LIBRARY, _FUNCTION = 1, 2, 1
_SIGNATURE, _FUNCTION_NODE, _RESULT = 1, 3, 4
_ARGUMENT, _OF_A_LIST = 2, frozenset({5, 6})
_LIST, _TEXT, _TENSOR, _PLACEHOLDER, _CALLED, _CALLED_IN_LIST = 1, 2, 8, 9, 10, 9
_CONTENT, _TEXTS = 4, 8
_CONCRETE, _OBJECT, _CONSTANT, _BOUND = 2, 1, 9, 2
_MAX_TEXT: Final = 4096
"""Paths of Linux end there; longer texts are left."""


class Node(NamedTuple):
    """One operation.

    Args:
        name: by which others name its outputs.
        operator: or the name of a function.
        inputs: as written, without those that only order.
        attributes: their values, unread.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    attributes: tuple[memoryview, ...]

    def texts(self) -> Iterator[str]:
        """The texts in its attributes, those of a constant among them."""
        for attribute in self.attributes:
            yield from (_shown(text) for text in parts(attribute, _TEXT))
            for tensor in parts(attribute, _TENSOR):
                yield from (_shown(text) for text in parts(tensor, _TEXTS) if len(text) <= _MAX_TEXT)
                for content in parts(tensor, _CONTENT):
                    yield from _packed(content)

    def functions(self) -> Iterator[str]:
        """The functions that it may call."""
        yield self.operator
        for attribute in self.attributes:
            called = [*parts(attribute, _CALLED)]
            for listed in parts(attribute, _LIST):
                called += parts(listed, _CALLED_IN_LIST)
            yield from (_shown(name) for one in called for name in parts(one, _NAME))

    def is_open(self) -> bool:
        """Whether a caller of its function gives an attribute of it."""
        return any(True for attribute in self.attributes for _ in parts(attribute, _PLACEHOLDER))


class Scope(NamedTuple):
    """A graph, or the body of a function.

    Args:
        name: empty for the graph.
        nodes: by name.
        arguments: names of a function's inputs, in order.
        results: what a function gives back, as inputs of nodes are written.
        of_lists: whether one argument takes several inputs, so that places say nothing.
    """

    name: str
    nodes: Mapping[str, Node]
    arguments: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    of_lists: bool = False


def parts(data: memoryview, number: int) -> Iterator[memoryview]:
    """The fields of a number that have a length."""
    return (entry.data for entry in fields(data) if entry.number == number and entry.wire == LENGTH)


def read_scopes(graph: memoryview) -> Mapping[str, Scope]:
    """Return the graph and its functions by name."""
    functions = [_function(one) for library in parts(graph, _LIBRARY) for one in parts(library, _FUNCTION)]
    return {one.name: one for one in (*functions, Scope("", _nodes(graph, _NODE)))}


def bound_constants(objects: memoryview) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Functions in the graph of objects, and the constants that a loader gives each of them beside its arguments."""
    constants = [
        [_shown(name) for constant in parts(one, _CONSTANT) for name in parts(constant, _NAME)]
        for one in parts(objects, _OBJECT)
    ]
    for entry in parts(objects, _CONCRETE):
        places = [place for concrete in parts(entry, 2) for place in _places(concrete)]
        bound = tuple(name for place in places if place < len(constants) for name in constants[place])
        if bound:
            yield "".join(_shown(name) for name in parts(entry, _NAME)), bound


def _places(concrete: memoryview) -> Iterator[int]:
    for entry in fields(concrete):
        if entry.number == _BOUND:
            yield from varints(entry)


def _function(data: memoryview) -> Scope:
    name, arguments, of_lists = "", list[str](), False
    for signature in parts(data, _SIGNATURE):
        name = "".join(_shown(one) for one in parts(signature, _NAME)) or name
        for argument in parts(signature, _ARGUMENT):
            arguments += [_shown(one) for one in parts(argument, _NAME)]
            of_lists |= any(entry.number in _OF_A_LIST for entry in fields(argument))
    results = tuple(_shown(source) for one in parts(data, _RESULT) for source in parts(one, 2))
    return Scope(name, _nodes(data, _FUNCTION_NODE), tuple(arguments), results, of_lists)


def _nodes(data: memoryview, number: int) -> Mapping[str, Node]:
    return {node.name: node for node in map(_node, parts(data, number))}


def _node(data: memoryview) -> Node:
    name = operator = ""
    inputs, attributes = list[str](), list[memoryview]()
    for entry in fields(data):
        if entry.wire != LENGTH:
            continue
        if entry.number == _NAME:
            name = entry.text
        elif entry.number == _OPERATOR:
            operator = entry.text
        elif entry.number == _INPUT and not entry.text.startswith("^"):
            inputs.append(entry.text)
        elif entry.number == _ATTRIBUTE:
            attributes += parts(entry.data, 2)
    return Node(name, operator, tuple(inputs), tuple(attributes))


def _packed(content: memoryview) -> Iterator[str]:
    """Texts as a tensor's bytes: all lengths, then all texts. Their number is in the shape; here every one that fits is
    taken. Source: tensorflow, core/platform/tensor_coding.cc."""
    lengths, total, offset = list[int](), 0, 0
    while offset < len(content) and total <= len(content) - offset:
        length, offset = varint(content, offset)
        lengths.append(length)
        total += length
        if total == len(content) - offset:
            begin = offset
            for one in lengths:
                if one <= _MAX_TEXT:
                    yield _shown(content[begin : begin + one])
                begin += one


def _shown(text: memoryview) -> str:
    return str(text, "utf-8", "replace")
