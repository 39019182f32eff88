"""Whether loading an instance, or calling a function, can reach code that runs, imports, opens or sends.

The answer follows calls through the whole wheel, not one body: `scipy.stats.rv_generic.__setstate__` is two lines, and
two calls further down it executes a template that lies in the state. What it cannot follow (a value of the state that
is called) counts as harm where loading is concerned.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from vallum_validator.scan.allowlist.syntax import Class, Dotted, Function, Package, Place, dotted, imports_in

LOADERS: Final = frozenset(
    {"__new__", "__setstate__", "__getattr__", "__getattribute__", "__setattr__", "__hash__", "__array_finalize__"}
)
"""What an unpickler runs on an instance, beside the setters of its properties. The last is what numpy runs on a
subclass of its arrays; `__eq__` counts where there is a `__hash__`, because an unpickler compares only keys."""
STORING: Final = frozenset({"__setitem__", "append", "extend"})
"""What SETITEMS and APPENDS run. Only for a dict, list or deque: `DataFrame.__setitem__` calls a key it can call."""
_BUILTIN_SINKS: Final = frozenset({"exec", "eval", "compile", "__import__", "open", "input", "breakpoint", "execfile"})
_SINK_MODULES: Final = frozenset(
    {"os", "posix", "nt", "subprocess", "socket", "ctypes", "pickle", "_pickle", "marshal", "shelve", "dill",
     "cloudpickle", "importlib", "runpy", "shutil", "tempfile", "urllib", "http", "ftplib", "requests",
     "multiprocessing", "concurrent", "threading", "signal", "pty", "code", "codeop", "imp", "zipimport", "webbrowser",
     "io", "gzip", "bz2", "lzma", "zipfile", "tarfile", "mmap", "fileinput", "cffi", "pathlib", "gc", "atexit",
     "distutils", "setuptools", "pkgutil", "pydoc", "unittest", "doctest", "asyncio", "sqlite3", "logging"}
)  # fmt: skip
_HARMLESS_CHAINS: Final = frozenset(
    {("os", "environ"), ("os", "path"), ("os", "getpid"), ("os", "fspath"), ("os", "cpu_count"), ("os", "name"),
     ("os", "sep"), ("os", "PathLike"), ("os", "getenv"), ("io", "StringIO"), ("io", "BytesIO"),
     ("io", "UnsupportedOperation"), ("io", "IOBase"), ("io", "TextIOBase"), ("threading", "Lock"),
     ("threading", "RLock"), ("threading", "local"), ("threading", "get_ident"), ("threading", "current_thread"),
     ("importlib", "metadata"), ("pathlib", "Path"), ("pathlib", "PurePath"), ("logging", "getLogger"),
     ("pickle", "PicklingError"), ("ctypes", "c_void_p"), ("ctypes", "c_int"), ("ctypes", "c_double"),
     ("threading", "main_thread"), ("threading", "Thread"), ("gc", "collect"), ("importlib", "util")}
)  # fmt: skip
"""Uses of those modules that read a setting or a type, make a path, or lock."""
_SINK_METHODS: Final = frozenset(
    {"open", "exec", "eval", "system", "popen", "Popen", "check_output", "check_call", "spawn", "fork", "load", "loads",
     "load_library", "LoadLibrary", "CDLL", "PyDLL", "unlink", "rmtree", "makedirs", "mkdir", "urlopen", "urlretrieve",
     "memmap", "fromfile", "tofile", "savetxt", "loadtxt", "genfromtxt", "fromregex", "exec_module", "read_csv",
     "to_csv", "read_pickle", "to_pickle", "NamedTemporaryFile", "mkstemp", "write_text", "write_bytes", "read_text",
     "read_bytes", "import_module", "DataSource", "from_file", "savez", "exec_command", "runcode", "runsource"}
)  # fmt: skip
_CHECKED: Final = frozenset(
    {("scipy.stats._distn_infrastructure", "rv_generic", "__setstate__"),
     ("numpy.core.overrides", "", "array_function_dispatch"),
     ("torch.nn.modules.module", "Module", "__setattr__"),
     ("torch.optim.optimizer", "Optimizer", "_hook_for_profile"),
     ("torch.optim.optimizer", "Optimizer", "profile_hook_step"),
     ("pandas.core.indexes.base", "Index", "__new__"),
     ("pandas.core.arrays.numeric", "NumericArray", "__init__"),
     ("pandas.core.indexes.base", "Index", "_validate_dtype"),
     ("pandas.core.indexes.numeric", "NumericIndex", "_validate_dtype"),
     ("pandas.core.indexes.range", "RangeIndex", "_validate_dtype"),
     ("statsmodels.base.wrapper", "ResultsWrapper", "__getattribute__")}
)  # fmt: skip
"""Methods that were read and are not followed. The first executes a template from the state: the judge holds it against
the only text scipy writes there. The others compile a text of their own, call hooks of their own process, functions and
classes from tables of their own, and `wrap_output` of a part of the state, which the judge lets no state replace."""
_ARRAY_METHODS: Final = frozenset({"getfield", "setfield", "view", "astype", "reshape", "ravel", "copy", "item"})
"""What an array in C, which no syntax tree shows, has of its own."""
_STORES: Final = frozenset({"dict", "list", "OrderedDict", "defaultdict", "Counter", "deque"})
"""No UserDict, UserList or ChainMap: what is stored in one goes into whatever its state holds, by a method of that."""
_BUILTINS: Final = frozenset(dir(builtins))
_SAFE_BASE_MODULES: Final = frozenset(
    {"abc", "typing", "typing_extensions", "collections", "enum", "numbers", "dataclasses", "contextlib", "warnings",
     "types"}
)  # fmt: skip


@dataclass(frozen=True)
class Uses:
    """What the body of a function touches.

    Args:
        names: dotted names it mentions; the first parameter of a method is called `self` here, `super()` is a name.
        calls: those of them that it calls.
        dynamic: whether it calls a value it was given: a parameter, or something looked up in a container.
        imports: names that it imports itself.
    """

    names: frozenset[Dotted]
    calls: frozenset[Dotted]
    dynamic: bool
    imports: dict[str, tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Step:
    """A body that may run: the function, where its names are looked up, and what `self` is an instance of."""

    module: str
    body: Function
    bound: Class | None

    @property
    def key(self) -> tuple[int, int]:
        """The same for the same body on the same class."""
        return id(self.body), id(self.bound)


class Harm:
    """Answers about one wheel.

    Args:
        package: its syntax trees.
        vouched: whether a class of another distribution may be a base, by module and name.
    """

    def __init__(self, package: Package, vouched: Callable[[str, str], bool]) -> None:
        self._package = package
        self._vouched = vouched
        self._uses: dict[int, Uses] = {}
        self._next: dict[tuple[int, int], list[Step]] = {}
        self._sinks: dict[tuple[int, int], str] = {}
        self._harmless: set[tuple[int, int]] = set()
        self._loads_safely: set[tuple[int, int]] = set()

    def of_function(self, module: str, name: str) -> str:
        """The harm a call of the function can do; empty where it can do none."""
        bodies = self._package.modules[module].functions[name]
        return self._reach([Step(module, body, None) for body in bodies], strict=False)

    def of_constructor(self, cls: Class) -> str:
        """The harm a call of the class can do."""
        return self._reach([*self._methods(cls, "__new__"), *self._methods(cls, "__init__")], strict=False)

    def of_loading(self, cls: Class) -> str:
        """The harm unpickling an instance with a state of the attacker's choice can do."""
        own, outside = self._package.lineage(cls)
        for place in outside:
            if not self._is_harmless_base(place):
                return f"has the base {place.module}.{place.name}, which no list vouches for"
        if any("__del__" in ancestor.methods for ancestor in own):
            return "has __del__, which the garbage collector runs on any state"
        return self._reach(self._loaders(cls), strict=True) or self._reach(self._setters(cls), strict=False)

    def is_enumeration(self, cls: Class) -> bool:
        """Whether calling the class with a value looks a member up, and does nothing else."""
        _, outside = self._package.lineage(cls)
        return any(place.module == "enum" for place in outside) and not self._reach(
            [step for name in ("__init__", "_missing_") for step in self._methods(cls, name)], strict=True
        )

    def of_storing(self, cls: Class) -> str:
        """The harm storing items in an instance can do."""
        _, outside = self._package.lineage(cls)
        if not any(place.name.rpartition(".")[2] in _STORES for place in outside):
            return "is no dict, list or deque"
        return self._reach([step for name in sorted(STORING) for step in self._methods(cls, name)], strict=True)

    def hooks(self, cls: Class) -> set[str]:
        """Methods of its own that loading calls, which an attribute of the same name in the state would replace."""
        found: set[str] = set()
        for step in self._walk(self._loaders(cls), set()):
            for chain in self._used_by(step).calls:
                if step.bound is cls and len(chain) == 2 and chain[0] == "self" and self._has(cls, chain[1]):
                    found.add(chain[1])
        return {name for name in found if not name.startswith("__")}

    def _has(self, cls: Class, name: str) -> bool:
        return any(name in ancestor.methods for ancestor in self._package.lineage(cls)[0])

    def _loaders(self, cls: Class) -> list[Step]:
        own, _ = self._package.lineage(cls)
        compared = any({"__eq__", "__hash__"} <= ancestor.methods.keys() for ancestor in own)
        names = LOADERS | ({"__eq__"} if compared else set())
        return [step for name in sorted(names) for step in self._methods(cls, name)]

    def _setters(self, cls: Class) -> list[Step]:
        """What runs only where a state has slots; honest setters call what their own state holds."""
        own, _ = self._package.lineage(cls)
        names = set().union(*(ancestor.setters for ancestor in own))
        return [step for name in sorted(names) for step in self._methods(cls, name)]

    def _is_harmless_base(self, place: Place) -> bool:
        here = self._package.modules.get(place.module)
        if here is not None and (place.name in here.tuples or place.name in _BUILTINS - {"type"}):
            return True
        root = place.module.partition(".")[0]
        return root in _SAFE_BASE_MODULES or self._vouched(place.module, place.name)

    def _reach(self, start: list[Step], *, strict: bool) -> str:
        known = self._loads_safely if strict else self._harmless
        seen: list[tuple[int, int]] = []
        for step in self._walk(start, known):
            seen.append(step.key)
            reason = self._harm_in(step, strict=strict)
            if reason:
                return f"{step.module}.{step.body.name} {reason}"
        known.update(seen)
        return ""

    def _walk(self, start: list[Step], known: set[tuple[int, int]]) -> Iterator[Step]:
        pending, seen = list(start), set(known)
        while pending:
            step = pending.pop()
            if step.key not in seen:
                seen.add(step.key)
                yield step
                if step.key not in self._next:
                    self._next[step.key] = list(self._followed(step))
                pending.extend(self._next[step.key])

    def _methods(self, cls: Class, name: str, *, beyond: Function | None = None) -> list[Step]:
        """The bodies that `self.name` stands for; those of `super()`, which may be any other in the lineage."""
        steps = []
        for owner in self._package.lineage(cls)[0]:
            bodies = owner.methods.get(name, [])
            if (owner.module, owner.name, name) not in _CHECKED:
                steps += [Step(owner.module, body, cls) for body in bodies if body is not beyond]
            if bodies and beyond is None:
                break
        return steps

    def _followed(self, step: Step) -> Iterator[Step]:
        uses = self._used_by(step)
        for chain in uses.names:
            if step.bound is not None and len(chain) > 1 and chain[0] in ("self", "super()"):
                beyond = step.body if chain[0] == "super()" else None
                yield from self._methods(step.bound, chain[1], beyond=beyond)
                continue
            place = self._resolved(step, uses, chain)
            if place.kind == "function" and (place.module, "", place.name) not in _CHECKED:
                bodies = self._package.modules[place.module].functions[place.name]
                yield from (Step(place.module, body, None) for body in bodies)
            elif place.kind == "class" and chain in uses.calls:
                made = self._package.class_at(place)
                yield from (*self._methods(made, "__new__"), *self._methods(made, "__init__"))
            elif len(chain) > 1:
                owner = self._resolved(step, uses, chain[:-1])
                if owner.kind == "class":
                    yield from self._methods(self._package.class_at(owner), chain[-1])

    def _resolved(self, step: Step, uses: Uses, chain: Dotted) -> Place:
        if chain[0] in uses.imports:
            return self._package.imported(*uses.imports[chain[0]], chain[1:])
        return self._package.resolve(step.module, chain)

    def _harm_in(self, step: Step, *, strict: bool) -> str:
        uses = self._used_by(step)
        if step.key not in self._sinks:
            found = (self._sink(step, uses, chain) for chain in sorted(uses.names))
            self._sinks[step.key] = next(filter(None, found), "")
        if self._sinks[step.key] or not strict or step.bound is None:
            return self._sinks[step.key]
        if uses.dynamic:
            return "calls a value that it was given"
        for chain in sorted(uses.calls):
            if len(chain) == 2 and chain[0] == "self" and not self._knows(step.bound, chain[1]):
                return f"calls self.{chain[1]}, which may come from the state"
        return ""

    def _knows(self, cls: Class, name: str) -> bool:
        _, outside = self._package.lineage(cls)
        if hasattr(object, name) or self._has(cls, name):
            return True
        kinds = {place.name.rpartition(".")[2] for place in outside}
        if kinds & {"ndarray", "void"} and name in _ARRAY_METHODS:
            return True
        return any(hasattr(getattr(builtins, kind, None), name) for kind in kinds)

    def _sink(self, step: Step, uses: Uses, chain: Dotted) -> str:
        place = self._resolved(step, uses, chain)
        if place.kind != "foreign":
            return ""
        full = (*place.module.split("."), *place.name.split(".")) if place.name else tuple(place.module.split("."))
        if place.module not in self._package.modules:
            if full[0] in _SINK_MODULES and full[:2] not in _HARMLESS_CHAINS:
                return f"uses {'.'.join(full)}"
        elif chain in uses.calls and len(chain) == 1 and chain[0] in _BUILTIN_SINKS:
            return f"calls {chain[0]}"
        if chain in uses.calls and len(chain) > 1 and chain[-1] in _SINK_METHODS:
            known = step.bound is not None and chain[0] == "self" and len(chain) == 2
            return "" if known and self._knows(step.bound, chain[1]) else f"calls {'.'.join(chain)}"  # type: ignore[arg-type]
        if chain in uses.calls and full[-1] in _SINK_METHODS and place.module not in self._package.modules:
            return f"calls {'.'.join(full)}"
        return ""

    def _used_by(self, step: Step) -> Uses:
        known = self._uses.get(id(step.body))
        if known is None:
            package = self._package.modules[step.module].package
            known = self._uses[id(step.body)] = _uses_of(step.body, package, method=step.bound is not None)
        return known


def _uses_of(body: Function, package: str, *, method: bool) -> Uses:
    nodes = list(ast.walk(body))
    given = body.args.posonlyargs + body.args.args
    me = given[0].arg if method and given else ""
    values = {node.arg for node in nodes if isinstance(node, ast.arg)}
    values |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    values -= {node.name for node in nodes if isinstance(node, Function | ast.ClassDef) and node is not body} | {me}
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    names, calls, dynamic = set(), set(), False
    for node in nodes:
        if isinstance(node, ast.Call):
            chain = _chain(node.func, me)
            calls.add(chain)
            # A method of a value, like `"".join`, is no value that was looked up; a lambda is read here.
            dynamic = dynamic or (not chain and not isinstance(node.func, ast.Attribute | ast.Lambda))
            dynamic = dynamic or (len(chain) == 1 and chain[0] in values)
        elif isinstance(node, ast.Name | ast.Attribute) and id(node) not in inner:
            names.add(_chain(node, me))
    return Uses(frozenset(names - {()}), frozenset(calls - {()}), dynamic, dict(imports_in(nodes, package)))


def _chain(node: ast.AST, me: str) -> Dotted:
    """A dotted name, in which the first parameter of a method is `self`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call) and dotted(node.value.func) == ("super",):
        return ("super()", node.attr)
    if isinstance(node, ast.Call) and dotted(node.func) == ("type",) and [dotted(a) for a in node.args] == [(me,)]:
        return ("self",)
    chain = dotted(node)
    if not chain and isinstance(node, ast.Attribute):
        return ("()", node.attr)  # a method of what a call or an expression gave: `Unpickler(file).load()`
    return ("self", *chain[1:]) if chain and chain[0] == me else chain
