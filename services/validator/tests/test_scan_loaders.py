"""What loaders open or run from places that a scan may pass by.

Those of torch, h5py, skops and jinja2 were seen to act in the loader that is named; those of TensorFlow are as its
sources say.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from functools import partial
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


OUTSIDE = b"/etc/cron.d/x"


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


def attribute_of(key: bytes, value: bytes) -> bytes:
    return field(5, field(1, key) + field(2, value))


def noded(name: bytes, operator: bytes, *inputs: bytes, attributes: bytes = b"") -> bytes:
    return field(1, field(1, name) + field(2, operator) + b"".join(field(3, one) for one in inputs) + attributes)


def packed(name: bytes, *texts: bytes) -> bytes:
    """A constant whose texts stand as a tensor's bytes."""
    content = bytes(len(text) for text in texts) + b"".join(texts)
    return noded(name, b"Const", attributes=attribute_of(b"value", field(8, b"\x08\x07" + field(4, content))))


def changed(operator: bytes, text: bytes = OUTSIDE, *, before: int = 0, attributes: bytes = b"") -> bytes:
    """A graph that gives a constant through one operator, as its first input or behind others, to what saves it."""
    others = [b"other"] * before
    return saved_model(
        graph_node(b"other", b"Const", text=b"x"),
        graph_node(b"p", b"Const", text=text),
        noded(b"way", operator, *others, b"p", b"other", attributes=attributes),
        graph_node(b"s", b"SaveV2", b"way:0"),
    )


def body(name: bytes, *nodes: bytes, takes: tuple[bytes, ...] = (b"prefix",), gives: bytes = b"") -> bytes:
    """A function in a library."""
    signature = field(1, name) + b"".join(field(2, field(1, one)) for one in takes)
    result = field(4, field(1, b"result") + field(2, gives)) if gives else b""
    # The nodes of a function have another number than those of a graph.
    return field(1, field(1, signature) + b"".join(b"\x1a" + node[1:] for node in nodes) + result)


SAVES = graph_node(b"s", b"SaveV2", b"prefix")


def calls(operator: bytes, *inputs: bytes, function: bytes = b"save", text: bytes = OUTSIDE) -> bytes:
    """A constant `p` beside a plain one `q`, and a call of a function with some of them."""
    called = field(10, field(1, function))
    by = {b"Case": field(1, field(9, field(1, function)))}.get(operator, called)
    return (
        graph_node(b"p", b"Const", text=text)
        + graph_node(b"q", b"Const", text=b"model")
        + noded(b"call", operator, *inputs, attributes=b"" if operator == function else attribute_of(b"f", by))
    )


def with_library(graph: bytes, *functions: bytes, **fields: bytes) -> bytes:
    return saved_model(graph + field(2, b"".join(functions)), **fields)


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


FROM_OUTSIDE: Mapping[str, Callable[[], bytes]] = {
    "bytes of a tensor": lambda: saved_model(packed(b"p", b"x", OUTSIDE), graph_node(b"s", b"SaveV2", b"p")),
    "separator": lambda: changed(b"StringJoin", b"etc", attributes=attribute_of(b"separator", field(2, b"/"))),
    "graph in two pieces": lambda: (
        b"\x08\x01"
        + field(
            2,
            field(2, graph_node(b"p", b"Const", text=OUTSIDE)) + field(2, graph_node(b"s", b"SaveV2", b"p")),
        )
    ),
    **{
        operator.decode(): partial(changed, operator)
        for operator in (
            b"StridedSlice", b"Squeeze", b"GatherV2", b"Switch", b"Merge", b"Slice", b"AsString", b"Cast",
            b"StopGradient", b"Unpack", b"Substr", b"RegexReplace", b"Tile", b"StringUpper", b"TensorListStack",
        )
    },
    "Select": lambda: changed(b"Select", before=1),
    "Fill": lambda: changed(b"Fill", before=1),
    **{
        f"argument of {operator.decode()}": partial(
            lambda one: with_library(calls(one, b"p"), body(b"save", SAVES)), operator
        )
        for operator in (b"StatefulPartitionedCall", b"PartitionedCall", b"While", b"save")
    },
    **{
        f"argument of {operator.decode()}": partial(
            lambda one: with_library(calls(one, b"q", b"p"), body(b"save", SAVES)), operator
        )
        for operator in (b"If", b"StatelessIf", b"Case")
    },
    "second argument": lambda: with_library(
        calls(b"PartitionedCall", b"q", b"p"), body(b"save", SAVES, takes=(b"other", b"prefix"))
    ),
    "argument of a function in a function": lambda: with_library(
        calls(b"PartitionedCall", b"p", function=b"outer"),
        body(b"outer", noded(b"c", b"save", b"outer_prefix"), takes=(b"outer_prefix",)),
        body(b"save", SAVES),
    ),
    "result of a function": lambda: with_library(
        calls(b"PartitionedCall", function=b"make") + graph_node(b"s", b"SaveV2", b"call:0"),
        body(b"make", graph_node(b"c", b"Const", text=OUTSIDE), takes=(), gives=b"c:output:0"),
    ),
    "argument in a loop": lambda: with_library(
        calls(b"While", b"q", text=b"x"),
        body(b"save", SAVES, graph_node(b"next", b"Const", text=OUTSIDE), gives=b"next:output:0"),
    ),
    "constant that the loader gives": lambda: with_library(
        graph_node(b"p", b"Const", text=OUTSIDE),
        body(b"save", SAVES),
        f7=field(1, b"") + field(1, field(9, field(1, b"p")))
        + field(2, field(1, b"save") + field(2, field(2, b"\x01"))),
    ),
}  # fmt: skip
"""Graphs whose constant comes to what saves it."""


@pytest.mark.parametrize("way", FROM_OUTSIDE)
def test_constant_that_leads_out_is_found_by_whatever_way_it_comes(way: str, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(FROM_OUTSIDE[way]())
    report = scan_file(tmp_path / "saved_model.pb")
    assert report.verdict is MALICIOUS
    assert "tensorflow.operator-denied" in {finding.rule for finding in report.findings}


UNJUDGED: Mapping[str, Callable[[], bytes]] = {
    "made of another text": lambda: changed(b"DecodeBase64", b"L2V0Yy9wYXNzd2Q"),
    "in halves, up": lambda: changed(b"StringJoin", b"."),
    "in halves, an address": lambda: changed(b"StringJoin", b"://bucket/x"),
    "given by an unknown call": lambda: with_library(
        calls(b"MapDataset", b"q", text=b"x"), body(b"save", SAVES)
    ),
    "given by the caller as an attribute": lambda: saved_model(
        noded(b"p", b"Const", attributes=attribute_of(b"value", field(9, b"v"))), graph_node(b"s", b"SaveV2", b"p")
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", UNJUDGED)
def test_path_that_a_graph_makes_in_an_unknown_way_is_not_clean(way: str, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(UNJUDGED[way]())
    report = scan_file(tmp_path / "saved_model.pb")
    assert report.verdict is UNKNOWN
    assert {finding.rule for finding in report.findings} == {"tensorflow.operator-unknown"}


TEMPORARY = (
    noded(b"r", b"StaticRegexFullMatch", b"prefix", attributes=attribute_of(b"pattern", field(2, b"^s3://.*"))),
    graph_node(b"part", b"Const", text=b".part"),
    graph_node(b"temp", b"Const", text=b"_temp/part"),
    graph_node(b"which", b"Select", b"r:output:0", b"part:output:0", b"temp:output:0"),
    graph_node(b"join", b"StringJoin", b"prefix", b"which:output:0"),
    graph_node(b"shards", b"Const", text=b"1"),
    graph_node(b"shard", b"ShardedFilename", b"join:output:0", b"shards:output:0", b"shards:output:0"),
    graph_node(b"s", b"SaveV2", b"shard:filename:0", b"names"),
    graph_node(b"all", b"Pack", b"shard:filename:0", b"^s"),
    graph_node(b"m", b"MergeV2Checkpoints", b"all:output:0", b"prefix"),
)
"""What TensorFlow 2 writes to save the variables of a model."""


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
    "saved model: function that saves beside texts that lead out": lambda: with_library(
        graph_node(b"saver_filename", b"Placeholder")
        + noded(b"read", b"ReadVariableOp", b"variable")
        + calls(b"StatefulPartitionedCall", b"saver_filename", b"read", b"p"),
        body(b"save", *TEMPORARY, takes=(b"prefix", b"kernel", b"text")),
    ),
    "saved model: path of the first TensorFlow": lambda: saved_model(
        graph_node(b"i", b"Const", text=b"model"),
        graph_node(b"d", b"PlaceholderWithDefault", b"i"),
        graph_node(b"prefix", b"PlaceholderWithDefault", b"d"),
        graph_node(b"pattern", b"Const", text=b"^s3://.*"),
        graph_node(b"r", b"RegexFullMatch", b"prefix", b"pattern"),
        *(TEMPORARY[1:3]),
        graph_node(b"which", b"Select", b"r", b"part", b"temp"),
        graph_node(b"j", b"StringJoin", b"prefix", b"which"),
        graph_node(b"s", b"SaveV2", b"j"),
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
