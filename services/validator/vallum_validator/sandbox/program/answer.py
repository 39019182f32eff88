"""The worker's loop: read a frame, do what it asks, answer, until the pipe closes."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vallum_validator.sandbox.frames import (
    CONVERTED,
    ORIGINAL,
    PREFIX_BYTES,
    TRAINED,
    Array,
    Frame,
    FrameInvalid,
    decode,
    encode,
    sizes,
)
from vallum_validator.sandbox.program.hold import hold, lacking
from vallum_validator.sandbox.program.rows import Input, Model, Rows

if TYPE_CHECKING:
    from vallum_validator.sandbox.program.presidio import Presidio

_TCP_DISCARD_PORT: Final = 9
_SOCKETS: Final = ((2, 2, 0), (2, 1, 262), (16, 3, 0))
"""UDP, multipath TCP and netlink: the last two are refused by the worker's own filter and by no other."""


def main() -> None:
    """Answer on the pipes given as standard input and output."""
    source, sink = _take_pipes()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    work = _Work()
    while True:
        prefix = _read(source, PREFIX_BYTES)
        if not prefix:
            return
        head_bytes, body_bytes = sizes(prefix)
        request = decode(_read(source, head_bytes), _read(source, body_bytes))
        _write(sink, _answer(work, request))


def _take_pipes() -> tuple[int, int]:
    """Move the conversation off descriptors 0 and 1, where a library or a model may read and print at will.

    What is printed goes where standard error goes, which the parent has opened to nowhere.
    """
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, sink


def _answer(work: _Work, request: Frame) -> bytes:
    sequence = {"sequence": request.head.get("sequence")}
    try:
        command = _COMMANDS[request.head["command"]]
        head, arrays = command(work, request)
        return encode(Frame({**head, **sequence}, arrays))
    except Exception as error:  # noqa: BLE001 - the edge: whatever a library raises is told to the caller, in words
        return encode(Frame({"error": f"{type(error).__name__}: {error}"[:2000], **sequence}))


def _read(source: int, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        block = os.read(source, min(count, 1024 * 1024))
        if not block:
            return b""
        parts.append(block)
        count -= len(block)
    return b"".join(parts)


def _write(sink: int, message: bytes) -> None:
    rest = memoryview(message)
    while rest:
        rest = rest[os.write(sink, rest) :]


_Reply = tuple[Mapping[str, Any], Mapping[str, Array]]


class _Work:
    """What this worker holds: the data files it has opened, or its one model, and what was made of it."""

    def __init__(self) -> None:
        self.tables: dict[str, Mapping[str, Array]] = {}
        self.model: Model | None = None
        self.made: dict[str, Model] = {}
        self.inputs: tuple[Input, ...] = ()
        self.presidio: Presidio | None = None


def _hello(_work: _Work, request: Frame) -> _Reply:
    """Before anything is opened: set what limits a plain process needs, and try what must not be possible."""
    for name, limit in request.head["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    if not request.head.get("confined"):
        return {"reached": []}, {}
    hold()
    probes = {"files outside its own": _reaches_files, "the network": _reaches_network}
    reached = [what for what, probe in probes.items() if probe()]
    return {"reached": [*reached, *lacking(request.head.get("filters"))]}, {}


def _reaches_files() -> bool:
    try:
        os.listdir("/")
    except OSError:
        return False
    return True


def _reaches_network() -> bool:
    import socket

    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(0.2)
            connection.connect(("127.0.0.1", _TCP_DISCARD_PORT))
    except PermissionError:
        pass
    except OSError:
        return True
    return any(_makes_socket(*kind) for kind in _SOCKETS)


def _makes_socket(family: int, kind: int, protocol: int) -> bool:
    """Whether anything but a refusal answers, e.g. that this kernel does not know the protocol."""
    import socket

    try:
        socket.socket(family, kind, protocol).close()
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def _open_table(work: _Work, request: Frame) -> _Reply:
    from vallum_validator.sandbox.program.data_files import read_columns

    head = request.head
    columns = read_columns(head["path"], head["format"], head["wanted"])
    work.tables[head["part"]] = columns
    rows = len(next(iter(columns.values()))) if columns else 0
    return {"rows": rows, "columns": list(columns)}, {}


def _columns(work: _Work, request: Frame) -> _Reply:
    table = work.tables[request.head["part"]]
    return {}, {name: table[name] for name in request.head["names"]}


def _load(work: _Work, request: Frame) -> _Reply:
    head = request.head
    work.inputs = tuple(Input(one["name"], one["type"], tuple(one["values"])) for one in head["features"])
    if head["format"] == "onnx":
        from vallum_validator.sandbox.program.onnx_model import OnnxModel

        work.model = OnnxModel(Path(head["path"]).read_bytes(), work.inputs, regression=head["regression"])
    elif head["format"] in ("xgboost", "lightgbm"):
        from vallum_validator.sandbox.program.boosters import Booster

        work.model = Booster(head["path"], head["format"], work.inputs, regression=head["regression"])
    else:
        from vallum_validator.sandbox.program.estimator import Estimator, load_estimator

        estimator = load_estimator(head["path"], head["format"])
        work.model = Estimator(estimator, work.inputs, regression=head["regression"])
    return {}, {}


def _convert(work: _Work, request: Frame) -> _Reply:
    from vallum_validator.sandbox.program.conversion import Converted

    work.made[CONVERTED] = Converted(_model(work, ORIGINAL), work.inputs, regression=request.head["regression"])
    return {}, {}


def _describe(work: _Work, _request: Frame) -> _Reply:
    from vallum_validator.sandbox.program.training import described

    return described(work.model), {}


def _train(work: _Work, request: Frame) -> _Reply:
    from vallum_validator.sandbox.program.training import trained

    original, truth = _model(work, ORIGINAL), request.arrays["truth"]
    work.made[TRAINED] = trained(original, work.inputs, _rows(work, request), truth, how=request.head)
    return {}, {}


def _predict(work: _Work, request: Frame) -> _Reply:
    answer = _model(work, request.head.get("which", ORIGINAL)).predict(_rows(work, request))
    return {}, {name: array for name, array in answer.items() if array is not None}


def _reference(_work: _Work, request: Frame) -> _Reply:
    import numpy as np

    from vallum_validator.sandbox.program.reference import read

    return {}, {"lines": np.array(read(request.head["path"], request.head["format"]), dtype=object)}


def _open_presidio(work: _Work, request: Frame) -> _Reply:
    from vallum_validator.sandbox.program.presidio import Presidio

    head = request.head
    work.presidio = Presidio(head["entities"], head["score"], head["model"])
    return {"versions": work.presidio.versions}, {}


def _find_by_presidio(work: _Work, request: Frame) -> _Reply:
    if work.presidio is None:
        raise FrameInvalid("Presidio has not been opened")
    return {}, work.presidio.find(request.arrays["texts"].tolist(), request.head["context"])


def _structure(work: _Work, _request: Frame) -> _Reply:
    return {}, _model(work, ORIGINAL).structure()


def _bound(_work: _Work, request: Frame) -> _Reply:
    from vallum_validator.sandbox.program.bounds import bounds

    return {}, bounds(request.arrays, int(request.head["steps"]))


def _rows(work: _Work, request: Frame) -> Rows:
    return Rows(work.inputs, request.arrays["numbers"], request.arrays["codes"])


def _model(work: _Work, which: str) -> Model:
    model = work.model if which == ORIGINAL else work.made.get(which)
    if model is None:
        raise FrameInvalid(f"no {which} model has been loaded")
    return model


_COMMANDS: Final[Mapping[str, Callable[[_Work, Frame], _Reply]]] = {
    "hello": _hello,
    "open_table": _open_table,
    "columns": _columns,
    "load": _load,
    "convert": _convert,
    "describe": _describe,
    "train": _train,
    "predict": _predict,
    "reference": _reference,
    "presidio": _open_presidio,
    "presidio_find": _find_by_presidio,
    "structure": _structure,
    "bound": _bound,
}
