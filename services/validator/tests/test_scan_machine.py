"""The pickle machine against CPython's own unpicklers: it never sees fewer imports, calls or changes than happen."""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import struct
from typing import Any

import pytest

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.context import Budget, Limits
from vallum_validator.scan.pickled.bulk import MIN_BYTES
from vallum_validator.scan.pickled.machine import Machine
from vallum_validator.scan.pickled.opcodes import HANDLERS
from vallum_validator.scan.pickled.values import Global, Grade, Instance

PROGRAMS = 3000
Event = tuple[str, ...]
REFUSED: Event = ("refused",)
"""CPython's own loaders disagree from here on; the machine stops, and the file is not clean."""


class Recorder:
    """An observer that notes what it is told and lets everything go on."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def name(self, offset: int, module: str, name: str) -> Global:
        self.events.append(("name", module, name))
        return Global(module, name, Grade.CALLABLE, offset)

    def name_computed(self, offset: int, module: Any, name: Any) -> Any:
        raise Invalid("STACK_GLOBAL requires str")

    def call(self, offset: int, opcode: str, target: Any, arguments: Any) -> Any:
        if not isinstance(target, Global | Instance):
            raise Invalid("not callable")
        self.events.append(("call",))
        return Instance("a call")

    def build(self, offset: int, target: Any, state: Any) -> None:
        if isinstance(target, Global | Instance):
            self.events.append(("build",))

    def store(self, offset: int, opcode: str, target: Any) -> None:
        if isinstance(target, Global | Instance):
            self.events.append(("store",))

    def extension(self, offset: int, code: int) -> Any:
        raise Invalid("unregistered extension code")

    def persistent(self, offset: int, identity: Any) -> Any:
        self.events.append(("persistent",))
        return Instance("a persistent id")

    def bomb(self, index: int, entries: int) -> None:
        return None

    def buffer(self, offset: int) -> Any:
        raise Invalid("no buffers")


def really_happens(data: bytes, unpickler: type) -> list[Event]:
    """What one of CPython's unpicklers does with the data, with harmless stand-ins for everything it imports."""
    events: list[Event] = []

    class Meta(type):
        def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
            events.append(("call",))
            return object.__new__(cls)

        def __setstate__(cls, state: Any) -> None:
            events.append(("build",))

        def append(cls, item: Any) -> None:
            events.append(("store",))

        def extend(cls, items: Any) -> None:
            events.append(("store",))

        add = append

        def __setitem__(cls, key: Any, value: Any) -> None:
            events.append(("store",))

    class Thing(metaclass=Meta):
        def __new__(cls, *arguments: Any, **keywords: Any) -> Any:
            events.append(("call",))
            return object.__new__(cls)

        def __call__(self, *arguments: Any, **keywords: Any) -> Any:
            events.append(("call",))
            return object.__new__(Thing)

        def __setstate__(self, state: Any) -> None:
            events.append(("build",))

        def append(self, item: Any) -> None:
            events.append(("store",))

        def extend(self, items: Any) -> None:
            events.append(("store",))

        add = append

        def __setitem__(self, key: Any, value: Any) -> None:
            events.append(("store",))

    class Watching(unpickler):  # type: ignore[misc, valid-type]
        def find_class(self, module: str, name: str) -> Any:
            events.append(("name", module, name))
            return Meta("Named", (Thing,), {})

        def persistent_load(self, identity: Any) -> Any:
            events.append(("persistent",))
            return object.__new__(Thing)

    with contextlib.suppress(Exception):  # any failure ends the loading, as it does for a victim
        Watching(io.BytesIO(data)).load()
    return events


def machine_sees(data: bytes, *, bulk: bool) -> list[Event]:
    recorder = Recorder()
    machine = Machine(memoryview(data), observer=recorder, budget=Budget.of(Limits(), len(data)), bulk=bulk)
    try:
        machine.run(0, HANDLERS)
    except Invalid:
        return recorder.events
    except Exhausted:
        recorder.events.append(REFUSED)
    return recorder.events


def text(chosen: random.Random) -> bytes:
    return bytes(chosen.choice(b"abcm") for _ in range(chosen.randrange(1, 4)))


def opcode(chosen: random.Random) -> bytes:
    """One opcode with its argument; those that matter to an attack come more often."""
    word, byte = text(chosen), bytes([chosen.randrange(6)])
    table = [
        b"c" + word + b"\n" + text(chosen) + b"\n",
        b"\x8c" + bytes([len(word)]) + word + b"\x8c" + bytes([len(word)]) + word + b"\x93",
        b"\x8c" + bytes([len(word)]) + word,
        b"X" + struct.pack("<I", len(word)) + word,
        b"C" + bytes([len(word)]) + word,
        b"V" + word + b"\n",
        b"S'" + word + b"'\n",
        b"I" + str(byte[0]).encode() + b"\n",
        b"L5L\n",
        b"F1.5\n",
        b"K" + byte,
        b"M\x01\x02",
        b"J\x01\x02\x03\x04",
        b"G" + struct.pack(">d", 1.5),
        b"\x8a\x01\x05",
        b"N",
        b"\x88",
        b"(",
        b"(" + b"K\x01" * byte[0] + b"t",
        b")R",
        b")\x81",
        b"K\x01\x85R",
        b"}b",
        b"N\x85b",
        b"0",
        b"1",
        b"2",
        b"\x94",
        b"q" + byte,
        b"r" + byte + b"\0\0\0",
        b"p" + str(byte[0]).encode() + b"\n",
        b"h" + byte,
        b"j" + byte + b"\0\0\0",
        b"g" + str(byte[0]).encode() + b"\n",
        b"]",
        b"}",
        b")",
        b"\x8f",
        b"\x85",
        b"\x86",
        b"\x87",
        b"a",
        b"s",
        b"e",
        b"u",
        b"\x90",
        b"\x91",
        b"l",
        b"d",
        b"t",
        b"o",
        b"i" + word + b"\n" + text(chosen) + b"\n",
        b")}\x92",
        b"Q",
        b"Pid\n",
        b"\x98",
        b"\x93",
        b"R",
        b"b",
        b"\x95" + struct.pack("<Q", chosen.randrange(40)),
        b"\x80" + bytes([chosen.randrange(6)]),
        b"](K\x01K\x02e",
        b"}(K\x01K\x02u",
        b"\x94".join([b"K\x01"] * 20) + b"\x94",
    ]
    return chosen.choice(table)


def fits(machine: Machine, added: bytes) -> bool:
    """Whether the opcodes can follow; where they cannot, the machine is as before."""
    saved = list(machine.stack), [list(level) for level in machine._metastack], dict(machine.memo)
    machine.data, position = memoryview(added), 0
    try:
        while position < len(added):
            handler = HANDLERS[added[position]]
            assert handler is not None
            position = handler(machine, position + 1)
    except (Invalid, Exhausted, IndexError):
        machine.stack, machine._metastack = saved[0], saved[1]
        machine.memo.clear()
        machine.memo.update(saved[2])
        return False
    return True


def program(seed: int) -> bytes:
    """A program most of whose opcodes can be carried out, and some of which cannot."""
    chosen = random.Random(seed)
    data = b"\x80" + bytes([chosen.randrange(6)]) if chosen.random() < 0.8 else b""
    machine = Machine(memoryview(b""), observer=Recorder(), budget=Budget.of(Limits(), 0), bulk=False)
    for _ in range(chosen.randrange(5, 60)):
        added = opcode(chosen)
        if fits(machine, added) or chosen.random() < 0.01:
            data += added
    return data + b"."


def without_repeated_stores(events: list[Event]) -> list[Event]:
    """ADDITEMS and SETITEMS store item by item: one opcode, any number of events."""
    return [
        event for event, before in zip(events, [None, *events], strict=False) if event != ("store",) or before != event
    ]


def is_prefix(shorter: list[Event], longer: list[Event]) -> bool:
    shorter, longer = without_repeated_stores(shorter), without_repeated_stores(longer)
    if REFUSED in longer:
        known = min(len(shorter), len(longer) - 1)
        return shorter[:known] == longer[:known]
    return longer[: len(shorter)] == shorter


@pytest.mark.parametrize("unpickler", [pickle.Unpickler, pickle._Unpickler], ids=["C", "Python"])
def test_machine_sees_every_event_in_order(unpickler: type) -> None:
    eventful = 0
    for seed in range(PROGRAMS):
        data = program(seed)
        happened = really_happens(data, unpickler)
        eventful += len(happened) > 1
        assert is_prefix(happened, machine_sees(data, bulk=False)), (seed, data)
    assert eventful > PROGRAMS // 6, "the generator makes too few programs that do anything"


def test_passing_over_runs_changes_nothing_that_is_seen() -> None:
    for seed in range(PROGRAMS):
        data = program(seed) + b"\0" * MIN_BYTES
        assert machine_sees(data, bulk=True) == machine_sees(data, bulk=False), (seed, data[:-MIN_BYTES])


def test_names_that_travel_through_a_long_run_are_seen() -> None:
    filler = b"".join(b"\x8c\x04%04d\x94" % (index % 9999) for index in range(20_000))
    hidden = b"\x80\x04(" + filler[:70_000] + b"\x8c\x02os\x94\x8c\x06system\x94" + filler[70_000:] + b"1"
    first = 70_000 // 7
    data = hidden + b"j" + struct.pack("<I", first) + b"j" + struct.pack("<I", first + 1) + b"\x93)R."
    assert machine_sees(data, bulk=True) == [("name", "os", "system"), ("call",)]
    assert really_happens(data, pickle.Unpickler) == [("name", "os", "system"), ("call",)]


def test_names_of_python_2_are_seen_as_find_class_maps_them() -> None:
    assert machine_sees(b"c__builtin__\neval\n.", bulk=False) == [("name", "builtins", "eval")]
    assert machine_sees(b"\x80\x04c__builtin__\neval\n.", bulk=False) == [("name", "__builtin__", "eval")]
