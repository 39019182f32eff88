"""What BUILD may give to an instance of a listed class, and which instances may be given items.

A listed class is one whose instances honest models hold. The state is the file's, and some classes run it: every
distribution of scipy compiles a text of its state when it is restored.
"""

from __future__ import annotations

import ast
import re
from typing import Any, Final

from vallum_validator.scan.context import Budget, shown
from vallum_validator.scan.pickled.answers import can_be_called, values_in
from vallum_validator.scan.pickled.arguments import PLAIN_SOURCES, Objection
from vallum_validator.scan.pickled.values import Container, Global, Instance, Run, is_still

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
_IN_C: Final = ("numpy.random.", "pandas._libs.arrays.")
"""What is written in C, and restored from the array or the seeds that it is given."""

_KEEPS_STATE: Final = re.compile(
    r"(category_encoders|imblearn|skops)\."
    r"|sklearn\.(?!_loss\.|callback\.|isotonic\.|metrics\._dist_metrics|neighbors\._\w+_(tree|dist)|tree\._(tree|split|crit)|"
    r"ensemble\._hist_gradient_boosting\.(?!gradient_boosting\.)|utils\._\w*(random|vector|hash))"
    r"|torch\.nn\.(modules\.(?!rnn\.)|intrinsic\.|utils\.)|torch\.optim\.(lr_scheduler|swa_utils)\."
    r"|(lightgbm|xgboost)\.sklearn\.|xgboost\.callback\."
    r"|scipy\.stats\._(distn_infrastructure\.rv_\w*frozen$|(continuous|discrete)_distns\.)"
    r"|scipy\.interpolate\._interpolate\.interp1d$"
    r"|(argparse|builtins|collections|types|functools)\."
)
"""The classes whose instances put their state away without asking what is in it for anything: they have no
`__setstate__`, or one that only looks up names of its own. Any other one may be written in C, or call what it gets."""
_SETS: Final = re.compile(r"pandas\.(core\.|DataFrame|Series|\w*Index)|torch\.nn\.|statsmodels\.")
"""Classes with a `__setattr__` or properties that can be set."""
_SLOTS: Final = {"scipy.interpolate._interpolate.interp1d": frozenset({"_y_axis", "_y_extra_shape", "dtype"})}
"""The slots of classes whose honest states have some, where properties can be set as well."""
_ASKS: Final = re.compile(r"torch\.optim\.(?!lr_scheduler\.|swa_utils\.)")
"""Optimisers: their `__setstate__` asks the parts of the state for items, numbers and their length."""
_DATA: Final = frozenset(source for source in PLAIN_SOURCES if not source.startswith("collections.")).union(
    ("torch.Size", "torch.device"),
    (f"torch._utils._rebuild_{kind}" for kind in ("parameter", "sparse_tensor", "tensor", "tensor_v2", "tensor_v3")),
)
"""What an optimiser keeps beside dicts and lists. A `defaultdict` makes what it is asked for by any listed class."""
_VERSION: Final = "_sklearn_version"


def is_shared(target: Instance) -> bool:
    """Whether the value was there before the file was loaded."""
    return target.source in _SHARED


def holds_items(target: Instance) -> bool:
    """Whether APPENDS, SETITEMS and ADDITEMS only store: `DataFrame.__setitem__` calls a key that can be called."""
    return target.source in _HOLD_ITEMS


def objection_to_taking_apart(target: Instance) -> Objection | None:
    """Why code that may call what it is restored from must not be given what answers."""
    if _KEEPS_STATE.match(target.source):
        return None
    return Objection(f"{target.source} takes apart what answers with a function of the file's choice")


def objection_to_slots(target: Instance, state: Any) -> Objection | None:
    """Why attributes may not be set one by one: where the class has a say in that, its code runs with each."""
    slots = state[1] if isinstance(state, tuple) and len(state) == 2 else None
    if not isinstance(slots, Container) or not slots.contents():
        return None
    known = _SLOTS.get(target.source)
    foreign = known is not None and any(not isinstance(key, str) or key not in known for key in slots.contents()[::2])
    if foreign or _SETS.match(target.source):
        return Objection(f"{target.source} has attributes set by its own code: {shown(slots)}")
    return None


def objection_to_parts(target: Instance, state: Any, budget: Budget) -> Objection | None:
    """Why an instance that asks the parts of its state for more than to be kept may not be given this one."""
    if not _ASKS.match(target.source):
        return None
    items = _items(state) if isinstance(state, Container) and state.kind == "dict" else None
    if items is None:
        return Objection(f"{target.source} is restored from {shown(state)}, of which not every entry is known")
    pending: list[Any] = []
    for key, value in items:
        kept = key == "state" and isinstance(value, Instance) and value.source == "collections.defaultdict"
        pending += value.attributes + value.given if kept else [key, value]
    for value in values_in(pending, budget, lambda one: one.given if one.source.startswith("builtins.") else []):
        if not _is_data(value):
            return Objection(f"{target.source} asks {shown(value)}, which is neither a tensor nor plain data")
    return None


def _is_data(value: Any) -> bool:
    if isinstance(value, Instance):
        return value.source in _DATA and not value.attributes
    return not can_be_called(value)


def objection_to_state(target: Instance, state: Any) -> Objection | None:
    """Why an instance may not be given that state, `None` where it may."""
    distribution = target.source.startswith("scipy.stats.")
    hidden = None if target.source.startswith(_IN_C) else _pair_unknown(state)
    if hidden is not None:
        return Objection(f"{target.source} is restored from pairs, of which {shown(hidden)} may be one", malicious=True)
    if isinstance(state, tuple) and len(state) == 2 and not distribution:
        parts = [part for part in state if not isinstance(part, tuple)]
        return next(filter(None, (objection_to_state(target, part) for part in parts)), None)
    if isinstance(state, Instance) and (holds_items(state) or not target.source.startswith(_IN_C)):
        # An unpickler takes every dict for a state, `__dict__.update` also pairs and whatever has keys (`UserDict`).
        # Of those that are filled by an instance's own method no entry is known, and `__class__` may be one.
        reason = f"{target.source} is restored from {shown(state)}, of which no entry is known"
        return Objection(reason, malicious=state.answers)
    if isinstance(state, Container) and state.kind != "dict" and state.cut and state.active():
        return Objection(f"{target.source} is restored from a longer {state.kind} than is followed")
    if not isinstance(state, Container) or state.kind != "dict":
        # Its `__setstate__` makes a dict of what is none, as dict.update does.
        reason = f"{target.source} is restored from {shown(state)}"
        return Objection(reason, malicious=True) if distribution else None
    items = _items(state)
    if items is None:
        return Objection(f"{target.source} is given more attributes than are followed")
    for key, value in items:
        if isinstance(key, Instance):
            # What is derived from text (`numpy.str_`) is found by the name it is equal to.
            reason = f"{target.source} is given {shown(value)} under a computed name: {shown(key)}"
            return Objection(reason, malicious=not is_still(value))
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


def _pair_unknown(state: Any) -> Any:
    """The first of pairs that is no plain one: an instance (`deque`), or a set or dict of a callable and its name."""
    if not isinstance(state, tuple) and not (isinstance(state, Container) and state.kind != "dict"):
        return None
    parts = list(state) if isinstance(state, tuple) else state.contents()
    return next(filter(_hides_pair, parts), None) if all(map(_may_be_pair, parts)) else None


def _may_be_pair(part: Any) -> bool:
    if isinstance(part, Container):
        return len(part.contents()) == (4 if part.kind == "dict" else 2)
    return isinstance(part, Instance) or (isinstance(part, tuple | str | bytes) and len(part) == 2)


def _hides_pair(part: Any) -> bool:
    if isinstance(part, Container) and part.kind != "list":
        members = part.contents()
        return not all(map(is_still, members[::2] if part.kind == "dict" else members))
    return isinstance(part, Instance)


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
