"""Instances that run a function of the file's choice where somebody calls a method of theirs.

Every listed function is harmless with the arguments of an honest model, and every listed class when it is restored. But
`torch.nn.Parameter(data)` calls `data.detach()`, and a state `{"detach": partial(f, path)}` makes that `f(path)`. So
what holds a callable may lie in a model and may not be given to what takes values apart: a call, or a `__setstate__` in
C that no list was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from vallum_validator.scan.context import Budget
from vallum_validator.scan.pickled.values import Container, Global, Grade, Instance, is_still

_CALLED_LATER: Final = frozenset({"functools.partial", "builtins.getattr", "operator.itemgetter"})
_CONSTANTS: Final = frozenset({"Ellipsis", "NA", "NaT", "NotImplemented"})
_KEEPS_ONLY: Final = frozenset(
    {
        *("builtins.list", "builtins.tuple", "collections.deque"),
        *("builtins.getattr", "copyreg._reconstructor", "functools.partial"),
    }
)
"""What puts its arguments away without asking them for anything; a dict asks its keys."""
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


def can_be_called(value: Any) -> bool:
    """Whether the value is a function, a class or something that stands for one."""
    if isinstance(value, Global):
        # The references of `torch` itself are its dtypes and layouts.
        return not (value.name in _CONSTANTS or (value.module == "torch" and value.grade is Grade.REFERENCE))
    return isinstance(value, Instance) and value.source in _CALLED_LATER


def keeps_only(path: str) -> bool:
    """Whether a callable asks its arguments for nothing; what it makes answers as they do."""
    return path in _KEEPS_ONLY


def is_harmless_to_hold(value: Any) -> bool:
    """Whether a value is data, as the arguments and the state of an array are."""
    if is_still(value):
        return True
    return type(value) is tuple and all(
        is_still(part) or isinstance(part, Global) or (isinstance(part, Instance) and part.source == "numpy.dtype")
        for part in value
    )


def any_answers(values: Iterable[Any], budget: Budget, *, callables: bool = False) -> bool:
    """Whether one of the values, or of those inside them, answers a call.

    Args:
        values: what is given away.
        budget: charged for each value that is looked at. Where it ends, so does the scan: nothing is passed over.
        callables: whether a callable among them counts, as it does in a state: an attribute is called by its name.
    """
    pending = [(value, callables) for value in values if not is_still(value)]
    seen: set[tuple[int, bool]] = set()
    while pending:
        value, counts = pending.pop()
        if counts and can_be_called(value):
            return True
        if type(value) is Global or (id(value), counts) in seen:
            continue
        seen.add((id(value), counts))
        budget.step(1)
        if isinstance(value, Instance):
            if value.answers:
                return True
            pending += [(part, False) for part in value.given]
            pending += [(part, True) for part in value.attributes]
        elif isinstance(value, tuple):
            pending += [(part, counts) for part in value if not is_still(part)]
        elif isinstance(value, Container):
            pending += [(part, counts) for part in value.active()]
    return False


def instances_in(key: Any, budget: Budget) -> Iterator[Instance]:
    """The instances that are asked for their hash when `key` is: itself, and those it is made of."""
    for value in values_in([key], budget, lambda instance: instance.given + instance.attributes):
        if isinstance(value, Instance):
            yield value


def values_in(values: Iterable[Any], budget: Budget, inside: Callable[[Instance], list[Any]]) -> Iterator[Any]:
    """Each of the values and of those inside them, once, save for what is plain.

    Args:
        values: where to begin.
        budget: charged for each.
        inside: what of an instance is looked at.
    """
    pending, seen = list(values), set[int]()
    while pending:
        value = pending.pop()
        if is_still(value) or id(value) in seen:
            continue
        seen.add(id(value))
        budget.step(1)
        yield value
        if isinstance(value, Instance):
            pending += inside(value)
        elif isinstance(value, tuple):
            pending += value
        elif isinstance(value, Container):
            pending += value.active()
