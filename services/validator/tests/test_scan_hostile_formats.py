"""Further hostile files of each format, published advisories among them, and honest neighbours that must pass."""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import lightgbm
import numpy as np
import pytest
from onnx import TensorProto, helper

from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan import scan_file
from vallum_validator.scan.formats.metadata import value_of

from .test_scan_formats import external, field, gguf, onnx, safetensors, zipped
from .test_scan_honest import TORCH

PAYLOAD = b"cposix\nsystem\n(S'true'\ntR."
MALICIOUS, UNKNOWN, CLEAN = ScanVerdict.MALICIOUS, ScanVerdict.UNKNOWN, ScanVerdict.CLEAN


def node(name: str, module: str | None = "keras.layers", config: Any = None, **more: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config if config is not None else {}, **more}


def keras_config(*layers: dict[str, Any], **more: Any) -> bytes:
    model = node("Sequential", "keras", {"layers": list(layers)}, **more)
    return zipped({"config.json": json.dumps(model).encode(), "metadata.json": b"{}"})


def hdf5(write: Callable[[h5py.File], object], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        write(file)
    return buffer.getvalue()


def attribute(name: str, value: Any) -> bytes:
    return hdf5(lambda file: file.attrs.__setitem__(name, value))


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("v", layout)


def initializer(**more: Any) -> bytes:
    return onnx(tensor=TensorProto(name="w", **more))


def recursive_function() -> bytes:
    inner = helper.make_node("Again", ["x"], ["y"], domain="local")
    function = helper.make_function("local", "Again", ["x"], ["y"], [inner], [helper.make_opsetid("local", 1)])
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Again", ["x"], ["y"], domain="local")], "g", [value], [value])
    return bytes(helper.make_model(graph, functions=[function]).SerializeToString())


def npy(header: str, content: bytes = b"", version: int = 1) -> bytes:
    text = header.encode("latin-1").ljust(117) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + content


def gguf_file(
    entries: list[tuple[str, int, bytes]], tensors: list[tuple[str, list[int], int, int]], rest: bytes
) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    out += b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in entries)
    for name, shape, kind, offset in tensors:
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return out + bytes(-len(out) % 32) + rest


def saved_object(metadata: dict[str, Any]) -> bytes:
    content = b"\x10\x01" + field(3, b"root") + field(4, b"_tf_keras_layer") + field(5, json.dumps(metadata).encode())
    return field(1, content)


def torch_zip(**changes: bytes) -> bytes:
    return zipped({**TORCH, **{f"archive/{name}": content for name, content in changes.items()}})


LAMBDA = node("Lambda", config={"function": ["4wEAAAA=", None, None], "function_type": "lambda"})
F32 = 0

FILES: Mapping[str, tuple[ScanVerdict, str, Callable[[], bytes]]] = {
    # Keras
    "CVE-2025-1550: any function by module": (
        MALICIOUS,
        "config.program",
        lambda: keras_config(node("run", "subprocess")),
    ),
    "CVE-2025-8747: get_file": (MALICIOUS, "config.program", lambda: keras_config(node("get_file", "keras.utils"))),
    "CVE-2025-9906: safe mode switched off": (
        MALICIOUS,
        "config.program",
        lambda: keras_config(node("enable_unsafe_deserialization", "keras.config")),
    ),
    "CVE-2025-12058: vocabulary of the host": (
        MALICIOUS,
        "config.outside-file",
        lambda: keras_config(node("StringLookup", config={"vocabulary": "/etc/passwd"})),
    ),
    "CVE-2025-12058: vocabulary of another host": (
        MALICIOUS,
        "config.outside-file",
        lambda: keras_config(node("TextVectorization", config={"vocabulary": "http://a/b"})),
    ),
    "keras: vocabulary beside it": (
        UNKNOWN,
        "config.file",
        lambda: keras_config(node("StringLookup", config={"vocabulary": "vocab.txt"})),
    ),
    "keras: Lambda in Bidirectional": (
        MALICIOUS,
        "config.program",
        lambda: keras_config(node("Bidirectional", config={"layer": LAMBDA})),
    ),
    "keras: Lambda in the compile config": (
        MALICIOUS,
        "config.program",
        lambda: keras_config(node("Dense"), compile_config={"loss": LAMBDA}),
    ),
    "keras: marshalled code": (MALICIOUS, "config.program", lambda: keras_config(node("__lambda__", None))),
    "keras: function of builtins": (
        MALICIOUS,
        "config.program",
        lambda: keras_config(node("function", "builtins", "exec")),
    ),
    "keras: function of the author": (
        UNKNOWN,
        "keras.module-unknown",
        lambda: keras_config(node("function", "builtins", "my_loss")),
    ),
    "keras: class of the author without module": (
        UNKNOWN,
        "keras.module-unknown",
        lambda: keras_config(node("MyLayer", None)),
    ),
    "keras: class of Keras that is no part of models": (
        UNKNOWN,
        "keras.module-unknown",
        lambda: keras_config(node("Sequence", "keras.utils")),
    ),
    "keras: registered elsewhere": (
        UNKNOWN,
        "keras.module-unknown",
        lambda: keras_config(node("Dense", registered_name="addons>Dense")),
    ),
    "keras: key twice": (
        UNKNOWN,
        "format.broken",
        lambda: zipped({"config.json": b'{"class_name": "Lambda", "class_name": "Dense", "config": {}}'}),
    ),
    "CVE-2025-9905: Lambda in HDF5": (
        MALICIOUS,
        "config.program",
        lambda: attribute("model_config", json.dumps(node("Sequential", None, {"layers": [LAMBDA]}))),
    ),
    "hdf5: Lambda as bytes": (
        MALICIOUS,
        "config.program",
        lambda: attribute("model_config", np.bytes_(json.dumps(node("Model", None, {"layers": [LAMBDA]})))),
    ),
    "hdf5: Lambda behind escapes": (
        MALICIOUS,
        "config.program",
        lambda: attribute("model_config", '{"cl\\u0061ss_name": "L\\u0061mbda", "config": {}}'),
    ),
    "hdf5: Lambda in the training config": (
        MALICIOUS,
        "config.program",
        lambda: attribute("training_config", json.dumps({"loss": LAMBDA})),
    ),
    "hdf5: link to another file": (
        MALICIOUS,
        "hdf5.external",
        lambda: hdf5(lambda file: file.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/"))),
    ),
    "hdf5: storage in another file": (
        MALICIOUS,
        "hdf5.external",
        lambda: hdf5(lambda file: file.create_dataset("a", (8,), "u1", external=[("/etc/passwd", 0, 8)])),
    ),
    "hdf5: virtual data": (MALICIOUS, "hdf5.external", lambda: hdf5(virtual)),
    "hdf5: pickle in an attribute": (MALICIOUS, "pickle.global-denied", lambda: attribute("note", np.void(PAYLOAD))),
    "hdf5: user block": (
        UNKNOWN,
        "file.polyglot",
        lambda: pickle.dumps({"a": 1}).ljust(512, b"\0") + attribute("a", 1),
    ),
    "hdf5: newer structure": (
        UNKNOWN,
        "file.unsupported",
        lambda: hdf5(lambda file: [file.create_group(f"g{index}") for index in range(40)], libver="latest"),
    ),
    "keras: weights with a link out": (
        MALICIOUS,
        "hdf5.external",
        lambda: zipped(
            {
                "config.json": json.dumps(node("Sequential", "keras")).encode(),
                "model.weights.h5": hdf5(lambda file: file.__setitem__("a", h5py.ExternalLink("x", "/"))),
            }
        ),
    ),
    "saved model: Lambda in keras_metadata.pb": (MALICIOUS, "config.program", lambda: saved_object(LAMBDA)),
    # ONNX
    "onnx: data through a link to the root": (
        MALICIOUS,
        "onnx.external-path",
        lambda: onnx(tensor=external("a/../../b")),
    ),
    "onnx: data shorter than its shape": (
        UNKNOWN,
        "onnx.tensor-size",
        lambda: initializer(data_type=1, dims=[4], raw_data=b"1234"),
    ),
    "onnx: data longer than its shape": (
        UNKNOWN,
        "onnx.tensor-size",
        lambda: initializer(data_type=1, dims=[1], raw_data=bytes(400)),
    ),
    "onnx: data twice": (
        UNKNOWN,
        "onnx.tensor-size",
        lambda: initializer(data_type=1, dims=[1], raw_data=b"1234", float_data=[1.0]),
    ),
    "onnx: function that calls itself": (UNKNOWN, "format.broken", recursive_function),
    "onnx: field that no reader knows": (UNKNOWN, "file.polyglot", lambda: onnx() + b"\x3a\x08\xfa\x3e\x05hello"),
    "onnx: operator that runs Python": (UNKNOWN, "onnx.operator-unknown", lambda: onnx("com.microsoft", "PyOp")),
    "onnx: ready for one runtime": (UNKNOWN, "file.unsupported", lambda: b"\x20\0\0\0ORTM" + bytes(40)),
    # safetensors, GGUF, numpy
    "safetensors: two of a name": (
        UNKNOWN,
        "format.broken",
        lambda: (lambda header: len(header).to_bytes(8, "little") + header + bytes(4))(
            b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
        ),
    ),
    "safetensors: template in the metadata": (
        MALICIOUS,
        "template.escape",
        lambda: safetensors({"__metadata__": {"chat_template": "{{ x.__class__ }}"}}, b""),
    ),
    "gguf: tensors overlap": (
        UNKNOWN,
        "gguf.layout",
        lambda: gguf_file([], [("a", [8], F32, 0), ("b", [8], F32, 0)], bytes(32)),
    ),
    "gguf: bytes between tensors": (
        UNKNOWN,
        "gguf.layout",
        lambda: gguf_file([], [("a", [8], F32, 0), ("b", [8], F32, 96)], bytes(128)),
    ),
    "gguf: tensor beyond the end": (UNKNOWN, "gguf.layout", lambda: gguf_file([], [("a", [800], F32, 0)], bytes(32))),
    "gguf: type that is unknown": (UNKNOWN, "format.broken", lambda: gguf_file([], [("a", [8], 99, 0)], bytes(32))),
    "gguf: alignment": (
        UNKNOWN,
        "format.broken",
        lambda: gguf_file([("general.alignment", 4, struct.pack("<I", 7))], [], b""),
    ),
    "gguf: array bomb": (
        UNKNOWN,
        "format.broken",
        lambda: gguf_file([("a", 9, struct.pack("<IQ", 8, 1 << 60))], [], b""),
    ),
    "gguf: arrays in arrays": (
        UNKNOWN,
        "format.broken",
        lambda: gguf_file([("a", 9, struct.pack("<IQ", 9, 1) * 9)], [], b""),
    ),
    "gguf: key twice": (UNKNOWN, "format.broken", lambda: gguf_file([("a", 0, b"\1"), ("a", 0, b"\2")], [], b"")),
    "gguf: template under another key": (
        MALICIOUS,
        "template.escape",
        lambda: gguf_file([("a.b", 8, struct.pack("<Q", 19) + b"{{ x.__globals__ }}")], [], b""),
    ),
    "npy: pickle": (
        MALICIOUS,
        "pickle.global-denied",
        lambda: npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", PAYLOAD),
    ),
    "npy: objects in a field": (
        MALICIOUS,
        "pickle.global-denied",
        lambda: npy("{'descr': [('a', '<i4'), ('b', '|O')], 'fortran_order': False, 'shape': (1,)}", PAYLOAD),
    ),
    "npy: header that computes": (UNKNOWN, "format.broken", lambda: npy("__import__('os').system('true')")),
    "npy: header that nests": (UNKNOWN, "format.broken", lambda: npy("[" * 40_000, version=2)),
    "npy: header of a gigabyte": (
        UNKNOWN,
        "format.broken",
        lambda: b"\x93NUMPY\x02\0" + struct.pack("<I", 1 << 30) + b"{}",
    ),
    "npy: elements without bytes": (
        UNKNOWN,
        "format.broken",
        lambda: npy("{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000,)}"),
    ),
    "npy: version 9": (UNKNOWN, "format.broken", lambda: b"\x93NUMPY\x09\0" + bytes(100)),
    # torch
    "torch: second pickle": (MALICIOUS, "pickle.global-denied", lambda: torch_zip(**{"extra.pkl": PAYLOAD})),
    "torch: pickle at the top": (MALICIOUS, "pickle.global-denied", lambda: zipped({**TORCH, "data.pkl": PAYLOAD})),
    "torch: zip in it": (MALICIOUS, "pickle.global-denied", lambda: torch_zip(**{"a.zip": zipped({"x": PAYLOAD})})),
    "torch: storage that no pickle names": (UNKNOWN, "file.polyglot", lambda: torch_zip(**{"data/7": b"hidden"})),
    "torch: storage of another size": (UNKNOWN, "file.polyglot", lambda: torch_zip(**{"data/0": bytes(900)})),
    "torch: payload for a version": (UNKNOWN, "file.polyglot", lambda: torch_zip(version=b"\x7fELF\x01\x02" * 9)),
    "torch: exported program": (
        UNKNOWN,
        "file.unsupported",
        lambda: zipped({"m/archive_format": b"pt2", "m/models/model.json": b"{}"}),
    ),
    "torch: ExecuTorch": (UNKNOWN, "file.unsupported", lambda: b"\x30\0\0\0ET12" + bytes(90)),
    "torchscript: foreign operator": (
        UNKNOWN,
        "torch.operator-unknown",
        lambda: torch_zip(**{"constants.pkl": b"\x80\x02).", "code/__torch__/m.py": b"x = ops.evil.run(y)\n"}),
    ),
    "torchscript: class of an extension": (
        UNKNOWN,
        "torch.operator-unknown",
        lambda: torch_zip(
            **{"constants.pkl": b"\x80\x02).", "code/__torch__/m.py": b"x : __torch__.torch.classes.evil.Run\n"}
        ),
    ),
    "torchscript: reads a file": (
        MALICIOUS,
        "torch.operator-denied",
        lambda: torch_zip(
            **{"constants.pkl": b"\x80\x02).", "code/__torch__/m.py": b"x = torch.from_file(y, False, 9)\n"}
        ),
    ),
    # text
    "notebook": (UNKNOWN, "file.program", lambda: b'{"nbformat": 4, "cells": [], "metadata": {}}'),
    "requirements": (UNKNOWN, "file.program", lambda: b"numpy==2.0\n# more\nevil>=1.0 ; python_version > '3'\n"),
    "python": (UNKNOWN, "file.program", lambda: b"#" * 5000 + b"\nimport os\nos.system('true')\n"),
    "python beside documentation": (UNKNOWN, "file.program", lambda: b"```python\nimport os\n```\nimport sys\n"),
    "xml: inclusion": (
        MALICIOUS,
        "text.xml-external",
        lambda: b'<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="x"/></a>',
    ),
    "xml: style sheet": (
        UNKNOWN,
        "text.xml-entity",
        lambda: b'<?xml version="1.0"?><?xml-stylesheet href="x.xsl"?><a/>',
    ),
    "xml: entities in UTF-16": (
        UNKNOWN,
        "text.xml-entity",
        lambda: '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a/>'.encode("utf-16"),
    ),
    "xml: encoding that hides": (
        UNKNOWN,
        "file.unsupported",
        lambda: b'<?xml version="1.0" encoding="UTF-7"?><a>+ADwAIQ-</a>',
    ),
    "json: remote code behind a mark": (
        UNKNOWN,
        "config.remote-code",
        lambda: b'\xef\xbb\xbf{"auto_map": {"a": "b--c.d"}}',
    ),
    "json: remote code in UTF-16": (
        UNKNOWN,
        "config.remote-code",
        lambda: '{"trust_remote_code": true}'.encode("utf-16"),
    ),
    "json: key twice": (UNKNOWN, "format.broken", lambda: b'{"auto_map": {"a": "b"}, "auto_map": null}'),
    "json: nested": (UNKNOWN, "format.broken", lambda: b"[" * 100_000),
    "CVE-2025-23304: hydra target": (
        MALICIOUS,
        "config.program",
        lambda: b'{"m": {"_target_": "os.system", "command": "true"}}',
    ),
    "hydra target in YAML": (MALICIOUS, "config.program", lambda: b"model:\n  _target_: builtins.exec\n  x: 1\n"),
    "hydra target that is unknown": (UNKNOWN, "config.remote-code", lambda: b"model:\n  - _target_: mypackage.Net\n"),
    "yaml: remote code": (UNKNOWN, "config.remote-code", lambda: b"trust_remote_code: true\n"),
    "yaml: laughs": (
        UNKNOWN,
        "limit.reached",
        lambda: (
            b"a: &a [x, x]\n"
            + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b", ".join([b"*%c" % (97 + i)] * 9)) for i in range(9))
        ),
    ),
    "langchain": (UNKNOWN, "config.remote-code", lambda: b'{"lc": 1, "type": "constructor", "id": ["os", "system"]}'),
    "diffusers: part of the author's": (
        UNKNOWN,
        "config.remote-code",
        lambda: b'{"_class_name": "P", "_diffusers_version": "1", "unet": ["my_unet", "Net"]}',
    ),
    "lightgbm: parameter that names a file": (
        UNKNOWN,
        "config.file",
        lambda: b"tree\nversion=v4\nparameters:\n[forcedbins_filename: /etc/passwd]\nend of parameters\n",
    ),
    "lightgbm: classes without number": (
        UNKNOWN,
        "limit.reached",
        lambda: b"tree\nversion=v4\nnum_class=99999999999\n",
    ),
    # refused, and programs
    **{
        f"refused: {head!r}": (UNKNOWN, "file.unsupported", lambda head=head: head + bytes(60))
        for head in (  # type: ignore[misc]
            b"7z\xbc\xaf\x27\x1c",
            b"Rar!\x1a\x07\0",
            b"Rar!\x1a\x07\x01\0",
            b"MSCF",
            b"xar!",
            b"LZIP\x01",
            b"\x20\x00-lh5-",
            b"CBM1",
            b"binf",
            b"ARROW1\0\0",
            b"RDX3\n",
            b"SQLite format 3\0",
            b"bplist00",
            b"%PDF-1.7",
        )
    },
    "refused: an image of a disc": (UNKNOWN, "file.unsupported", lambda: bytes(32769) + b"CD001" + bytes(99)),
    **{
        f"program: {head!r}": (UNKNOWN, "file.program", lambda head=head: head + bytes(60))
        for head in (  # type: ignore[misc]
            b"MZ",
            b"\0asm",
            b"\xa7\r\r\n",
            b"\xcb\r\r\n",
            b"\x1bLua",
            b"\xac\xed\0\x05",
            b"\xfe\xed\xfa\xcf",
        )
    },
    # several at once
    "safetensors with a zip behind it": (
        MALICIOUS,
        "file.polyglot",
        lambda: safetensors({"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}, zipped({"a.pkl": PAYLOAD})),
    ),
    "gguf with a zip behind it": (MALICIOUS, "file.polyglot", lambda: gguf("x") + zipped({"a.pkl": PAYLOAD})),
    "npy with a zip behind it": (
        MALICIOUS,
        "file.polyglot",
        lambda: npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4,)}", b"1234") + zipped({"a.pkl": PAYLOAD}),
    ),
    "npy with a zip in its data": (
        MALICIOUS,
        "file.polyglot",
        lambda: (lambda inner: npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(inner)},)}}", inner))(
            zipped({"a.pkl": PAYLOAD})
        ),
    ),
    "onnx with a zip as its documentation": (
        MALICIOUS,
        "file.polyglot",
        lambda: onnx() + field(6, zipped({"a.pkl": PAYLOAD})),
    ),
    "pickle with a zip behind it": (MALICIOUS, "file.polyglot", lambda: pickle.dumps(1) + zipped({"a.pkl": PAYLOAD})),
    "text with a zip behind it": (
        MALICIOUS,
        "file.polyglot",
        lambda: b"\x01" + b"text " * 9 + zipped({"a.pkl": PAYLOAD}),
    ),
    "zip in front of which is a pickle": (MALICIOUS, "pickle.global-denied", lambda: PAYLOAD + zipped({"a.txt": b"x"})),
    "pickle behind a pickle": (MALICIOUS, "pickle.global-denied", lambda: pickle.dumps(1) + PAYLOAD),
    "skops with a pickle": (
        MALICIOUS,
        "pickle.global-denied",
        lambda: zipped(
            {
                "schema.json": json.dumps(
                    {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode"}
                ).encode(),
                "a.bin": PAYLOAD,
            }
        ),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_file_is_called_what_it_is(name: str, tmp_path: Path) -> None:
    expected, rule, make = FILES[name]
    (tmp_path / "model").write_bytes(make())
    report = scan_file(tmp_path / "model")
    assert (report.verdict, rule in {finding.rule for finding in report.findings}) == (expected, True), report.findings


README = b"""---
license: apache-2.0
base_model:
- google/vit-base   # where it began
- someone/other
tags: [a, b]
---
# A model

```python
import torch
from transformers import pipeline

class Net(torch.nn.Module):
    pass
```

Use `{{ x }}` and *this*, and write to info@example.org. From there it is a short way.
"""
FUNCTION = node("function", "keras.src.activations.activations", "relu", registered_name="relu")
HONEST: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "README.md": ("text", lambda: README),
    "dialogue.yaml": ("text", lambda: b"defaults: &d\n  lr: 0.1\nrun:\n  <<: *d\nother:\n  <<: *d\n"),
    "log.txt": ("text", lambda: b"[INFO] import of data begins\n[INFO] from here on\n"),
    "numbers.csv": ("text", lambda: b"a,b\n1.5,2\n"),
    "vocab.txt": ("text", lambda: b"[PAD]\n[UNK]\nimport\nclass\ndef\n{{\n}}\n##s\n"),
    "model_index.json": (
        "json",
        lambda: (
            b'{"_class_name": "P", "_diffusers_version": "1", "unet": ["diffusers", "UNet2DModel"], "s": [null, null]}'
        ),
    ),
    "marked.json": ("json", lambda: b'\xef\xbb\xbf{"a": 1}'),
    "layers.keras": (
        "keras",
        lambda: keras_config(
            node("InputLayer", config={"dtype": node("DTypePolicy", "keras", {"name": "float32"})}),
            node(
                "Dense",
                config={"activation": FUNCTION, "kernel_initializer": node("GlorotUniform", "keras.initializers")},
            ),
            node("Add", "keras.src.ops.numpy"),
            compile_config={"optimizer": node("Adam", "keras.optimizers"), "loss": "mse"},
        ),
    ),
    "old.h5": (
        "hdf5",
        lambda: attribute(
            "model_config",
            json.dumps({"class_name": "Sequential", "config": {"layers": [{"class_name": "CuDNNLSTM", "config": {}}]}}),
        ),
    ),
    "words.npy": ("npy", lambda: npy("{'descr': '<U3', 'fortran_order': False, 'shape': (2,)}", bytes(24), 3)),
    "tokenizer.model": (
        "sentencepiece",
        lambda: (
            b"".join(field(1, field(1, word) + b"\x15\0\0\x80\xbf") for word in (b"<unk>", b"a", b"b"))
            + field(2, b"\x18\x01")
        ),
    ),
    "keras_metadata.pb": ("keras-metadata", lambda: saved_object(node("Dense"))),
    "m.tflite": ("tflite", lambda: tflite("")),
}


def tflite(custom: str) -> bytes:
    """The smallest model: a root with a version and a list of one operator code."""
    name = struct.pack("<I", len(custom)) + custom.encode() + bytes(4 - len(custom) % 4)
    # layout of the root: fields 0 and 1; of the code: fields 0 (left out), 1 and 3.
    body = struct.pack("<I4s", 20, b"TFL3") + struct.pack("<HHHH", 8, 12, 4, 8) + bytes(4)
    body += struct.pack("<iII", 12, 3, 4)
    body += struct.pack("<II", 1, 16) + struct.pack("<HHHHHH", 12, 12, 0, 8, 0, 4)
    code = len(body)
    body += struct.pack("<iiI", 12, 32 if custom else 0, 4)
    assert code == 52
    return body + name


def test_custom_operator_of_tflite_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tflite("Evil"))
    report = scan_file(tmp_path / "m.tflite")
    assert [finding.rule for finding in report.findings] == ["tensorflow.operator-unknown"]
    assert "'Evil'" in report.findings[0].message


def test_bytes_behind_tflite_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tflite("") + bytes(100))
    assert [finding.rule for finding in scan_file(tmp_path / "m.tflite").findings] == ["file.polyglot"]


@pytest.mark.parametrize("name", HONEST)
def test_honest_neighbour_is_clean(name: str, tmp_path: Path) -> None:
    expected, make = HONEST[name]
    (tmp_path / name).write_bytes(make())
    report = scan_file(tmp_path / name)
    assert (report.verdict, report.format) == (CLEAN, expected), report.findings


def test_licence_and_base_model_are_read_from_metadata(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(README)
    found = [(finding.rule, value_of(finding)) for finding in scan_file(tmp_path / "README.md").findings]
    assert sorted(found, key=str) == [
        ("metadata.base-model", "google/vit-base"),
        ("metadata.base-model", "someone/other"),
        ("metadata.licence", "apache-2.0"),
    ]


def test_value_of_metadata_is_one_printable_line(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(
        safetensors({"__metadata__": {"license": "mit\n\x1b[31m" + "x" * 999}}, b"")
    )
    (finding,) = scan_file(tmp_path / "a.safetensors").findings
    value = value_of(finding)
    assert value is not None
    assert value.startswith("mit [31mx")
    assert value.isprintable()
    assert len(value) == 200


@pytest.mark.parametrize("name", ["net.py", "run.sh", "requirements.txt", "environment.yml", "Dockerfile", "lib.so"])
def test_name_of_a_program_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"harmless words\n")
    assert {finding.rule for finding in scan_file(tmp_path / name).findings} == {"file.program"}


def test_names_inside_archives_are_held_against_their_content(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"weights.safetensors": pickle.dumps(1)}))
    report = scan_file(tmp_path / "a.zip")
    assert [(finding.rule, finding.member) for finding in report.findings] == [
        ("file.extension", "weights.safetensors")
    ]


def test_honest_boosters_are_clean(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(60, 4))
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(table, table[:, 0] > 0)
    model.booster_.save_model(str(tmp_path / "model.txt"))
    report = scan_file(tmp_path / "model.txt")
    assert (report.verdict, report.format, report.findings) == (CLEAN, "lightgbm", ())


ENDLESS: Mapping[str, Callable[[], bytes]] = {
    "blank lines": lambda: b"\n" * 600_000,
    "spaces": lambda: b"import a" + b" " * 350_000 + b"!",
    "open blocks": lambda: b"{{" * 200_000 + b" " + b"{%" * 200_000,
    "open fences": lambda: b"```\n~~~\n" * 100_000,
    "open declarations": lambda: b"<a>" + b"<!ENTITY " * 300_000,
    "open parameters": lambda: b"tree\nversion=v4\n" + b"[data: " + b" x" * 350_000,
    "requirements": lambda: b"a" + b"==1" * 300_000 + b"!",
    "anchors": lambda: b"&a " * 300_000 + b"*a " * 300_000,
    "addresses": lambda: b"a@" * 200_000 + b"a." * 200_000,
    "digits": lambda: b"1 " * 350_000,
    "tokens": lambda: b"sk-" * 200_000,
    "words": lambda: b" eyJ" * 400_000,
    "configurations": lambda: b"\x89HDF\r\n\x1a\n" + b'{"aa":' * 200_000,
    "attributes": lambda: b"@" + b"a." * 200_000 + b"\n",
    "links": lambda: b"http://a" * 200_000,
}
"""What makes an expression try again and again from every place, half a megabyte or more of each."""


def test_no_text_makes_the_scan_slow(tmp_path: Path) -> None:
    files = []
    for name, make in ENDLESS.items():
        (tmp_path / name).write_bytes(make())
        files.append(tmp_path / name)
    program = (
        "import sys, pathlib; from vallum_validator.scan import scan_file\n"
        "for name in sys.argv[1:]: scan_file(pathlib.Path(name)); print(name, flush=True)"
    )

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    result = subprocess.run(
        [sys.executable, "-c", program, *files], capture_output=True, text=True, timeout=600, preexec_fn=bounded
    )
    assert result.stdout.split("\n")[:-1] == [str(file) for file in files]
