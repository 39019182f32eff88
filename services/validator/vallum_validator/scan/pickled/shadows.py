"""States that put a callable where loading looks for a method.

An attribute in the `__dict__` of an instance hides a method of its class. So a state `{"append": f}` followed by
APPEND, or `{"__setstate__": f}` followed by a second BUILD, calls `f` although no opcode does; and so does a state that
hides a method which `__setstate__` or `__hash__` of the class calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vallum_validator.scan.allowlist import Allowlist
from vallum_validator.scan.context import shown
from vallum_validator.scan.pickled.answers import METHODS, can_be_called
from vallum_validator.scan.pickled.arguments import Objection, objection_to_partial, rule_for
from vallum_validator.scan.pickled.values import Container, Global, Grade, Instance, Run

PARTIAL: Final = "functools.partial"


def objection_to_shadowing(
    target: Instance, state: Any, *, named: list[tuple[Any, Any]], allowlist: Allowlist
) -> Objection | None:
    """Why an instance may not be given that state, with those attributes, `None` where nothing is hidden."""
    if target.source == PARTIAL and isinstance(state, tuple) and state:
        return objection_to_partial(state)
    for key, value in named:
        if isinstance(key, Instance) and can_be_called(value):
            return Objection(f"puts {shown(value)} under a computed name: {shown(key)}", malicious=True)
        if not isinstance(key, str):
            continue
        if key in allowlist.hooks and isinstance(value, Global | Instance):
            calls = isinstance(value, Global) or value.source == PARTIAL
            return Objection(f"puts {shown(value)} in the place of the method {key!r}", malicious=calls)
        if key in METHODS and can_be_called(value):
            return _poses(target, key, value)
    return None


def call_of_partial(target: Instance, arguments: Any) -> tuple[Global, tuple[Any, ...]] | None:
    """The listed callable that a partial function calls, as blocks of pandas 1.3 are pickled, and all it is given.

    Returns: `None` where that is not known, or is harmless only sometimes.
    """
    if target.source != PARTIAL or not isinstance(arguments, tuple):
        return None
    match target.state, target.arguments:
        case None, (function, *kept):
            given = (*kept, *arguments)
        case (function, tuple(kept), keywords, _), _:
            given = (*kept, *arguments, *([] if keywords is None else [keywords]))
        case _:
            return None
    if type(function) is Global and function.grade is Grade.CALLABLE and rule_for(function.path) is None:
        return function, given
    return None


def objection_to_items(target: Instance, items: list[Any]) -> Objection | None:
    """Why an instance may not be given those items: a `Bunch` looks up an attribute among them."""
    bare: list[Any] = []
    for item in items:
        bare += item.bare() if type(item) is Run else [item]
    for key, value in zip(bare[::2], bare[1::2], strict=False):
        if isinstance(key, str) and key in METHODS and can_be_called(value):
            return _poses(target, key, value)
    return None


def _poses(target: Instance, name: str, value: Any) -> Objection:
    return Objection(f"{target.source} answers to .{name}() with {shown(value)}", malicious=isinstance(value, Instance))


def attributes(state: Any) -> Iterator[tuple[Any, Any]]:
    """What a state sets, as far as it is known: a dict, a pair of them where there are slots, or pairs.

    `self.__dict__.update(state)` takes pairs for a dict.
    """
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, Container) and part.kind == "dict":
            items = part.contents()
            yield from zip(items[::2], items[1::2], strict=False)
    listed = isinstance(state, Container) and state.kind != "dict"
    for pair in state.contents() if listed else state if isinstance(state, tuple) else ():
        parts = pair.contents() if isinstance(pair, Container) and pair.kind == "list" else pair
        if isinstance(parts, tuple | list) and len(parts) == 2:
            yield parts[0], parts[1]
