"""What the real loaders would reach: CPython's unpicklers in Python and in C, joblib, numpy and torch, all recording,
and PyYAML with its parsers in Python and in C.

Nothing named by a file is imported or called. A name gives a stand-in that accepts every call, so the loaders go on
further than they would, and what they reach is more than what really runs.
"""

from __future__ import annotations

import ast
import contextlib
import io
import pickle
import re
import zipfile
from typing import Any, Final

import yaml
from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

HOSTILE: Final = re.compile(
    r"(os|posix|nt|subprocess|commands|pty|shutil|socket|sys|importlib|runpy|marshal|ctypes)(\.|$)"
)
_BUILTINS: Final = frozenset({"eval", "exec", "execfile", "open", "compile", "__import__", "setattr", "delattr"})
_KNOWN: Final = re.compile(
    r"(numpy|collections|joblib|builtins|__builtin__|copyreg|sklearn|scipy|pandas|datetime|torch)(\.|$)"
)
_MAX_MEMO: Final = 1 << 20


class Reached(Exception):
    """A loader came to a hostile name."""


class Thing:
    """Stands for whatever a file names: it can be called, changed and filled."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Thing:
        return Thing()

    def __setstate__(self, _: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        """Take an item."""

    extend = add = append

    def __setitem__(self, _: Any, __: Any) -> None:
        pass


def look_up(module: str, name: str) -> Any:
    """What a recording loader gets for a name.

    Raises:
        Reached: the name is hostile.
        ImportError: nobody has such a module.
    """
    if HOSTILE.match(module) or (module in ("builtins", "__builtin__") and name.partition(".")[0] in _BUILTINS):
        raise Reached(f"{module}.{name}")
    if not _KNOWN.match(module):
        raise ImportError(module)
    return Thing


class _InPython(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return look_up(module, name)


class _InC(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return look_up(module, name)


class _Torch(_InPython):
    def persistent_load(self, _: Any) -> Any:
        return Thing()


class _Array(NumpyArrayWrapper):  # type: ignore[misc]
    """The array of a joblib file: passed over, or followed where its elements are pickles."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def read(self, unpickler: Any, *_: Any, **__: Any) -> Any:
        """Stand where joblib stands after it has read the array."""
        if getattr(self, "objects", True):
            return _InPython(unpickler.file_handle).load()
        return Thing()


class _Joblib(NumpyUnpickler):  # type: ignore[misc]
    def find_class(self, module: str, name: str) -> Any:
        if module == "joblib.numpy_pickle" and name == "NumpyArrayWrapper":
            return _Array
        return look_up(module, name)


def reaches_hostile_name(data: bytes) -> bool:
    """Whether a loader of the file would come to a hostile name."""
    loads = (_in_python, _in_c, _joblib, _numpy, _torch_zip, _yaml_in_python, _yaml_in_c)
    return any(_reaches(load, data) for load in loads)


def _reaches(load: Any, data: bytes) -> bool:
    try:
        load(data)
    except Reached:
        return True
    except (Exception, RecursionError):  # noqa: BLE001 - whatever ends the loading: what counts was reached before
        return False
    return False


def _in_python(data: bytes) -> None:
    stream = io.BytesIO(data)
    for _ in range(4):
        _InPython(stream).load()


def _in_c(data: bytes) -> None:
    # It makes a table as long as the largest index, before it looks at the value.
    indexes = (int.from_bytes(found[1:], "little") for found in re.findall(rb"r[\0-\xff]{4}", data))
    texts = (int(found) for found in re.findall(rb"p(\d{7,20})\n", data))
    if all(index < _MAX_MEMO for index in (*indexes, *texts)):
        _InC(io.BytesIO(data)).load()


def _joblib(data: bytes) -> None:
    if b"NumpyArrayWrapper" in data:
        stream = io.BytesIO(data)
        _Joblib("file", stream, ensure_native_byte_order=False).load()


def _numpy(data: bytes) -> None:
    if data.startswith(b"\x93NUMPY") and len(data) > 12:
        wide = data[6] > 1
        start = 12 if wide else 10
        end = start + int.from_bytes(data[8:start], "little")
        header = ast.literal_eval(str(data[start:end], "latin-1").strip())
        if "O" in str(header["descr"]):
            _InPython(io.BytesIO(data[end:])).load()


class _YamlInPython(yaml.SafeLoader):
    pass


class _YamlInC(yaml.CSafeLoader):
    pass


def _built(_: Any, suffix: str, __: Any) -> Any:
    if suffix.startswith(("object", "name", "module")):
        raise Reached(suffix)
    return None


for _loader in (_YamlInPython, _YamlInC):
    _loader.add_multi_constructor("tag:yaml.org,2002:python/", _built)
    _loader.add_multi_constructor("", lambda _, __, ___: None)


def _yaml_in_python(data: bytes) -> None:
    if b"!" in data:
        list(yaml.load_all(data, _YamlInPython))


def _yaml_in_c(data: bytes) -> None:
    if b"!" in data:
        list(yaml.load_all(data, _YamlInC))


def _torch_zip(data: bytes) -> None:
    if b"PK\x05\x06" not in data[-70_000:]:
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist()[:20]:
            content = b""
            with contextlib.suppress(Exception):
                content = archive.open(name).read(1 << 20)
            if name.endswith(".pkl"):
                _Torch(io.BytesIO(content)).load()
            elif name.endswith(".npy"):
                _numpy(content)
