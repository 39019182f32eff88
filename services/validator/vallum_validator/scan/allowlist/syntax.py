"""What the syntax trees of a wheel say: which functions and classes each module has, and what a name in it stands for.

Nothing is imported or run. What cannot be resolved by reading stays unresolved, and the caller treats it as foreign.
"""

from __future__ import annotations

import ast
import itertools
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

_SOURCE: Final = re.compile(r"(\.cpython-[^/]*|\.abi3|\.cp\d+-[^/]*)?\.(pyi?|so|pyd)$")
_UNREAD: Final = re.compile(
    r"(^|/)(tests?|conftest|_pytest|benchmarks?|examples?)(/|\.)|"
    r"^torch/(_inductor|_dynamo|_functorch|testing|ao|distributed|onnx|fx|export|_export|_refs|_decomp|quantization)/"
)
"""Files that no model needs, left out because reading them takes most of the time."""
_MAX_HOPS: Final = 20

Function = ast.FunctionDef | ast.AsyncFunctionDef
Dotted = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a name leads.

    Args:
        kind: `function`, `class`, `module`, or `foreign` for what the wheel does not define.
        module: that defines it.
        name: in that module; empty for a module.
    """

    kind: str
    module: str
    name: str = ""


@dataclass
class Class:
    """A class as it is written.

    Args:
        module: that defines it.
        name: dotted where it stands in another class.
        bases: as dotted names; one that is no name is the empty tuple.
        methods: by name; several where a property has a setter, or where platforms differ.
    """

    module: str
    name: str
    bases: tuple[Dotted, ...]
    methods: dict[str, list[Function]]

    @cached_property
    def setters(self) -> frozenset[str]:
        """The properties that can be set."""
        return frozenset(name for name, nodes in self.methods.items() if any(map(_is_setter, nodes)))


@dataclass
class Module:
    """What one module defines and imports.

    Args:
        name: dotted.
        package: which a relative import starts from.
        functions: by name; several where platforms differ.
        classes: by name.
        tuples: names that `namedtuple` or its like gave a class.
        ufuncs: names that a stub calls a ufunc.
        stubs: classes that a stub declares: all there is to read of a compiled module.
        imports: what a name was imported as: the module, and the name in it or nothing.
        stars: modules all of whose names are taken.
        aliases: `A = B` at the top.
    """

    name: str
    package: str
    functions: dict[str, list[Function]] = field(default_factory=dict)
    classes: dict[str, Class] = field(default_factory=dict)
    tuples: set[str] = field(default_factory=set)
    ufuncs: set[str] = field(default_factory=set)
    stubs: set[str] = field(default_factory=set)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    aliases: dict[str, Dotted] = field(default_factory=dict)


def dotted(node: ast.AST) -> Dotted:
    """The parts of `a.b.c`; empty for anything else. A subscript (`Generic[T]`) counts as what is subscripted."""
    if isinstance(node, ast.Subscript):
        return dotted(node.value)
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return (*head, node.attr) if head else ()
    return ()


def imports_in(nodes: Iterable[ast.AST], package: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each name that one of the nodes imports, with what it stands for; `*` names a star import."""
    for item in nodes:
        if isinstance(item, ast.Import):
            for name in item.names:
                yield (
                    (name.asname or name.name.partition(".")[0]),
                    (
                        name.name if name.asname else name.name.partition(".")[0],
                        "",
                    ),
                )
        elif isinstance(item, ast.ImportFrom):
            source = _absolute(item, package)
            for name in item.names:
                yield (name.asname or name.name), (source, name.name)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - node.level + 1])
    return f"{base}.{node.module}" if node.module else base


def module_of(entry: str) -> str:
    """The dotted name of the module in a file of a wheel."""
    return _SOURCE.sub("", entry).removesuffix("/__init__").replace("/", ".")


def read_module(source: bytes, entry: str) -> Module:
    """Read one `.py` or, for what it declares, one `.pyi`: a stub has no bodies and proves no class harmless."""
    name = module_of(entry)
    package = name if "/__init__." in entry else name.rpartition(".")[0]
    module = Module(name, package)
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a template or Python 2; no pickle can name anything in it
        return module
    if entry.endswith(".pyi"):
        module.ufuncs.update(_ufuncs(tree))
        module.stubs.update(node.name for node in tree.body if isinstance(node, ast.ClassDef))
        return module
    for item, (origin, original) in imports_in(ast.walk(tree), package):
        if item == "*":
            module.stars.append(origin)
        else:
            module.imports.setdefault(item, (origin, original))
    for node in _statements(tree.body):
        _define(node, module)
    return module


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, with those in `if`, `try` and `with`."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                yield from _statements(getattr(node, part, []))
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from _statements(handler.body)


def _define(node: ast.stmt, module: Module) -> None:
    if isinstance(node, Function):
        module.functions.setdefault(node.name, []).append(node)
    elif isinstance(node, ast.ClassDef):
        _define_class(node, module, "")
    elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        target = node.targets[0].id
        if isinstance(node.value, ast.Call) and dotted(node.value.func)[-1:] in (
            ("namedtuple",),
            ("_make_tuple_bunch",),
        ):
            module.tuples.add(target)
        elif value := dotted(node.value):
            module.aliases[target] = value


def _define_class(node: ast.ClassDef, module: Module, prefix: str) -> None:
    name = f"{prefix}{node.name}"
    methods: dict[str, list[Function]] = {}
    for item in _statements(node.body):
        if isinstance(item, Function):
            methods.setdefault(item.name, []).append(item)
        elif isinstance(item, ast.ClassDef):
            _define_class(item, module, f"{name}.")
    module.classes[name] = Class(module.name, name, tuple(itertools.chain(*map(_bases, node.bases))), methods)


def _bases(node: ast.expr) -> list[Dotted]:
    """A base as it is written; `namedtuple(…)` is a tuple, `with_metaclass(M, A, B)` stands for A and B."""
    if isinstance(node, ast.Call):
        called = dotted(node.func)[-1:]
        if called in (("namedtuple",), ("NamedTuple",)):
            return [("tuple",)]
        if called == ("with_metaclass",):
            return [dotted(base) for base in node.args[1:]]
    return [dotted(node)]


def _ufuncs(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            kind = (dotted(node.annotation) or ("",))[-1]
            if kind == "ufunc" or kind.startswith("_UFunc"):
                yield node.target.id


def _is_setter(node: Function) -> bool:
    return any(dotted(decorator)[-1:] == ("setter",) for decorator in node.decorator_list)


class Package:
    """All modules of one wheel."""

    def __init__(self, modules: dict[str, Module]) -> None:
        self.modules = modules
        self._places: dict[tuple[str, Dotted], Place] = {}
        self._lineages: dict[int, tuple[list[Class], list[Place]]] = {}

    @classmethod
    def read(cls, wheel: Path) -> Package:
        """Read the Python files of a wheel; a stub adds to the module that it describes."""
        modules: dict[str, Module] = {}
        with zipfile.ZipFile(wheel) as archive:
            entries = sorted(
                name for name in archive.namelist() if name.endswith((".py", ".pyi")) and not _UNREAD.search(name)
            )
            for entry in entries:
                found = read_module(archive.read(entry), entry)
                known = modules.setdefault(found.name, found)
                known.ufuncs |= found.ufuncs
                known.stubs |= found.stubs
        return cls(modules)

    def resolve(self, module: str, name: Dotted, hops: int = 0) -> Place:
        """What a dotted name stands for in a module of this wheel."""
        key = (module, name)
        if key not in self._places:
            self._places[key] = Place("foreign", module, ".".join(name))  # what a circle of imports leads to
            self._places[key] = self._resolve(module, name, hops)
        return self._places[key]

    def _resolve(self, module: str, name: Dotted, hops: int) -> Place:
        here = self.modules.get(module)
        if here is None or not name or hops > _MAX_HOPS:
            return Place("foreign", module, ".".join(name))
        first, rest = name[0], name[1:]
        if name and ".".join(name) in here.classes:
            return Place("class", module, ".".join(name))
        if first in here.functions:
            return Place("function", module, first)
        if first in here.imports:
            return self.imported(*here.imports[first], rest, hops)
        if first in here.aliases and here.aliases[first][0] != first:
            return self.resolve(module, (*here.aliases[first], *rest), hops + 1)
        for star in here.stars:
            found = self.resolve(star, name, hops + 1)
            if found.kind != "foreign":
                return found
        return self._submodule(module, first, rest, hops)

    def imported(self, origin: str, original: str, rest: Dotted, hops: int = 0) -> Place:
        """What a dotted name stands for that begins with something imported."""
        if original and f"{origin}.{original}" not in self.modules:
            if origin in self.modules:
                return self.resolve(origin, (original, *rest), hops + 1)
            return Place("foreign", origin, ".".join((original, *rest)))
        target = f"{origin}.{original}" if original else origin
        if original and origin in self.modules and self._defines(origin, original):
            return self.resolve(origin, (original, *rest), hops + 1)
        if not rest:
            return Place("module" if target in self.modules else "foreign", target)
        if target not in self.modules:
            return Place("foreign", target, ".".join(rest))
        return self.resolve(target, rest, hops + 1)

    def _defines(self, module: str, name: str) -> bool:
        here = self.modules[module]
        return name in here.functions or name in here.classes

    def _submodule(self, module: str, first: str, rest: Dotted, hops: int) -> Place:
        below = f"{module}.{first}"
        if below not in self.modules:
            return Place("foreign", module, ".".join((first, *rest)))
        return self.resolve(below, rest, hops + 1) if rest else Place("module", below)

    def class_at(self, place: Place) -> Class:
        """The class at a place of kind `class`."""
        return self.modules[place.module].classes[place.name]

    def lineage(self, cls: Class) -> tuple[list[Class], list[Place]]:
        """The class with all its bases in the wheel, nearest first, and the bases outside it."""
        known = self._lineages.get(id(cls))
        if known is None:
            known = self._lineages[id(cls)] = self._lineage_of(cls)
        return known

    def _lineage_of(self, cls: Class) -> tuple[list[Class], list[Place]]:
        own, outside, pending = [cls], [], [(cls, base) for base in cls.bases]
        while pending:
            heir, base = pending.pop(0)
            place = self.resolve(heir.module, base)
            if place.kind != "class":
                outside.append(place)
                continue
            found = self.class_at(place)
            if found not in own:
                own.append(found)
                pending.extend((found, further) for further in found.bases)
        return own, outside
