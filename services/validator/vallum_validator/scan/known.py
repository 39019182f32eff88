"""The formats that are known: how each is recognised, and who looks into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from vallum_validator.scan.containers.compressed import inspect_compressed, is_compressed
from vallum_validator.scan.containers.packages import inspect_zip
from vallum_validator.scan.containers.tar import inspect_tar, is_tar
from vallum_validator.scan.context import Context
from vallum_validator.scan.expressions import later
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
from vallum_validator.scan.formats.sentencepiece import inspect_sentencepiece, is_sentencepiece
from vallum_validator.scan.formats.tensorflow import (
    inspect_fingerprint,
    inspect_keras_metadata,
    inspect_saved_model,
    is_fingerprint,
    is_keras_metadata,
    is_saved_model,
)
from vallum_validator.scan.formats.text import is_text
from vallum_validator.scan.formats.tflite import inspect_tflite
from vallum_validator.scan.formats.torch import inspect_torch_legacy, is_torch_legacy
from vallum_validator.scan.formats.ubjson import inspect_ubjson, is_ubjson
from vallum_validator.scan.pickled.streams import inspect_pickle

Matcher = Callable[[memoryview], bool]
Inspector = Callable[[memoryview, Context], str]


class Format(NamedTuple):
    """How a format is recognised and inspected.

    Args:
        name: used where the inspector cannot finish.
        matches: whether content has it, from the content alone.
        inspect: reports what it finds and returns the name of the format, which may be more precise.
        notes_arrays: whether the inspector notes the arrays in the budget, so that the rest can be searched.
    """

    name: str
    matches: Matcher
    inspect: Inspector
    notes_arrays: bool = True


def _starts(*magics: bytes) -> Matcher:
    return lambda data: bytes(data[:16]).startswith(magics)


def _at(offset: int, magic: bytes) -> Matcher:
    return lambda data: bytes(data[offset : offset + len(magic)]) == magic


def is_binary_pickle(data: memoryview) -> bool:
    """Whether it begins like a pickle of protocol 2 or later."""
    return len(data) > 2 and data[0] == 0x80 and 2 <= data[1] <= 5


def _refused(name: str, matches: Matcher) -> Format:
    """A format that is known, and that nothing here can judge."""

    def report(_: memoryview, context: Context) -> str:
        context.report("file.unsupported", f"{name} cannot be judged here")
        return name

    return Format(name, matches, report, notes_arrays=False)


_PROGRAMS: Final = (
    b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf", b"\0asm", b"!<arch>\n", b"!<thin>\n", b"\x1bLua", b"\xac\xed\0\x05",
)  # fmt: skip


def _is_program(data: memoryview) -> bool:
    # A .pyc begins with the number of a version of Python 3 and a line end that editors would break.
    compiled = bytes(data[2:4]) == b"\r\n" and 3000 <= int.from_bytes(data[:2], "little") < 4000
    return compiled or bytes(data[:8]).startswith(_PROGRAMS)


def _program(_: memoryview, context: Context) -> str:
    context.report("file.program", "the content is machine code or byte code", 0)
    return "program"


_R_TEXT: Final = later(rb"A\r?\n[23]\r?\n\d{6}\r?\n\d{6}\r?\n")


def _is_r(data: memoryview) -> bool:
    """Whether it is what R saves, in any of its notations: a promise in it is evaluated (CVE-2024-27322)."""
    magics = (b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n", b"X\n\0\0\0", b"B\n\2\0\0\0", b"B\n\3\0\0\0")
    return bytes(data[:6]).startswith(magics) or _R_TEXT.match(data) is not None


ZIP: Final = Format("zip", _starts(b"PK\x03\x04", b"PK\x05\x06"), inspect_zip)
"""Readers of zip begin at the end, so content is this whatever it begins with."""
PICKLE: Final = Format("pickle", is_binary_pickle, inspect_pickle)
TEXT: Final = Format("text", is_text, inspect_text)
"""Tried when nothing else matches: pickles of protocols 0 and 1 have no magic, and text has none either."""

FORMATS: Final = (
    Format("torch-legacy", is_torch_legacy, inspect_torch_legacy),
    PICKLE,
    ZIP,
    Format("npy", _starts(NPY_MAGIC), inspect_npy),
    Format("gguf", _starts(GGUF_MAGIC), inspect_gguf),
    Format("hdf5", _starts(HDF5_MAGIC), inspect_hdf5),
    Format("tflite", _at(4, b"TFL3"), inspect_tflite),
    Format("parquet", _starts(PARQUET_MAGIC), inspect_parquet),
    Format("compressed", is_compressed, inspect_compressed),
    Format("program", _is_program, _program, notes_arrays=False),
    _refused("7z", _starts(b"7z\xbc\xaf\x27\x1c")),
    _refused("rar", _starts(b"Rar!\x1a\x07\0", b"Rar!\x1a\x07\x01\0")),
    _refused("cab", _starts(b"MSCF")),
    _refused("xar", _starts(b"xar!")),
    _refused("lzip", _starts(b"LZIP")),
    _refused("lha", _at(2, b"-lh")),
    _refused("iso", _at(32769, b"CD001")),
    _refused("onnxruntime", _at(4, b"ORTM")),
    _refused("executorch", _at(4, b"ET1")),
    _refused("catboost", _starts(b"CBM1")),
    _refused("xgboost-binary", _starts(b"binf")),
    _refused("arrow", _starts(b"ARROW1\0\0", b"FEA1")),
    _refused("r-data", _is_r),
    _refused("sqlite", _starts(b"SQLite format 3\0")),
    _refused("property-list", _starts(b"bplist0")),
    _refused("pdf", _starts(b"%PDF-")),
    Format("tar", is_tar, inspect_tar),
    Format("safetensors", is_safetensors, inspect_safetensors),
    Format("onnx", is_onnx, inspect_onnx),
    Format("saved-model", is_saved_model, inspect_saved_model),
    Format("sentencepiece", is_sentencepiece, inspect_sentencepiece),
    Format("fingerprint", is_fingerprint, inspect_fingerprint),
    Format("keras-metadata", is_keras_metadata, inspect_keras_metadata),
    Format("xgboost", is_ubjson, inspect_ubjson),
)
"""In the order they are tried: unmistakable magic first, then what takes a look at the structure."""
