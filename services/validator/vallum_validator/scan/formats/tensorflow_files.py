"""Which files a graph of TensorFlow names by itself: constants that reach an operator which opens them, and assets.

Every SavedModel restores and saves its variables, with a path that its caller gives. One that is written in the graph
and leads out of the model's folder reads or overwrites a file of whoever runs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.protobuf import LENGTH, Field, fields

_OPENS: Final[Mapping[str, int]] = {"RestoreV2": 1, "SaveV2": 1, "MergeV2Checkpoints": 2}
"""Operators that open files, and how many of their first inputs are paths."""
_PASSES_ON: Final = frozenset(
    {"ConcatV2", "ExpandDims", "Fill", "Identity", "IdentityN", "Pack", "PlaceholderWithDefault", "ReduceJoin",
     "Reshape", "Select", "SelectV2", "ShardedFilename", "StringFormat", "StringJoin", "StringStrip"}
)  # fmt: skip
"""Operators that make a path from other texts."""
_LEADS_OUT: Final = later(r"[/\\~]|[A-Za-z]:|\w+://|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)
_ASSET_NAME, _NAME, _OPERATOR, _INPUT, _ATTRIBUTE = 2, 1, 2, 3, 5
_TENSOR, _TEXTS = 8, 8
_MAX_TEXT: Final = 4096


class _Node(NamedTuple):
    operator: str
    inputs: tuple[str, ...]
    texts: tuple[str, ...]


def leads_out(path: str) -> bool:
    """Whether a path is absolute, an address, or goes up."""
    return _LEADS_OUT.match(path) is not None


def asset_name(data: memoryview) -> str:
    """The file name in an AssetFileDef, which loaders join to the folder of assets."""
    return "".join(entry.text for entry in fields(data) if entry.number == _ASSET_NAME)


def opened_outside(nodes: Iterator[Field]) -> Iterator[tuple[str, str]]:
    """Operator and path for every constant that leads out and reaches what opens it.

    Args:
        nodes: the messages of all nodes of one graph or function.
    """
    graph = dict(_read(node.data) for node in nodes)
    for operator, paths in _OPENS.items():
        pending = [one for node in graph.values() if node.operator == operator for one in node.inputs[:paths]]
        seen = set[str]()
        while pending:
            source = pending.pop().partition(":")[0]
            if source in seen or source not in graph:
                continue
            seen.add(source)
            found = graph[source]
            yield from ((operator, text) for text in found.texts if leads_out(text))
            if found.operator in _PASSES_ON:
                pending += found.inputs


def _read(data: memoryview) -> tuple[str, _Node]:
    name = operator = ""
    inputs, texts = list[str](), list[str]()
    for entry in fields(data):
        if entry.wire != LENGTH:
            continue
        if entry.number == _NAME:
            name = entry.text
        elif entry.number == _OPERATOR:
            operator = entry.text
        elif entry.number == _INPUT:
            inputs.append(entry.text)
        elif entry.number == _ATTRIBUTE and operator in ("Const", ""):
            texts += _texts(entry.data)
    return name, _Node(operator, tuple(inputs), tuple(texts))


def _texts(attribute: memoryview) -> Iterator[str]:
    """The texts of a constant; those of large vocabularies are no paths, and are left."""
    for value in _inside(attribute, 2):
        for tensor in _inside(value, _TENSOR):
            for text in _inside(tensor, _TEXTS):
                if len(text) <= _MAX_TEXT:
                    yield str(text, "utf-8", "replace")


def _inside(data: memoryview, number: int) -> Iterator[memoryview]:
    return (entry.data for entry in fields(data) if entry.number == number and entry.wire == LENGTH)
