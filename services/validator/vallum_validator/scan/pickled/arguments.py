"""Callables that are harmless only with the right arguments, and what those are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vallum_validator.scan.allowlist import Allowlist
from vallum_validator.scan.context import shown
from vallum_validator.scan.pickled.values import Global, Grade


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a call is not accepted.

    Args:
        reason: what is wrong with the arguments, with the value.
        malicious: whether no honest pickle has them.
    """

    reason: str
    malicious: bool = False


ArgumentRule = Callable[[Any, Allowlist], Objection | None]


def _first(arguments: Any) -> Any:
    return arguments[0] if isinstance(arguments, tuple) and arguments else None


def _needs(grade: Grade) -> ArgumentRule:
    """The first argument must be a global of at least that grade."""

    def check(arguments: Any, _: Allowlist) -> Objection | None:
        first = _first(arguments)
        if isinstance(first, Global) and first.grade >= grade:
            return None
        return Objection(f"its first argument must be a listed {grade.name.lower()}, got {shown(first)}")

    return check


def _default_factory(arguments: Any, _: Allowlist) -> Objection | None:
    first = _first(arguments)
    if first is None or (isinstance(first, Global) and first.grade >= Grade.CLASS):
        return None
    return Objection(f"its factory must be a listed class, got {shown(first)}")


def _reconstructor(arguments: Any, _: Allowlist) -> Objection | None:
    if isinstance(arguments, tuple) and len(arguments) == 3:
        cls, base, _state = arguments
        if all(isinstance(part, Global) and part.grade >= Grade.CLASS for part in (cls, base)):
            return None
    return Objection(f"needs two listed classes and a state, got {shown(arguments)}")


def _getattr(arguments: Any, allowlist: Allowlist) -> Objection | None:
    """A listed attribute of a listed class is what pickles of protocol 3 and of methods need; nothing else is."""
    if not (isinstance(arguments, tuple) and len(arguments) in (2, 3)):
        return Objection(f"needs an object and a name, got {shown(arguments)}")
    target, name = arguments[:2]
    if not isinstance(name, str):
        return Objection(f"the name of the attribute is computed: {shown(name)}", malicious=True)
    if isinstance(target, Global):
        dotted = f"{target.name}.{name}"
        grade = allowlist.grade(target.module, dotted)
        if grade >= Grade.REFERENCE:
            return None
        return Objection(
            f"takes {shown(f'{target.path}.{name}')}", malicious=grade is Grade.DENIED or name.startswith("_")
        )
    return Objection(f"takes the attribute {name!r} of {shown(target)}", malicious=name.startswith("_"))


def _ufunc(arguments: Any, allowlist: Allowlist) -> Objection | None:
    if isinstance(arguments, tuple) and len(arguments) == 2 and all(isinstance(part, str) for part in arguments):
        module, name = arguments
        grade = allowlist.grade(module, name)
        if grade >= Grade.REFERENCE:
            return None
        return Objection(f"imports {shown(f'{module}.{name}')}", malicious=grade is Grade.DENIED)
    return Objection(f"imports a computed name: {shown(arguments)}", malicious=True)


def _encode(arguments: Any, _: Allowlist) -> Objection | None:
    encoding = arguments[1] if isinstance(arguments, tuple) and len(arguments) > 1 else None
    if encoding in ("latin1", "latin-1", "utf-8", "ascii"):
        return None
    return Objection(f"honest pickles encode as 'latin1', this one as {shown(encoding)}")


_CLASS_FIRST: Final = (
    "copyreg.__newobj__",
    "copyreg.__newobj_ex__",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray._reconstruct",
    "numpy._core._multiarray_umath._reconstruct",
    "numpy.core._multiarray_umath._reconstruct",
    "numpy.ma.core._mareconstruct",
    "numpy.ma._mareconstruct",
    "sklearn.neighbors._ball_tree.newObj",
    "sklearn.neighbors._kd_tree.newObj",
    "sklearn.metrics._dist_metrics.newObj",
    "sklearn.neighbors._dist_metrics.newObj",
    "pandas.core.indexes.base._new_Index",
    "pandas.core.indexes.datetimes._new_DatetimeIndex",
    "pandas.core.indexes.period._new_PeriodIndex",
)

ARGUMENT_RULES: Final[Mapping[str, ArgumentRule]] = {
    **dict.fromkeys(_CLASS_FIRST, _needs(Grade.CLASS)),
    "copyreg._reconstructor": _reconstructor,
    "builtins.getattr": _getattr,
    "torch._tensor._rebuild_from_type_v2": _needs(Grade.CALLABLE),
    "functools.partial": _needs(Grade.REFERENCE),
    "collections.defaultdict": _default_factory,
    "numpy._core._ufunc_reconstruct": _ufunc,
    "numpy.core._ufunc_reconstruct": _ufunc,
    "_codecs.encode": _encode,
}
"""The rule for each callable that needs one, by its path."""
