"""What each opcode of protocols 0 to 5 does to the stack and the memo.

A handler gets the machine and the offset behind its opcode, and returns the offset of the next. Its meaning follows
`Lib/pickle.py` and `Modules/_pickle.c` of CPython 3.11 to 3.14; where the two differ it does what lets more happen.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.context import shown
from vallum_validator.scan.pickled import objects
from vallum_validator.scan.pickled.escapes import unescaped
from vallum_validator.scan.pickled.machine import Handler, Machine
from vallum_validator.scan.pickled.numbers import as_number
from vallum_validator.scan.pickled.values import (
    MAX_KEPT,
    OPAQUE,
    Container,
    Stretch,
    keys_of,
    long_tuple,
    measured,
    packed,
)

_U16: Final = struct.Struct("<H")
_I32: Final = struct.Struct("<i")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_F64: Final = struct.Struct(">d")


def _constant(value: Any) -> Handler:
    def push(machine: Machine, start: int) -> int:
        machine.stack.append(value)
        return start

    return push


def _container(kind: str) -> Handler:
    def push(machine: Machine, start: int) -> int:
        machine.stack.append(Container(kind))
        return start

    return push


def _number(form: struct.Struct) -> Handler:
    size, unpack = form.size, form.unpack_from

    def push(machine: Machine, start: int) -> int:
        end = machine.end_of(start, size)
        machine.stack.append(unpack(machine.data, start)[0])
        return end

    return push


def _byte(machine: Machine, start: int) -> int:
    machine.stack.append(machine.data[start])
    return start + 1


def _text_of(raw: memoryview | bytes, encoding: str) -> Any:
    if encoding == "bytes":
        return bytes(raw) if len(raw) <= MAX_KEPT else Stretch(memoryview(raw))
    if len(raw) > MAX_KEPT:
        return OPAQUE
    try:
        return str(raw, encoding, "surrogatepass")
    except UnicodeDecodeError:
        return OPAQUE


def _sized(form: struct.Struct | None, encoding: str) -> Handler:
    """A length in that form (one byte where `None`), then as many bytes."""
    width = form.size if form else 1

    def push(machine: Machine, start: int) -> int:
        begin = machine.end_of(start, width)
        length = form.unpack_from(machine.data, start)[0] if form else machine.data[start]
        end = machine.end_of(begin, length)
        machine.stack.append(_text_of(machine.data[begin:end], encoding))
        return end

    return push


_BINBYTES8: Final = _sized(_U64, "bytes")


def _bytearray(machine: Machine, start: int) -> int:
    end = _BINBYTES8(machine, start)
    array = Container("bytearray")
    array.add([machine.pop()])
    machine.stack.append(array)
    return end


def _long(width: int) -> Handler:
    def push(machine: Machine, start: int) -> int:
        begin = machine.end_of(start, width)
        length = int.from_bytes(machine.data[start:begin], "little")
        end = machine.end_of(begin, length)
        kept = length <= MAX_KEPT
        machine.stack.append(int.from_bytes(machine.data[begin:end], "little", signed=True) if kept else OPAQUE)
        return end

    return push


def _int_line(machine: Machine, start: int) -> int:
    text, end = machine.line(start)
    if text in (b"00", b"01"):
        machine.stack.append(text == b"01")
    else:
        machine.stack.append(as_number(text))
    return end


def _number_line(machine: Machine, start: int) -> int:
    text, end = machine.line(start)
    machine.stack.append(as_number(text))
    return end


def _float_line(machine: Machine, start: int) -> int:
    _, end = machine.line(start)
    machine.stack.append(OPAQUE)
    return end


def _quoted_line(machine: Machine, start: int) -> int:
    text, end = machine.line(start)
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in b"\"'":
        raise Invalid(f"the STRING at offset {start} is not quoted: {shown(text)}")
    machine.stack.append(_text_of(unescaped(text[1:-1]), "latin-1"))
    return end


def _unicode_line(machine: Machine, start: int) -> int:
    text, end = machine.line(start)
    machine.stack.append(str(text, "raw-unicode-escape", "replace") if len(text) <= MAX_KEPT else OPAQUE)
    return end


def _tuple_of(count: int) -> Handler:
    def pack(machine: Machine, start: int) -> int:
        stack = machine.stack
        if len(stack) < count:
            raise Invalid(f"TUPLE{count} at offset {start - 1} needs {count} values, {len(stack)} are there")
        stack[-count:] = [packed(stack[-count:])]
        return start

    return pack


def _tuple(machine: Machine, start: int) -> int:
    values = machine.pop_mark(bare=True)
    machine.stack.append(packed(values) if len(values) <= Container.MAX_ITEMS else long_tuple(values))
    return start


def _tell_keys(machine: Machine, offset: int, opcode: str, kind: str, items: list[Any]) -> None:
    keys = keys_of(kind, items)
    if keys:
        machine.observer.keyed(offset, opcode, keys)


def _marked(kind: str) -> Handler:
    def gather(machine: Machine, start: int) -> int:
        container = Container(kind)
        items = machine.pop_mark()
        container.add(items)
        _tell_keys(machine, start - 1, chr(machine.data[start - 1]), kind, items)
        machine.stack.append(container)
        return start

    return gather


def _store(opcode: str, count: int | None) -> Handler:
    """APPEND and SETITEM take `count` values, the plural forms all since the mark."""

    def put(machine: Machine, start: int) -> int:
        items = machine.pop_mark() if count is None else [machine.pop() for _ in range(count)][::-1]
        target = machine.stack[-1]
        if isinstance(target, Container):
            if target.sealed:
                raise Exhausted(f"{opcode} at offset {start - 1} adds to what was built before, with other data")
            target.add(items)
            _tell_keys(machine, start - 1, opcode, target.kind, items)
        elif items or opcode in ("APPEND", "SETITEM", "APPENDS"):
            measured(items)
            machine.observer.store(start - 1, opcode, target, items)
        return machine.look(start) if count is None else start

    return put


def _put_line(machine: Machine, start: int) -> int:
    text, end = machine.line(start)
    machine.remember(start - 1, _index(text))
    return end


def _get_line(machine: Machine, start: int) -> int:
    text, end = machine.line(start)
    machine.stack.append(machine.recall(_index(text)))
    return end


def _index(text: bytes) -> int:
    try:
        return int(text.partition(b"\0")[0])  # _pickle reads a C string, which a zero byte ends
    except ValueError as error:
        raise Invalid(f"memo index {shown(text)} is no number") from error


def _put(machine: Machine, start: int) -> int:
    machine.remember(start - 1, machine.data[start])
    return start + 1


def _get(machine: Machine, start: int) -> int:
    machine.stack.append(machine.recall(machine.data[start]))
    return start + 1


def _long_put(machine: Machine, start: int) -> int:
    end = machine.end_of(start, 4)
    machine.remember(start - 1, _U32.unpack_from(machine.data, start)[0])
    return end


def _long_get(machine: Machine, start: int) -> int:
    end = machine.end_of(start, 4)
    machine.stack.append(machine.recall(_U32.unpack_from(machine.data, start)[0]))
    return end


def _memoize(machine: Machine, start: int) -> int:
    machine.memo.note(machine.stack[-1])
    return start


def _protocol(machine: Machine, start: int) -> int:
    machine.protocol = machine.data[start]
    if machine.protocol > 5:
        raise Invalid(f"pickle protocol {machine.protocol} does not exist")
    return start + 1


def _frame(machine: Machine, start: int) -> int:
    # _pickle refuses a frame that is longer than the stream, the unpickler in Python (joblib's) takes what there is.
    end = machine.end_of(start, 8)
    length = _U64.unpack_from(machine.data, start)[0]
    machine.end_of(end, min(length, len(machine.data) - end))
    # A frame inside a frame ends the unpickler in Python; _pickle reads on, and only the outer one counts.
    if machine.frame_end <= end:
        machine.frame_end = end + length
    return machine.skip_run(end) if machine.bulk else end


def _mark(machine: Machine, start: int) -> int:
    machine.mark()
    return machine.look(start)


def _pop(machine: Machine, start: int) -> int:
    machine.discard()
    return start


def _pop_mark(machine: Machine, start: int) -> int:
    machine.pop_mark()
    return start


def _dup(machine: Machine, start: int) -> int:
    machine.stack.append(machine.stack[-1])
    return start


def _readonly(machine: Machine, start: int) -> int:
    machine.stack[-1]  # an empty stack is an error here as there
    return start


def _persistent_line(machine: Machine, start: int) -> int:
    text, end = machine.line(start)
    machine.stack.append(machine.observer.persistent(start - 1, "PERSID", str(text, "latin-1")))
    return end


def _persistent(machine: Machine, start: int) -> int:
    machine.stack.append(machine.observer.persistent(start - 1, "BINPERSID", machine.pop()))
    return start


def _extension(width: int) -> Handler:
    def push(machine: Machine, start: int) -> int:
        end = machine.end_of(start, width)
        code = int.from_bytes(machine.data[start:end], "little")
        machine.stack.append(machine.observer.extension(start - 1, f"EXT{width}", code))
        return end

    return push


def _next_buffer(machine: Machine, start: int) -> int:
    machine.stack.append(machine.observer.buffer(start - 1))
    return start


_TABLE: Final[dict[bytes, Handler]] = {
    b"(": _mark,
    b"0": _pop,
    b"1": _pop_mark,
    b"2": _dup,
    b"F": _float_line,
    b"I": _int_line,
    b"L": _number_line,
    b"J": _number(_I32),
    b"K": _byte,
    b"M": _number(_U16),
    b"N": _constant(None),
    b"P": _persistent_line,
    b"Q": _persistent,
    b"R": objects.reduce,
    b"S": _quoted_line,
    b"T": _sized(_U32, "latin-1"),
    b"U": _sized(None, "latin-1"),
    b"V": _unicode_line,
    b"X": _sized(_U32, "utf-8"),
    b"a": _store("APPEND", 1),
    b"b": objects.build,
    b"c": objects.global_line,
    b"d": _marked("dict"),
    b"}": _container("dict"),
    b"e": _store("APPENDS", None),
    b"g": _get_line,
    b"h": _get,
    b"i": objects.instance_line,
    b"j": _long_get,
    b"l": _marked("list"),
    b"]": _container("list"),
    b"o": objects.instance,
    b"p": _put_line,
    b"q": _put,
    b"r": _long_put,
    b"s": _store("SETITEM", 2),
    b"t": _tuple,
    b")": _constant(()),
    b"u": _store("SETITEMS", None),
    b"G": _number(_F64),
    b"B": _sized(_U32, "bytes"),
    b"C": _sized(None, "bytes"),
    b"\x80": _protocol,
    b"\x81": objects.new_object,
    b"\x82": _extension(1),
    b"\x83": _extension(2),
    b"\x84": _extension(4),
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b"\x8a": _long(1),
    b"\x8b": _long(4),
    b"\x8c": _sized(None, "utf-8"),
    b"\x8d": _sized(_U64, "utf-8"),
    b"\x8e": _BINBYTES8,
    b"\x8f": _container("set"),
    b"\x90": _store("ADDITEMS", None),
    b"\x91": _marked("frozenset"),
    b"\x92": objects.new_object_with_keywords,
    b"\x93": objects.global_from_stack,
    b"\x94": _memoize,
    b"\x95": _frame,
    b"\x96": _bytearray,
    b"\x97": _next_buffer,
    b"\x98": _readonly,
}

HANDLERS: Final[list[Handler | None]] = [_TABLE.get(bytes([value])) for value in range(256)]
"""The handler of each byte; `None` for STOP and for bytes that are no opcode."""
