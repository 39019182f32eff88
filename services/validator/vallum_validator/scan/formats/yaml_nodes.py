"""Documents put together from the events of PyYAML's parser in Python. What their tags ask for is told, not built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from vallum_common.errors import Exhausted, Invalid

_MAX_DEPTH: Final = 200
_MAX_NODES: Final = 200_000
"""Aliases counted as often as they stand; the largest document that is read has half as many."""
_WORDS: Final = {
    **dict.fromkeys(("", "~", "null"), None),
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}
_READ: Final = frozenset({None, *(f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "null"))})
_BINARY: Final = "tag:yaml.org,2002:binary"
_MAX_DIGITS: Final = 20


class NotYaml(Invalid):
    """The text is no YAML to PyYAML.

    Args:
        message: what its parser says.
        place: the character at which it stopped.
    """

    def __init__(self, message: str, place: int) -> None:
        super().__init__(message)
        self.place = place


@dataclass(slots=True)
class Document:
    """A document as a safe loader would give it, every tag taken for that of plain data.

    Args:
        root: dictionaries with text as keys, lists and scalars.
        others: collections that are keys, and what a key meant that a mapping has once more, of which loaders take one
            or the other.
        tags: with handles and escapes resolved, each with the character at which its node begins.
        binary: the scalars that are base64 by their tag.
        whole: whether the parser came to its end; else it has no root.
    """

    root: Any = None
    others: list[Any] = field(default_factory=list)
    tags: list[tuple[str, int]] = field(default_factory=list)
    binary: list[str] = field(default_factory=list)
    whole: bool = False


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    node: dict[str, Any] | list[Any]
    anchor: str | None
    size: int = 1
    key: str | None = None


def compose(text: str) -> Iterator[Document]:
    """The documents of a stream, each before the next is looked at, as `yaml.load_all` builds them.

    Raises:
        NotYaml: PyYAML's parser refuses the rest; what it read of the document before it stopped comes first.
        Exhausted: it is nested too deeply or expands to too many nodes.
    """
    composer = _Composer()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.DocumentEndEvent):
                composer.document.whole = True
                yield composer.document
                composer = _Composer()
            elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                composer.take(event)
    except yaml.MarkedYAMLError as error:
        yield composer.document
        mark = error.problem_mark or error.context_mark
        raise NotYaml(f"no YAML: {error.problem}", mark.index if mark else 0) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a character beyond Unicode, or one not allowed
        yield composer.document
        raise NotYaml("no YAML: a character that it does not allow", 0) from error


class _Composer:
    def __init__(self) -> None:
        self.document = Document()
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}

    def take(self, event: yaml.Event) -> None:
        """Put in its place what the event tells."""
        if isinstance(event, yaml.CollectionEndEvent):
            closed = self._open.pop()
            self._add(_merged(closed.node), closed.size, closed.anchor)
        elif isinstance(event, yaml.AliasEvent):
            value, size = self._anchors.get(str(event.anchor), (None, 1))
            self._add(value, size, None)
        elif isinstance(event, yaml.ScalarEvent):
            self._tagged(event)
            if event.tag == _BINARY:
                self.document.binary.append(str(event.value))
            self._add(_scalar(event), 1, event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._tagged(event)
            self._open.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor))
            if len(self._open) > _MAX_DEPTH:
                raise Exhausted(f"YAML is nested deeper than {_MAX_DEPTH} levels")

    def _tagged(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag is not None and event.start_mark is not None:
            self.document.tags.append((event.tag, event.start_mark.index))

    def _add(self, value: Any, size: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = value, size
        if not self._open:
            self.document.root = value
            return
        parent = self._open[-1]
        parent.size += size
        if parent.size > _MAX_NODES:
            raise Exhausted(f"YAML of more than {_MAX_NODES} nodes, aliases counted as often as they stand")
        if isinstance(parent.node, list):
            parent.node.append(value)
        elif parent.key is None:
            parent.key = self._key(parent.node, value)
        else:
            parent.node[parent.key], parent.key = value, None

    def _key(self, node: dict[str, Any], value: Any) -> str:
        """A key as text, of which a collection has none. What the key meant before is not lost."""
        key = "" if isinstance(value, dict | list) else str(value)
        if isinstance(value, dict | list):
            self.document.others.append(value)
        if key in node:
            self.document.others.append({key: node[key]})
        return key


def _merged(node: dict[str, Any] | list[Any]) -> dict[str, Any] | list[Any]:
    """With the keys of the mappings under `<<`, which its own keys hide."""
    if isinstance(node, list) or "<<" not in node:
        return node
    others = node.pop("<<")
    for other in others if isinstance(others, list) else [others]:
        if isinstance(other, dict):
            node = {**other, **node}
    return node


def _scalar(event: yaml.ScalarEvent) -> Any:
    text = str(event.value)
    if event.tag not in _READ or (event.tag is None and event.style):
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return int(text.replace("_", ""), 0) if len(text) <= _MAX_DIGITS else text
    except ValueError:
        return text
