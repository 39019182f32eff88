"""What loaders open or run from places that a scan may pass by.

Those of torch, h5py, skops and jinja2 were seen to act in the loader that is named; those of TensorFlow are as its
sources say.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import pytest
from onnx import ModelProto

from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan import scan_file

from .test_scan_formats import external, field, onnx, zipped
from .test_scan_hostile_formats import LAMBDA, attribute, hdf5, keras_config, node, tflite, torch_zip

MALICIOUS, UNKNOWN, CLEAN = ScanVerdict.MALICIOUS, ScanVerdict.UNKNOWN, ScanVerdict.CLEAN
MODEL = json.dumps(node("Sequential", None, {"layers": [LAMBDA]}))
ESCAPE = r"{{ (lipsum|attr('\x5f\x5fglob' ~ 'als\x5f\x5f'))['o' ~ 's'] }}"


def scripted(line: bytes) -> bytes:
    """TorchScript with one line of code."""
    code = b"class M(Module):\n  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n    " + line + b"\n"
    return torch_zip(**{"constants.pkl": b"\x80\x02).", "code/__torch__.py": code})


def graph_node(name: bytes, operator: bytes, *inputs: bytes, text: bytes = b"") -> bytes:
    tensor = b"\x08\x07" + field(8, text)
    value = field(5, field(1, b"value") + field(2, field(8, tensor))) if text else b""
    return field(1, field(1, name) + field(2, operator) + b"".join(field(3, one) for one in inputs) + value)


def saved_model(*nodes: bytes, **fields: bytes) -> bytes:
    """A model of one graph; further fields of its meta graph by number."""
    more = b"".join(field(int(name.removeprefix("f")), content) for name, content in fields.items())
    return b"\x08\x01" + field(2, field(2, b"".join(nodes)) + more)


def opens(operator: bytes, text: bytes, *between: bytes) -> bytes:
    last = between[-1].split(b"\n")[0] if between else b"p"
    ways = [graph_node(name, b"Identity", b"p") for name in between]
    return saved_model(graph_node(b"p", b"Const", text=text), *ways, graph_node(b"r", operator, last))


def asset(name: bytes) -> bytes:
    return saved_model(
        graph_node(b"t", b"Const", text=b"/home/me/vocab.txt"), f6=field(1, field(1, b"t:0")) + field(2, name)
    )


def skops(loader: str, module: str, name: str, **more: Any) -> bytes:
    schema = {"__class__": name, "__module__": module, "__loader__": loader, "protocol": 0, **more}
    return zipped({"schema.json": json.dumps(schema).encode()})


def with_metadata(key: str, value: str) -> bytes:
    model = ModelProto.FromString(onnx())
    model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString())


def strings(key: str, *texts: str) -> bytes:
    """GGUF with one array of texts."""
    packed = [struct.pack("<Q", len(text.encode())) + text.encode() for text in (key, *texts)]
    return (
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 1)
        + packed[0]
        + struct.pack("<IIQ", 9, 8, len(texts))
        + b"".join(packed[1:])
    )


def empty_dataset(shape: tuple[int, ...], **options: Any) -> bytes:
    return hdf5(lambda file: file.create_dataset("w", shape, "f4", **options))


FILES: Mapping[str, tuple[ScanVerdict, str, Callable[[], bytes]]] = {
    # torch.jit.load: the lexer of TorchScript passes over space, and a set of operators may be given to a variable
    "torchscript: saves": (MALICIOUS, "torch.operator-denied", lambda: scripted(b'torch . save(x, "m")')),
    "torchscript: lines joined": (
        MALICIOUS,
        "torch.operator-denied",
        lambda: scripted(b'return torch.\\\n  from_file("m", True, 8)'),
    ),
    "torchscript: in parentheses": (
        MALICIOUS,
        "torch.operator-denied",
        lambda: scripted(b'return (torch\n .from_file)("m", True, 8)'),
    ),
    "torchscript: by its set": (
        MALICIOUS,
        "torch.operator-denied",
        lambda: scripted(b'return ops. aten .from_file("m", True, 8)'),
    ),
    "torchscript: by another name": (
        UNKNOWN,
        "torch.operator-unknown",
        lambda: scripted(b't = torch\n    return t.from_file("m", True, 8)'),
    ),
    "torchscript: foreign, spaced": (UNKNOWN, "torch.operator-unknown", lambda: scripted(b"return ops . evil.run(x)")),
    # keras.models.load_model
    "hdf5: Lambda behind spaces": (MALICIOUS, "config.program", lambda: attribute("model_config", " " * 70 + MODEL)),
    "hdf5: Lambda in an array of texts": (
        MALICIOUS,
        "config.program",
        lambda: hdf5(lambda file: file.attrs.create("c", ["\n" * 99 + MODEL], dtype=h5py.string_dtype())),
    ),
    "hdf5: Lambda in a list": (MALICIOUS, "config.program", lambda: attribute("model_config", f"[{MODEL}]")),
    "CVE-2026-0897: shape without data": (UNKNOWN, "hdf5.size-bomb", lambda: empty_dataset((10**11,))),
    "CVE-2026-0897: shape in chunks": (
        UNKNOWN,
        "hdf5.size-bomb",
        lambda: empty_dataset((10**12,), chunks=(1000,), compression="gzip"),
    ),
    "keras: layers in a document of something else": (
        MALICIOUS,
        "config.program",
        lambda: json.dumps(
            {"modelTopology": {"model_config": node("Sequential", None, {"layers": [LAMBDA]})}}
        ).encode(),
    ),
    "keras: model in a list": (MALICIOUS, "config.program", lambda: json.dumps([node("system", "os")]).encode()),
    "keras: function registered elsewhere": (
        UNKNOWN,
        "keras.module-unknown",
        lambda: keras_config(node("function", "keras.activations", "relu", registered_name="evil>relu")),
    ),
    # tf.saved_model.load
    "saved model: overwrites a file": (
        MALICIOUS,
        "tensorflow.operator-denied",
        lambda: opens(b"SaveV2", b"/etc/cron.d/x"),
    ),
    "saved model: reads a file by a way": (
        MALICIOUS,
        "tensorflow.operator-denied",
        lambda: opens(b"RestoreV2", b"../../secrets", b"way"),
    ),
    "saved model: merges at an address": (
        MALICIOUS,
        "tensorflow.operator-denied",
        lambda: opens(b"MergeV2Checkpoints", b"gs://a/b"),
    ),
    "saved model: asset of the host": (MALICIOUS, "config.outside-file", lambda: asset(b"/etc/passwd")),
    "saved model: asset above": (MALICIOUS, "config.outside-file", lambda: asset(b"x/../../../.ssh/id_rsa")),
    "saved model: Lambda noted in the graph of objects": (
        MALICIOUS,
        "config.program",
        lambda: saved_model(f7=field(1, field(4, field(1, b"_tf_keras_model") + field(3, MODEL.encode())))),
    ),
    "tflite: operator of TensorFlow that writes": (
        MALICIOUS,
        "tensorflow.operator-denied",
        lambda: tflite("FlexWriteFile"),
    ),
    # onnxruntime
    "onnx: data in the memory of the runtime": (
        MALICIOUS,
        "onnx.external-path",
        lambda: onnx(tensor=external("*/_ORT_MEM_ADDR_/*")),
    ),
    "onnx: template in the metadata": (MALICIOUS, "template.escape", lambda: with_metadata("chat_template", ESCAPE)),
    # skops.io.load with the types that it names itself
    "skops: function of protocol 0": (
        MALICIOUS,
        "skops.type-denied",
        lambda: skops("FunctionNode", "numpy", "mean", content={"module_path": "os", "function": "system"}),
    ),
    "skops: getattr": (
        UNKNOWN,
        "skops.type-unlisted",
        lambda: skops("FunctionNode", "builtins", "getattr", content=""),
    ),
    # jinja2, with what each library reads a template from
    "gguf: template in an array": (MALICIOUS, "template.escape", lambda: strings("tokenizer.chat_template", ESCAPE)),
    "gguf: template among tokens": (MALICIOUS, "template.escape", lambda: strings("prompts", "a", ESCAPE)),
}


@pytest.mark.parametrize("name", FILES)
def test_what_a_loader_acts_on_is_seen(name: str, tmp_path: Path) -> None:
    expected, rule, make = FILES[name]
    (tmp_path / "model").write_bytes(make())
    report = scan_file(tmp_path / "model")
    assert (report.verdict, rule in {finding.rule for finding in report.findings}) == (expected, True), report.findings


HONEST: Mapping[str, Callable[[], bytes]] = {
    "torchscript: words in texts, comments and names": lambda: scripted(
        b'assert True, "use \\" torch and ops"  # torch . save\n    return ops.prim.data(torch.add(x, self.ops))'
    ),
    "hdf5: text like a dictionary of Python": lambda: attribute("note", " {'a': 1}"),
    "hdf5: space for what is not written yet": lambda: empty_dataset((1000, 1000), chunks=(10, 10)),
    "saved model: path of the caller": lambda: saved_model(
        graph_node(b"f", b"Placeholder"),
        graph_node(b"c", b"Const", text=b"_temp_1/part"),
        graph_node(b"j", b"StringJoin", b"f", b"c"),
        graph_node(b"s", b"SaveV2", b"j:0"),
    ),
    "saved model: asset": lambda: asset(b"vocab.txt"),
    "saved model: notes of another library": lambda: saved_model(
        f7=field(1, field(4, field(1, b"tf_agents") + field(3, b"{x}")))
    ),
    "keras: part of a layer": lambda: keras_config(
        node("GetItem", "keras.src.ops.numpy", {"key": {"class_name": "__slice__", "config": {"start": 0}}})
    ),
    "json: schema with the same words": lambda: b'{"properties": {"class_name": {"type": "string"}, "config": {}}}',
    "gguf: tokens with brackets": lambda: strings("tokenizer.ggml.tokens", "{{", "}}", "{%", "a.__b__", "{{ x }}"),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_neighbour_of_it_is_clean(name: str, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(HONEST[name]())
    report = scan_file(tmp_path / "model")
    assert (report.verdict, report.findings) == (CLEAN, ())
