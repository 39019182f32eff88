"""The pickle machine against CPython's own unpicklers: it never sees fewer imports, calls or changes than happen.

The law: whatever bytes are loaded, and by whichever loader (`_pickle`, the unpickler in Python, with and without a file
that can peek, joblib), every import, call, change and store that happens is seen by the machine in the same order,
until the machine says that it cannot follow; and then the file is not clean.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import os
import pickle
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.context import Budget, Limits
from vallum_validator.scan.pickled.arrays import array_skipper
from vallum_validator.scan.pickled.bulk import MIN_BYTES
from vallum_validator.scan.pickled.machine import Machine
from vallum_validator.scan.pickled.opcodes import HANDLERS
from vallum_validator.scan.pickled.values import Global, Grade, Instance

PROGRAMS = int(os.environ.get("VALLUM_MACHINE_PROGRAMS", "1500"))
"""For each loader. Set it to a million to look longer."""
Event = tuple[str, ...]
REFUSED: Event = ("refused",)
"""CPython's own loaders disagree from here on; the machine stops, and the file is not clean."""
STORE: Event = ("store",)
EXTENSION = 7
READERS: dict[str, tuple[type, Callable[[bytes], Any]]] = {
    "C": (pickle.Unpickler, io.BytesIO),
    "C that can peek": (pickle.Unpickler, lambda data: io.BufferedReader(io.BytesIO(data))),  # type: ignore[arg-type]
    "Python": (pickle._Unpickler, io.BytesIO),  # type: ignore[attr-defined]
}
LIBRARY = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): NumpyArrayWrapper,
}
"""What joblib's reader needs for real; what is done with it is no event."""


@pytest.fixture(autouse=True, scope="module")
def extension() -> Iterator[None]:
    copyreg.add_extension("ext", "named", EXTENSION)
    yield
    copyreg.remove_extension("ext", "named", EXTENSION)


class Recorder:
    """An observer that notes what it is told and lets everything go on."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def name(self, offset: int, opcode: str, module: str, name: str) -> Global:
        if (module, name) not in LIBRARY:
            self.events.append(("name", module, name))
        return Global(module, name, Grade.CALLABLE, offset)

    def name_computed(self, offset: int, module: Any, name: Any) -> Any:
        raise Invalid("STACK_GLOBAL requires str")

    def call(self, offset: int, opcode: str, target: Any, arguments: Any) -> Any:
        if not isinstance(target, Global | Instance):
            raise Invalid("not callable")
        if isinstance(target, Global) and (target.module, target.name) in LIBRARY:
            return Instance(target.path, arguments)
        self.events.append(("call",))
        return Instance("a call")

    def build(self, offset: int, target: Any, state: Any) -> None:
        if isinstance(target, Instance) and target.arguments is not None:
            target.state = state
        elif isinstance(target, Global | Instance):
            self.events.append(("build",))

    def store(self, offset: int, opcode: str, target: Any, items: list[Any]) -> None:
        if isinstance(target, Global | Instance):
            self.events.append(("store",))

    def keyed(self, offset: int, opcode: str, keys: list[Any]) -> None:
        pass

    def extension(self, offset: int, opcode: str, code: int) -> Any:
        if code != EXTENSION:
            raise Invalid("unregistered extension code")
        if ("name", "ext", "named") not in self.events:  # copyreg keeps what a code stood for
            self.events.append(("name", "ext", "named"))
        return Instance("an extension")

    def persistent(self, offset: int, opcode: str, identity: Any) -> Any:
        self.events.append(("persistent",))
        return Instance("a persistent id")

    def bomb(self, offset: int, index: int, entries: int) -> None:
        return None

    def buffer(self, offset: int) -> Any:
        raise Invalid("no buffers")


def stand_in(events: list[Event]) -> Any:
    """A class that notes what is done with it, with its instances and its subclasses."""

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

    return Thing


def really_happens(data: bytes, reader: str = "C") -> list[Event]:
    """What a loader does with the data, one pickle after the other, with stand-ins for everything it imports."""
    events: list[Event] = []
    thing = stand_in(events)
    base, opened = READERS[reader]
    copyreg._extension_cache.clear()  # type: ignore[attr-defined]

    class Watching(base):  # type: ignore[misc, valid-type]
        def find_class(self, module: str, name: str) -> Any:
            events.append(("name", module, name))
            return type(thing)("Named", (thing,), {})

        def persistent_load(self, identity: Any) -> Any:
            events.append(("persistent",))
            return object.__new__(thing)

    file = opened(data)
    with contextlib.suppress(Exception):  # any failure ends the loading, as it does for a victim
        while True:
            Watching(file).load()
    return events


def joblib_does(data: bytes) -> list[Event]:
    """What joblib's reader does with the data."""
    events: list[Event] = []
    thing = stand_in(events)
    copyreg._extension_cache.clear()  # type: ignore[attr-defined]

    class Watching(NumpyUnpickler):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) in LIBRARY:
                return LIBRARY[module, name]
            events.append(("name", module, name))
            return type(thing)("Named", (thing,), {})

        def persistent_load(self, identity: Any) -> Any:
            events.append(("persistent",))
            return object.__new__(thing)

    with contextlib.suppress(Exception):
        Watching("", io.BytesIO(data), ensure_native_byte_order=False).load()
    return events


def machine_sees(data: bytes, *, bulk: bool = False, joblib: bool = False) -> list[Event]:
    recorder, budget = Recorder(), Budget.of(Limits(), len(data))
    view = memoryview(data)

    def nested(start: int) -> int:
        return Machine(view, observer=recorder, budget=budget, bulk=bulk).run(start, HANDLERS)

    after_build = array_skipper(nested, lambda machine, start: None) if joblib else None
    position = 0
    try:
        while position < len(data):
            machine = Machine(view, observer=recorder, budget=budget, after_build=after_build, bulk=bulk)
            position = machine.run(position, HANDLERS)
    except Invalid:
        if joblib:  # an array that it does not understand
            recorder.events.append(REFUSED)
    except Exhausted:
        recorder.events.append(REFUSED)
    return recorder.events


KNOWN = [byte for byte, handler in enumerate(HANDLERS) if handler is not None]


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
        b"\x97",
        b"(" + b"K\x01" * byte[0] + b"o",
        b"c" + word + b"\nn\n)}X\x01\0\0\0kK\x01s\x92",
        bytes([0x82, EXTENSION + byte[0] // 5]),
        b"\x83" + struct.pack("<H", EXTENSION),
        b"\x84" + struct.pack("<i", EXTENSION),
        b"\x8b" + struct.pack("<i", 2) + b"\x01\x02",
        b"\x8d" + struct.pack("<Q", len(word)) + word,
        b"\x8e" + struct.pack("<Q", len(word)) + word,
        b"\x96" + struct.pack("<Q", len(word)) + word,
        b"\x96" + struct.pack("<Q", 1) + b"xK\x01a",
        b"B" + struct.pack("<I", len(word)) + word,
        b"T" + struct.pack("<I", len(word)) + word,
        b"U" + bytes([len(word)]) + word,
        b"\x89",
        b"I0" + bytes([48 + byte[0] % 2]) + b"\n",
        b"g" + str(byte[0]).encode() + b"\0junk\n",
        b"p" + str(byte[0] + 40).encode() + b"\n",
        b"].0",
        b".",
        b"}(" + b"K\x01" * byte[0] + b"u",
        b"](\x8c\x01aK\x01\x86\x8c\x01b]\x94K\x02ae",
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
    memo = machine._runs
    saved = list(machine.stack), [list(level) for level in machine._metastack], list(memo._last), memo._table
    memo._table = dict(memo._table) if memo._table is not None else None
    machine.data, position = memoryview(added), 0
    try:
        while position < len(added):
            handler = HANDLERS[added[position]]
            if handler is None:
                break  # STOP: the next pickle begins with whatever is there, which is as good as anything
            position = handler(machine, position + 1)
    except (Invalid, Exhausted, IndexError):
        machine.stack, machine._metastack, last, memo._table = saved
        memo._last[:] = last
        return False
    return True


def program(chosen: random.Random, extra: Callable[[random.Random], bytes] | None = None) -> bytes:
    """A program most of whose opcodes can be carried out, and some of which cannot; now and then one that is cut."""
    data = b"\x80" + bytes([chosen.randrange(6)]) if chosen.random() < 0.8 else b""
    machine = Machine(memoryview(b""), observer=Recorder(), budget=Budget.of(Limits(), 0), bulk=False)
    for _ in range(chosen.randrange(5, 60)):
        added = extra(chosen) if extra and chosen.random() < 0.2 else opcode(chosen)
        if (extra and added[:1] == b"\x80") or fits(machine, added) or chosen.random() < 0.01:
            data += added
    data += b"."
    return data[: chosen.randrange(len(data))] if chosen.random() < 0.05 else data


def is_prefix(happened: list[Event], seen: list[Event]) -> bool:
    """Whether all that happened was seen, in that order, up to where the machine refused to go on.

    Only stores may be seen that do not happen: ADDITEMS and SETITEMS store item by item, and of no items `_pickle`
    makes nothing while the unpickler in Python calls `extend`.
    """
    if REFUSED in seen:
        seen = seen[: seen.index(REFUSED)]
        happened = [event for event in happened if event != STORE][: len(seen)]
        return happened[: len(without_stores(seen))] == without_stores(seen)[: len(happened)]
    remaining = iter(seen)
    all_seen = all(event in remaining for event in without_repeated_stores(happened))
    return all_seen and without_stores(seen)[: len(without_stores(happened))] == without_stores(happened)


def without_stores(events: list[Event]) -> list[Event]:
    return [event for event in events if event != STORE]


def without_repeated_stores(events: list[Event]) -> list[Event]:
    return [event for event, before in zip(events, [None, *events], strict=False) if event != STORE or before != event]


def assert_law(happened: list[Event], seen: list[Event], data: bytes) -> None:
    assert is_prefix(happened, seen), f"{data!r}\nhappens: {happened}\nseen:    {seen}"


@pytest.mark.parametrize("reader", READERS)
def test_machine_sees_every_event_in_order(reader: str) -> None:
    eventful = 0
    for seed in range(PROGRAMS):
        data = program(random.Random(seed))
        happened = really_happens(data, reader)
        eventful += len(happened) > 1
        assert_law(happened, machine_sees(data), data)
    assert eventful > PROGRAMS // 6, "the generator makes too few programs that do anything"


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.sampled_from(sorted(READERS)))
def test_machine_sees_every_event_of_any_program(chosen: random.Random, reader: str) -> None:
    """As above, with programs that hypothesis chooses and makes small where the law is broken."""
    data = program(chosen)
    assert_law(really_happens(data, reader), machine_sees(data), data)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(sorted(KNOWN)) | st.integers(0, 255), max_size=60), st.sampled_from(sorted(READERS)))
def test_machine_sees_every_event_of_any_bytes(raw: list[int], reader: str) -> None:
    data = bytes(raw)
    assert_law(really_happens(data, reader), machine_sees(data), data)


def joblib_array(chosen: random.Random) -> bytes:
    """A wrapper with some dtype, shape and alignment, and bytes of which joblib takes some for the array."""
    code = chosen.choice(["f8", "i4", "i", "f", "M", "u1", "b1", "V3", "S2", "U1", "O8", "<i2", "?", "V8"])
    size, flags = chosen.choice([(-1, 0), (-1, 63), (-1, 1), (3, 0), (2, 0), (4, 8), (8, 1), (100, 0)])
    state = (chosen.choice([3, 3, 3, 2, 4]), "|", None, None, None, size, 1, flags)
    fields = {"subclass": None, "shape": (chosen.randrange(4),), "order": "C", "allow_mmap": False}
    if chosen.random() < 0.5:
        fields["numpy_array_alignment_bytes"] = chosen.choice([16, None, 0])
    built = pickle.dumps(state, 2)[2:-1] + b"b" if chosen.random() < 0.7 else b""
    dtype = b"cnumpy\ndtype\nU" + bytes([len(code)]) + code.encode() + b"\x85R" + built
    head = b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81"
    body = pickle.dumps(fields, 2)[2:-1] + b"X\x05\0\0\0dtype" + dtype + b"s"
    twice = b"}U\x05shapeK\x01\x85sb" if chosen.random() < 0.1 else b""
    raw = chosen.choice(
        [b"", b"\x00", b"\x01\xff", bytes(chosen.choice(b"Nc0(.K\x01\x02") for _ in range(chosen.randrange(40)))]
    )
    if "O" in code or flags & 1:
        raw = chosen.choice([b"ca\nb\n)R.", b"\x80\x04\x95\x0e\0\0\0\0\0\0\0ca\nb\n)R.....", raw])
    return head + body + b"b" + raw + twice


def test_machine_sees_every_event_that_joblib_causes() -> None:
    eventful = 0
    for seed in range(2 * PROGRAMS):
        data = program(random.Random(seed), joblib_array)
        happened = joblib_does(data)
        eventful += len(happened) > 1
        assert_law(happened, machine_sees(data, joblib=True), data)
    assert eventful > PROGRAMS // 6, "the generator makes too few programs that do anything"


def assert_bulk_changes_nothing(data: bytes) -> None:
    padded = data + b"\0" * MIN_BYTES
    exact, seen = machine_sees(padded), machine_sees(padded, bulk=True)
    # Where opcodes inside a mark find too few values the real unpickler stops, and runs are not looked into.
    assert is_prefix(exact, seen), (data, exact, seen)


def plain_data(chosen: random.Random) -> bytes:
    """Data as picklers write it, which is what runs are made of, and reads of what it notes."""
    value: Any = [
        chosen.choice(["a", "b", 1, 2.5, None, True, b"x", 10**20, "t" * 70, b"y" * 300])
        for _ in range(chosen.randrange(1, 30))
    ]
    for _ in range(chosen.randrange(4)):
        value = chosen.choice(
            [[value] * 2, {"k": value, "a": "b"}, (value, 1), {1, "a"}, [value], {"k": value}, (value,)]
        )
    data = pickle.dumps(value, chosen.choice([2, 4]))[2:-1]
    data = data.removeprefix(data[:9]) if data[:1] == b"\x95" else data
    return data + chosen.choice([b"", b"0", b"h" + bytes([chosen.randrange(60)]), b"q\x03", b"2", b"\x85"])


def test_passing_over_runs_changes_nothing_that_is_seen() -> None:
    for seed in range(PROGRAMS):
        assert_bulk_changes_nothing(program(random.Random(seed), plain_data))


def test_names_that_travel_through_a_long_run_are_seen() -> None:
    filler = b"".join(b"\x8c\x04%04d\x94" % (index % 9999) for index in range(20_000))
    hidden = b"\x80\x04(" + filler[:70_000] + b"\x8c\x02os\x94\x8c\x06system\x94" + filler[70_000:] + b"1"
    first = 70_000 // 7
    data = hidden + b"j" + struct.pack("<I", first) + b"j" + struct.pack("<I", first + 1) + b"\x93)R."
    assert machine_sees(data, bulk=True) == [("name", "os", "system"), ("call",)]
    assert really_happens(data) == [("name", "os", "system"), ("call",)]


def test_names_of_python_2_are_seen_as_find_class_maps_them() -> None:
    assert machine_sees(b"c__builtin__\neval\n.", bulk=False) == [("name", "builtins", "eval")]
    assert machine_sees(b"\x80\x04c__builtin__\neval\n.", bulk=False) == [("name", "__builtin__", "eval")]
