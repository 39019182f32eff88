"""Instances that run a function of the file's choice where somebody calls a method of theirs.

Every listed function is harmless with the arguments of an honest model, and every listed class when it is restored. But
`torch.nn.Parameter(data)` calls `data.detach()`, and a state `{"detach": partial(f, path)}` makes that `f(path)`. So
what holds a callable may lie in a model and may not be given to what takes values apart: a call, or a `__setstate__` in
C that no list was made from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from vallum_validator.scan.pickled.values import Container, Global, Grade, Instance

_CALLED_LATER: Final = frozenset({"functools.partial", "builtins.getattr", "operator.itemgetter"})
_CONSTANTS: Final = frozenset({"Ellipsis", "NA", "NaT", "NotImplemented"})
_KEEPS_ONLY: Final = frozenset(
    {
        *(f"builtins.{name}" for name in ("dict", "list", "tuple")),
        *(f"collections.{name}" for name in ("OrderedDict", "defaultdict", "deque")),
        *("builtins.getattr", "copyreg._reconstructor", "functools.partial"),
    }
)
"""What puts its arguments away without asking them for anything."""
METHODS: Final = frozenset(
    {"add", "all", "any", "append", "argmax", "argmin", "argsort", "as_integer_ratio", "as_subclass", "astype",
     "bit_count", "bit_length", "byteswap", "capitalize", "casefold", "center", "clear", "conjugate", "copy", "count",
     "cpu", "data_ptr", "decode", "detach", "difference", "difference_update", "dim", "discard", "encode", "endswith",
     "eq", "equals", "expandtabs", "extend", "fill", "find", "flatten", "format", "format_map", "from_bytes",
     "fromhex", "fromkeys", "get", "get_indexer", "get_params", "getfield", "hex", "index", "insert", "intersection",
     "intersection_update", "is_integer", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isdisjoint",
     "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "issubset", "issuperset", "istitle", "isupper",
     "item", "items", "itemset", "join", "keys", "ljust", "lower", "lstrip", "maketrans", "newbyteorder", "numel",
     "numpy", "partition", "pop", "popitem", "ravel", "remove", "removeprefix", "removesuffix", "replace",
     "requires_grad_", "reshape", "resize", "reverse", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip",
     "rvs", "set_", "setdefault", "setfield", "size", "sort", "split", "splitlines", "squeeze", "startswith",
     "storage", "storage_offset", "stride", "strip", "swapaxes", "swapcase", "symmetric_difference",
     "symmetric_difference_update", "take", "title", "to_bytes", "to_numpy", "tobytes", "tolist", "translate",
     "transpose", "union", "untyped_storage", "update", "upper", "values", "view", "zfill"}
)  # fmt: skip
"""What code calls of containers, texts, numbers, arrays and tensors. An honest instance has its methods from its class;
a state that brings one of its own makes the instance pass for what it is not."""
_DEPTH: Final = 6
_MAX_LOOKED_AT: Final = 1000


def can_be_called(value: Any) -> bool:
    """Whether the value is a function, a class or something that stands for one."""
    if isinstance(value, Global):
        # The references of `torch` itself are its dtypes and layouts.
        return not (value.name in _CONSTANTS or (value.module == "torch" and value.grade is Grade.REFERENCE))
    return isinstance(value, Instance) and value.source in _CALLED_LATER


def keeps_only(path: str) -> bool:
    """Whether a callable asks its arguments for nothing; what it makes answers as they do."""
    return path in _KEEPS_ONLY


def any_answers(values: Iterable[Any], *, callables: bool = False) -> bool:
    """Whether one of the values, or of those inside them, answers a call.

    Args:
        values: what is given away.
        callables: whether a callable among them counts, as it does in a state: an attribute is called by its name.
    """
    level, seen = list(values), 0
    for _ in range(_DEPTH):
        below: list[Any] = []
        for value in level:
            seen += 1
            if seen > _MAX_LOOKED_AT:
                return False
            if (isinstance(value, Instance) and value.answers) or (callables and can_be_called(value)):
                return True
            if isinstance(value, tuple):
                below += value
            elif isinstance(value, Container):
                below += value.items
        level = below
    return False
