"""What honest pickles hold that looks like the attacks of `corpus/answers.py`, and what dill makes of arrays."""

from __future__ import annotations

import argparse
import functools
import io
import pickle
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.interpolate
import scipy.special
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan import scan_file

from .corpus.answers import counting
from .corpus.assembly import Call, Name, Payload, Raw, Result, built, new, push, stream
from .corpus.gadgets import later

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
    "functions in C": make_pipeline(FunctionTransformer(np.asarray), FunctionTransformer(scipy.special.expit)),
    "arguments of a command": argparse.Namespace(
        lr=0.1, activation=np.tanh, folder=PurePosixPath("runs"), model=argparse.Namespace(layers=[1, 2])
    ),
}

MAKES_TTEST = Call("builtins:getattr", Name("scipy.stats._stats_py:TtestResultBase"), "__new__")
TTEST = (Name("scipy.stats._stats_py:TtestResult"), 0.5, 0.1)


def later_called(*given: Any, named: Any = None) -> Result:
    """A call without arguments of a partial function, as protocol 2 writes a constructor with keywords."""
    maker = built(Call("functools:partial", MAKES_TTEST), (MAKES_TTEST, (TTEST[0], *given), named or {"df": 3}, None))
    return Result(maker)


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
    "constructor of another class than a tuple, named": Call(
        "builtins:getattr", Name("sklearn.linear_model._logistic:LogisticRegression"), "__new__"
    ),
    "state of pairs in an array": new(
        "sklearn.linear_model._logistic:LogisticRegression", state=built(Call(RECONSTRUCT.path, *EMPTY), STATE)
    ),
    "state of pairs in a tuple that is called": new(
        "sklearn.linear_model._logistic:LogisticRegression", state=Call("builtins:tuple", [("fit", 1)])
    ),
    "formula under a name of numpy": new(
        "statsmodels.base.data:PandasData",
        state=Raw(b"}" + push(new("numpy:str_", "formula")) + push("y ~ open('x')") + b"s"),
    ),
    "class among slots, under a name of numpy": new(
        "sklearn.linear_model._logistic:LogisticRegression",
        state=(None, Raw(b"}" + push(new("numpy:str_", "__class__")) + push(Name("pandas:Index")) + b"s")),
    ),
    "bunch that answers under a name of numpy, as a parameter": Call(
        "torch._utils:_rebuild_parameter",
        Raw(
            push(new("sklearn.utils._bunch:Bunch")) + push(new("numpy:str_", "detach")) + push(Name("math:sqrt")) + b"s"
        ),
        True,
        {},
    ),
    "state of more pairs than are followed": new(
        "sklearn.linear_model._logistic:LogisticRegression",
        state=[*((f"a{at}", at) for at in range(600)), ("__setstate__", Name("math:sqrt"))],
    ),
    "curve of which a property is set": new(
        "scipy.interpolate._interpolate:interp1d", state=({}, {"fill_value": (1, 2)})
    ),
    "list that stores in what it holds": Raw(
        push(new("collections:UserList", state={"data": new("pandas:Series")})) + push(1) + b"a"
    ),
    "chain of maps that stores in what it holds": Raw(
        push(new("collections:ChainMap", state={"maps": [new("pandas:Series")]})) + push(1) + push(2) + b"s"
    ),
    "user dict that stores in what it holds": Raw(
        push(new("collections:UserDict", state={"data": new("pandas:Series")})) + push(1) + push(2) + b"s"
    ),
    "state that is a dict of a kind of its own": new(
        "sklearn.linear_model._logistic:LogisticRegression", state=Call("collections:OrderedDict")
    ),
    "method of text that takes attributes": Call("builtins:getattr", Name("builtins:str"), "format"),
    "dtype by another name": built(Call("numpy:dtype", "object"), (3, "|", None, None, None, -1, -1, 63)),
}

PAYLOAD = Payload("never made")
NOTED = push(counting(PAYLOAD)) + b"\x94"


HELD_BY_PARTIALS: dict[str, Any] = {
    "interval that is given what answers": Result(
        Call("functools:partial", Name("pandas:Interval"), counting(PAYLOAD))
    ),
    "result that is given what answers": later_called(counting(PAYLOAD), 0.1),
    "result that is given by name what answers": later_called(1.0, 0.1, named={"df": counting(PAYLOAD)}),
    "result that is given so in a dict of another kind": later_called(
        1.0, 0.1, named=Raw(push(Call("collections:OrderedDict")) + push("df") + push(counting(PAYLOAD)) + b"s")
    ),
}


def nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


def index_of(value: Any) -> Raw:
    return new("pandas:Index", value)


RECORD = (3, "|", None, ("a", "b"))


def record(first: int, second: int, *, code: str = "O8", size: int = 16, flags: int = 0b11011) -> Raw:
    """A dtype of two fields at these offsets."""
    part = built(Call("numpy:dtype", code, False, True), (3, "|", None, None, None, -1, -1, 63 if "O" in code else 0))
    fields = {"a": (part, first), "b": (part, second)}
    return built(Call("numpy:dtype", f"V{size}", False, True), (*RECORD, fields, size, 1, flags))


OVERREACHING: dict[str, Any] = {
    "field behind the element": record(0, 4096),
    "field that ends behind the element": record(0, 12),
    "field before the element": record(0, -8),
    "objects that overlap": record(0, 4),
    "numbers behind the element": record(0, 4096, code="f8", flags=0),
    "more parts than room": built(
        Call("numpy:dtype", "V8", False, True), (3, "|", (NUMBERS, (512,)), None, None, 8, 1, 0)
    ),
}

HIDDEN: dict[str, Any] = {
    "answers, below many levels": index_of(nested(counting(PAYLOAD), 30)),
    "answers, behind many values": index_of([*range(3000), counting(PAYLOAD)]),
    "answers, in a long tuple": index_of((*range(3000), counting(PAYLOAD))),
    "answers, inside an instance": index_of(new("pandas:DataFrame", state={"a": counting(PAYLOAD)})),
    "answers, added to a list that was held": Raw(
        b"]\x94" + push(new("pandas:DataFrame", state={"a": Raw(b"h\x00")})) + b"0h\x00"
        + push(counting(PAYLOAD)) + b"a0" + push(Name("pandas:Index")) + b"h\x00\x85\x81"
    ),
    "answers, in plain data of more than a mebibyte": Raw(
        NOTED + b"0" + push(Name("pandas:Index")) + b"]("
        + b"K\x01" * 100 + b"h\x00" + b"K\x01" * 600_000 + b"e\x85\x81"
    ),
    "answers, put into plain data that was built before": Raw(
        b"](" + b"K\x01" * 100 + b"]\x94" + b"K\x01" * 600_000 + b"e" + b"\x94"
        + b"h\x00" + push(counting(PAYLOAD)) + b"a0" + push(Name("pandas:Index")) + b"h\x01\x85\x81"
    ),
    "key that answers": {counting(PAYLOAD): 1},
    "key that answers, inside another": {(1, (counting(PAYLOAD),)): 1},
    "member that answers": Raw(b"\x8f(" + push(counting(PAYLOAD)) + b"\x90"),
    "key that answers, of a dict that is called": Call("builtins:dict", [(counting(PAYLOAD), 1)]),
    "key that comes to answer": Raw(
        push(new("scipy.sparse._csr:csr_matrix")) + b"\x94" + b"}h\x00K\x01s0"
        + push({"_getnnz": later(PAYLOAD)}) + b"b"
    ),
    "frame of which attributes are set": new("pandas:DataFrame", state=(None, {"a": 1})),
    "tensor of protocol 2 that is long": Call(
        "torch.storage:_load_from_bytes", Call("_codecs:encode", "a" * 70_000, "latin1")
    ),
    "state of what takes it apart": new(
        "statsmodels.base.data:PandasData", state={"orig_endog": counting(PAYLOAD), "a": 1}
    ),
}  # fmt: skip

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


@pytest.mark.parametrize("protocol", range(2, 6))
def test_curve_that_keeps_the_function_it_makes_arrays_with_is_clean(protocol: int, tmp_path: Path) -> None:
    curve = scipy.interpolate.interp1d(range(9), np.arange(9.0) ** 2, kind="cubic")
    assert verdict_of(pickle.dumps(curve, protocol), tmp_path) is ScanVerdict.CLEAN


@pytest.mark.parametrize("name", WRITTEN_BY_DILL)
def test_what_dill_writes_for_data_is_clean(name: str, tmp_path: Path) -> None:
    assert verdict_of(stream(WRITTEN_BY_DILL[name]), tmp_path) is ScanVerdict.CLEAN


@pytest.mark.parametrize("name", ABUSED)
def test_what_dill_would_do_for_an_attack_is_malicious(name: str, tmp_path: Path) -> None:
    assert verdict_of(stream(ABUSED[name]), tmp_path) is ScanVerdict.MALICIOUS


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_what_is_not_followed_is_not_clean(name: str, tmp_path: Path) -> None:
    assert verdict_of(stream(NOT_FOLLOWED[name]), tmp_path) is not ScanVerdict.CLEAN


@pytest.mark.parametrize("name", HIDDEN)
def test_what_answers_is_found_wherever_it_lies(name: str, tmp_path: Path) -> None:
    assert verdict_of(stream(HIDDEN[name]), tmp_path) is not ScanVerdict.CLEAN


@pytest.mark.parametrize("name", HELD_BY_PARTIALS)
def test_what_a_partial_function_is_given_is_judged_as_what_the_function_is_given(name: str, tmp_path: Path) -> None:
    assert verdict_of(stream(HELD_BY_PARTIALS[name]), tmp_path) is not ScanVerdict.CLEAN


def test_result_of_a_test_that_protocol_2_makes_by_a_partial_function_is_clean(tmp_path: Path) -> None:
    assert verdict_of(stream(later_called(*TTEST[1:])), tmp_path) is ScanVerdict.CLEAN


def test_pipeline_with_a_large_vocabulary_and_functions_is_clean(tmp_path: Path) -> None:
    words = [f"word {number}" for number in range(60_000)]
    model = make_pipeline(CountVectorizer(tokenizer=str.split, token_pattern=None), FunctionTransformer(np.log1p))
    data = pickle.dumps([model.fit([" ".join(words)]), words + words, {word: [word, words] for word in words}])
    assert len(data) > 1024**2
    assert verdict_of(data, tmp_path) is ScanVerdict.CLEAN


@pytest.mark.parametrize("name", OVERREACHING)
def test_dtype_that_reaches_beyond_its_element_is_malicious(name: str, tmp_path: Path) -> None:
    assert verdict_of(stream(OVERREACHING[name]), tmp_path) is ScanVerdict.MALICIOUS


def test_packed_arrays_of_numbers_are_clean(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "arrays.npz", "w", zipfile.ZIP_LZMA) as archive:
        content = io.BytesIO()
        np.save(content, np.arange(1000))
        archive.writestr("a.npy", content.getvalue())
    assert scan_file(tmp_path / "arrays.npz").verdict is ScanVerdict.CLEAN


def test_keys_that_are_instances_are_clean(tmp_path: Path) -> None:
    keys = [np.float64(1.5), np.dtype("f8"), pd.Timestamp("2020"), (1, np.str_("a")), frozenset({np.int8(1)})]
    assert verdict_of(pickle.dumps([dict.fromkeys(keys, 1), set(keys)]), tmp_path) is ScanVerdict.CLEAN


def with_formula(formula: str) -> bytes:
    state = {"restore_design_info": True, "formula": formula}
    return stream(new("statsmodels.base.data:PandasData", state=state))


@pytest.mark.parametrize("formula", PLAIN_FORMULAS)
def test_formula_that_only_computes_is_clean(formula: str, tmp_path: Path) -> None:
    assert verdict_of(with_formula(formula), tmp_path) is ScanVerdict.CLEAN


@pytest.mark.parametrize("formula", PROGRAMS)
def test_formula_that_is_a_program_is_malicious(formula: str, tmp_path: Path) -> None:
    assert verdict_of(with_formula(formula), tmp_path) is ScanVerdict.MALICIOUS


@pytest.mark.parametrize("kept", ["design_info", "model_spec", "design_info_linear", "conditional_formula"])
@pytest.mark.parametrize("formula", PROGRAMS)
def test_formula_that_is_evaluated_when_a_model_predicts_is_malicious(formula: str, kept: str, tmp_path: Path) -> None:
    smoother = "statsmodels.gam.smooth_basis:GenericSmoothers"
    pairs = new("statsmodels.base.data:PandasData", state=[("a", 1), (kept, formula)])
    for model in (new(smoother, state={kept: formula}), new(smoother, state={kept: {"a": formula}}), pairs):
        assert verdict_of(stream(model), tmp_path) is ScanVerdict.MALICIOUS


def test_formula_that_a_model_keeps_beside_its_data_is_clean(tmp_path: Path) -> None:
    state = {"formula": PLAIN_FORMULAS[1], "has_formula": True, "design_info": None, "vc_formulas": [PLAIN_FORMULAS[0]]}
    model = new("statsmodels.regression.linear_model:OLS", state=state)
    assert verdict_of(stream(model), tmp_path) is ScanVerdict.CLEAN


@pytest.mark.parametrize("kept", ["predict", ["predict_proba", None], ("decision_function", "predict"), "auto"])
def test_stack_that_keeps_how_it_predicts_is_clean(kept: Any, tmp_path: Path) -> None:
    model = new("sklearn.ensemble._stacking:StackingClassifier", state={"stack_method_": kept, "stack_method": kept})
    assert verdict_of(stream(model), tmp_path) is ScanVerdict.CLEAN


@pytest.mark.parametrize("name", ["stack_method_", "response_method", "_response_method", "chain_method_"])
@pytest.mark.parametrize("kept", ["unlink", ["predict", "write_text"], ("__class__",), {"a": "predict"}])
def test_model_that_would_predict_by_any_other_method_is_malicious(name: str, kept: Any, tmp_path: Path) -> None:
    model = new("sklearn.ensemble._stacking:StackingClassifier", state={name: kept})
    assert verdict_of(stream(model), tmp_path) is ScanVerdict.MALICIOUS


@pytest.mark.parametrize("formula", ["y ~ mine(a)", "y ~ a +", "y ~ a # b"])
def test_formula_that_nobody_can_judge_is_unknown(formula: str, tmp_path: Path) -> None:
    assert verdict_of(with_formula(formula), tmp_path) is ScanVerdict.UNKNOWN
