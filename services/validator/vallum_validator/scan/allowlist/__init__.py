"""The allow-lists: which global a pickle or a skops schema may name, and what may be done with it.

They are data, generated from the wheels of the frameworks (`wheels.py`) or curated by hand (`data/curated.json`), and
are read, never inferred from what is installed: the same bytes get the same verdict on every machine. Only the lists of
the packages that a file names are read at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.scan.allowlist.release import RELEASE_KEYS, SHIPPED, Release
from vallum_validator.scan.pickled.values import Grade

FOLDER_VARIABLE: Final = "VALLUM_ALLOWLISTS"
"""Names a folder of lists to use instead of those in this package; they must bear a release key's signature."""
_GRADES: Final = {"callable": Grade.CALLABLE, "class": Grade.CLASS, "reference": Grade.REFERENCE}
"""From the most to the least: a name on two lists has the first grade it is found under."""
_REBUILDS: Final = re.compile(
    r"__pyx_unpickle_|_*(unpickle|rebuild|reconstruct|restore|new_|newObj)|.*_(unpickle|ctor)$"
)
"""How libraries call the function that a `__reduce__` of theirs names."""
_MACHINERY: Final = re.compile(r"(pool|parallel|executor|memory|logger|compressor|disk|testing|externals|_\w+)(\.|$)")
"""Modules of joblib whose classes run programs and write files, by their constructor or when they are freed. They are
part of no model, not even as a value, which may be called when it predicts."""
_CLASS: Final = re.compile(r"_*[a-z]?[A-Z]")
"""How classes are named; Cython puts a letter for the type of number before them (`dKalmanFilter`)."""
_ACTS: Final = re.compile(
    r"(?i)(^|_)(exec\w*|eval\w*|system|popen\w*|spawn\w*|shell|subprocess|command|cmd|getoutput|rmtree|unlink|run|call|"
    r"import\w*|urlopen|download|compile|launch|invoke|source)(_|$)|loads?$|open$"
)
"""Names of functions that do something; no library rebuilds an object with one of them."""
_OF_FUNCTIONS: Final = ("types", "functools", "operator")
"""Modules of which others import what makes functions and takes attributes (`dataclasses.FunctionType`)."""
_PASSED_ON: Final = frozenset(
    {"CDLL", "GenericBrowser", "IMAP4_stream", "InteractiveConsole", "InteractiveInterpreter", "InteractiveShell",
     "LibraryLoader", "NamedTemporaryFile", "Popen", "PyDLL", "TemporaryDirectory", "Unpickler"}
)  # fmt: skip
"""Classes that act when they are called, whichever package they are imported from (`IPython.testing.tools.Popen`)."""
_OF_DEVELOPERS: Final = frozenset(
    {"IPython", "_distutils_hack", "_pytest", "debugpy", "easy_install", "ipdb", "ipykernel", "jupyter_client", "nox",
     "notebook", "pip", "pipenv", "pkg_resources", "pudb", "pydevd", "pytest", "setuptools", "tox", "virtualenv",
     "wheel"}
)  # fmt: skip
"""Packages that install, test and debug: no class of theirs is part of a model."""


class Listing:
    """One generated list, read as it is asked."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._modules: dict[str, dict[str, Grade]] = {}

    def grade(self, module: str, name: str) -> Grade | None:
        """The grade of a name that is on the list."""
        known = self._modules.get(module)
        if known is None:
            known = self._modules[module] = {}
            for key, grade in _GRADES.items():
                for names in self._document[key].get(module, {}).values():
                    known.update(dict.fromkeys(names.split(), grade))
        return known.get(name)

    def has(self, key: str, module: str, name: str) -> bool:
        """Whether the name is among the `stores` or the `harmful`."""
        return name in self._document[key].get(module, "").split()


class Allowlist:
    """What is known of names, from all lists together.

    Args:
        release: the lists.

    Raises:
        Invalid: the list that is curated by hand is not the one that the index names.
    """

    def __init__(self, release: Release) -> None:
        self._release = release
        curated = release.curated()
        self._grades: dict[tuple[str, str], Grade] = {}
        for key, grade in {**dict(reversed(_GRADES.items())), "denied": Grade.DENIED}.items():
            for module, names in curated[key].items():
                self._grades.update(dict.fromkeys([(module, name) for name in names], grade))
        self._standard = frozenset(curated["standard_library"])
        self._neutral = frozenset(curated["neutral_modules"])
        self._gadgets = frozenset(curated["gadget_packages"])
        self._same: dict[str, str] = curated["same"]
        self._stores = frozenset(curated["stores"])
        self.hooks = release.hooks.union(curated["hooks"])
        """Methods that loading calls: no state may put a callable in their place."""
        self._listings: dict[str, Listing | None] = {}
        self.fault = ""
        """Why nothing may be called clean: a list is not the one that was published. Empty where all is well."""

    def grade(self, module: str, name: str) -> Grade:
        """What may be done with `module.name`."""
        known = self._grades.get((module, name))
        if known is not None:
            return known
        module = self._same.get(module, module)
        root = module.partition(".")[0]
        if root == "joblib" and _MACHINERY.match(module[7:]):
            return Grade.DENIED
        listing = self._listing(root)
        listed = listing.grade(module, name) if listing else None
        if listed is not None:
            return listed
        if root in self._standard and (module not in self._neutral or self._is_passed_on(name)):
            return Grade.DENIED
        # No module has a blank in its name, but a line of text has that begins as an opcode does: `import os`.
        named = not any(character.isspace() for character in module)
        return Grade.DENIED if named and self._wanders(name) else Grade.UNLISTED

    def _is_passed_on(self, name: str) -> bool:
        return any(self._grades.get((module, name)) is Grade.DENIED for module in _OF_FUNCTIONS)

    def _wanders(self, name: str) -> bool:
        """Whether a dotted name walks through a module of the standard library or Python's internals."""
        parts = name.split(".")
        return len(parts) > 1 and any(
            part.startswith("__") or (part.lstrip("_") in self._standard and part.lstrip("_") not in self._neutral)
            for part in parts
        )

    def is_gadget(self, module: str, name: str) -> bool:
        """Whether calling an unlisted name is what an attack looks like, rather than a model of an unknown version.

        A model names classes, and functions that rebuild an object. A call of any other function of a package whose
        functions are known to be misused, of a function anywhere whose name says that it acts, or of a class whose
        constructor was seen to reach a file, a process or an import, is none of that.
        """
        root, last = module.partition(".")[0], name.rpartition(".")[2]
        if last in _PASSED_ON or root in _OF_DEVELOPERS:
            return True
        if root in self._standard:
            return not _CLASS.match(last)
        listing = self._listing(root)
        if listing and listing.has("harmful", module, name):
            return True
        if _CLASS.match(last) or _REBUILDS.match(last):
            return False
        return root in self._gadgets or (root != "__main__" and _ACTS.search(last) is not None)

    def may_have(self, module: str) -> bool:
        """Whether there may be a module of that name with names that no list has: of the standard library, or one of a
        package whose functions are known to be misused and of which there is no list."""
        root = module.partition(".")[0]
        return root in self._standard or (root in self._gadgets and self._listing(root) is None)

    def stores(self, module: str, name: str) -> bool:
        """Whether items may be stored in an instance while loading: a dict, list or deque that only keeps them."""
        listing = self._listing(module.partition(".")[0])
        return f"{module}.{name}" in self._stores or (listing is not None and listing.has("stores", module, name))

    def read_all(self) -> None:
        """Parse every list now, where many files are scanned by processes that would each parse it anew."""
        for package in self._release.packages():
            self._listing(package)

    def _listing(self, package: str) -> Listing | None:
        if package not in self._listings:
            self._listings[package] = None
            try:
                document = self._release.listing(package)
            except Invalid as error:
                self.fault = error.message
            else:
                self._listings[package] = Listing(document) if document else None
        return self._listings[package]


def use(folder: Path) -> None:
    """Use the lists in a folder from now on, here and in every process that is started from here.

    Raises:
        Invalid: no release key signed them.
    """
    os.environ[FOLDER_VARIABLE] = str(folder)
    release.cache_clear()
    shipped.cache_clear()
    release()


@cache
def release() -> Release:
    """The lists in force: those of the folder that `VALLUM_ALLOWLISTS` names, else those of this package.

    Raises:
        Invalid: no release key signed them.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    return Release(Path(folder) if folder else SHIPPED, keys=RELEASE_KEYS)


@cache
def shipped() -> Allowlist:
    """What the lists in force say.

    Raises:
        Invalid: they are not what was published.
    """
    return Allowlist(release())


def digest() -> str:
    """Hex SHA-256 of the index, which names every list with its digest."""
    return release().digest


def version() -> str:
    """The date of the lists in force."""
    return release().version
