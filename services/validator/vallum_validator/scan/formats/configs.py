"""Configurations in JSON and YAML: what they make a loader fetch, import or run. Every node is walked."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Final

from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats import named_code
from vallum_validator.scan.formats.harmful_names import evaluates, is_code
from vallum_validator.scan.formats.keras import inspect_node, is_keras, is_node
from vallum_validator.scan.formats.metadata import declare
from vallum_validator.scan.formats.named_code import inspect_external, inspect_named
from vallum_validator.scan.formats.templates import has_blocks, inspect_template, search_template
from vallum_validator.scan.formats.text import NotJson, load_json

_REMOTE: Final = frozenset({"auto_map", "trust_remote_code", "custom_pipelines", "custom_pipeline"})
_TEMPLATE_KEYS: Final = frozenset({"chat_template", "template", "prompt_template"})
_CHAT: Final = "chat_template"
_PIPELINE: Final = frozenset(
    {"diffusers", "transformers", "onnxruntime", "optimum", "stable_diffusion", "latent_diffusion", "pipelines"}
)
"""Where the parts of a diffusers pipeline come from; any other is a module of the author's own."""
_PARTS: Final = later(
    r"(?:unet|vae|scheduler|safety_checker|feature_extractor|image_(?:encoder|processor)|text_encoder|tokenizer|"
    r"transformer|controlnet|prior|decoder|movq|vocoder|vqvae|language_model|adapter|motion_adapter)(?:_\w+)?"
)
"""What diffusers calls the parts of its pipelines: it loads them whatever else the configuration says."""
_URL_SAFE: Final = str.maketrans("-_", "+/")
_MODULE_FIELDS: Final = frozenset({"name", "path", "type"})
_CLASS: Final = later(r"[^\W\d]\w*(?:\.\w+)+")
_NO_BASE64: Final = later(r"[^A-Za-z0-9+/]+")
_BASE64: Final = later(r"[^A-Za-z0-9+/]*gA[I-X][A-Za-z0-9+/]")
"""How a pickle of protocol 2 to 5 begins in base64, whose decoders pass over every other character."""
_LEAST_PICKLE: Final = 16
"""Characters of base64 below which no pickle does anything; words of a tokenizer begin like one."""
_OPENS, _CLOSES = frozenset("{["), frozenset("}]")
_SERIALISED: Final = ":serialized:"
"""Under this key Stable-Baselines3 keeps pickles in JSON, whatever they begin with."""
WORDS: Final = (
    *(b"auto_map", b"trust_remote_code", b"custom_pipeline", b"class_name", b":serialized:"),
    *named_code.WORDS,
)
KEYS: Final = (*named_code.KEYS, later(rb"gA[I-X](?<![A-Za-z0-9+/]gA.)"))
TOGETHER: Final = named_code.TOGETHER
"""What text holds, as it is or escaped, if anything here applies to it and its parser is worth asking."""


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
            if keras or is_node(node):
                inspect_node(node, context)
        elif isinstance(node, str):
            _text(key, node, context)
    if isinstance(document, list):
        _modules(document, context)
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
    """Look into the text of metadata, which may hold a template, a configuration, or what a reader evaluates: YOLOv5
    does so with the names of classes in ONNX."""
    for key, node in nodes(document):
        if isinstance(node, str):
            _text(key, node, context)
        elif isinstance(node, dict):
            inspect_named(node, context)


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


def _text(key: str, text: str, context: Context) -> None:
    if has_blocks(text):
        (inspect_template if key in _TEMPLATE_KEYS or _CHAT in key else search_template)(text, context)
    inspect_external(text, context, key=key)
    if evaluates(text):
        context.report("config.program", f"{key or 'an item'} is a Python expression that acts: {shown(text)}")
    elif is_code(text):
        context.report("config.remote-code", f"{key or 'an item'} is Python that MONAI evaluates: {shown(text)}")
    if key == _SERIALISED or (len(text) >= _LEAST_PICKLE and _BASE64.match(text)):
        for alphabet in dict.fromkeys((text, text.translate(_URL_SAFE))):
            _pickled(alphabet, context.enter(key or "text"))
    elif text[:1] in _OPENS and text[-1:] in _CLOSES:
        _nested(text, context.enter(key or "text"))


def _nested(text: str, context: Context) -> None:
    """A document in a text of another, as metadata keep them."""
    try:
        document = load_json(memoryview(text.encode("utf-8", "replace")))
    except NotJson:
        return  # it only begins and ends like one
    inspect_config(document, context)


def _pickled(text: str, context: Context) -> None:
    plain = _NO_BASE64.sub("", text)
    whole = plain[: len(plain) - (len(plain) % 4 == 1)]  # decoders drop or refuse the one that is left over
    if whole:
        context.inspect(memoryview(base64.b64decode(whole + "=" * (-len(whole) % 4))), context)


def _node(node: dict[str, Any], context: Context) -> None:
    for key in node:
        if node[key] and (key in _REMOTE or key.endswith("trust_remote_code")):
            context.report("config.remote-code", f"{key}: {shown(node[key])}")
    inspect_named(node, context)
    _pipeline(node, context)


def _modules(document: list[Any], context: Context) -> None:
    """The `modules.json` of sentence-transformers: each type is imported, whatever package it is in."""
    for node in document:
        kind = node.get("type") if isinstance(node, dict) and node.keys() >= _MODULE_FIELDS else None
        if isinstance(kind, str) and _CLASS.fullmatch(kind) and not kind.startswith("sentence_transformers."):
            context.report("config.remote-code", f"the module {shown(node['name'])} is of the class {shown(kind)}")


def _is_part(value: list[Any]) -> bool:
    """Library and class; in a modular pipeline with a description behind them."""
    described = len(value) == 3 and isinstance(value[2], dict)
    return (len(value) == 2 or described) and all(isinstance(part, str) for part in value[:2])


def _pipeline(node: dict[str, Any], context: Context) -> None:
    kind = node.get("_class_name")
    whole = "_diffusers_version" in node or isinstance(kind, list) or (isinstance(kind, str) and "Pipeline" in kind)
    for key, value in node.items():
        if not (isinstance(value, list) and _is_part(value)):
            continue
        part = key == "_class_name" or _PARTS.fullmatch(key) or (whole and not key.startswith("_"))
        if part and value[0] not in _PIPELINE:
            context.report("config.remote-code", f"{key} is taken from the module {shown(value[0])}")
