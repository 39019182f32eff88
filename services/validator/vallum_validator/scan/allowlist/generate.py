"""Generates the allow-list of a framework from its wheel, by syntax tree, without importing or running any of it.

    python -m vallum_validator.scan.allowlist.generate WHEEL… [--into DIRECTORY]

What goes on the list, and why it is safe to let a pickle name it:

- a class, where none of the methods that loading runs by itself (`__new__`, `__setstate__`, `__setitem__`, …) touches
  files, processes, imports or `eval`, and no base does; a class with `__del__` never, because the garbage collector
  runs it on a state the attacker chose;
- a compiled class where its module has a `__reduce__` of its own, and Cython's `__pyx_unpickle_…`, as callables: they
  fill fields;
- a function as a mere reference (`FunctionTransformer(func=…)`), where it does none of the above; it is never called
  while loading.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_LOADER_METHODS: Final = frozenset(
    {"__new__", "__setstate__", "__setitem__", "__init_subclass__", "__getattr__", "__getattribute__", "__setattr__",
     "__hash__", "__eq__", "append", "extend", "add"}
)  # fmt: skip
_HAZARDS: Final = frozenset(
    {"open", "exec", "eval", "compile", "__import__", "import_module", "system", "popen", "Popen", "run", "call",
     "check_output", "check_call", "spawn", "fork", "load", "loads", "load_library", "LoadLibrary", "CDLL", "unlink",
     "remove", "rmtree", "rename", "replace_file", "makedirs", "mkdir", "urlopen", "urlretrieve", "request", "memmap",
     "fromfile", "tofile", "savetxt", "loadtxt", "genfromtxt", "connect", "socket", "urandom_file", "exec_module",
     "execute", "read_csv", "to_csv", "NamedTemporaryFile", "mkstemp"}
)  # fmt: skip
_TOUCHES_OUTSIDE: Final = re.compile(
    r"(?i)(load|save|open|read|write|fetch|dump|exec|eval|file|path|dir|import|run|call|spawn|system|socket|url|clear_|"
    r"download|compile|test|main|show|plot|deprecat)"
)
_SKIPPED: Final = re.compile(
    r"(^|/)(tests?|testing|conftest|_pytest|f2py|distutils|_pyinstaller|setup|_build_utils|examples?|benchmarks?|io|"
    r"datasets|_distributor_init|__main__|doc|docs|cli|libs|plotting|_plotting)(/|\.|$)"
)
_READS_FILES: Final = re.compile(r"parsers|_io$|json|_csv|mio_utils|streams")


@dataclass
class Listing:
    """What is allowed of one wheel, module by module."""

    callables: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    classes: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    references: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def grades(self) -> Iterator[tuple[str, defaultdict[str, set[str]]]]:
        """Each grade with its names."""
        yield from (("callable", self.callables), ("class", self.classes), ("reference", self.references))


@dataclass(frozen=True)
class ClassFacts:
    """What the syntax tree says of a class: where it is, its bases by last name, and whether loading it is harmless."""

    module: str
    name: str
    bases: tuple[str, ...]
    harmless: bool


def list_wheel(wheel: Path) -> dict[str, object]:
    """The allow-list of one wheel, ready to be written as JSON.

    Args:
        wheel: a `.whl` file.

    Returns:
        `distribution`, `version`, `wheel_sha256` and, for each of `callable`, `class` and `reference`, names by module.
    """
    distribution, version = wheel.name.split("-")[:2]
    listing, facts, aliases = Listing(), [], []
    with zipfile.ZipFile(wheel) as archive:
        for entry in sorted(archive.namelist()):
            if _SKIPPED.search(entry):
                continue
            if entry.endswith((".py", ".pyi")):
                tree = ast.parse(archive.read(entry))
                module = _module_of(entry)
                facts += list(_classes(tree, module))
                _references(tree, module, listing)
                aliases += list(_aliases(tree, module)) if entry.endswith(("__init__.py", "__init__.pyi")) else []
            elif entry.endswith((".so", ".pyd")):
                _compiled(archive.read(entry), _module_of(entry), listing)
    _keep_harmless(facts, listing)
    _publish(aliases, listing)
    return {
        "distribution": distribution.replace("_", "-").lower(),
        "version": version,
        "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        **{grade: {m: sorted(n) for m, n in sorted(names.items()) if n} for grade, names in listing.grades()},
    }


def _module_of(entry: str) -> str:
    path = re.sub(r"(\.cpython-[^/]*|\.abi3)?\.(pyi?|so|pyd)$", "", entry)
    return path.removesuffix("/__init__").replace("/", ".")


def _classes(tree: ast.Module, module: str) -> Iterator[ClassFacts]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            harmless = not any(
                method.name == "__del__" or (method.name in _LOADER_METHODS and _is_hazardous(method))
                for method in methods
            )
            yield ClassFacts(module, node.name, tuple(_last_name(base) for base in node.bases), harmless)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_hazardous(node: ast.AST) -> bool:
    return any(isinstance(call, ast.Call) and _last_name(call.func) in _HAZARDS for call in ast.walk(node))


def _references(tree: ast.Module, module: str, listing: Listing) -> None:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not _TOUCHES_OUTSIDE.search(node.name) and not _is_hazardous(node):
            listing.references[module].add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            kind = _last_name(node.annotation)
            if kind == "ufunc" or kind.startswith("_UFunc"):
                listing.references[module].add(node.target.id)


def _aliases(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((module, name.name) for name in node.names if name.asname in (None, name.name))


def _compiled(content: bytes, module: str, listing: Listing) -> None:
    """Cython leaves `__pyx_tp_new_…` for each class and the name of each function among the symbols."""
    if _READS_FILES.search(module):
        return
    mangled = "".join(f"_{len(part)}{part}" for part in module.split(".")).encode()
    classes = set(re.findall(rb"__pyx_tp_new" + mangled + rb"_([A-Za-z]\w*)\0", content))
    functions = set(re.findall(rb"__pyx_mdef" + mangled + rb"_\d+(__pyx_unpickle_\w+|newObj)\0", content))
    rebuilds_by_class = re.search(mangled + rb"_\d+\w+?_\d+__reduce__\0", content) is not None
    (listing.callables if rebuilds_by_class else listing.classes)[module].update(name.decode() for name in classes)
    listing.callables[module].update(name.decode() for name in functions)


def _keep_harmless(facts: list[ClassFacts], listing: Listing) -> None:
    harmful = {fact.name for fact in facts if not fact.harmless} | {"memmap"}
    while True:
        heirs = {fact.name for fact in facts if harmful & set(fact.bases)} - harmful
        if not heirs:
            break
        harmful |= heirs
    for fact in facts:
        if fact.name not in harmful:
            listing.classes[fact.module].add(fact.name)


def _publish(aliases: list[tuple[str, str]], listing: Listing) -> None:
    """Give names that a package passes on the grade they have where they are defined (`numpy.mean`)."""
    for grade, names in listing.grades():
        known = {name for module in names.values() for name in module}
        for module, name in aliases:
            if name in known and (grade != "reference" or name not in listing.classes[module]):
                names[module].add(name)


def main() -> None:
    """Write one file per wheel that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, default=Path(__file__).parent / "data")
    options = parser.parse_args()
    options.into.mkdir(exist_ok=True)
    for wheel in options.wheels:
        listing = list_wheel(wheel)
        target = options.into / f"{listing['distribution']}-{listing['version']}.json"
        target.write_text(json.dumps(listing, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
