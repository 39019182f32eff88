"""Measures the house: rooms, import direction, sizes, docstrings. `test_architecture.py` holds it to the figures.

Everything is read from syntax trees; nothing of the project is imported or run.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SERVICES: Final = ("registry", "validator", "risk", "compliance", "monitor")
MODULE_LINES: Final = 400
FUNCTION_LINES: Final = 60

TRANSPORT: Final = ("grpc", "aiokafka", "faust", "sqlalchemy", "alembic", "google.protobuf", "vallum")
"""What may not be imported by rooms that are pure of transport. `vallum` is the generated contracts."""

ROOMS: Final[Mapping[str, frozenset[str]]] = {
    "domain": frozenset({"domain"}),
    "service": frozenset({"domain", "service"}),
    "wire": frozenset({"domain", "wire"}),
    "store": frozenset({"domain", "service", "store"}),
    "grpc_api": frozenset({"domain", "service", "wire", "grpc_api"}),
    "stream": frozenset({"domain", "service", "wire", "stream"}),
    "config": frozenset({"config"}),
}
"""Room to the rooms of its own service it may import; `main` may import all, work rooms are those not named here."""

PURE: Final = frozenset({"domain", "service"})
MEETS_TRANSPORT: Final = frozenset({"measure", "signer"})
"""Work rooms at the edge of a process, each for the reason in its own docstring."""

NOT_IN_DOMAIN: Final = ("asyncio", "importlib", "logging", "os", "random", "requests", "secrets", "socket", "structlog")
"""No I/O, no clock, no randomness, no logging in the domain."""

DOMAIN_MAY_IMPORT: Final = ("vallum_common.errors", "vallum_common.bundle")


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed source file.

    Args:
        path: of the file.
        name: dotted, e.g. `vallum_risk.domain`.
        tree: its syntax.
        lines: how many it has.
    """

    path: Path
    name: str
    tree: ast.Module
    lines: int

    @property
    def package(self) -> str:
        """`vallum_risk`."""
        return self.name.partition(".")[0]

    @property
    def room(self) -> str:
        """`domain`, `scan`, …; empty for the package itself."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""


def own_modules(root: Path) -> list[Module]:
    """Every hand-written module of libraries and services, tests and migrations left out."""
    modules = []
    for base in (*root.glob("libs/*"), *root.glob("services/*")):
        for path in sorted(base.glob("vallum_*/**/*.py")):
            relative = path.relative_to(base)
            if "migrations" in relative.parts:
                continue
            text = path.read_text()
            name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
            modules.append(Module(path, name, ast.parse(text), text.count("\n")))
    return modules


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a module imports; names only needed by type checkers are left out."""
    hidden = {
        id(child)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(module.tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    """The package an import is from, `from .store import x` included."""
    if not node.level:
        return node.module or ""
    is_package = module.path.name == "__init__.py"
    parts = module.name.split(".")
    above = parts[: len(parts) - node.level + is_package]
    return ".".join([*above, *([node.module] if node.module else [])])


def is_below(name: str, package: str) -> bool:
    """Whether a dotted name is a package or lies in it."""
    return name == package or name.startswith(package + ".")


def wrong_imports(modules: list[Module]) -> list[str]:
    """Imports against the direction of the house, one line each."""
    return [
        f"{module.path}:{line}: {module.name} may not import {name}: {why}"
        for module in modules
        for line, name in imports(module)
        if (why := _objection(module, name))
    ]


def _objection(module: Module, name: str) -> str:
    target = name.partition(".")[0]
    services = {f"vallum_{service}" for service in SERVICES}
    if module.package == "vallum_common" and target in {*services, "vallum_client", "vallum_local"}:
        return "the common library knows no service"
    if module.package not in services:
        return ""
    if target in services and target != module.package:
        return "no service imports another"
    if target in {"vallum_client", "vallum_local"}:
        return "services know neither client nor launcher"
    return _objection_inside(module, name)


def _objection_inside(module: Module, name: str) -> str:
    room = module.room
    if room in {"", "main", "__main__"}:
        return ""
    if room == "domain" and name.startswith("vallum_common") and not name.startswith(DOMAIN_MAY_IMPORT):
        return f"domain may import only {' and '.join(DOMAIN_MAY_IMPORT)} of the common library"
    if room == "domain" and name.partition(".")[0] in NOT_IN_DOMAIN:
        return "domain is values and pure rules"
    is_work_room = room not in ROOMS
    if (room in PURE or is_work_room) and room not in MEETS_TRANSPORT:
        for transport in TRANSPORT:
            if is_below(name, transport):
                return f"{room} is pure of transport"
    if not is_below(name, module.package) or name == module.package:
        return ""
    other = name.split(".")[1]
    if other == room:
        return ""
    if is_work_room:
        allowed = other not in {*ROOMS, "main"} or other == "domain" or room in MEETS_TRANSPORT
    else:
        allowed = other in ROOMS[room] or (other not in {*ROOMS, "main"} and room in {"service", "grpc_api", "stream"})
    return "" if allowed else f"{room} does not lead to {other}"


def undocumented(modules: list[Module]) -> list[str]:
    """Public modules, classes and functions without a docstring."""
    missing = [f"{m.path}: the module has no docstring" for m in modules if ast.get_docstring(m.tree) is None]
    for module in modules:
        missing += [
            f"{module.path}:{node.lineno}: {node.name} has no docstring"
            for node in _public(module.tree.body)
            if ast.get_docstring(node) is None
        ]
    return missing


def _public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)


def functions(modules: list[Module]) -> Iterator[tuple[int, str]]:
    """Length in lines and place of every function; the docstring does not count: promises should not be cut short."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                said = ast.get_docstring(node) is not None
                docstring = (first.end_lineno or 0) - first.lineno + 1 if said else 0
                lines = (node.end_lineno or 0) - node.lineno + 1 - docstring
                yield lines, f"{module.path}:{node.lineno}: {node.name}"


def too_large(modules: list[Module]) -> list[str]:
    """Modules and functions over the size of the house."""
    large = [f"{m.path} has {m.lines} lines; at most {MODULE_LINES}" for m in modules if m.lines > MODULE_LINES]
    return large + [
        f"{place} has {lines} lines; at most {FUNCTION_LINES}"
        for lines, place in functions(modules)
        if lines > FUNCTION_LINES
    ]


def figures(modules: list[Module]) -> str:
    """The figures of the house in one line."""
    lengths = sorted(lines for lines, _ in functions(modules))
    files = sorted(module.lines for module in modules)
    return (
        f"{len(files)} modules, median {statistics.median(files):.0f} lines, longest {files[-1]}; {len(lengths)} "
        f"functions, median {statistics.median(lengths):.0f}, 95 % at most {lengths[int(len(lengths) * 0.95) - 1]}, "
        f"longest {lengths[-1]}"
    )


if __name__ == "__main__":
    print(figures(own_modules(Path(__file__).resolve().parent.parent)))  # noqa: T201 (asked for by `make test`)
