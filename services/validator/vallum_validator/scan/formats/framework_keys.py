"""Keys by which single frameworks import a module, build a class or load a library that a configuration names.

A harmful function is found whatever its key is (`harmful_names`). Here is what is left: code that would have to come
with the model, or be installed, and that no scan of this file has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from vallum_validator.scan.expressions import later

_DOTTED: Final = later(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_PLACE: Final = later(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_CLASS: Final = later(r"[a-z_]\w*(?:\.[a-z_]\w*)*\._?[A-Z]\w*[a-z]\w*")
"""Modules, which are written small, and a class of Python."""
_OWN_LIBRARY: Final = later(r"(?:transformers|peft|diffusers|sentence_transformers)(?:\.\w+)*")
_ACTIVATION: Final = later(r"torch\.nn\.(?:modules\.\w+\.)?[A-Z]\w*|transformers\.activations\.[A-Z]\w*")
_OWN: Final = frozenset(
    {"accelerate", "allennlp", "autogen_agentchat", "autogen_core", "autogen_ext", "autogluon", "catboost", "datasets",
     "diffusers", "dynamic_network_architectures", "flax", "gymnasium", "haystack", "keras", "keras_hub", "langchain",
     "langchain_core", "lightgbm", "lightning", "llama_index", "logging", "mlflow", "mlserver",
     "mlserver_alibi_detect", "mlserver_alibi_explain", "mlserver_catboost", "mlserver_huggingface",
     "mlserver_lightgbm", "mlserver_mlflow", "mlserver_mllib", "mlserver_sklearn", "mlserver_xgboost", "monai", "nemo",
     "nnunetv2", "numpy", "onnxruntime", "optimum", "pandas",
     "peft", "pyspark", "pytorch_lightning", "rasa", "ray", "scipy", "sentence_transformers", "setfit", "sklearn",
     "spacy", "stable_baselines3", "statsmodels", "tensorflow", "tf_keras", "thinc", "timm", "tokenizers", "torch",
     "torchaudio", "torchmetrics", "torchvision", "transformers", "xgboost"}
)  # fmt: skip
"""Where the classes of honest models come from; what acts among them is judged by its name."""
_OTHER_LANGUAGES: Final = frozenset({"com", "java", "javax", "net", "org", "scala"})
"""Where packages of Java begin."""
_CLASS_KEYS: Final = frozenset(
    {
        "type",
        "class",
        "cls",
        "class_name",
        "component",
        "constructor",
        "factory",
        "implementation",
        "provider",
        "target",
        "uses",
    }
)
_CLASS_ENDS: Final = ("_class", "_cls", "_class_name", "_type")
_LIBRARY_KEYS: Final = (
    *("custom_ops_library", "custom_op_library", "custom_ops_libraries", "op_library_filename", "shared_lib_path"),
    *("provider_library_path", "plugin_library", "extension_library"),
)
WORDS: Final = (b"_component_", b"@module", b"flavors", b"user_dir")
"""Of the keys here, those that are read from YAML as well; the loaders of the others read JSON only."""
_VALUE: Final = (
    rb"(?:[ \t\r\n]++|#[^\n]*+\n|&\S++\s|[|>][-+0-9]*+\s){0,200}+['\"]?"
    rb"[a-z_]\w*+(?:\.[a-z_]\w*+)*+[.:]_?[A-Z]\w*[a-z]\w*+(?=['\"\s,}\]]|\Z)"
)
SIGNS: Final = (later(rb":%b" % _VALUE), later(rb"=%b" % _VALUE))
"""A class by its module, as a value."""


def imported(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a node makes its loader import, build or load, and how it says so."""
    for rule in _RULES:
        yield from rule(node)


def called(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names that a node makes its loader call with what stands beside them, by key."""
    for key in ("_target_", "()", "class_path", "_component_"):
        if isinstance(node.get(key), str):
            yield key, node[key]
    target = node.get("target")
    nemo = "nemo_version" in node and not str(target).startswith("nemo.")
    if isinstance(target, str) and (isinstance(node.get("params"), dict) or nemo) and _DOTTED.fullmatch(target):
        yield "target", target
    if "__kind__" in node and isinstance(node.get("class"), str):  # GluonTS
        yield "class", node["class"]
    module = node.get("@module")
    if isinstance(module, str):  # monty, in which matgl and pymatgen keep models
        for key in ("@class", "@callable"):
            if isinstance(node.get(key), str):
                yield key, f"{module}.{node[key]}"
    name = node.get("class_name")
    if isinstance(name, str) and _PLACE.fullmatch(name):  # DeepPavlov
        yield "class_name", name.replace(":", ".")


def outside(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Files that a node names as parts of the model, with what they are for."""
    shards = node.get("weight_map")
    for shard in set(map(str, shards.values())) if isinstance(shards, dict) else ():
        yield "weight_map", shard


def _classes(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if not isinstance(value, str) or not (key in _CLASS_KEYS or key.endswith(_CLASS_ENDS)):
            continue
        root = value.partition(".")[0]
        if _CLASS.fullmatch(value) and root not in _OWN | _OTHER_LANGUAGES:
            yield f"{key} is a class of the author's own", value


def _mlflow(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    loader, keras = node.get("loader_module"), node.get("keras_module")
    if isinstance(loader, str) and loader.partition(".")[0] != "mlflow":
        yield "MLflow imports the loader_module", loader
    if isinstance(keras, str) and keras not in ("keras", "tensorflow.keras", "tf_keras"):
        yield "MLflow imports the keras_module", keras
    built = node.get("model_class")
    if isinstance(built, str) and _DOTTED.fullmatch(built) and built.partition(".")[0] not in _OWN:
        yield "MLflow calls the model_class", built
    flavours = node.get("flavors")
    for flavour in flavours.values() if isinstance(flavours, dict) else ():
        for key in ("code", "model_code_path"):
            if isinstance(flavour, dict) and isinstance(flavour.get(key), str):
                yield f"MLflow imports what lies in its {key}", flavour[key]


def _peft(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    library, megatron = node.get("parent_library"), node.get("megatron_core")
    if isinstance(library, str) and not _OWN_LIBRARY.fullmatch(library):
        yield "parent_library is imported", library
    if isinstance(megatron, str) and megatron != "megatron.core":
        yield "megatron_core is imported", megatron


def _sentence_transformers(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in ("activation_function", "activation_fn", "sbert_ce_default_activation_function"):
        value = node.get(key)
        if isinstance(value, str) and _DOTTED.fullmatch(value) and not _ACTIVATION.fullmatch(value):
            yield f"{key} is imported", value
    kinds = node.get("types") if "structure" in node else None
    for kind in kinds.values() if isinstance(kinds, dict) else ():
        if isinstance(kind, str) and _DOTTED.fullmatch(kind) and not kind.startswith("sentence_transformers."):
            yield "a module is of the class", kind


def _libraries(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _LIBRARY_KEYS:
        if node.get(key):
            yield f"the {key} is loaded", node[key]


def _others(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if node.get("lc") == 1 and node.get("type") == "constructor":
        yield "a LangChain object is built", node.get("id")
    if isinstance(node.get("custom_imports"), dict):
        yield "custom_imports", node["custom_imports"].get("imports")
    if isinstance(node.get("__instance_type__"), list):
        yield "json_tricks builds an object", node["__instance_type__"]
    if isinstance(node.get("source_code"), str) and "global_imports" in node:
        yield "AutoGen runs the source_code", node["source_code"]
    if isinstance(node.get("user_dir"), str) and node["user_dir"]:
        yield "fairseq imports the user_dir", node["user_dir"]
    metadata = node.get("metadata")
    if "chainer" in node and isinstance(metadata, dict) and metadata.get("imports"):
        yield "DeepPavlov imports", metadata["imports"]
    bento = {"module", "signatures", "context"} <= node.keys()
    if bento and isinstance(node["module"], str) and node["module"].partition(".")[0] != "bentoml":
        yield "BentoML imports the module", node["module"]
    if node.get("id") == "pickle" and node.keys() <= {"id", "protocol"}:
        yield "zarr unpickles what an array holds, by the codec", "pickle"
    if {"irVersion", "graph"} <= node.keys():
        yield "ONNX as JSON is not judged, and names what is loaded with it", sorted(node)
    kind = node.get("class")
    if "sparkVersion" in node and isinstance(kind, str) and not kind.startswith(("org.apache.spark.", "pyspark.")):
        yield "Spark imports the class", kind


_RULES: Final[tuple[Callable[[dict[str, Any]], Iterator[tuple[str, Any]]], ...]] = (
    _classes, _mlflow, _peft, _sentence_transformers, _libraries, _others
)  # fmt: skip
