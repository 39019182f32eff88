"""Each format that is not a pickle: what hostile files of it do, and how they are refused."""

from __future__ import annotations

import copy
import gc
import importlib
import io
import json
import pkgutil
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from onnx import TensorProto, helper

from vallum_validator import scan
from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan import scan_file
from vallum_validator.scan.expressions import later


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def linked_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return buffer.getvalue()


def skops(module: str, name: str, loader: str = "ObjectNode", **more: Any) -> bytes:
    node = {"__class__": name, "__module__": module, "__loader__": loader, "protocol": 2, **more}
    return zipped({"schema.json": json.dumps(node).encode()})


def json_node(value: Any) -> dict[str, Any]:
    return {"__loader__": "JsonNode", "__module__": "builtins", "__class__": "str", "content": json.dumps(value)}


def onnx(domain: str = "", operator: str = "Relu", tensor: TensorProto | None = None) -> bytes:
    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "g", [value], [value], initializer=[tensor] if tensor else [])
    return bytes(helper.make_model(graph).SerializeToString())


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=1, dims=[1], data_location=1)
    tensor.external_data.add(key="location", value=location)
    return tensor


def safetensors(header: dict[str, Any], content: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def gguf(template: str) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    return (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("tokenizer.chat_template") + struct.pack("<I", 8) + text(template)
    )


def keras(name: str, module: str = "keras.layers", **more: Any) -> bytes:
    layer = {"module": module, "class_name": name, "config": {}, **more}
    inner = {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"layer": layer}}
    model = {"module": "keras", "class_name": "Sequential", "config": {"layers": [inner]}}
    return zipped({"config.json": json.dumps(model).encode(), "metadata.json": b"{}"})


def hdf5(config: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        file.attrs["model_config"] = config
        file["weights"] = np.arange(6.0)
    return buffer.getvalue()


def field(number: int, content: bytes) -> bytes:
    length, out = len(content), b""
    while length > 127:
        out, length = out + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + out + bytes([length]) + content


def saved_model(operator: str) -> bytes:
    node = field(1, b"n") + field(2, operator.encode())
    return b"\x08\x01" + field(2, field(2, field(2, field(1, field(3, node)))))


EXEC = {"__class__": "exec", "__module__": "builtins", "__loader__": "FunctionNode"}
STACK = {
    "content": {"stack_method_": {"__loader__": "ListNode", "content": [json_node("predict"), json_node("unlink")]}}
}
FORMULA = {"content": {"design_info": json_node("I(open('x', 'w'))")}}
NPY_HEADER = b"{'descr': '<f8', 'fortran_order': False, 'shape': (9,)}".ljust(59) + b"\n"
A_TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
LAMBDA = json.dumps({"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}})
ESCAPE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"

MALICIOUS = {
    "zip with a path out of it": zipped({"../evil": b"x"}),
    "zip with an absolute path": zipped({"/etc/cron.d/x": b"x"}),
    "zip with a link": linked_zip(),
    "skops os.system": skops("posix", "system", "FunctionNode"),
    "skops partial of exec": skops("functools", "partial", "PartialNode", content={"f": EXEC}),
    "skops method with underscore": skops("builtins", "str", "MethodNode", content={"func": "__reduce__", "obj": {}}),
    "skops stack that writes": skops("sklearn.ensemble._stacking", "StackingRegressor", content=STACK),
    "skops stack behind an odd text": skops(
        "sklearn.ensemble._stacking", "StackingRegressor",
        content={"content": {"a": {"__loader__": "JsonNode", "content": '"\ud800"'}, **STACK["content"]}},
    ),
    "skops formula": skops("statsmodels.base.data", "PandasData", content=FORMULA),
    "skops operator": skops("operator", "methodcaller", "OperatorFuncNode"),
    "onnx external traversal": onnx(tensor=external("../../etc/passwd")),
    "onnx external absolute": onnx(tensor=external("/etc/passwd")),
    "yaml object": b"a: !!python/object/apply:os.system ['id']\n",
    "yaml object, long tag": b"a: !<tag:yaml.org,2002:python/object/new:os.system> [id]\n",
    "xml external entity": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><PMML>&e;</PMML>',
    "gguf template": gguf(ESCAPE),
    "tokenizer template": json.dumps({"chat_template": ESCAPE}).encode(),
    "tokenizer template list": json.dumps({"chat_template": [{"name": "a", "template": ESCAPE}]}).encode(),
    "keras lambda": keras("Lambda"),
    "keras TFSMLayer": keras("TFSMLayer"),
    "keras os module (CVE-2025-1550)": keras("system", "os"),
    "keras builtins": keras("exec", "builtins"),
    "keras get_file": keras("get_file", "keras.utils"),
    "hdf5 lambda (CVE-2025-9905)": hdf5(LAMBDA),
    "hdf5 lambda in the newer structure": hdf5(LAMBDA, libver="latest"),
    "saved model that writes": saved_model("WriteFile"),
    "saved model with Python": saved_model("PyFunc"),
}  # fmt: skip

UNKNOWN = {
    "onnx custom operator": onnx("my.company", "Custom"),
    "onnx python operator": onnx("com.microsoft", "PythonOp"),
    "onnx external data": onnx(tensor=external("weights.bin")),
    "onnx size bomb": onnx(tensor=TensorProto(name="w", data_type=1, dims=[1 << 20, 1 << 20], raw_data=b"1234")),
    "skops unlisted type": skops("mypackage.models", "Net"),
    "skops method that writes": skops("numpy", "ndarray", "MethodNode", content={"func": "tofile", "obj": {}}),
    "skops method without a name": skops("numpy", "ndarray", "MethodNode", content={"obj": {}}),
    "skops unknown loader": skops("builtins", "dict", "EvalNode"),
    "safetensors overlap": safetensors({"a": A_TENSOR, "b": A_TENSOR}, bytes(8)),
    "safetensors hole": safetensors({"a": {**A_TENSOR, "data_offsets": [4, 12]}}, bytes(12)),
    "safetensors more bytes": safetensors({"a": A_TENSOR}, bytes(20)),
    "safetensors wrong shape": safetensors({"a": {**A_TENSOR, "shape": [3]}}, bytes(8)),
    "safetensors huge header": (1 << 62).to_bytes(8, "little") + b'{"a": 1}',
    "npy cut": b"\x93NUMPY\x01\0" + struct.pack("<H", 60) + NPY_HEADER,
    "zip with bytes before it": b"MZ" + b"\0" * 10 + zipped({"a.txt": b"x"}),
    "zip with a comment": zipped({"a.txt": b"x"})[:-2] + b"\x02\0hi",
    "zip with two of a name": zipped({"a.txt": b"x", "b.txt": b"y"}).replace(b"b.txt", b"a.txt"),
    "remote code": json.dumps({"auto_map": {"AutoModel": "evil--modeling.Net"}}).encode(),
    "keras foreign module": keras("Net", "mypackage.layers"),
    "keras custom": keras("Net", "keras.layers", registered_name="Custom>Net"),
    "template with attr": gguf("{{ messages|attr('x') }}"),
    "xml entities": b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">]><x>&lol;</x>',
    "saved model with a new operator": saved_model("MyCustomOp"),
    "hdf5 broken configuration": hdf5('{"class_name": "Sequential", "config'),
    "parquet cut": b"PAR1" + bytes(40) + b"PAR2",
}  # fmt: skip


@pytest.mark.parametrize("name", MALICIOUS)
def test_hostile_file_is_malicious(name: str, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(MALICIOUS[name])
    report = scan_file(tmp_path / "model")
    assert report.verdict is ScanVerdict.MALICIOUS, report
    assert report.findings


@pytest.mark.parametrize("name", UNKNOWN)
def test_doubtful_file_is_unknown(name: str, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(UNKNOWN[name])
    report = scan_file(tmp_path / "model")
    assert report.verdict is ScanVerdict.UNKNOWN, report
    assert report.findings


CLEAN = {
    "onnx": ("onnx", onnx()),
    "keras": ("keras", keras("Dense")),
    "hdf5": ("hdf5", hdf5(LAMBDA.replace("Lambda", "Dense"))),
    "saved model": ("saved-model", saved_model("MatMul")),
    "gguf": ("gguf", gguf("{% for m in messages %}{{ m['role'] + m.content | trim }}{% endfor %}")),
}


@pytest.mark.parametrize("name", CLEAN)
def test_honest_file_of_the_format_is_clean(name: str, tmp_path: Path) -> None:
    expected, data = CLEAN[name]
    (tmp_path / "model").write_bytes(data)
    report = scan_file(tmp_path / "model")
    assert (report.verdict, report.format, report.findings) == (ScanVerdict.CLEAN, expected, ())


def test_onnx_function_of_the_model_itself_is_known(tmp_path: Path) -> None:
    inner = helper.make_node("Relu", ["x"], ["y"])
    function = helper.make_function("local", "Twice", ["x"], ["y"], [inner], [helper.make_opsetid("", 20)])
    node = helper.make_node("Twice", ["x"], ["y"], domain="local")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    graph = helper.make_graph([node], "g", [value], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    model = helper.make_model(graph, functions=[function], opset_imports=opsets)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert scan_file(tmp_path / "model.onnx").verdict is ScanVerdict.CLEAN


def test_large_numbers_in_arrays_are_not_taken_for_programs(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for kind in (np.uint8, np.float32, np.int64):
        np.save(tmp_path / "a.npy", random.integers(0, 200, 200_000).astype(kind))
        assert scan_file(tmp_path / "a.npy").verdict is ScanVerdict.CLEAN


def test_every_expression_that_is_compiled_later_can_be() -> None:
    """Wherever a module keeps them: by a name, in a row, by a number, in a class."""
    for module in pkgutil.walk_packages(scan.__path__, f"{scan.__name__}."):
        importlib.import_module(module.name)
    sources = [path.read_text() for path in Path(scan.__path__[0]).rglob("*.py")]
    written = sum(len(re.findall(r"(?<!def )\blater\(", source)) for source in sources)
    found = [one for one in gc.get_objects() if type(one) is type(later(""))]
    assert len(found) >= written > 90
    for expression in found:
        assert expression.pattern is not None


def test_expression_that_is_compiled_later_can_be_copied() -> None:
    for copied in (copy.copy(later("a+")), copy.deepcopy(later("a+"))):
        assert copied.fullmatch("aa")


def test_no_expression_that_is_compiled_later_is_compiled_by_an_import() -> None:
    program = (
        "import gc, importlib, pkgutil\n"
        "from vallum_validator import scan\n"
        "from vallum_validator.scan.expressions import later\n"
        "for module in pkgutil.walk_packages(scan.__path__, f'{scan.__name__}.'):\n"
        "    importlib.import_module(module.name)\n"
        "kind = type(later(''))\n"
        "print([vars(one) for one in gc.get_objects() if type(one) is kind and len(vars(one)) > 1])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"
