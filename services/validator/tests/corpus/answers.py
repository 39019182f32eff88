"""Attacks in which every name is one of honest models, and what runs is called by a name that the file gives it.

Those that need torch or statsmodels are not loaded in the tests, which do without them. Seen to run with torch 2 or
statsmodels 0.15: the formula, the parameters, the optimisers, the network, and both loads; bytes that are pointers
ended the process.
The others are the same tricks where the payload at hand does not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .assembly import Attack, Call, Calls, Name, Payload, Raw, Result, built, new, of_calls, push
from .gadgets import later

_LOGISTIC: Final = "sklearn.linear_model._logistic:LogisticRegression"
_CHAIN: Final = "collections:ChainMap"
_NAMESPACE: Final = "argparse:Namespace"
_OBJECTS: Final = 0b111111
"""The flags of a dtype of objects."""


def _posing(payload: Payload, name: str, **others: Any) -> Raw:
    """An instance that runs the payload when its method of that name is called."""
    return new(_LOGISTIC, state={**others, name: later(payload)})


def counting(payload: Payload) -> Raw:
    """A matrix whose representation counts its entries by a function of the file's."""
    content = new(_LOGISTIC, state={"dtype": 1})
    return new("scipy.sparse._csr:csr_matrix", state={"_shape": (1, 1), "data": content, "_getnnz": later(payload)})


def _namespace(payload: Payload) -> Raw:
    """A namespace whose state is a dict of a kind that is filled item by item."""
    state = push(Call("collections:OrderedDict")) + push("__array__") + push(later(payload)) + b"s"
    return built(Call("types:SimpleNamespace"), Raw(state))


def _class_of_classes(payload: Payload) -> Raw:
    """`type(type(ChainMap()))` is `ABCMeta`; with another `__call__`, calling a class gets whatever one asks for."""
    noted = b"\x94"  # MEMOIZE
    changed = b"h\x00" + b"N}" + push("__call__")

    def asks(tool: bytes, *parts: bytes) -> bytes:
        return changed + tool + b"s\x86b0" + push(Name(_CHAIN)) + b"(" + b"".join(parts) + b"tR" + noted

    attribute, item = push(Name("builtins:getattr")), push(Name("operator:getitem"))
    steps = [
        push(Call("builtins:type", Call("builtins:type", Call(_CHAIN)))) + noted,
        asks(attribute, push(Name("collections:UserString")), push("__init__")),
        asks(attribute, b"h\x01", push("__globals__")),
        asks(item, b"h\x02", push("_sys")),
        asks(attribute, b"h\x03", push("modules")),
        asks(item, b"h\x04", push("os")),
        asks(attribute, b"h\x05", push("system")),
        asks(b"h\x06", push(payload.shell)),
    ]
    return Raw(b"0".join(steps))


def _bunch(**items: Any) -> Raw:
    stored = b"".join(push(name) + push(item) + b"s" for name, item in items.items())
    return Raw(push(new("sklearn.utils._bunch:Bunch")) + stored)


def _dtype(code: str, flags: int, fields: Any = None) -> Raw:
    names = tuple(fields) if fields else None
    state = (3, "|", None, names, fields, 8 if fields else -1, 1 if fields else -1, flags)
    return built(Call("numpy:dtype", code, False, True), state)


def _optimiser(name: str, **parts: Any) -> Raw:
    """A whole optimiser: its `__setstate__` hooks the step of its class and asks these parts for entries."""
    return new(f"torch.optim.{name}", state={"defaults": {}, "param_groups": [], "state": {}, **parts})


def _in_pairs(payload: Payload) -> list[tuple[str, Any]]:
    """A state as pairs, which `__dict__.update` takes for a dict, of an optimiser that hooks its step."""
    return [("defaults", {}), ("param_groups", []), ("state", {}), ("profile_hook_step", later(payload))]


def _compared(payload: Payload) -> list[Any]:
    """Two equal keys, of which one compares itself by the payload."""
    version = new("torch.torch_version:TorchVersion", "2.0", state={"_cmp_wrapper": later(payload)})
    return [{version: 1, "2.0": 2}]


def _under_computed_name(payload: Payload, name: Any) -> Raw:
    """A state whose name for the payload is no text but equal to one, and a second state."""
    state = b"}" + push(name) + push(later(payload)) + b"s"
    return built(new("sklearn.preprocessing._data:StandardScaler", state=Raw(state)), "x")


def _restored_again(path: str, state: Any) -> Raw:
    """Restored twice: the second time by the method that the first state brought."""
    return Raw(push(new(path, state=state)) + push("x") + b"b")


def _restored_from(payload: Payload, state: Callable[[list[Any]], Any]) -> Raw:
    """A network restored from the one pair that is made of the name of a method and the payload."""
    return _restored_again("torch.nn.modules.linear:Linear", state(["__setstate__", later(payload)]))


def _as_keys(parts: list[Any]) -> Raw:
    return Raw(b"}(" + b"".join(push(part) + b"N" for part in parts) + b"u")


def _as_set(parts: list[Any]) -> Raw:
    return Raw(b"\x8f(" + b"".join(map(push, parts)) + b"\x90")


def _as_result(parts: list[Any]) -> Result:
    """A result of scipy, which is a tuple."""
    maker = Call("builtins:getattr", Name("scipy.stats._stats_py:TtestResultBase"), "__new__")
    return Result(maker, Name("scipy.stats._stats_py:TtestResult"), *parts)


def _as_function(payload: Payload) -> Raw:
    """A namespace that answers as an array by what passes for a number."""
    objects = _dtype("O8", _OBJECTS)
    return built(
        Call("types:SimpleNamespace"), {"__array__": Call("numpy.core.multiarray:scalar", objects, later(payload))}
    )


def _with_keywords(payload: Payload) -> Result:
    """A call by keywords that are a dict of another kind."""
    function = Name("ipaddress:IPv4Address")
    keywords = push(Call("collections:OrderedDict")) + push("address") + push(counting(payload)) + b"s"
    return Result(built(Call("functools:partial", function), (function, (), Raw(keywords), None)))


def _elements(dtype: Raw) -> Call:
    """Eight bytes of the file, taken for an element of that dtype."""
    return Call("builtins:list", Call("numpy._core.numeric:_frombuffer", b"A" * 8, dtype, (1,), "C"))


RUNS: Final[Calls] = {
    "class of classes that calls what it is given": _class_of_classes,
    "version that is written into a warning": lambda p: new(_LOGISTIC, state={"_sklearn_version": [counting(p)]}),
    "version under a name of numpy": lambda p: new(
        _LOGISTIC, state=Raw(b"}" + push(new("numpy:str_", "_sklearn_version")) + push([counting(p)]) + b"s")
    ),
    "index of what answers as an array, by slots": lambda p: new(
        "pandas:Index", built(Call("types:SimpleNamespace"), (None, {"__array__": later(p)}))
    ),
    "index of what answers as an array, by an ordered state": lambda p: new("pandas:Index", _namespace(p)),
    "method under a name of numpy": lambda p: _under_computed_name(p, new("numpy:str_", "__setstate__")),
    "method under a name that is made": lambda p: _under_computed_name(p, Call("builtins:str", "__setstate__")),
    "method in a state that is no dict but updates one": lambda p: _restored_again(
        _LOGISTIC, new("collections:UserDict", state={"data": {"__setstate__": later(p)}})
    ),
    "method in a state that is a chain of dicts": lambda p: _restored_again(
        _LOGISTIC, new(_CHAIN, state={"maps": [{"__setstate__": later(p)}]})
    ),
    "index of a namespace that answers as an array": lambda p: new(
        "pandas:Index", new(_NAMESPACE, state={"__array__": later(p)})
    ),
}
"""What runs a payload when it is loaded."""

NEEDS_MORE: Final[Calls] = {
    "formula that is a program": lambda p: new(
        "statsmodels.base.data:PandasData",
        state={
            "restore_design_info": True,
            "restore_model_spec": True,
            "formula": f"a ~ I({p.code} or b)",
            "frame": new("pandas:DataFrame"),
        },
    ),
    "parameter of what detaches itself": lambda p: Call(
        "torch._utils:_rebuild_parameter", _posing(p, "detach"), True, {}
    ),
    "parameter of a namespace that detaches itself": lambda p: Call(
        "torch._utils:_rebuild_parameter", new(_NAMESPACE, state={"detach": later(p)}), True, {}
    ),
    "parameter of what detaches itself, by a partial function": lambda p: Result(
        Call("functools:partial", Name("torch.nn.parameter:Parameter"), _posing(p, "detach"))
    ),
    "optimiser whose state gets": lambda p: _optimiser(
        "adam:Adam", param_groups=[{"params": [1]}], state=_posing(p, "get")
    ),
    "optimiser whose namespace sets defaults": lambda p: _optimiser(
        "sgd:SGD", defaults=new(_NAMESPACE, state={"setdefault": later(p)})
    ),
    "optimiser that hooks its step": lambda p: _optimiser("sgd:SGD", profile_hook_step=later(p)),
    "optimiser of torch 1 that hooks its step": lambda p: _optimiser("sgd:SGD", _hook_for_profile=later(p)),
    "optimiser that patches its step": lambda p: _optimiser("adamw:AdamW", _patch_step_function=later(p)),
    "optimiser restored from a list of pairs": lambda p: new("torch.optim._adafactor:Adafactor", state=_in_pairs(p)),
    "optimiser restored from pairs": lambda p: new("torch.optim.adam:Adam", state=tuple(_in_pairs(p))),
    "version that compares itself": _compared,
    "network whose names look themselves up": lambda p: new(
        "torch.nn.modules.rnn:LSTM",
        state={"_all_weights": [["x"]], "_flat_weights_names": _bunch(proj_size=1, index=later(p))},
    ),
    "nodes that convert themselves": lambda p: new(
        "sklearn.ensemble._hist_gradient_boosting.predictor:TreePredictor",
        state={"nodes": _posing(p, "astype", dtype=1)},
    ),
    "network restored from a pair of keys": lambda p: _restored_from(p, lambda parts: [_as_keys(parts)]),
    "network restored from a pair in a set": lambda p: _restored_from(p, lambda parts: [_as_set(parts)]),
    "network restored from a pair in a deque": lambda p: _restored_from(
        p, lambda parts: [Call("collections:deque", parts)]
    ),
    "network restored from a pair in a tuple that is made": lambda p: _restored_from(
        p, lambda parts: [Call("builtins:tuple", parts)]
    ),
    "network restored from a result": lambda p: _restored_from(p, lambda parts: [_as_result(parts)]),
    "network restored from two dicts of keys": lambda p: _restored_again(
        "torch.nn.modules.linear:Linear",
        (_as_keys(["__setstate__", Name("sklearn.utils.validation:check_memory")]), {"a": 1, "b": 2}),
    ),
    "network restored from a list of another kind": lambda p: _restored_again(
        "torch.nn.modules.linear:Linear", new("collections:UserList", state={"data": [("__setstate__", later(p))]})
    ),
    "index of what answers by a number of type object": lambda p: new("pandas:Index", _as_function(p)),
    "index of what answers by a ufunc that is none": lambda p: new(
        "pandas:Index",
        built(
            Call("types:SimpleNamespace"),
            {"__array__": Call("numpy.core:_ufunc_reconstruct", "sklearn.utils.validation", "check_memory")},
        ),
    ),
    "getattr, reconstructed as a ufunc and handed on": lambda p: [
        Call("numpy.core:_ufunc_reconstruct", "builtins", "getattr")
    ],
    "tensor rebuilt by a load": lambda p: Call(
        "torch._tensor:_rebuild_from_type_v2",
        Name("torch.storage:_load_from_bytes"),
        Name("builtins:int"),
        (p.pickle,),
        {},
    ),
    "tensor rebuilt by what takes an attribute": lambda p: Call(
        "torch._tensor:_rebuild_from_type_v2",
        Name("builtins:getattr"),
        Name("builtins:int"),
        (Name(_LOGISTIC), "fit"),
        {"__wrapped__": later(p)},
    ),
    "partial load that is called": lambda p: Result(
        Call("functools:partial", Name("torch.storage:_load_from_bytes"), p.pickle)
    ),
    "attributes of attributes, reduced later": lambda p: Call(
        "functools:partial",
        Name("statistics:reduce"),
        Name("builtins:getattr"),
        [Name(_LOGISTIC), "fit", "__globals__"],
    ),
    "bytes that are pointers": lambda p: _elements(_dtype("O8", 0)),
    "numbers that are objects": lambda p: _elements(_dtype("f8", _OBJECTS)),
    "field of bytes that are pointers": lambda p: _elements(_dtype("V8", 0, {"a": (_dtype("O8", _OBJECTS), 0)})),
}
"""What runs a payload or breaks the memory of a process that has torch, or reads what was loaded."""


UNLISTED: Final[Calls] = {
    "method in a state that is made as a UserDict": lambda p: _restored_again(
        _LOGISTIC, Call("collections:UserDict", {"__setstate__": later(p)})
    ),
    "optimiser of what is in a list that is made": lambda p: _optimiser(
        "adam:Adam", param_groups=Call("builtins:list", [new(_LOGISTIC, state={"x": 1})])
    ),
    "optimiser of what is in a state that is made": lambda p: _optimiser(
        "adam:Adam",
        param_groups=[{"params": ["a"]}],
        state=Call("collections:defaultdict", Name("builtins:dict"), [["a", new(_LOGISTIC, state={"x": 1})]]),
    ),
    "address written by keywords of another kind": _with_keywords,
}
"""What no honest file needs either, and what might be one of a version that nobody listed."""


def attacks() -> list[Attack]:
    """One file for each."""
    return [
        *of_calls("answers", RUNS),
        *of_calls("answers", NEEDS_MORE, loader=""),
        *of_calls("answers", UNLISTED, loader="", expected="UNKNOWN"),
    ]
