"""What attacks are written with: pickles put together from opcodes, so that making them runs nothing."""

from __future__ import annotations

import marshal
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Payload:
    """What an attack does: it makes one file, and nothing else.

    Args:
        marker: the path of that file.
    """

    marker: str

    @property
    def shell(self) -> str:
        """As a command line."""
        return f"touch {self.marker}"

    @property
    def words(self) -> list[str]:
        """As a list of arguments."""
        return ["touch", self.marker]

    @property
    def code(self) -> str:
        """As a Python statement, which is an expression, too."""
        return f"open({self.marker!r}, 'w').close()"

    @property
    def pickle(self) -> bytes:
        """As the plainest of pickles."""
        return stream(Call("os:system", self.shell))

    @property
    def marshalled(self) -> bytes:
        """As marshalled byte code."""
        return marshal.dumps(compile(self.code, "x", "exec"))


@dataclass(frozen=True)
class Attack:
    """A hostile file.

    Args:
        name: says what is special about it.
        family: which class of the findings it belongs to.
        build: makes its bytes.
        loader: which real loader runs the payload; empty where none of those installed here does.
        advisory: the identifier or link under which the trick was published.
        expected: the verdict a scan must reach.
        suffix: how its name ends.
    """

    name: str
    family: str
    build: Callable[[Payload], bytes]
    loader: str = "pickle"
    advisory: str = ""
    expected: str = "MALICIOUS"
    suffix: str = ".pkl"


@dataclass(frozen=True)
class Name:
    """Pickles as a global, written `module:name`."""

    path: str


@dataclass(frozen=True)
class Raw:
    """Pickles as these opcodes, which must leave one value on the stack."""

    opcodes: bytes


class Call:
    """Pickles as a call of a global by name, whatever is installed; arguments may be calls themselves."""

    def __init__(self, path: str, *arguments: Any) -> None:
        self.path, self.arguments = path, arguments


class Result:
    """Pickles as a call of whatever `target` pickles as."""

    def __init__(self, target: Any, *arguments: Any) -> None:
        self.target, self.arguments = target, arguments


def attribute(target: Any, name: str) -> Call:
    """Pickles as `getattr(target, name)`."""
    return Call("builtins:getattr", target, name)


def new(path: str, *arguments: Any, state: Any = None) -> Raw:
    """Pickles as `cls.__new__(cls, *arguments)`, given that state."""
    return Raw(push(Name(path)) + push(arguments) + b"\x81" + (b"" if state is None else push(state) + b"b"))


def built(target: Any, state: Any) -> Raw:
    """Pickles as the target, given that state."""
    return Raw(push(target) + push(state) + b"b")


def text(value: str) -> bytes:
    """The opcode for a text."""
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw if len(raw) < 256 else b"X" + struct.pack("<I", len(raw)) + raw


def push(value: Any) -> bytes:
    """Opcodes of protocol 4 that leave the value on the stack."""
    match value:
        case Raw():
            return value.opcodes
        case Name():
            module, _, name = value.path.partition(":")
            return text(module) + text(name) + b"\x93"
        case Call():
            return push(Name(value.path)) + b"(" + b"".join(map(push, value.arguments)) + b"tR"
        case Result():
            return push(value.target) + b"(" + b"".join(map(push, value.arguments)) + b"tR"
        case list():
            return b"](" + b"".join(map(push, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(push, value)) + b"t"
        case dict():
            return b"}(" + b"".join(push(key) + push(item) for key, item in value.items()) + b"u"
        case str():
            return text(value)
    return pickle.dumps(value, 2)[2:-1]


def stream(value: Any) -> bytes:
    """A whole pickle that becomes the value."""
    return b"\x80\x04" + push(value) + b"."


Calls = Mapping[str, Callable[[Payload], Any]]


def of_calls(family: str, calls: Calls, **options: str) -> list[Attack]:
    """An attack for each value that must not be pickled."""

    def attack(name: str, make: Callable[[Payload], Any]) -> Attack:
        return Attack(name, family, lambda payload: stream(make(payload)), **options)

    return [attack(name, make) for name, make in calls.items()]
