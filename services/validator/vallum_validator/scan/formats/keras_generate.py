"""Writes `keras_objects.txt` from an unpacked Keras wheel: what a configuration may name. Nothing of Keras is imported.

    python -m vallum_validator.scan.formats.keras_generate FOLDER > keras_objects.txt

Listed are layers, losses, optimizers and the like, operations, and the functions that activations and losses are. What
runs code that its own configuration carries or names (Lambda and its kin, operations over a function) is left out, and
so is all of `keras.utils`, `keras.saving` and `keras.config`, through which CVE-2025-1550, -8747 and -9906 went.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CLASSES: Final = frozenset(
    {"keras", "keras._legacy.layers", "keras._legacy.losses", "keras.constraints", "keras.dtype_policies",
     "keras.initializers", "keras.layers", "keras.losses", "keras.metrics", "keras.mixed_precision", "keras.models",
     "keras.optimizers", "keras.optimizers.legacy", "keras.optimizers.schedules", "keras.quantizers", "keras.random",
     "keras.regularizers"}
)  # fmt: skip
_FUNCTIONS: Final = frozenset(
    {"keras.activations", "keras.losses", "keras.metrics", "keras._legacy.losses", "keras._legacy.metrics"}
)
_CARRY_CODE: Final = frozenset(
    {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "AssociativeScan", "Cond", "ForiLoop", "Map",
     "Scan", "Switch", "VectorizedMap", "WhileLoop", "deserialize", "get", "serialize"}
)  # fmt: skip
_OLDER: Final = ("CuDNNGRU", "CuDNNLSTM", "Functional")
"""Of Keras 2, and what a model made from layers calls itself without exporting it."""


def names(root: Path) -> Iterator[str]:
    """Every name a configuration may use."""
    yield from _OLDER
    for path in root.glob("keras/src/**/*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and "ops" in path.parts and _is_operation(node):
                yield node.name
            elif isinstance(node, ast.ClassDef | ast.FunctionDef):
                wanted = _CLASSES if isinstance(node, ast.ClassDef) else _FUNCTIONS
                for module, _, name in (exported.rpartition(".") for exported in _exports(node)):
                    if module in wanted:
                        yield name


def _is_operation(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Operation" for base in node.bases)


def _exports(node: ast.ClassDef | ast.FunctionDef) -> list[str]:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "keras_export":
            paths = ast.literal_eval(decorator.args[0])
            return [paths] if isinstance(paths, str) else list(paths)
    return []


if __name__ == "__main__":
    found = sorted(set(names(Path(sys.argv[1]))) - _CARRY_CODE)
    sys.stdout.write(textwrap.fill(" ".join(found), 120, break_on_hyphens=False) + "\n")
