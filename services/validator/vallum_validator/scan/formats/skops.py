"""skops files: a zip with arrays and a schema that names the types to build, each held against the allow-lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vallum_validator.scan import allowlist, secrets
from vallum_validator.scan.containers.zip import ZipArchive
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.configs import nodes
from vallum_validator.scan.formats.text import NotJson, load_json
from vallum_validator.scan.pickled.formulas import objection_to_formula
from vallum_validator.scan.pickled.methods import PREDICT, objection_to_method
from vallum_validator.scan.pickled.values import OPAQUE, Grade

SCHEMA: Final = "schema.json"
_LOADERS: Final = frozenset(
    {"BytearrayNode", "BytesNode", "CachedNode", "ConstructorFromReduceNode", "DTypeNode", "DefaultDictNode",
     "DictNode", "FunctionNode", "JsonNode", "ListNode", "LossNode", "MaskedArrayNode", "MethodNode", "NdArrayNode",
     "ObjectNode", "OperatorFuncNode", "PartialNode", "QuantileForestNode", "RandomGeneratorNode", "RandomStateNode",
     "SetNode", "SliceNode", "SparseMatrixNode", "TreeNode", "TupleNode", "TypeNode", "_DictWithDeprecatedKeysNode"}
)  # fmt: skip
_NAME_ONLY: Final = frozenset({"FunctionNode", "TypeNode", "DTypeNode"})
_BY_ARGUMENTS: Final = frozenset({("builtins", "getattr")})
"""In a pickle their arguments decide; here they lie in other nodes."""
_HANDLED_BY_LOADER: Final = frozenset({"JsonNode", "MethodNode", "CachedNode"})

_MAX_VALUE: Final = 16 * 1024
_MAX_PARTS: Final = 1_000


def inspect_skops(archive: ZipArchive, context: Context) -> None:
    """Walk the schema, then inspect the members it refers to."""
    for entry in archive.entries:
        inside = context.enter(entry.name)
        content = archive.read(entry)
        if entry.name == SCHEMA:
            _walk(load_json(content), inside)
            secrets.search([(0, content)], inside)
        else:
            context.inspect(content, inside)


def inventory(archive: ZipArchive) -> Iterator[str]:
    """The types that the schema names, a line each."""
    schema = load_json(archive.read(next(entry for entry in archive.entries if entry.name == SCHEMA)))
    for _, node in nodes(schema):
        if isinstance(node, dict) and isinstance(node.get("__class__"), str):
            yield f"type {node.get('__module__')}.{node['__class__']}"


def _walk(schema: Any, context: Context) -> None:
    for _, node in nodes(schema):
        if isinstance(node, dict) and isinstance(node.get("__class__"), str):
            _judge(node, context)


def _judge(node: dict[str, Any], context: Context) -> None:
    module, name, loader = (node.get(key) for key in ("__module__", "__class__", "__loader__"))
    if not isinstance(module, str) or loader not in _LOADERS:
        context.report("skops.loader-unknown", f"loader {shown(loader)} of {shown(module)}.{name}")
        return
    method = node["content"].get("func") if loader == "MethodNode" and isinstance(node.get("content"), dict) else None
    if isinstance(method, str) and method.startswith("_"):
        context.report("skops.type-denied", f"takes the method {shown(method)} of {shown(module)}.{name}")
    elif loader == "MethodNode" and not (isinstance(method, str) and method in PREDICT):
        context.report("skops.type-unlisted", f"takes the method {shown(method)} of {shown(module)}.{name}")
    older = node.get("content") if loader == "FunctionNode" else None
    if isinstance(older, dict) and "module_path" in older:
        # Protocol 0 keeps the name of a function there, whatever stands in front.
        module, name = str(older["module_path"]), older.get("function")
    made = _attributes(node.get("content")) if loader == "ObjectNode" else []
    grade = allowlist.shipped().grade(module, str(name))
    needed = Grade.REFERENCE if loader in _NAME_ONLY | _HANDLED_BY_LOADER else Grade.CLASS
    for objection in (objection_to_method(f"{module}.", made), objection_to_formula(f"{module}.", made)):
        if objection is not None:
            context.report(f"skops.type-{'denied' if objection.malicious else 'unlisted'}", objection.reason)
    if grade is Grade.DENIED:
        context.report("skops.type-denied", f"{loader} names {shown(f'{module}.{name}')}")
    elif grade < needed or (module, name) in _BY_ARGUMENTS:
        context.report("skops.type-unlisted", f"{loader} names {shown(f'{module}.{name}')}")


def _attributes(state: Any) -> list[tuple[Any, Any]]:
    """What the state of an object sets, as far as it is text or numbers."""
    content = state.get("content") if isinstance(state, dict) else None
    return [(name, _plain(value)) for name, value in content.items()] if isinstance(content, dict) else []


def _plain(value: Any, *, nested: bool = True) -> Any:
    match value:
        case {"__loader__": "JsonNode", "content": str(text)} if len(text) <= _MAX_VALUE:
            try:
                found = load_json(memoryview(text.encode("utf-8", "replace")))
            except NotJson:
                return OPAQUE
            return found if found is None or isinstance(found, str | int | float) else OPAQUE
        case {"__loader__": "ListNode" | "TupleNode", "content": list(parts)} if nested and len(parts) <= _MAX_PARTS:
            return tuple(_plain(part, nested=False) for part in parts)
    return OPAQUE
