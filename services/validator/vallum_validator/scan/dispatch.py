"""Which format content has, and which inspector looks into it. The name of a file is never asked, only compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan import secrets
from vallum_validator.scan.containers.compressed import inspect_compressed, is_compressed
from vallum_validator.scan.containers.packages import inspect_zip
from vallum_validator.scan.containers.tar import inspect_tar, is_tar
from vallum_validator.scan.context import Context
from vallum_validator.scan.formats.documents import inspect_text
from vallum_validator.scan.formats.gguf import MAGIC as GGUF_MAGIC
from vallum_validator.scan.formats.gguf import inspect_gguf
from vallum_validator.scan.formats.hdf5 import MAGIC as HDF5_MAGIC
from vallum_validator.scan.formats.hdf5 import inspect_hdf5
from vallum_validator.scan.formats.numpy import MAGIC as NPY_MAGIC
from vallum_validator.scan.formats.numpy import inspect_npy
from vallum_validator.scan.formats.onnx import inspect_onnx, is_onnx
from vallum_validator.scan.formats.parquet import MAGIC as PARQUET_MAGIC
from vallum_validator.scan.formats.parquet import inspect_parquet
from vallum_validator.scan.formats.safetensors import inspect_safetensors, is_safetensors
from vallum_validator.scan.formats.tensorflow import inspect_saved_model, inspect_tflite, is_saved_model
from vallum_validator.scan.formats.text import is_text
from vallum_validator.scan.formats.torch import inspect_torch_legacy, is_torch_legacy
from vallum_validator.scan.formats.ubjson import inspect_ubjson, is_ubjson
from vallum_validator.scan.pickled.streams import inspect_pickle, probe

Inspector = Callable[[memoryview, Context], str]


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is recognised and inspected.

    Args:
        name: used where the inspector cannot finish.
        matches: whether content has it, from the content alone.
        inspect: reports what it finds and returns the name of the format, which may be more precise.
    """

    name: str
    matches: Callable[[memoryview], bool]
    inspect: Inspector


def _starts(*magics: bytes) -> Callable[[memoryview], bool]:
    return lambda data: bytes(data[:16]).startswith(magics)


def _at(offset: int, magic: bytes) -> Callable[[memoryview], bool]:
    return lambda data: bytes(data[offset : offset + len(magic)]) == magic


def _is_binary_pickle(data: memoryview) -> bool:
    return len(data) > 2 and data[0] == 0x80 and 2 <= data[1] <= 5


def _unsupported(name: str) -> Inspector:
    def inspect(_: memoryview, context: Context) -> str:
        context.report("file.unsupported", f"{name} cannot be judged here")
        return name

    return inspect


def _program(_: memoryview, context: Context) -> str:
    context.report("file.program", "the content is machine code or byte code", 0)
    return "program"


_PROGRAMS: Final = (
    b"\x7fELF",
    b"MZ",
    b"\xca\xfe\xba\xbe",
    b"\xcf\xfa\xed\xfe",
    b"\xfe\xed\xfa\xce",
    b"\0asm",
    b"\xa7\r\r\n",
    b"!<arch>\n",
)

FORMATS: Final = (
    Format("torch-legacy", is_torch_legacy, inspect_torch_legacy),
    Format("pickle", _is_binary_pickle, inspect_pickle),
    Format("zip", _starts(b"PK\x03\x04", b"PK\x05\x06"), inspect_zip),
    Format("npy", _starts(NPY_MAGIC), inspect_npy),
    Format("gguf", _starts(GGUF_MAGIC), inspect_gguf),
    Format("hdf5", _starts(HDF5_MAGIC), inspect_hdf5),
    Format("tflite", _at(4, b"TFL3"), inspect_tflite),
    Format("parquet", _starts(PARQUET_MAGIC), inspect_parquet),
    Format("compressed", is_compressed, inspect_compressed),
    Format("program", _starts(*_PROGRAMS), _program),
    Format("7z", _starts(b"7z\xbc\xaf\x27\x1c"), _unsupported("7z")),
    Format("rar", _starts(b"Rar!\x1a\x07"), _unsupported("rar")),
    Format("tar", is_tar, inspect_tar),
    Format("safetensors", is_safetensors, inspect_safetensors),
    Format("onnx", is_onnx, inspect_onnx),
    Format("saved-model", is_saved_model, inspect_saved_model),
    Format("xgboost", is_ubjson, inspect_ubjson),
)
"""In the order they are tried: unmistakable magic first, then what takes a look at the structure."""

_CONTAINERS: Final = frozenset({"zip", "tar", "compressed"})
_FAMILIES: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".sav"), frozenset({"pickle", "joblib"})),
    ".onnx": frozenset({"onnx"}),
    ".skops": frozenset({"skops"}),
    ".safetensors": frozenset({"safetensors"}),
    ".npy": frozenset({"npy"}),
    ".npz": frozenset({"npz"}),
    ".parquet": frozenset({"parquet"}),
    ".csv": frozenset({"text"}),
    ".md": frozenset({"text", "xml", "json"}),
    ".json": frozenset({"json", "keras-config", "xgboost"}),
    ".ubj": frozenset({"xgboost"}),
    ".gguf": frozenset({"gguf"}),
    ".keras": frozenset({"keras", "hdf5"}),
    **dict.fromkeys((".h5", ".hdf5"), frozenset({"hdf5"})),
    ".tflite": frozenset({"tflite"}),
    ".pmml": frozenset({"xml"}),
    ".xml": frozenset({"xml"}),
    ".tar": frozenset({"tar"}),
    **dict.fromkeys((".yaml", ".yml"), frozenset({"text", "json"})),
    **dict.fromkeys((".pt", ".pth", ".ckpt"), frozenset({"torch", "torchscript", "torch-legacy", "pickle", "joblib"})),
    ".zip": frozenset({"zip", "npz", "skops", "torch", "torchscript", "keras"}),
}
"""What each ending promises. An ending that is not here promises nothing."""


def inspect(data: memoryview, context: Context) -> str:
    """Recognise content, inspect it, and report what could not be read.

    Returns:
        the name of the format, `unknown` where nothing matches.
    """
    if not len(data):
        context.report("file.empty", "there are no bytes")
        return "empty"
    name = "unknown"
    try:
        found = next((entry for entry in FORMATS if entry.matches(data)), None) or _last_resort(data, context)
        if found is None:
            context.report("file.unrecognised", f"begins with {bytes(data[:16])!r}, which no known format does", 0)
            return name
        name = found.name
        if found.inspect is not inspect_pickle:
            _look_for_pickle(data, context)
        if name not in _CONTAINERS:
            secrets.search(data, context, text=name == "text")
        return found.inspect(data, context)
    except Invalid as error:
        context.report("format.broken", f"{name}: {error.message}")
    except Exhausted as error:
        context.report("limit.reached", error.message)
    return name


def _last_resort(data: memoryview, context: Context) -> Format | None:
    """Pickles of protocols 0 and 1 have no magic; text has none either."""
    result = probe(data, context)
    if result.acts or result.complete:
        return Format("pickle", _is_binary_pickle, inspect_pickle)
    return Format("text", is_text, inspect_text) if is_text(data) else None


def _look_for_pickle(data: memoryview, context: Context) -> None:
    result = probe(data, context)
    if result.malicious or result.acts:
        rule = "file.polyglot-pickle" if result.malicious else "file.polyglot"
        context.report(rule, f"to pickle.load this is a pickle that acts within {result.reached or len(data)} bytes", 0)


def check_extension(name: str, found: str, context: Context) -> None:
    """Report a name that promises another format than was found."""
    promised = _FAMILIES.get(PurePosixPath(name.lower()).suffix)
    if promised is not None and found not in promised and found not in ("empty", "unknown"):
        context.report("file.extension", f"{name!r} promises {' or '.join(sorted(promised))}, the content is {found}")
