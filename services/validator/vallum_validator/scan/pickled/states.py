"""What BUILD may give to an instance of a listed class, and which instances may be given items.

A listed class is one whose instances honest models hold. The state is the file's, and some classes run it: every
distribution of scipy compiles a text of its state when it is restored.
"""

from __future__ import annotations

import ast
import re
from typing import Any, Final

from vallum_validator.scan.context import shown
from vallum_validator.scan.pickled.answers import can_be_called
from vallum_validator.scan.pickled.arguments import Objection
from vallum_validator.scan.pickled.values import Container, Global, Instance, Run

_TEMPLATE: Final = "_parse_arg_template"
_MAX_TEMPLATE: Final = 8192
_LARGEST_STATE: Final = 1 << 20
"""Bytes of plain data in a state that are looked at; attributes are names and values, and data lies in arrays."""
_TEMPLATE_NODES: Final = (
    *(ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Tuple, ast.Name, ast.Load, ast.Constant),
    *(ast.Call, ast.Attribute, ast.Starred, ast.keyword),
)

_SHARED: Final = frozenset(
    {
        "builtins.getattr",
        "builtins.type",
        "logging.getLogger",
        "numpy._core._ufunc_reconstruct",
        "numpy.core._ufunc_reconstruct",
        "re._compile",
        "zoneinfo.ZoneInfo._unpickle",
    }
)
"""What gives an object of the loading process rather than a new one: to change it is to change the process."""

_MACHINERY: Final = re.compile(
    r"joblib\.(pool|parallel|executor|memory|logger|compressor|disk|testing|externals|_\w+)(\.|$)"
)
"""Modules of listed packages whose classes run programs, and are part of no model: a pool acts when it is freed."""
_NAMESPACE: Final = "types.SimpleNamespace"

_HOLD_ITEMS: Final = frozenset(
    {
        "array.array",
        *(f"builtins.{name}" for name in ("bytearray", "dict", "list", "set")),
        *(f"collections.{name}" for name in ("Counter", "OrderedDict", "defaultdict", "deque")),
        "scipy._lib._util._RichResult",
        "scipy.integrate._bvp.BVPResult",
        "scipy.integrate._ivp.ivp.OdeResult",
        "scipy.optimize._optimize.OptimizeResult",
        "scipy.optimize._zeros_py.RootResults",
        "scipy.optimize.optimize.OptimizeResult",
        "scipy.sparse._dok.dok_array",
        "scipy.sparse._dok.dok_matrix",
        "sklearn.utils.Bunch",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils._encode._NaNCounter",
        "sklearn.utils._encode._nandict",
    }
)
"""Lists, dicts and sets, and what is derived from them without storing in a way of its own."""


_DELEGATE: Final = frozenset(f"collections.{name}" for name in ("ChainMap", "UserDict", "UserList"))
_KEEPS_STATE: Final = re.compile(
    r"(category_encoders|imblearn|skops)\."
    r"|sklearn\.(?!_loss\.|callback\.|isotonic\.|metrics\._dist_metrics|neighbors\._\w+_(tree|dist)|tree\._(tree|split|crit)|"
    r"ensemble\._hist_gradient_boosting\.(?!gradient_boosting\.)|utils\._\w*(random|vector|hash))"
    r"|torch\.nn\.(modules\.(?!rnn\.)|intrinsic\.|utils\.)|torch\.optim\.(lr_scheduler|swa_utils)\."
    r"|(lightgbm|xgboost)\.sklearn\.|xgboost\.callback\."
    r"|scipy\.stats\._(distn_infrastructure\.rv_\w*frozen$|(continuous|discrete)_distns\.)"
    r"|(builtins|collections|types|functools)\."
)
"""The classes whose instances put their state away without asking what is in it for anything: they have no
`__setstate__`, or one that only looks up names of its own. Any other one may be written in C, or call what it gets."""
_SETS: Final = re.compile(r"pandas\.(core\.|DataFrame|Series|\w*Index)|torch\.nn\.|statsmodels\.")
"""Classes with a `__setattr__` or properties that can be set."""
_VERSION: Final = "_sklearn_version"


def is_shared(target: Instance) -> bool:
    """Whether the value was there before the file was loaded."""
    return target.source in _SHARED


def holds_items(target: Instance) -> bool:
    """Whether APPENDS, SETITEMS and ADDITEMS only store: `DataFrame.__setitem__` calls a key that can be called."""
    return target.source in _HOLD_ITEMS


def delegates(target: Instance) -> bool:
    """Whether what is stored goes into what its state holds, by a method of that; honest pickles store nothing here."""
    return target.source in _DELEGATE


def objection_to_taking_apart(target: Instance) -> Objection | None:
    """Why code that may call what it is restored from must not be given what answers."""
    if _KEEPS_STATE.match(target.source):
        return None
    return Objection(f"{target.source} takes apart what answers with a function of the file's choice")


def objection_to_class(path: str) -> Objection | None:
    """Why no model has an instance of a listed class, `None` where one may."""
    return (
        Objection(f"{path} runs programs and is part of no model", malicious=True) if _MACHINERY.match(path) else None
    )


def objection_to_slots(target: Instance, state: Any) -> Objection | None:
    """Why attributes may not be set one by one: where the class has a say in that, its code runs with each."""
    slots = state[1] if isinstance(state, tuple) and len(state) == 2 else None
    if isinstance(slots, Container) and slots.contents() and _SETS.match(target.source):
        return Objection(f"{target.source} has attributes set by its own code: {shown(slots)}")
    return None


def objection_to_state(target: Instance, state: Any) -> Objection | None:
    """Why an instance may not be given that state, `None` where it may."""
    distribution = target.source.startswith("scipy.stats.")
    if isinstance(state, tuple) and len(state) == 2 and not distribution:
        parts = [part for part in state if not isinstance(part, tuple)]
        return next(filter(None, (objection_to_state(target, part) for part in parts)), None)
    if isinstance(state, Instance) and holds_items(state):
        # An unpickler takes every dict for a state. Of those that are filled by an instance's own method no entry is
        # known, and `__class__` may be one.
        reason = f"{target.source} is restored from {shown(state)}, of which no entry is known"
        return Objection(reason, malicious=state.answers)
    if not isinstance(state, Container) or state.kind != "dict":
        # Its `__setstate__` makes a dict of what is none, as dict.update does.
        reason = f"{target.source} is restored from {shown(state)}"
        return Objection(reason, malicious=True) if distribution else None
    items = _items(state)
    if items is None:
        return Objection(f"{target.source} is given more attributes than are followed")
    for key, value in items:
        if can_be_called(value) and (target.source == _NAMESPACE or (isinstance(key, str) and key.startswith("__"))):
            # Whoever asks it for its length, its array or an attribute calls that.
            return Objection(f"{target.source} answers to {shown(key)} with {shown(value)}", malicious=True)
        if key == _VERSION and isinstance(value, Instance | Global | Container | tuple):
            # A version that is another one is written into a warning, by the __repr__ of whatever it is.
            return Objection(f"{target.source} writes its version, which is {shown(value)}", malicious=True)
        if key == _TEMPLATE and not (isinstance(value, str) and _only_passes_arguments(value)):
            return Objection(f"{target.source} compiles the text {shown(value)}", malicious=True)
        if distribution and not isinstance(key, str):
            return Objection(f"{target.source} is given an attribute named {shown(key)}")
    return None


def _items(state: Container) -> list[tuple[Any, Any]] | None:
    """The entries of a dict, `None` where they are not all known or too many to be worked out."""
    runs = [item for item in (*state.items, state.run) if type(item) is Run]
    if state.cut or sum(run.end - run.start for run in runs) > _LARGEST_STATE:
        return None
    items = state.contents()
    return None if state.cut else list(zip(items[::2], items[1::2], strict=False))


def _only_passes_arguments(text: str) -> bool:
    """Whether it defines functions that hand their arguments on, as the template of scipy does, and nothing else."""
    if len(text) > _MAX_TEMPLATE:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, _TEMPLATE_NODES) and _is_harmless(node) for node in nodes)


def _is_harmless(node: ast.AST) -> bool:
    match node:
        case ast.Module(body=body):
            return all(isinstance(part, ast.FunctionDef) for part in body)
        case ast.FunctionDef(decorator_list=decorators, returns=returns, body=[ast.Return()]):
            return not decorators and returns is None
        case ast.FunctionDef():
            return False
        case ast.arguments(defaults=defaults, kw_defaults=keywords):
            return all(part is None or isinstance(part, ast.Constant) for part in (*defaults, *keywords))
        case ast.arg(annotation=annotation):
            return annotation is None
        case ast.Call(func=called):
            return isinstance(called, ast.Attribute)
        case ast.Attribute(value=ast.Name(id="self"), attr="_argcheck_rvs"):
            return True
        case ast.Attribute():
            return False
    return True
