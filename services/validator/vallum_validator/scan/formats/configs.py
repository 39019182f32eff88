"""Configurations in JSON: what they make a loader fetch, import or run. Every node is walked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vallum_validator.scan import allowlist
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.keras import inspect_node, is_keras
from vallum_validator.scan.formats.metadata import declare
from vallum_validator.scan.formats.templates import has_blocks, inspect_template, search_template
from vallum_validator.scan.pickled.values import Grade

_REMOTE: Final = frozenset({"auto_map", "trust_remote_code", "custom_pipelines", "custom_pipeline"})
_TEMPLATE_KEYS: Final = frozenset({"chat_template", "template", "prompt_template"})
_PIPELINE: Final = frozenset(
    {"diffusers", "transformers", "onnxruntime", "optimum", "stable_diffusion", "latent_diffusion", "pipelines"}
)
"""Where the parts of a diffusers pipeline come from; any other is a module of the author's own."""
_TARGET: Final = "_target_"


def inspect_config(document: Any, context: Context, *, keras: bool = False) -> str:
    """Walk a JSON document.

    Args:
        document: as it was parsed.
        context: where findings go.
        keras: whether Keras reads it, whatever its outermost node looks like.

    Returns:
        `keras-config` where it describes a Keras model, `xgboost`, `notebook` or else `json`.
    """
    keras = keras or is_keras(document)
    for key, node in nodes(document):
        if isinstance(node, dict):
            _node(node, context)
            if keras:
                inspect_node(node, context)
        elif isinstance(node, str) and has_blocks(node):
            (inspect_template if key in _TEMPLATE_KEYS else search_template)(node, context)
    if not isinstance(document, dict):
        return "json"
    declare(document, context)
    if keras:
        return "keras-config"
    if {"nbformat", "cells"} <= document.keys():
        context.report("file.program", "the document is a notebook")
        return "notebook"
    return "xgboost" if {"learner", "version"} <= document.keys() else "json"


def inspect_strings(document: Any, context: Context) -> None:
    """Look into the text of metadata, which may hold a template."""
    for key, node in nodes(document):
        if isinstance(node, str) and has_blocks(node):
            (inspect_template if "chat_template" in key else search_template)(node, context)


def nodes(document: Any) -> Iterator[tuple[str, Any]]:
    """Every node of a document with the key it lies under, of a list that of the list."""
    pending = [("", document)]
    while pending:
        key, node = pending.pop()
        yield key, node
        if isinstance(node, dict):
            pending.extend(node.items())
        elif isinstance(node, list):
            pending.extend((key, item) for item in node)


def _node(node: dict[str, Any], context: Context) -> None:
    for key in _REMOTE & node.keys():
        if node[key]:
            context.report("config.remote-code", f"{key}: {shown(node[key])}")
    if isinstance(node.get(_TARGET), str):
        inspect_target(node[_TARGET], context)
    if node.get("lc") == 1 and node.get("type") == "constructor":
        context.report("config.remote-code", f"a LangChain object is built: {shown(node.get('id'))}")
    if "_diffusers_version" in node:
        _pipeline(node, context)


def inspect_target(target: str, context: Context, offset: int | None = None) -> None:
    """Report what `hydra.utils.instantiate` would call: any callable at all (CVE-2025-23304)."""
    module, _, name = target.rpartition(".")
    denied = allowlist.shipped().grade(module or "builtins", name) is Grade.DENIED
    context.report("config.program" if denied else "config.remote-code", f"{_TARGET} calls {shown(target)}", offset)


def _pipeline(node: dict[str, Any], context: Context) -> None:
    for key, value in node.items():
        parts = value if isinstance(value, list) and len(value) == 2 else ()
        library = parts[0] if parts else None
        named = all(isinstance(part, str) for part in parts) and (key == "_class_name" or not key.startswith("_"))
        if parts and named and library not in _PIPELINE:
            context.report("config.remote-code", f"{key} is taken from the module {shown(library)}")
