"""The values the machine puts on its stack instead of real ones.

Plain data that is small enough to matter (text, numbers, `None`, tuples) stands for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final

from vallum_common.errors import Exhausted

MAX_KEPT: Final = 64 * 1024
"""Longer text and bytes become `OPAQUE`: no module name or command is that long, and memory stays flat."""


MAX_WEIGHT: Final = 1 << 40
MAX_DEPTH: Final = 5_000
"""Five times what Python lets itself recurse to, and so what a pickler writes."""


_BYTES_PER_STEP: Final = 4
"""How many bytes of a run are charged as one opcode."""


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


@dataclass(frozen=True, slots=True, repr=False)
class Stretch(Opaque):
    """Bytes that are too long to be kept, where they lie in the file.

    Args:
        data: the bytes.
    """

    data: memoryview

    def __repr__(self) -> str:
        return "<data>"


@dataclass(frozen=True, slots=True)
class Global:
    """A class, function or module attribute that the pickle named.

    Args:
        module: as the unpickler would import it.
        name: attribute, dotted where nested.
        grade: what the allow-lists say.
        offset: of the opcode that named it.
        path: module and name with a dot between them.
    """

    module: str
    name: str
    grade: Grade
    offset: int
    path: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", f"{self.module}.{self.name}")

    def __repr__(self) -> str:
        return f"<{self.path}>"


@dataclass(frozen=True, slots=True, repr=False)
class Tool(Global):
    """A callable that gives what it is asked for. Honest pickles call it where they name it and hand it to nobody.

    Args:
        handed_on: told when it is put in a tuple or a container, from where anything may call it.
    """

    handed_on: Callable[[Tool], None]


@dataclass(slots=True)
class Instance:
    """What a call or an instantiation gave.

    Args:
        source: what was called, as text.
        arguments: what it was called with.
        state: what BUILD gave it last.
        may_be_text: whether it can be a real `str`, which STACK_GLOBAL takes for a name.
        answers: whether a function of the file's choice runs where somebody calls a method of it, or of what it holds.
        given: what else it was made of; only what can act, or can be changed into what does.
        attributes: what it was given by BUILD and as items, likewise.
        hashed: whether it is part of a key, so that it may be asked whether it equals another one.
    """

    source: str
    arguments: Any = None
    state: Any = None
    may_be_text: bool = True
    answers: bool = False
    given: list[Any] = field(default_factory=list)
    attributes: list[Any] = field(default_factory=list)
    hashed: bool = False

    def __repr__(self) -> str:
        return f"<result of {self.source}>"


@dataclass(slots=True, eq=False)
class Run:
    """Plain data between two offsets, and what is known of it by now.

    Args:
        start: of its first opcode.
        end: behind its last.
        memo_base: how many entries the memo had before it.
        long_texts: where each text in it begins that is too long for the expression, where it ends, and its note.
        values: what it leaves on the stack, once that was worked out.
        stand_in: the container that lies on the stack for it, where it leaves just that.
        work_out: fills `values`.
    """

    start: int
    end: int
    memo_base: int = 0
    long_texts: list[tuple[int, int, int]] = field(default_factory=list)
    values: list[Any] | None = None
    stand_in: Container | None = None
    work_out: Callable[[Run], list[Any]] | None = None

    @property
    def cost(self) -> int:
        """Opcodes charged for it: as many as there may be, at the speed at which runs are passed over."""
        texts = sum(end - start for start, _, end in self.long_texts)
        return len(self.long_texts) + (self.end - self.start - texts) // _BYTES_PER_STEP

    def bare(self) -> list[Any]:
        """What it leaves on the stack, worked out now if it was not before."""
        if self.values is None and self.work_out is not None:
            self.work_out(self)
        return self.values or []

    def __repr__(self) -> str:
        return "<data>"


class Nest(tuple[Any, ...]):
    """A tuple in which are tuples or containers.

    Args:
        weight: how many values it holds with everything in it, each as often as it is referred to.
        depth: of nesting.
    """

    weight: int
    depth: int


def packed(items: list[Any]) -> tuple[Any, ...]:
    """The items as a tuple. Raises: Exhausted, as `measured` does."""
    weight, depth = measured(items)
    if not depth:
        return tuple(items)
    nest = Nest(items)
    nest.weight, nest.depth = weight + 1, depth + 1
    return nest


def measured(items: list[Any]) -> tuple[int, int]:
    """The weight of tuples and containers among the items, and how deep the deepest is.

    Raises:
        Exhausted: they refer to so many values that walking them never ends (a billion laughs), or nest so deeply that
            walking them overflows the stack.
    """
    weight = depth = 0
    if _NESTING.isdisjoint(map(type, items)):
        return weight, depth
    for item in items:
        if type(item) is Container or type(item) is Nest:
            weight += item.weight
            depth = max(depth, item.depth)
        elif type(item) is tuple and item:
            weight += len(item)
            depth = max(depth, 1)
        elif type(item) is Tool:
            item.handed_on(item)
    if weight > MAX_WEIGHT:
        raise Exhausted(f"what follows refers to more than {MAX_WEIGHT} values, counted as often as they occur")
    if depth > MAX_DEPTH:
        raise Exhausted(f"values are nested deeper than {MAX_DEPTH} levels")
    return weight, depth


@dataclass(slots=True, eq=False)
class Container:
    """A list, dict, set or byte array.

    Args:
        kind: `list`, `dict`, `set`, `frozenset` or `bytearray`.
        items: what is in it, keys and values in turn for a dict; cut at `MAX_ITEMS`. A `Run` stands for many.
        cut: whether items are missing.
        weight: how many values it holds with everything in it, each as often as it is referred to.
        depth: of nesting.
        run: that it stands in for.
        beyond: what was cut off and can act.
        sealed: whether it was fetched out of a run that others may hold as plain data: nothing may be put in any more.
    """

    kind: str
    items: list[Any] = field(default_factory=list)
    cut: bool = False
    weight: int = 1
    depth: int = 1
    run: Run | None = None
    beyond: list[Any] = field(default_factory=list)
    sealed: bool = False

    MAX_ITEMS = 512
    MAX_BEYOND = 1 << 22

    def add(self, items: list[Any]) -> None:
        """Put items in, as far as they are kept. Raises: Exhausted, as `measured` does."""
        weight, depth = measured(items)
        if depth:
            self.weight += weight
            self.depth = max(self.depth, depth + 1)
        room = self.MAX_ITEMS - len(self.items)
        self.items += items[:room]
        if len(items) > room:
            self.cut = True
            self._keep(items[room:])

    def _keep(self, items: list[Any]) -> None:
        self.beyond += [item for item in items if not is_still(item)]
        if len(self.beyond) > self.MAX_BEYOND:
            raise Exhausted(f"more than {self.MAX_BEYOND} objects are in one {self.kind}")

    def contents(self) -> list[Any]:
        """What is in it, with the values of runs in their place."""
        if self.run is not None:
            self.run.bare()
        bare: list[Any] = []
        for item in self.items:
            bare += item.bare() if type(item) is Run else [item]
        if len(bare) > self.MAX_ITEMS:
            self.cut, bare = True, bare[: self.MAX_ITEMS]
        return bare

    def active(self) -> list[Any]:
        """Whatever in it can act, as much as there is."""
        return [item for item in self.items if not is_still(item)] + self.beyond

    def as_dict(self) -> dict[str, Any] | None:
        """The entries by their text keys, or `None` where they are not all known."""
        items = self.contents()
        if self.kind != "dict" or self.cut:
            return None
        pairs = zip(items[::2], items[1::2], strict=False)
        return {key: value for key, value in pairs if isinstance(key, str)}

    def take_over(self, earlier: Container) -> None:
        """Hold what `earlier` holds, and what was added here since."""
        later, self.items = self.items, []
        self.weight -= 1
        self.cut = self.cut or earlier.cut
        self.weight += earlier.weight
        both = earlier.items + later
        self.items = both[: self.MAX_ITEMS]
        self.cut = self.cut or len(both) > self.MAX_ITEMS
        self._keep(both[self.MAX_ITEMS :])

    def __repr__(self) -> str:
        return f"<{self.kind}>"


_NESTING: Final = frozenset({tuple, Nest, Container, Tool})
_STILL: Final = frozenset({str, bytes, int, float, bool, type(None), Opaque, Stretch, Run})


def is_still(value: Any) -> bool:
    """Whether a value is plain data that stays it: nothing in it can act, nothing can be put into it."""
    return type(value) in _STILL or (type(value) is tuple and _STILL.issuperset(map(type, value)))


def long_tuple(values: list[Any]) -> Any:
    """Stands for a tuple of more values than are kept. Raises: Exhausted, as `measured` does."""
    if all(map(is_still, values)):
        return OPAQUE
    container = Container("tuple")
    container.add(values)
    return container


def keys_of(kind: str, items: list[Any]) -> list[Any]:
    """What is asked for its hash when the items are put into a container of that kind: that which can act."""
    if kind not in ("dict", "set", "frozenset") or all(map(is_still, items)):
        return []
    if kind == "dict":
        bare: list[Any] = []
        for item in items:
            bare += item.bare() if type(item) is Run else [item]
        items = bare[::2]
    return [item for item in items if not is_still(item) and not isinstance(item, Global)]


def duplicate(value: Any) -> Any:
    """The value, or a copy of it where it is one that opcodes change."""
    if type(value) is Container:
        items = value.contents()
        return Container(value.kind, items, value.cut, value.weight, value.depth, beyond=list(value.beyond))
    if type(value) is Instance:
        return replace(value, given=list(value.given), attributes=list(value.attributes))
    return value
