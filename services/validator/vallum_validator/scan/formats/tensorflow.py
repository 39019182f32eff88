"""TensorFlow's SavedModel: which operators its graphs are made of, and what Keras notes beside them.

Some operators read and write files or run Python; `keras_metadata.pb` holds configurations with code in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.configs import inspect_config
from vallum_validator.scan.formats.protobuf import LENGTH, VARINT, Field, fields
from vallum_validator.scan.formats.tensorflow_files import asset_name, leads_out, opened_outside
from vallum_validator.scan.formats.text import NotJson, load_json

DENIED: Final = frozenset(
    {"PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "PrintV2", "Print",
     "Save", "SaveSlices", "Restore", "RestoreSlice", "DebugIdentity", "DebugIdentityV2", "LoadLibrary",
     "FixedLengthRecordReader", "FixedLengthRecordReaderV2", "TextLineReader", "TextLineReaderV2", "TFRecordReader",
     "TFRecordReaderV2", "WholeFileReader", "WholeFileReaderV2", "TextLineDataset", "TFRecordDataset",
     "WriteSummary", "SummaryWriter", "CreateSummaryFileWriter", "LMDBReader", "SqlDataset",
     "DatasetToTFRecord", "SaveDataset", "SaveDatasetV2", "LoadDataset", "CSVDataset", "CSVDatasetV2",
     "GenerateVocabRemapping", "LoadAndRemapMatrix"}
)  # fmt: skip
"""Operators that open files, print, or run Python."""
_KNOWN: Final[Mapping[str, frozenset[int]]] = {
    "model": frozenset({1, 2}),
    "meta graph": frozenset(range(1, 8)),
    "graph": frozenset({1, 2, 3, 4, 5}),
    "library": frozenset({1, 2, 3}),
    "function": frozenset(range(1, 8)),
    "node": frozenset(range(1, 9)),
}
"""Field numbers. Source: tensorflow, core/protobuf/meta_graph.proto, core/framework/{graph,function,node_def}.proto."""
_FINGERPRINT: Final = frozenset({*((number, VARINT) for number in range(1, 6)), (6, LENGTH), (7, LENGTH)})
"""Source: tensorflow, core/protobuf/fingerprint.proto."""
_MAX_FINGERPRINT: Final = 1000
_MAX_ID: Final = 64
_IDENTIFIER, _METADATA = 4, 5
_USER_OBJECT: Final = 4
_SAVED_OBJECT: Final = frozenset({(2, VARINT), (3, LENGTH), (_IDENTIFIER, LENGTH), (_METADATA, LENGTH), (6, LENGTH)})


@cache
def known_operators() -> frozenset[str]:
    """Operators of TensorFlow that compute and do nothing else."""
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
    for meta_graph in _checked(data, "model", 2, context):
        for graph in _checked(meta_graph.data, "meta graph", 2, context):
            _nodes(graph.data, "graph", 1, context)
            for library in _checked(graph.data, "graph", 2, context):
                for function in _checked(library.data, "library", 1, context):
                    _nodes(function.data, "function", 3, context)
        for rule, message in opened_outside(_joined(meta_graph.data, 2), _joined(meta_graph.data, 7)):
            context.report(rule, message)
        for asset in _parts(meta_graph.data, 6):
            name = asset_name(asset.data)
            if leads_out(name):
                context.report("config.outside-file", f"an asset is read from {shown(name)}")
        for objects in _parts(meta_graph.data, 7):
            _objects(objects.data, context)
    return "saved-model"


def _joined(data: memoryview, number: int) -> memoryview:
    """One message, as readers make of a field that is written several times."""
    found = [entry.data for entry in _parts(data, number)]
    return found[0] if len(found) == 1 else memoryview(b"".join(found))


def _objects(data: memoryview, context: Context) -> None:
    """What Keras noted beside each object before there was `keras_metadata.pb`; its loader still reads it there."""
    for node in _parts(data, 1):
        for described in _parts(node.data, _USER_OBJECT):
            for metadata in _parts(described.data, 3):
                with suppress(NotJson):  # other libraries note other things
                    inspect_config(load_json(metadata.data), context, keras=True)


def _parts(data: memoryview, number: int) -> Iterator[Field]:
    return (entry for entry in fields(data) if entry.number == number and entry.wire == LENGTH)


def _checked(data: memoryview, what: str, number: int, context: Context) -> Iterator[Field]:
    """As `_parts`, and fields that no reader knows are reported."""
    for entry in fields(data):
        if entry.number not in _KNOWN[what]:
            context.report("file.polyglot", f"a {what} has field {entry.number}, which no reader knows")
        elif entry.number == number and entry.wire == LENGTH:
            yield entry


def _nodes(data: memoryview, what: str, number: int, context: Context) -> None:
    for node in _checked(data, what, number, context):
        for operator in _checked(node.data, "node", 2, context):
            name = operator.text
            if name in DENIED:
                context.report("tensorflow.operator-denied", f"the graph uses {shown(name)}")
            elif name not in known_operators():
                context.report("tensorflow.operator-unknown", f"the graph uses {shown(name)}")


def is_keras_metadata(data: memoryview) -> bool:
    """Whether the whole file is a list of saved objects. Source: keras, protobuf/saved_metadata.proto."""
    seen = False
    try:
        for entry in fields(data):
            parts = {(part.number, part.wire) for part in fields(entry.data)} if entry.wire == LENGTH else set()
            if entry.number != 1 or not parts <= _SAVED_OBJECT or (_IDENTIFIER, LENGTH) not in parts:
                return False
            seen = True
    except Invalid:
        return False
    return seen


def inspect_keras_metadata(data: memoryview, context: Context) -> str:
    """Walk the configuration of every object."""
    for entry in _parts(data, 1):
        for part in _parts(entry.data, _METADATA):
            inspect_config(load_json(part.data), context, keras=True)
    return "keras-metadata"


def is_fingerprint(data: memoryview) -> bool:
    """Whether it is the `fingerprint.pb` beside a SavedModel: five checksums, a version and an id."""
    if len(data) > _MAX_FINGERPRINT:
        return False
    try:
        kinds = {(entry.number, entry.wire) for entry in fields(data)}
    except Invalid:
        return False
    return kinds | {(6, LENGTH), (7, LENGTH)} >= _FINGERPRINT and kinds <= _FINGERPRINT


def inspect_fingerprint(data: memoryview, context: Context) -> str:
    """Check that the id is short: the rest are numbers."""
    for entry in fields(data):
        if len(entry.data) > _MAX_ID:
            context.report("file.polyglot", f"field {entry.number} has {len(entry.data)} bytes", entry.offset)
    return "fingerprint"
