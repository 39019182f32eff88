"""Which program loads a pickle, and what that program would stop at."""

from __future__ import annotations

from enum import Enum
from typing import Final

from vallum_validator.scan.allowlist import Allowlist

_NUMPY_PARTS: Final = frozenset({"dtype", "ndarray", "scalar", "_reconstruct", "_frombuffer"})
"""Arrays of objects in joblib files are pickles with a memo of their own. Read on by plain pickle they name these in
modules that are any text of the file; the import fails, save where that text is a module which may have one: `copy` has
a `_reconstruct` that calls what it is given."""


class Reading(Enum):
    """Which program loads the pickle."""

    ANY = "any"
    """Not known: persistent ids may be resolved."""
    PLAIN = "plain"
    """`pickle.load` on bytes that are meant to be something else: it refuses persistent ids."""
    BEHIND_ARRAY = "behind an array"
    """As `PLAIN`, where it reads on in the raw bytes of an array that joblib wrote."""
    TORCH = "torch"
    """torch, which resolves persistent ids to storages."""
    SCRIPT = "script"
    """The unpickler of TorchScript, written in C++: its `__torch__` classes are declared in the archive's own code."""


NO_PICKLE: Final = (Reading.PLAIN, Reading.BEHIND_ARRAY)
"""What `pickle.load` would do with bytes that are meant to be something else."""


def cannot_be_imported(module: str, name: str, reading: Reading, allowlist: Allowlist) -> bool:
    """Whether bytes that are no pickle name what no module has, so that whoever takes them for one stops here."""
    if reading is Reading.BEHIND_ARRAY and name in _NUMPY_PARTS:
        return not allowlist.may_have(module)
    return reading in NO_PICKLE and not (module.isascii() and module.isprintable())
