"""Callables that are harmless only with the right arguments, and what those are."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from vallum_validator.scan.allowlist import Allowlist
from vallum_validator.scan.context import shown
from vallum_validator.scan.pickled.values import Global, Grade, Instance


class Objection(NamedTuple):
    """Why a call is not accepted.

    Args:
        reason: what is wrong with the arguments, with the value.
        malicious: whether no honest pickle has them.
    """

    reason: str
    malicious: bool = False


_MAX_NAME: Final = 1000
NESTED_TORCH: Final = "torch.storage._load_from_bytes"
TOOLS: Final = {
    **dict.fromkeys(
        (
            *("builtins.getattr", NESTED_TORCH, "torch._tensor._rebuild_from_type_v2"),
            *("numpy._core._ufunc_reconstruct", "numpy.core._ufunc_reconstruct"),
        ),
        True,
    ),
    **dict.fromkeys(("builtins.type", "copyreg.__newobj__", "copyreg.__newobj_ex__", "copyreg._reconstructor"), False),
}
"""Callables that honest pickles call and never hold as a value, and whether to hold one can only be an attack. What is
called where nobody sees it (`reduce(getattr, [f, "__globals__"])`) has no arguments that could be judged."""

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


def objection_to_partial(arguments: Any) -> Objection | None:
    """A partial can be called later by what nobody sees, so it may not hold what is harmless only sometimes."""
    first = _first(arguments)
    if not (isinstance(first, Global) and first.grade >= Grade.REFERENCE):
        return Objection(f"its first argument must be a listed reference, got {shown(first)}")
    if rule_for(first.path) is not None or first.path in TOOLS:
        return Objection(f"keeps {shown(first.path)} for a later call", malicious=TOOLS.get(first.path, False))
    return None


def _partial(arguments: Any, _: Allowlist) -> Objection | None:
    return objection_to_partial(arguments)


def _default_factory(arguments: Any, _: Allowlist) -> Objection | None:
    first = _first(arguments)
    if first is None or (isinstance(first, Global) and first.grade >= Grade.CLASS):
        return None
    return Objection(f"its factory must be a listed class, got {shown(first)}")


def _reconstructor(arguments: Any, allowlist: Allowlist) -> Objection | None:
    """It calls `base.__init__(instance, state)`, the constructor."""
    if not (isinstance(arguments, tuple) and len(arguments) == 3):
        return Objection(f"needs a listed class, a listed callable as its base and a state, got {shown(arguments)}")
    cls, base, state = arguments
    if not all(isinstance(part, Global) and part.grade >= Grade.CLASS for part in (cls, base)):
        return Objection(f"needs a listed class, a listed callable as its base and a state, got {shown(arguments)}")
    if base.grade < Grade.CALLABLE:
        return Objection(f"runs the constructor of {shown(base.path)} with {shown(state)}", malicious=True)
    return _plain((state,), allowlist)


def _plain(arguments: Any, _: Allowlist) -> Objection | None:
    """What these take apart must be data: to iterate, compare or convert an instance runs code of its class.

    The class is listed, its attributes are the file's: `list(ParameterSampler)` calls what the file says.
    """
    for value in arguments if isinstance(arguments, tuple) else (arguments,):
        if isinstance(value, Global) or (isinstance(value, Instance) and value.source not in PLAIN_SOURCES):
            return Objection(f"takes {shown(value)} apart, which runs code of its class")
    return None


_TEXT_METHODS: Final = frozenset(
    {"capitalize", "casefold", "endswith", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier",
     "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper", "lower", "lstrip", "partition", "replace",
     "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper"}
)  # fmt: skip
"""Methods of text that make text of text, whoever calls them: a tokenizer is often `str.split`. `format` takes
attributes of its arguments, `encode` imports codecs."""


def _getattr(arguments: Any, allowlist: Allowlist) -> Objection | None:
    """A listed attribute of a listed class is what pickles of protocol 3 and of methods need; nothing else is."""
    if not (isinstance(arguments, tuple) and len(arguments) in (2, 3)):
        return Objection(f"needs an object and a name, got {shown(arguments)}")
    target, name = arguments[:2]
    if not isinstance(name, str) or len(name) > _MAX_NAME:
        return Objection(f"the name of the attribute is computed: {shown(name)}", malicious=True)
    if isinstance(target, Global):
        if target.path == "builtins.str" and name in _TEXT_METHODS:
            return None
        dotted = f"{target.name}.{name}"
        grade = allowlist.grade(target.module, dotted)
        if grade >= Grade.REFERENCE:
            return None
        return Objection(
            f"takes {shown(f'{target.path}.{name}')}", malicious=grade is Grade.DENIED or name.startswith("_")
        )
    if isinstance(target, Instance) and target.source.startswith("scipy.stats.") and name == "_entropy":
        return None  # a discrete distribution keeps this bound method in its state
    # A schedule of torch keeps its method `_annealing_cos`; only Python's own names lead out of an instance.
    return Objection(f"takes the attribute {name!r} of {shown(target)}", malicious=name.startswith("__"))


_REBUILDS_TENSOR: Final = "torch._utils._rebuild_"


def _rebuilt(arguments: Any, allowlist: Allowlist) -> Objection | None:
    """It calls its first argument with its third, and sets what the state says on the result, which must be new."""
    if not (isinstance(arguments, tuple) and len(arguments) == 4):
        return Objection(f"needs a function, a class, arguments and a state, got {shown(arguments)}")
    function, _, inner, _ = arguments
    if not (isinstance(function, Global) and function.grade >= Grade.CALLABLE):
        return Objection(f"its first argument must be a listed callable, got {shown(function)}")
    if not function.path.startswith(_REBUILDS_TENSOR):
        return Objection(f"calls {shown(function.path)}, which makes no tensor", malicious=True)
    rule = rule_for(function.path)
    return rule(inner, allowlist) if rule else None


_BIT_GENERATORS: Final = "numpy.random._pickle.__bit_generator_ctor"


def _generator(arguments: Any, _: Allowlist) -> Objection | None:
    """Its second argument is called with the first."""
    if not isinstance(arguments, tuple):
        return Objection(f"needs a name, got {shown(arguments)}")
    maker = arguments[1] if len(arguments) > 1 else None
    if maker is None or (isinstance(maker, Global) and maker.path == _BIT_GENERATORS):
        return None
    return Objection(f"calls {shown(maker)} with {shown(arguments[0])}", malicious=isinstance(maker, Global))


_RECORDS: Final = frozenset({"numpy.record", "numpy.rec.record", "numpy.core.records.record"})


def _dtype(arguments: Any, allowlist: Allowlist) -> Objection | None:
    """An array of records has the class of its records for a type."""
    first = _first(arguments)
    if isinstance(first, Global) and first.path in _RECORDS:
        return _plain(arguments[1:], allowlist)
    return _plain(arguments, allowlist)


_SCALARS: Final = tuple(
    f"numpy.{core}.{module}.scalar" for core in ("_core", "core") for module in ("multiarray", "_multiarray_umath")
)
_SCALAR: Final = re.compile(r"[<>|=]?[biufcmMSUV]\d*\Z")


def _scalar(arguments: Any, _: Allowlist) -> Objection | None:
    """Of the type of objects it is whatever it was given: up to numpy 2.2 a function stays one."""
    dtype = _first(arguments)
    code = _first(dtype.arguments) if isinstance(dtype, Instance) and dtype.source == "numpy.dtype" else None
    if isinstance(code, Global) and code.path in _RECORDS:
        return None
    if isinstance(code, str) and _SCALAR.match(code):
        return None
    objects = isinstance(code, str) and "O" in code
    reason = f"its type must be one of numbers, texts or bytes, got {shown(dtype)} of {shown(code)}"
    return Objection(reason, malicious=objects)


def _bit_generator(arguments: Any, _: Allowlist) -> Objection | None:
    """Where its argument is a class, it is called, and what that gives is restored as a generator."""
    first = _first(arguments)
    listed = isinstance(first, Global) and first.grade >= Grade.CALLABLE
    if first is None or isinstance(first, str) or (listed and first.path.startswith("numpy.random.")):
        return None
    return Objection(f"calls {shown(first)}")


def _type_of(arguments: Any, _: Allowlist) -> Objection | None:
    """`type(None)` is how the class of None is pickled; with three arguments it makes a class.

    The class of anything else is the one that the whole process uses: `type(type(ChainMap()))` is `ABCMeta`.
    """
    first = _first(arguments)
    if isinstance(arguments, tuple) and len(arguments) == 1:
        single = first is None or (isinstance(first, Global) and first.path in _SINGLE)
        return None if single else Objection(f"takes the class of {shown(first)}", malicious=True)
    return Objection(f"makes a class: {shown(arguments)}", malicious=True)


_SINGLE: Final = frozenset({"builtins.Ellipsis", "builtins.NotImplemented"})


def _ufunc(arguments: Any, allowlist: Allowlist) -> Objection | None:
    if isinstance(arguments, tuple) and len(arguments) == 2 and all(isinstance(part, str) for part in arguments):
        module, name = arguments
        grade = allowlist.grade(module, name)
        if grade >= Grade.REFERENCE:
            return None
        return Objection(f"imports {shown(f'{module}.{name}')}", malicious=grade is Grade.DENIED)
    return Objection(f"imports a computed name: {shown(arguments)}", malicious=True)


IMPORTS: Final[Mapping[str, ArgumentRule]] = dict.fromkeys(
    ("numpy._core._ufunc_reconstruct", "numpy.core._ufunc_reconstruct"), _ufunc
)
"""What gives the listed global that its arguments name, be it a ufunc or not."""
FOLLOWED: Final = frozenset({"dill._dill._create_array", "dill._dill._load_type"})
"""What no list can grade, since it does what its arguments say: those are judged as if the file did it itself."""
ENCODINGS: Final = ("latin1", "latin-1", "utf-8", "ascii")
"""How pickles of bytes are encoded."""


def encoded(arguments: Any) -> bytes | None:
    """The bytes that protocols before 3 write as text, as far as the text is known."""
    if isinstance(arguments, tuple) and len(arguments) == 2 and arguments[1] in ENCODINGS:
        text, encoding = arguments
        with contextlib.suppress(UnicodeEncodeError):
            return text.encode(encoding) if isinstance(text, str) else None
    return None


def _encode(arguments: Any, _: Allowlist) -> Objection | None:
    encoding = arguments[1] if isinstance(arguments, tuple) and len(arguments) > 1 else None
    if encoding in ENCODINGS:
        return None
    return Objection(f"honest pickles encode as 'latin1', this one as {shown(encoding)}")


_VALUES: Final = (
    *(f"builtins.{name}" for name in ("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset")),
    *(f"builtins.{name}" for name in ("int", "list", "range", "set", "str", "tuple")),
)
PLAIN_SOURCES: Final = frozenset(
    {
        *_VALUES,
        *(f"collections.{name}" for name in ("Counter", "OrderedDict", "defaultdict", "deque")),
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        *_SCALARS,
        *("numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer"),
        *("_codecs.encode", "builtins.slice", "decimal.Decimal", "fractions.Fraction", "uuid.UUID"),
        *("numpy.dtype", "numpy.ndarray", "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked"),
    }
)
"""What makes values in C that hold data: to take them apart runs nothing of the file's choice."""
_TAKE_APART: Final = (
    *_VALUES,
    *(f"collections.{name}" for name in ("Counter", "OrderedDict", "UserDict", "UserList", "UserString", "deque")),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath")),
    *("array.array", "decimal.Decimal", "fractions.Fraction", "random.Random", "re._compile", "uuid.UUID"),
    *("numpy.matrix", "numpy.ndarray", "torch.torch_version.TorchVersion"),
)
CLASS_FIRST: Final = (
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
    "pandas.core.indexes.timedeltas._new_TimedeltaIndex",
)
"""What makes an instance of its first argument without a constructor."""

ARGUMENT_RULES: Final[Mapping[str, ArgumentRule]] = {
    **dict.fromkeys(CLASS_FIRST, _needs(Grade.CLASS)),
    **dict.fromkeys(_TAKE_APART, _plain),
    "copyreg._reconstructor": _reconstructor,
    "numpy.dtype": _dtype,
    "builtins.getattr": _getattr,
    "builtins.type": _type_of,
    "torch._tensor._rebuild_from_type_v2": _rebuilt,
    "torch._utils._rebuild_wrapper_subclass": _needs(Grade.CLASS),
    "numpy.random._pickle.__generator_ctor": _generator,
    "numpy.random._pickle.__randomstate_ctor": _generator,
    _BIT_GENERATORS: _bit_generator,
    "functools.partial": _partial,
    "collections.defaultdict": _default_factory,
    **IMPORTS,
    **dict.fromkeys(_SCALARS, _scalar),
    "_codecs.encode": _encode,
}
"""The rule for each callable that needs one, by its path."""


def rule_for(path: str) -> ArgumentRule | None:
    """The rule for a callable: its own, or that of its kind."""
    name = path.rpartition(".")[2]
    # Cython writes one for every class, scikit-learn for its trees, pandas for its indexes: each makes an instance of a
    # class that it is given.
    made = name.startswith(("__pyx_unpickle_", "_new_")) or name == "newObj"
    return ARGUMENT_RULES.get(path) or (_needs(Grade.CLASS) if made else None)
