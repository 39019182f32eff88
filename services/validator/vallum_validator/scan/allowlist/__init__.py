"""The allow-lists: which global a pickle or a skops schema may name, and what may be done with it.

They are data, generated from the wheels of the frameworks (`generate.py`) or curated by hand (`curated.json`), and are
read, never inferred from what is installed: the same bytes get the same verdict on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from vallum_validator.scan.pickled.values import Grade

_FOLDER: Final = Path(__file__).parent
_GRADES: Final = {"reference": Grade.REFERENCE, "class": Grade.CLASS, "callable": Grade.CALLABLE}
"""From the least to the most: a name that two lists grade differently has the higher grade."""


class Allowlist:
    """What is known of names, from all lists together.

    Args:
        curated: the content of `curated.json`.
        listings: the content of the generated files.
    """

    def __init__(self, curated: Mapping[str, Any], listings: Iterable[Mapping[str, Any]]) -> None:
        self._grades: dict[tuple[str, str], Grade] = {}
        lists = (*listings, curated)
        for key, grade in _GRADES.items():
            for listing in lists:
                for module, names in listing[key].items():
                    self._grades.update(dict.fromkeys([(module, name) for name in names], grade))
        for module, names in curated["denied"].items():
            self._grades.update({(module, name): Grade.DENIED for name in names})
        self._standard = frozenset(curated["standard_library"])
        self._neutral = frozenset(curated["neutral_modules"])
        self._gadgets = frozenset(curated["gadget_packages"])

    def grade(self, module: str, name: str) -> Grade:
        """What may be done with `module.name`."""
        known = self._grades.get((module, name))
        if known is not None:
            return known
        root = module.partition(".")[0]
        if root in self._standard and module not in self._neutral:
            return Grade.DENIED
        return Grade.DENIED if self._wanders(name) else Grade.UNLISTED

    def _wanders(self, name: str) -> bool:
        """Whether a dotted name walks through a module of the standard library or Python's internals."""
        parts = name.split(".")
        return len(parts) > 1 and any(
            part.startswith("__") or (part.lstrip("_") in self._standard and part.lstrip("_") not in self._neutral)
            for part in parts
        )

    def is_gadget(self, module: str, name: str) -> bool:
        """Whether an unlisted name is a function of a package whose functions are known to be misused.

        Its classes may belong to an honest model of a version we have no list of, so they stay merely unlisted.
        """
        root, last = module.partition(".")[0], name.rpartition(".")[2]
        return (root in self._gadgets or root in self._standard) and not last.lstrip("_")[:1].isupper()


@cache
def shipped() -> Allowlist:
    """The lists that come with this package."""
    return Allowlist(json.loads((_FOLDER / "curated.json").read_bytes()), map(json.loads, _generated()))


def _generated() -> list[bytes]:
    return [path.read_bytes() for path in sorted((_FOLDER / "data").glob("*.json"))]


@cache
def digest() -> str:
    """Hex SHA-256 over all lists in force."""
    total = hashlib.sha256((_FOLDER / "curated.json").read_bytes())
    for content in _generated():
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()
