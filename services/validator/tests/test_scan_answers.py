"""What honest pickles hold that looks like the attacks of `corpus/answers.py`, and what dill makes of arrays."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan import scan_file

from .corpus.assembly import Call, Name, Raw, Result, built, new, push, stream

RECONSTRUCT, NDARRAY = Name("numpy._core.multiarray:_reconstruct"), Name("numpy:ndarray")
EMPTY = (NDARRAY, (0,), b"b")
NUMBERS = built(Call("numpy:dtype", "f8", False, True), (3, "<", None, None, None, -1, -1, 0))
STATE = (1, (2,), NUMBERS, False, bytes(16))

HONEST = {
    "pipeline of functions": make_pipeline(
        FunctionTransformer(np.log1p, inverse_func=np.expm1),
        FunctionTransformer(functools.partial(np.clip, a_min=0, a_max=1)),
        TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    ),
    "tokenizer that splits": CountVectorizer(tokenizer=str.split, preprocessor=str.lower, token_pattern=None),
    "frame of types of pandas": pd.DataFrame(
        {"text": pd.array(["a", None], dtype="string"), "number": pd.array([1, None], dtype="Int64")}
    ),
    "arrays of records": [
        np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        np.zeros(2, [("a", [("b", "i4"), ("c", "O")]), ("d", "U5", (2,))]),
        np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["2020"], "M8[ns]"),
    ],
    "single values of Python": [type(None), type(...), type(NotImplemented), ..., NotImplemented],
}

WRITTEN_BY_DILL: dict[str, Any] = {
    "array": Call("dill._dill:_create_array", RECONSTRUCT, EMPTY, STATE, None),
    "set": Result(Call("dill._dill:_load_type", "set"), [1, 2]),
}

ABUSED: dict[str, Any] = {
    "array by another function": Call("dill._dill:_create_array", Name("os:system"), ("id",), STATE, None),
    "array by getattr": Call("dill._dill:_create_array", Name("builtins:getattr"), (NDARRAY, "tofile"), STATE, None),
    "type of code": Call("dill._dill:_load_type", "CodeType"),
    "type of functions, called": Result(Call("dill._dill:_load_type", "FunctionType"), 1),
    "array whose bytes are pointers": Call(
        "dill._dill:_create_array",
        RECONSTRUCT,
        EMPTY,
        (
            1,
            (2,),
            built(Call("numpy:dtype", "O8", False, True), (3, "|", None, None, None, -1, -1, 0)),
            False,
            bytes(16),
        ),
        None,
    ),
}

NOT_FOLLOWED: dict[str, Any] = {
    "user dict that stores in what it holds": Raw(
        push(new("collections:UserDict", state={"data": new("pandas:Series")})) + push(1) + push(2) + b"s"
    ),
    "state that is a dict of a kind of its own": new(
        "sklearn.linear_model._logistic:LogisticRegression", state=Call("collections:OrderedDict")
    ),
    "method of text that takes attributes": Call("builtins:getattr", Name("builtins:str"), "format"),
    "dtype by another name": built(Call("numpy:dtype", "object"), (3, "|", None, None, None, -1, -1, 63)),
}

PLAIN_FORMULAS = (
    "y ~ a + b",
    "y ~ C(region, Treatment(reference='north')):np.log(size) - 1",
    "np.log1p(y) ~ bs(a, df=4) + I(b ** 2) + Q('a name') + `another name`",
    "~ a * b",
)
PROGRAMS = (
    "y ~ open('x', 'w')",
    "y ~ I(().__class__)",
    "y ~ np.load('x')",
    "y ~ np.testing.measure('1')",
    "y ~ a.to_pickle('x')",
    "y ~ (lambda: 1)()",
    "y ~ [a for a in b]",
    "y ~ f'{a}'",
    "y ~ __import__('os')",
)


def verdict_of(data: bytes, folder: Path) -> ScanVerdict:
    (folder / "model.pkl").write_bytes(data)
    return scan_file(folder / "model.pkl").verdict


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", HONEST)
def test_callables_that_models_hold_are_clean(name: str, protocol: int, tmp_path: Path) -> None:
    assert verdict_of(pickle.dumps(HONEST[name], protocol), tmp_path) is ScanVerdict.CLEAN


@pytest.mark.parametrize("name", WRITTEN_BY_DILL)
def test_what_dill_writes_for_data_is_clean(name: str, tmp_path: Path) -> None:
    assert verdict_of(stream(WRITTEN_BY_DILL[name]), tmp_path) is ScanVerdict.CLEAN


@pytest.mark.parametrize("name", ABUSED)
def test_what_dill_would_do_for_an_attack_is_malicious(name: str, tmp_path: Path) -> None:
    assert verdict_of(stream(ABUSED[name]), tmp_path) is ScanVerdict.MALICIOUS


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_what_is_not_followed_is_not_clean(name: str, tmp_path: Path) -> None:
    assert verdict_of(stream(NOT_FOLLOWED[name]), tmp_path) is not ScanVerdict.CLEAN


def with_formula(formula: str) -> bytes:
    state = {"restore_design_info": True, "formula": formula}
    return stream(new("statsmodels.base.data:PandasData", state=state))


@pytest.mark.parametrize("formula", PLAIN_FORMULAS)
def test_formula_that_only_computes_is_clean(formula: str, tmp_path: Path) -> None:
    assert verdict_of(with_formula(formula), tmp_path) is ScanVerdict.CLEAN


@pytest.mark.parametrize("formula", PROGRAMS)
def test_formula_that_is_a_program_is_malicious(formula: str, tmp_path: Path) -> None:
    assert verdict_of(with_formula(formula), tmp_path) is ScanVerdict.MALICIOUS


@pytest.mark.parametrize("formula", ["y ~ mine(a)", "y ~ a +", "y ~ a # b"])
def test_formula_that_nobody_can_judge_is_unknown(formula: str, tmp_path: Path) -> None:
    assert verdict_of(with_formula(formula), tmp_path) is ScanVerdict.UNKNOWN
