"""The values the machine puts on its stack instead of real ones.

Plain data that is small enough to matter (text, numbers, `None`, tuples) stands for itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from vallum_common.errors import Exhausted
from vallum_validator.scan.pickled.bulk import Run

MAX_KEPT: Final = 64 * 1024
"""Longer text and bytes become `OPAQUE`: no module name or command is that long, and memory stays flat."""


class Grade(IntEnum):
    """What the allow-lists say of a global, from worst to best."""

    DENIED = 0
    """Known to run code, to read or write files, or to import."""
    UNLISTED = 1
    """Nobody has vouched for it."""
    REFERENCE = 2
    """May be named as a value, never called while loading."""
    CLASS = 3
    """May be instantiated without its constructor (NEWOBJ, `copyreg`), and given a state."""
    CALLABLE = 4
    """May be called."""


class Opaque:
    """A value of which nothing is known but that it is data."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<data>"


OPAQUE: Final = Opaque()


@dataclass(frozen=True, slots=True)
class Global:
    """A class, function or module attribute that the pickle named.

    Args:
        module: as the unpickler would import it.
        name: attribute, dotted where nested.
        grade: what the allow-lists say.
        offset: of the opcode that named it.
    """

    module: str
    name: str
    grade: Grade
    offset: int

    @property
    def path(self) -> str:
        """Module and name with a dot between them."""
        return f"{self.module}.{self.name}"

    def __repr__(self) -> str:
        return f"<{self.path}>"


@dataclass(slots=True)
class Instance:
    """What a call or an instantiation gave.

    Args:
        source: what was called, as text.
        arguments: what it was called with.
        state: what BUILD gave it last.
        may_be_text: whether it can be a real `str`, which STACK_GLOBAL takes for a name.
    """

    source: str
    arguments: Any = None
    state: Any = None
    may_be_text: bool = True

    def __repr__(self) -> str:
        return f"<result of {self.source}>"


@dataclass(slots=True)
class Container:
    """A list, dict or set.

    Args:
        kind: `list`, `dict`, `set` or `frozenset`.
        items: what is in it, keys and values in turn for a dict; cut at `MAX_ITEMS`.
        cut: whether items are missing.
        weight: how many values it holds with all containers in it, each as often as it is referred to.
    """

    kind: str
    items: list[Any] = field(default_factory=list)
    cut: bool = False
    weight: int = 1

    MAX_ITEMS = 64
    MAX_WEIGHT = 1 << 40

    def add(self, items: list[Any]) -> None:
        """Put items in, as far as they are kept.

        Raises:
            Exhausted: it refers to so many values that walking it never ends (a billion laughs).
        """
        self.weight += sum([item.weight for item in items if type(item) is Container and item is not self])
        if self.weight > self.MAX_WEIGHT:
            raise Exhausted(
                f"a {self.kind} refers to more than {self.MAX_WEIGHT} values, counted as often as they occur"
            )
        if any(type(item) is Run for item in items[: self.MAX_ITEMS]):
            items, self.cut = [], True
        room = self.MAX_ITEMS - len(self.items)
        self.items.extend(items[:room])
        self.cut = self.cut or len(items) > room

    def as_dict(self) -> dict[str, Any] | None:
        """The entries by their text keys, or `None` where they are not all known."""
        if self.kind != "dict" or self.cut:
            return None
        pairs = zip(self.items[::2], self.items[1::2], strict=False)
        return {key: value for key, value in pairs if isinstance(key, str)}

    def __repr__(self) -> str:
        return f"<{self.kind}>"
