"""TensorFlow's SavedModel and TFLite: which operators a graph is made of. Some of them read and write files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.protobuf import LENGTH, VARINT, Field, fields

_DENIED: Final = frozenset(
    {"PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "PrintV2", "Print",
     "Save", "SaveSlices", "Restore", "RestoreSlice", "DebugIdentity", "DebugIdentityV2", "LoadLibrary",
     "FixedLengthRecordReader", "FixedLengthRecordReaderV2", "TextLineReader", "TextLineReaderV2", "TFRecordReader",
     "TFRecordReaderV2", "WholeFileReader", "WholeFileReaderV2", "TextLineDataset", "TFRecordDataset",
     "WriteSummary", "SummaryWriter", "CreateSummaryFileWriter", "LMDBReader", "SqlDataset", "LookupTableExport",
     "DatasetToTFRecord", "SaveDataset", "SaveDatasetV2", "LoadDataset", "CSVDataset", "CSVDatasetV2",
     "GenerateVocabRemapping", "LoadAndRemapMatrix"}
)  # fmt: skip
_TFLITE_CUSTOM: Final = 32
_TFLITE_KNOWN: Final = frozenset({"TFLite_Detection_PostProcess", "Mfcc", "AudioSpectrogram", "MaxPoolingWithArgmax2D"})
_MAX_TABLE: Final = 100_000


@cache
def _known_operators() -> frozenset[str]:
    return frozenset((Path(__file__).parent / "tensorflow_operators.txt").read_text(encoding="utf-8").split())


def is_saved_model(data: memoryview) -> bool:
    """Whether the whole file is a SavedModel message: a schema version and meta graphs, nothing else."""
    seen: set[tuple[int, int]] = set()
    try:
        seen.update((entry.number, entry.wire) for entry in fields(data))
    except Invalid:
        return False
    return (2, LENGTH) in seen and seen <= {(1, VARINT), (2, LENGTH)}


def inspect_saved_model(data: memoryview, context: Context) -> str:
    """Hold the operators of every graph and every function against the lists."""
    for meta_graph in _parts(data, 2):
        for graph in _parts(meta_graph.data, 2):
            _nodes(graph.data, 1, context)
            for library in _parts(graph.data, 2):
                for function in _parts(library.data, 1):
                    _nodes(function.data, 3, context)
    return "saved-model"


def _parts(data: memoryview, number: int) -> Iterator[Field]:
    return (entry for entry in fields(data) if entry.number == number and entry.wire == LENGTH)


def _nodes(data: memoryview, number: int, context: Context) -> None:
    for node in _parts(data, number):
        for operator in _parts(node.data, 2):
            name = operator.text
            if name in _DENIED:
                context.report("tensorflow.operator-denied", f"the graph uses {shown(name)}")
            elif name not in _known_operators():
                context.report("tensorflow.operator-unknown", f"the graph uses {shown(name)}")


def inspect_tflite(data: memoryview, context: Context) -> str:
    """Report operators that are not built in. Source: tensorflow, lite/schema/schema.fbs."""
    root = _unsigned(data, 0)
    for code in _vector(data, root, 1):
        custom, builtin = _field(data, code, 1), _field(data, code, 3)
        old = _field(data, code, 0)
        number = max(_signed(data, builtin, 4) if builtin else 0, _signed(data, old, 1) if old else 0)
        if number == _TFLITE_CUSTOM:
            name = _text(data, custom) if custom else ""
            if name not in _TFLITE_KNOWN:
                context.report("tensorflow.operator-unknown", f"the model uses the custom operator {shown(name)}")
    return "tflite"


def _unsigned(data: memoryview, offset: int) -> int:
    if not 0 <= offset <= len(data) - 4:
        raise Invalid(f"offset {offset} lies outside the file")
    return int.from_bytes(data[offset : offset + 4], "little")


def _signed(data: memoryview, offset: int, width: int) -> int:
    if not 0 <= offset <= len(data) - width:
        raise Invalid(f"offset {offset} lies outside the file")
    return int.from_bytes(data[offset : offset + width], "little", signed=True)


def _field(data: memoryview, table: int, index: int) -> int:
    """Where a field of a table lies; 0 where it is left out."""
    layout = table - _signed(data, table, 4)
    if not 0 <= layout <= len(data) - 4:
        raise Invalid(f"the layout of the table at {table} lies outside the file")
    (size,) = struct.unpack_from("<H", data, layout)
    place = 4 + 2 * index
    if place + 2 > size:
        return 0
    if layout + place + 2 > len(data):
        raise Invalid(f"the layout of the table at {table} is cut")
    (offset,) = struct.unpack_from("<H", data, layout + place)
    return table + offset if offset else 0


def _vector(data: memoryview, table: int, index: int) -> Iterator[int]:
    field = _field(data, table, index)
    if not field:
        return
    start = field + _unsigned(data, field)
    count = _unsigned(data, start)
    if count > _MAX_TABLE:
        raise Invalid(f"{count} operator codes, {_MAX_TABLE} at most are read")
    for place in range(start + 4, start + 4 + 4 * count, 4):
        yield place + _unsigned(data, place)


def _text(data: memoryview, field: int) -> str:
    start = field + _unsigned(data, field)
    length = _unsigned(data, start)
    return str(data[start + 4 : start + 4 + min(length, 1000)], "utf-8", "replace")
