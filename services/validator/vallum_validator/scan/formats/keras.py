"""Keras configurations: every node that names a class or function is held against the list of Keras's own.

A configuration is a program for an interpreter that imports what it names: `{"module": "os", "class_name": "system"}`
ran (CVE-2025-1550), and so did functions of Keras itself (CVE-2025-8747, CVE-2025-9906). So only names on
`keras_objects.txt` are part of a model; see `keras_generate.py`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from vallum_validator.scan import allowlist
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.pickled.values import Grade

_MODULES: Final = later(r"(keras|keras_nlp|keras_cv|keras_hub|tf_keras|tensorflow\.(python\.)?keras)(\.\w+)*$")
_CARRY_CODE: Final = frozenset(
    {"__lambda__", "Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "OpLambda", "TFOpLambda",
     "TensorFlowOpLayer", "SlicingOpLambda", "PyFunc"}
)  # fmt: skip
_HARMLESS_CODE: Final = frozenset({"TFOpLambda", "TensorFlowOpLayer", "SlicingOpLambda"})
"""They apply an operation of TensorFlow that the file names: not listed here, and not the author's own code either."""
_VALUES: Final = frozenset(
    {"__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__keras_tensor__", "__slice__", "__tuple__",
     "TensorShape", "dict", "list", "set", "slice", "tuple"}
)  # fmt: skip
_FILE_KEYS: Final = ("vocabulary", "vocabulary_path", "filepath", "file_path")
_LEADS_OUT: Final = later(r"^[/\\~]|^[A-Za-z]:|://|(^|[/\\])\.\.([/\\]|$)")


@cache
def _known() -> frozenset[str]:
    return frozenset((Path(__file__).parent / "keras_objects.txt").read_text(encoding="utf-8").split())


def is_keras(document: Any) -> bool:
    """Whether a JSON document is the configuration of a Keras model."""
    return isinstance(document, dict) and "class_name" in document and isinstance(document.get("config"), dict | list)


def is_node(node: dict[str, Any]) -> bool:
    """Whether Keras would build what a part of a JSON document describes, whatever stands around it."""
    name = node.get("class_name")
    if not isinstance(name, str) or "config" not in node:
        return False
    return "registered_name" in node or "module" in node or name.rpartition(">")[2] in _CARRY_CODE


def inspect_node(node: dict[str, Any], context: Context) -> None:
    """Judge one node of a configuration; most are parameters and name nothing."""
    name, module = node.get("class_name"), node.get("module")
    for key in _FILE_KEYS:
        if isinstance(node.get(key), str) and node[key]:
            _outside_file(key, node[key], context)
    if not isinstance(name, str):
        return
    short = name.rpartition(">")[2]
    if short in _CARRY_CODE:
        rule = "keras.module-unknown" if short in _HARMLESS_CODE else "config.program"
        context.report(rule, f"the layer {shown(name)} runs code that the file carries or names")
    elif name == "function":
        _judge(module, node.get("config"), context)
        _registered(node.get("config"), node.get("registered_name"), context)
    else:
        _judge(module, name, context)
        _registered(name, node.get("registered_name"), context)


def _judge(module: Any, name: Any, context: Context) -> None:
    if not isinstance(name, str) or not isinstance(module, str | None):
        context.report("config.program", f"{shown(name)} of {shown(module)} carries code instead of a name")
        return
    path = f"{module}.{name}" if module else name
    if module in (None, "", "builtins"):
        # Keras 2.13 wrote its own functions as "builtins", too.
        known = name in _VALUES or name in _known()
        denied = allowlist.shipped().grade("builtins", name) is Grade.DENIED
    elif _MODULES.match(module):
        known = name in _known()
        denied = not name[:1].isupper()
    else:
        known = False
        denied = allowlist.shipped().grade(module, name) is Grade.DENIED
    if not known:
        rule = "config.program" if denied else "keras.module-unknown"
        context.report(rule, f"{shown(path)} is not part of a Keras model")


def _registered(name: Any, registered: Any, context: Context) -> None:
    """A registered name is looked up in the loading process before the class is, and finds its author's code there."""
    if registered not in (None, "", "function", name):
        context.report("keras.module-unknown", f"{shown(registered)} is registered by another package")


def _outside_file(key: str, value: str, context: Context) -> None:
    rule = "config.outside-file" if _LEADS_OUT.search(value) else "config.file"
    context.report(rule, f"{key} is read from {shown(value)} (CVE-2025-12058)")
