"""Configurations in JSON: what they make a loader fetch, import or run. Every node is walked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.templates import inspect_template

_REMOTE: Final = frozenset({"auto_map", "trust_remote_code", "custom_pipelines"})
_TEMPLATE_KEYS: Final = frozenset({"chat_template", "template", "prompt_template"})
_KERAS_MODULES: Final = re.compile(
    r"(keras|keras_hub|keras_cv|keras_nlp|tf_keras|tensorflow\.keras|builtins)(\.[\w.]+)?$"
)
_KERAS_CODE: Final = frozenset(
    {"Lambda", "TFSMLayer", "PyFunc", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "OpLambda"}
)
_KERAS_DENIED: Final = re.compile(
    r"\b(get_file|load_model|enable_unsafe_deserialization|run_in_background|utils\.file_utils|numerical_utils\.eval)\b"
)
_CODE_BYTES: Final = ("__lambda__", "__code__")


def inspect_config(document: Any, context: Context) -> str:
    """Walk a JSON document; returns `keras-config` where it describes a Keras model, else `json`."""
    is_keras = isinstance(document, dict) and "class_name" in document and "config" in document
    for key, node in _nodes(document):
        if isinstance(node, dict):
            _node(node, context, is_keras=is_keras)
        elif isinstance(node, str) and (key in _TEMPLATE_KEYS or "{%" in node):
            inspect_template(node, context)
    if is_keras:
        return "keras-config"
    return "xgboost" if isinstance(document, dict) and {"learner", "version"} <= document.keys() else "json"


def _nodes(document: Any) -> Iterator[tuple[str, Any]]:
    pending = [("", document)]
    while pending:
        key, node = pending.pop()
        yield key, node
        if isinstance(node, dict):
            pending.extend(node.items())
        elif isinstance(node, list):
            pending.extend((key, item) for item in node)


def _node(node: dict[str, Any], context: Context, *, is_keras: bool) -> None:
    for key in _REMOTE & node.keys():
        if node[key]:
            context.report("config.remote-code", f"{key}: {shown(node[key])}")
    if is_keras:
        _keras_node(node, context)


def _keras_node(node: dict[str, Any], context: Context) -> None:
    name, module = node.get("class_name"), node.get("module")
    if not isinstance(name, str):
        return
    if name in _CODE_BYTES or name in _KERAS_CODE or name.rpartition(">")[2] in _KERAS_CODE:
        context.report("config.program", f"the layer {shown(name)} runs code that the file carries or names")
    elif isinstance(module, str) and not _KERAS_MODULES.match(module):
        known = module.partition(".")[0] in ("os", "sys", "subprocess", "builtins", "importlib", "posix", "shutil")
        context.report(
            "config.program" if known else "keras.module-unknown", f"{shown(f'{module}.{name}')} is no part of Keras"
        )
    elif _KERAS_DENIED.search(f"{module}.{name}") or (
        module == "builtins" and name not in ("slice", "dict", "tuple", "list")
    ):
        context.report("config.program", f"{shown(f'{module}.{name}')} is not part of a model (CVE-2025-1550)")
    elif name == "function" or (">" in name and module is None) or node.get("registered_name") not in (None, name, ""):
        registered = node.get("registered_name")
        if isinstance(registered, str) and registered.partition(">")[0] not in ("", "keras", "Custom", registered):
            context.report("keras.module-unknown", f"{shown(registered)} is registered by another package")
        elif isinstance(registered, str) and registered.startswith("Custom>"):
            context.report("keras.module-unknown", f"{shown(registered)} is code of the author's own")
