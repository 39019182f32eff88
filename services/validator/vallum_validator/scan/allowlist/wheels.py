"""What may be allowed of one wheel: each class and function with the grade that reading its syntax tree supports."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vallum_validator.scan.allowlist.attributes import Attributes
from vallum_validator.scan.allowlist.harm import Harm
from vallum_validator.scan.allowlist.syntax import Class, Module, Package, module_of
from vallum_validator.scan.pickled.values import Grade

REFUSED: Final = Grade.UNLISTED
"""The name exists and may not be on the list."""
_NOT_LISTED: Final = re.compile(
    r"(^|\.)(testing|_testing|conftest|_pytest|estimator_checks|f2py|distutils|_pyinstaller|setup|_build_utils|io|"
    r"datasets|_distributor_init|__main__|doc|docs|cli|libs|plotting|_plotting|externals|_vendor|vendor|computation|"
    r"sandbox|card|cobyqa|pyprima|eval|hnsw|mypy_plugin|widget|_docscrape|_examples|_mptestutils|_precompute|_test_common|"
    r"_testutils)(\.|$)"
)
"""Modules that no model names: their names are read, because others call them, and not listed."""
_ONLY: Final = {
    "torch": re.compile(
        r"torch\.(nn\.(modules|parameter|functional|init|utils\.(spectral|weight)_norm)|optim|distributions|"
        r"utils\.data\.dataset)(\.|$)"
    )
}
"""Of a large package, the part that models are made of."""
_READS_FILES: Final = re.compile(r"parsers|_io$|json|_csv|sas$|byteswap$|mio_utils|streams")
_ACTS: Final = frozenset(
    {"load", "loads", "dump", "dumps", "save", "open", "read", "write", "fetch", "exec", "eval", "import", "run",
     "call", "spawn", "system", "socket", "url", "download", "compile", "main", "show", "plot", "deprecated", "setup",
     "patch"}
)  # fmt: skip
"""A function with one of these words in its name is no transformation that a model keeps."""

_KEPT: Final = frozenset(
    {"_analyze", "_kmeans_single_elkan", "_kmeans_single_lloyd", "_passthrough_scorer", "_preprocess",
     "_refit_callable"}
)  # fmt: skip
"""Functions of its own that a library puts into a model: scorers, searches, clusterings, vectorizers of scikit-learn.
Any other one with an underscore is no part of an interface, and only those who look for a gadget name it."""

Name = tuple[str, str]


@dataclass
class Graded:
    """One version of a distribution.

    Args:
        grades: of each name; `REFUSED` where it exists and may not be listed.
        stores: classes in which items may be stored while loading.
        harmful: classes whose constructor does harm.
        hooks: methods that loading calls, which a state must not replace.
    """

    grades: dict[Name, Grade] = field(default_factory=dict)
    stores: set[Name] = field(default_factory=set)
    harmful: set[Name] = field(default_factory=set)
    hooks: set[str] = field(default_factory=set)


def distribution_of(wheel: Path) -> tuple[str, str]:
    """The name and the version in the file name of a wheel."""
    distribution, version = wheel.name.split("-")[:2]
    return distribution.replace("_", "-").lower(), version


def wheel_digest(wheel: Path) -> str:
    """Hex SHA-256 of the file."""
    with wheel.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def grade_wheel(wheel: Path, package: str, vouched: Callable[[str, str], bool]) -> Graded:
    """Grade every name of a wheel.

    Args:
        wheel: a `.whl` file.
        package: its root package; what else lies in it is left out.
        vouched: whether a class of another list may be a base.
    """
    graded = Graded()
    syntax = Package.read(wheel)
    _grade_compiled(wheel, package, syntax, graded)

    def is_base(module: str, name: str) -> bool:
        # `from sklearn import pipeline` leaves open where the module ends: in `pipeline.Pipeline` it is the last dot.
        module, _, name = f"{module}.{name}".rpartition(".")
        if graded.grades.get((module, name), REFUSED) >= Grade.CLASS or vouched(module, name):
            return True
        # A type in C is known by the name its package gives it (`numpy.ndarray`), wherever a module has it from.
        return module.partition(".")[0] == package and vouched(package, name)

    harm, attributes = Harm(syntax, is_base), Attributes(syntax)
    for module in syntax.modules.values():
        if module.name.partition(".")[0] == package:
            _note_harmful(module, harm, graded)
            if _is_listed(module.name, package):
                _grade_module(module, harm, attributes, graded)
    _note_passed_on(syntax, package, graded)
    for alias, target in _aliases(syntax, package):
        if target in graded.grades:
            graded.grades.setdefault(alias, graded.grades[target])
    return graded


def _is_listed(module: str, package: str) -> bool:
    only = _ONLY.get(package)
    return not _NOT_LISTED.search(module) and (only is None or only.match(module) is not None)


def _note_harmful(module: Module, harm: Harm, graded: Graded) -> None:
    for cls in module.classes.values():
        if cls.name[:1].isupper() and harm.of_constructor(cls):
            graded.harmful.add((module.name, cls.name))


def _note_passed_on(syntax: Package, package: str, graded: Graded) -> None:
    """Note a harmful class under every name it can be imported by (`numpy.lib.npyio.DataSource`)."""
    for module in syntax.modules.values():
        if module.name.partition(".")[0] == package:
            for name in module.imports:
                place = syntax.resolve(module.name, (name,))
                if (place.module, place.name) in graded.harmful:
                    graded.harmful.add((module.name, name))


def _grade_module(module: Module, harm: Harm, attributes: Attributes, graded: Graded) -> None:
    for name in module.ufuncs:
        graded.grades[module.name, name] = Grade.REFERENCE
    for name in module.functions:
        own = name.startswith("_") and name not in _KEPT
        acts = bool(_ACTS & set(name.strip("_").split("_"))) or attributes.takes_name(module.name, name)
        refused = own or acts or harm.of_function(module.name, name)
        graded.grades[module.name, name] = REFUSED if refused else Grade.REFERENCE
    for name in module.tuples:
        graded.grades[module.name, name] = Grade.CLASS
    for cls in module.classes.values():
        key = (module.name, cls.name)
        graded.grades[key] = _grade_class(cls, harm)
        if graded.grades[key] >= Grade.CLASS:
            graded.hooks |= harm.hooks(cls)
            if not harm.of_storing(cls):
                graded.stores.add(key)


def _grade_class(cls: Class, harm: Harm) -> Grade:
    if harm.of_loading(cls):
        return REFUSED
    # A member of an enumeration is pickled as a call with its value, which looks the member up.
    return Grade.CALLABLE if harm.is_enumeration(cls) else Grade.CLASS


def _aliases(syntax: Package, package: str) -> Iterator[tuple[Name, Name]]:
    """Names that a package passes on (`numpy.mean`), each with where it is defined."""
    for module in syntax.modules.values():
        if module.package != module.name or not _is_listed(module.name, package):
            continue
        passed_on = set(module.imports)
        for star in module.stars:
            if star in syntax.modules:
                there = syntax.modules[star]
                passed_on |= there.functions.keys() | there.classes.keys() | there.imports.keys()
        for name in passed_on:
            place = syntax.resolve(module.name, (name,))
            if place.kind in ("function", "class") and place.name == name:
                yield (module.name, name), (place.module, place.name)


def _grade_compiled(wheel: Path, package: str, syntax: Package, graded: Graded) -> None:
    """Cython leaves `__pyx_tp_new_…` for each class and the name of each function among the symbols, in C or in C++.

    Where they were stripped, there is what a stub declares. Nobody can read what such a class does: that it is part of
    a compiled module which reads no files is all that speaks for it.
    """
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.namelist():
            module = module_of(entry)
            if (
                entry.endswith((".so", ".pyd"))
                and module.partition(".")[0] in (package, f"_{package}")
                and _is_listed(module, package)
                and not _READS_FILES.search(module)
            ):
                if module in syntax.modules:
                    graded.grades.update({(module, name): Grade.CLASS for name in syntax.modules[module].stubs})
                _grade_symbols(archive.read(entry), module, graded)


def _grade_symbols(content: bytes, module: str, graded: Graded) -> None:
    mangled = "".join(f"_{len(part)}{part}" for part in module.split(".")).encode()
    classes = set(re.findall(rb"__pyx_tp_new" + mangled + rb"_([A-Za-z]\w*?)(?:P11_typeobject\w*)?\0", content))
    functions = set(re.findall(rb"__pyx_mdef" + mangled + rb"_\d+(__pyx_unpickle_\w+|newObj)\0", content))
    # `return Hinge, (self.threshold,)` is how scikit-learn reduces its losses, criteria and splitters. Its trees and
    # distances have a `newObj` for that; calling `BallTree` itself would call the distance it is given.
    rebuilds = re.search(mangled + rb"_\d+\w+?_\d+__reduce__\0", content) is not None
    rebuilds_by_class = module.startswith("sklearn.") and rebuilds and b"newObj" not in functions
    for name in classes:
        graded.grades[module, name.decode()] = Grade.CALLABLE if rebuilds_by_class else Grade.CLASS
    for name in functions:
        graded.grades[module, name.decode()] = Grade.CALLABLE
