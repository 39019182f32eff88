"""Which files a graph of TensorFlow names by itself: constants that reach an operator which opens them, and assets.

Every SavedModel restores and saves its variables, with a path that its caller gives. One that is written in the graph
and leads out of the model's folder reads or overwrites a file of whoever runs it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final

from vallum_validator.scan.context import shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.protobuf import fields
from vallum_validator.scan.formats.tensorflow_graphs import Node, Scope, bound_constants, read_scopes

_OPENS: Final[Mapping[str, int]] = {"RestoreV2": 1, "SaveV2": 1, "MergeV2Checkpoints": 2}
"""Operators that open files, and how many of their first inputs are paths."""
_ALL, _FIRST, _BUT_FIRST = slice(None), slice(1), slice(1, None)
_KEEPS: Final[Mapping[str, slice]] = {
    "Const": _ALL, "Placeholder": _ALL,
    "Concat": _BUT_FIRST, "ConcatV2": _ALL, "Enter": _FIRST, "Exit": _FIRST, "ExpandDims": _FIRST, "Fill": _BUT_FIRST,
    "Gather": _FIRST, "GatherNd": _FIRST, "GatherV2": _FIRST, "Identity": _FIRST, "IdentityN": _ALL, "Merge": _ALL,
    "NextIteration": _FIRST, "Pack": _ALL, "PlaceholderWithDefault": _FIRST, "ReduceJoin": _FIRST, "Reshape": _FIRST,
    "Select": _BUT_FIRST, "SelectV2": _BUT_FIRST, "ShardedFilename": _FIRST, "Slice": _FIRST, "Squeeze": _FIRST,
    "StopGradient": _FIRST, "StridedSlice": _FIRST, "StringJoin": _ALL, "Switch": _FIRST, "Tile": _FIRST,
    "Unpack": _ALL,
}  # fmt: skip
"""Operators that pick and join texts and change none, and which of their inputs those are: all that honest models make
paths of. What any other makes of its inputs is not known here."""
_CALLS: Final[Mapping[str, int]] = {
    "PartitionedCall": 0, "StatefulPartitionedCall": 0, "While": 0, "StatelessWhile": 0,
    "If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1,
}  # fmt: skip
"""Operators that call functions, and the input that is the first argument."""
_LOOPS: Final = frozenset({"While", "StatelessWhile"})
_BOUND: Final = "the loader"
_LEADS_OUT: Final = later(r"[/\\~]|[A-Za-z]:|\w+://|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)
_ASSET_NAME: Final = 2

Place = tuple[Scope, str]
"""A text in a graph: where, and how inputs name it."""


def leads_out(path: str) -> bool:
    """Whether a path is absolute, an address, or goes up."""
    return _LEADS_OUT.match(path) is not None


def asset_name(data: memoryview) -> str:
    """The file name in an AssetFileDef, which loaders join to the folder of assets."""
    return "".join(entry.text for entry in fields(data) if entry.number == _ASSET_NAME)


def opened_outside(graph: memoryview, objects: memoryview) -> Iterator[tuple[str, str]]:
    """Rule and message for every constant that leads out and reaches what opens it, and for what may make such a path.

    Args:
        graph: with the library of its functions.
        objects: the graph of objects that is loaded with it.
    """
    paths = _Paths(graph, objects)
    for operator in _OPENS:
        for node in paths.of(operator):
            for text in node.texts():
                if leads_out(text):
                    yield "tensorflow.operator-denied", f"{operator} opens {shown(text)}, which the graph names"
                elif ":" in text or text.endswith("."):  # half of an address, or of a step up
                    yield "tensorflow.operator-unknown", f"{operator} opens a path that is made with {shown(text)}"
            if not paths.is_plain(node):
                made = f"{operator} opens what {shown(node.operator)} makes, which cannot be judged here"
                yield "tensorflow.operator-unknown", made


class _Paths:
    """What comes to the operators that open files, across the borders of functions."""

    def __init__(self, graph: memoryview, objects: memoryview) -> None:
        self._scopes = read_scopes(graph)
        self._objects = objects

    def is_plain(self, node: Node) -> bool:
        """Whether all that a node gives on are texts which others gave it or which it holds."""
        known = node.operator in _KEEPS or node.operator in _CALLS or node.operator in self._scopes
        return known and not node.is_open()

    def of(self, operator: str) -> Iterator[Node]:
        """Every node that has a part in the paths of an operator."""
        pending: list[Place] = [
            (scope, source)
            for scope in self._scopes.values()
            for node in scope.nodes.values()
            if node.operator == operator
            for source in node.inputs[: _OPENS[operator]]
        ]
        seen = set[tuple[str, str]]()
        while pending:
            scope, source = pending.pop()
            name = source.partition(":")[0]
            if (scope.name, name) in seen:
                continue
            seen.add((scope.name, name))
            if name in scope.arguments:
                pending += self._given(scope, scope.arguments.index(name))
            if name in scope.nodes:
                yield scope.nodes[name]
                pending += self._before(scope, scope.nodes[name])

    def _before(self, scope: Scope, node: Node) -> Iterator[Place]:
        called = self._called(node)
        for function in called:
            yield from ((function, result) for result in function.results)
        if not called or node.operator not in (*_CALLS, *self._scopes):
            yield from ((scope, source) for source in node.inputs[_KEEPS.get(node.operator, _ALL)])

    def _given(self, function: Scope, place: int) -> Iterator[Place]:
        """What callers give a function as an argument; one that is called in an unknown way gets the call itself."""
        for scope, node in self._callers[function.name]:
            if node.operator != function.name and node.operator not in (*_CALLS, _BOUND):
                yield scope, node.name
                continue
            first = _CALLS.get(node.operator, 0)
            anywhere = function.of_lists or node.operator == _BOUND
            given = node.inputs[first:] if anywhere else node.inputs[first + place : first + place + 1]
            yield from ((scope, source) for source in given)
            if node.operator in _LOOPS:
                yield from ((body, result) for body in self._called(node) for result in body.results)

    def _called(self, node: Node) -> list[Scope]:
        return [self._scopes[name] for name in node.functions() if name and name in self._scopes]

    @cached_property
    def _callers(self) -> Mapping[str, list[tuple[Scope, Node]]]:
        callers: defaultdict[str, list[tuple[Scope, Node]]] = defaultdict(list)
        for scope in self._scopes.values():
            for node in scope.nodes.values():
                for function in self._called(node):
                    callers[function.name].append((scope, node))
        for name, constants in bound_constants(self._objects):
            callers[name].append((self._scopes[""], Node("", _BOUND, constants, ())))
        return callers
