"""Second readings: what the reference parser of a format finds in a file, as a list of lines for the caller to compare.

The parsers are the formats' own libraries, written in C, C++ and Rust among others, and the file may be made to break
them: that is why they are called in here and nowhere else. Nothing is loaded to be run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

MAX_LINES: Final = 500_000
"""More is no model; the caller would have to hold them."""


def read(path: str, form: str) -> list[str]:
    """What is in a file, a line each, sorted, none twice.

    Args:
        path: of the file.
        form: `safetensors`, `onnx`, `skops`, `gguf`, `hdf5` or `keras`.

    Raises:
        Exception: whatever the reference parser raises for a file that it refuses.
    """
    lines: set[str] = set()
    for line in _READERS[form](path):
        lines.add(line)
        if len(lines) > MAX_LINES:
            raise ValueError(f"more than {MAX_LINES} entries")
    return sorted(lines)


def _safetensors(path: str) -> Iterator[str]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            part = file.get_slice(name)
            yield f"tensor {name} {part.get_dtype()} {list(part.get_shape())}"
        for key in file.metadata() or {}:
            yield f"metadata {key}"


def _onnx(path: str) -> Iterator[str]:
    import onnx

    onnx.checker.check_model(path)
    yield from _onnx_model(onnx.load(path, load_external_data=False))


def _onnx_model(model: Any) -> Iterator[str]:
    graphs = [model.graph, *(part for info in model.training_info for part in (info.initialization, info.algorithm))]
    nodes = [node for function in model.functions for node in function.node]
    attributes = [attribute for function in model.functions for attribute in function.attribute_proto]
    while graphs or nodes or attributes:
        tensors = [tensor for graph in graphs for tensor in graph.initializer]
        sparse = [tensor for graph in graphs for tensor in graph.sparse_initializer]
        nodes += [node for graph in graphs for node in graph.node]
        attributes += [attribute for node in nodes for attribute in node.attribute]
        for node in nodes:
            yield f"operator {node.domain} {node.op_type}"
        graphs, nodes = [], []
        for attribute in attributes:
            graphs += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
            tensors += [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
            sparse += [
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                *attribute.sparse_tensors,
            ]
        attributes = []
        for tensor in [*tensors, *(part for one in sparse for part in (one.values, one.indices))]:
            yield f"tensor {tensor.name} {tensor.data_type} {list(tensor.dims)}"


def _skops(path: str) -> Iterator[str]:
    from skops.io import get_untrusted_types

    for name in get_untrusted_types(file=path):
        yield f"type {name}"


def _gguf(path: str) -> Iterator[str]:
    from gguf import GGUFReader

    reader = GGUFReader(path)
    for tensor in reader.tensors:
        yield f"tensor {tensor.name} {int(tensor.tensor_type)} {tensor.shape.tolist()} {tensor.data_offset}"
    # The reader adds three entries of its own for the head of the file.
    for key in reader.fields:
        if not key.startswith("GGUF."):
            yield f"metadata {key}"


def _hdf5(path: str) -> Iterator[str]:
    import h5py  # type: ignore[import-untyped]

    with h5py.File(path, "r") as file:
        yield from _hdf5_objects(file)


def _hdf5_objects(file: Any) -> Iterator[str]:
    import h5py

    kinds = {h5py.HardLink: "hard", h5py.SoftLink: "soft", h5py.ExternalLink: "external"}
    pending, seen = [file["/"]], set()
    while pending:
        found = pending.pop()
        address = h5py.h5o.get_info(found.id).addr
        if address in seen:
            continue
        seen.add(address)
        yield f"object {address}"
        for name in found.attrs:
            yield f"attribute {address} {name}"
        for name in found if isinstance(found, h5py.Group) else ():
            kind = kinds[type(found.get(name, getlink=True))]
            yield f"{kind} link {address} {name}"
            if kind == "hard":
                pending.append(found[name])


def _keras(path: str) -> Iterator[str]:
    import zipfile

    import h5py

    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            yield f"member {name}"
            if name.endswith(".h5"):
                with archive.open(name) as member, h5py.File(member, "r") as file:
                    for line in _hdf5_objects(file):
                        yield f"{name} {line}"


_READERS: Final[Mapping[str, Callable[[str], Iterator[str]]]] = {
    "safetensors": _safetensors,
    "onnx": _onnx,
    "skops": _skops,
    "gguf": _gguf,
    "hdf5": _hdf5,
    "keras": _keras,
}
