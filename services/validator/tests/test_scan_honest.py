"""Honest files: what scikit-learn, joblib, numpy, pandas, skops and skl2onnx write must be CLEAN."""

from __future__ import annotations

import contextlib
import gzip
import inspect
import io
import json
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan import dispatch, scan_file
from vallum_validator.scan.context import Budget, Context, Ledger, Limits

SLOW = {"GaussianProcessClassifier", "LatentDirichletAllocation", "MiniBatchDictionaryLearning", "DictionaryLearning"}
PARTS: dict[str, Callable[[], Any]] = {
    "estimator": LogisticRegression,
    "base_estimator": LogisticRegression,
    "estimators": lambda: [("a", LogisticRegression()), ("b", LogisticRegression(C=2))],
    "steps": lambda: [("s", StandardScaler()), ("l", LogisticRegression())],
    "transformers": lambda: [("a", StandardScaler(), [0, 1])],
    "transformer_list": lambda: [("a", StandardScaler())],
    "param_grid": lambda: {"C": [1, 2]},
    "param_distributions": lambda: {"C": [1, 2]},
    "dictionary": lambda: np.eye(6),
}


def fitted_estimators() -> Iterator[tuple[str, Any]]:
    """Every scikit-learn estimator that can be fitted to a small table."""
    random = np.random.default_rng(0)
    table = np.abs(random.normal(size=(40, 6)))
    answer = (table[:, 0] > np.median(table[:, 0])).astype(int)
    for name, kind in all_estimators():
        if name in SLOW:
            continue
        parameters = inspect.signature(kind).parameters.values()
        required = {
            parameter.name: PARTS[parameter.name]()
            for parameter in parameters
            if parameter.default is parameter.empty and parameter.name in PARTS
        }
        fitted = None
        with contextlib.suppress(Exception):  # one that wants another kind of table is not what is tested
            fitted = kind(**required).fit(table, answer)
        if fitted is not None:
            yield name, fitted


@pytest.fixture(scope="module")
def estimators() -> list[tuple[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(fitted_estimators())


def verdict_of(content: bytes, file: Path) -> tuple[str, list[str]]:
    file.write_bytes(content)
    report = scan_file(file)
    return report.verdict.value, [finding.message for finding in report.findings]


def static_verdict(content: bytes) -> tuple[str, list[str]]:
    """Without the second reading, which takes seconds for a library's import: `test_scan_reference.py` has that."""
    ledger = Ledger(100)
    dispatch.inspect(memoryview(content), Context("", 0, ledger, Budget.of(Limits(), len(content)), dispatch.inspect))
    return ledger.verdict.value, [finding.message for finding in ledger.findings]


READ_AGAIN = 3
"""How many files of a form are scanned as a whole, with the second reading."""


def joblib_bytes(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, **options)
    return buffer.getvalue()


def test_every_fitted_estimator_is_clean(estimators: list[tuple[str, Any]], tmp_path: Path) -> None:
    forms: dict[str, Callable[[Any], bytes]] = {
        "a.pkl": pickle.dumps,
        "b.pkl": lambda value: pickle.dumps(value, 2),
        "a.joblib": joblib_bytes,
        "b.joblib": lambda value: joblib_bytes(value, compress=3),
        "a.skops": skops.io.dumps,
    }
    refused = {}
    for number, (name, estimator) in enumerate(estimators):
        for file, write in forms.items():
            if file == "a.skops" and name == "Birch":
                continue  # skops cannot write it
            whole = file != "a.skops" or number < READ_AGAIN
            content = write(estimator)
            verdict, messages = verdict_of(content, tmp_path / file) if whole else static_verdict(content)
            if verdict != "CLEAN":
                refused[name, file] = messages
    assert refused == {}
    assert len(estimators) >= 150


def test_every_onnx_classifier_is_clean(estimators: list[tuple[str, Any]], tmp_path: Path) -> None:
    converted, refused = 0, {}
    for name, estimator in estimators:
        model = b""
        with contextlib.suppress(Exception):  # skl2onnx has no converter for it
            model = to_onnx(estimator, np.zeros((1, 6), np.float32)).SerializeToString()
        if not model:
            continue
        converted += 1
        whole = converted <= READ_AGAIN
        verdict, messages = verdict_of(model, tmp_path / "model.onnx") if whole else static_verdict(model)
        if verdict != "CLEAN":
            refused[name] = messages
    assert refused == {}
    assert converted >= 80


FRAME = pd.DataFrame(
    {
        "number": [1.5, None],
        "text": ["x", "y"],
        "kind": pd.Categorical(["u", "v"]),
        "when": pd.to_datetime(["2020-01-01", "2021-01-01"]),
        "flag": [True, False],
    }
)


def written(write: Callable[..., Any], *arguments: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    write(buffer, *arguments, **options)
    return buffer.getvalue()


TORCH = {
    "archive/data.pkl": b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01X\x01\x00\x00\x00wq\x02"
    b"ctorch._utils\n_rebuild_tensor_v2\nq\x03"
    b"((X\x07\x00\x00\x00storageq\x04ctorch\nFloatStorage\nq\x05X\x01\x00\x00\x000q\x06X\x03\x00\x00\x00cpuq\x07K\x02tq\x08Q"
    b"K\x00K\x02\x85q\tK\x01\x85q\n\x89ccollections\nOrderedDict\nq\x0b)Rq\x0ctq\rRq\x0es.",
    "archive/byteorder": b"little",
    "archive/data/0": b"\0" * 8,
    "archive/version": b"3\n",
    "archive/.data/serialization_id": b"1" * 40,
}


def zipped(members: dict[str, bytes]) -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def safetensors() -> bytes:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(26)


HONEST: dict[str, tuple[str, Callable[[], bytes]]] = {
    "frame.pkl": ("pickle", lambda: pickle.dumps(FRAME)),
    "frame.joblib": ("joblib", lambda: joblib_bytes(FRAME)),
    "series.pkl": ("pickle", lambda: pickle.dumps(FRAME["number"])),
    "frame.parquet": ("parquet", lambda: written(lambda out: FRAME.to_parquet(out))),
    "gzip.parquet": ("parquet", lambda: written(lambda out: FRAME.to_parquet(out, compression="gzip"))),
    "frame.csv": ("text", lambda: FRAME.to_csv().encode()),
    "frame.csv.gz": ("gzip", lambda: gzip.compress(FRAME.to_csv().encode())),
    "frame.json": ("json", lambda: FRAME.to_json(date_format="iso").encode()),
    "array.npy": ("npy", lambda: written(np.save, np.arange(10))),
    "record.npy": ("npy", lambda: written(np.save, np.zeros(3, dtype=[("a", "i4"), ("b", "U3"), ("c", "f4", (2,))]))),
    "object.npy": ("npy", lambda: written(np.save, np.array([{"a": 1}, None], dtype=object))),
    "arrays.npz": ("npz", lambda: written(np.savez, a=np.arange(3), b=np.zeros((2, 2)))),
    "packed.npz": ("npz", lambda: written(np.savez_compressed, a=np.arange(3000))),
    "objects.joblib": ("joblib", lambda: joblib_bytes({"a": 1, "b": 2, "c": np.array(["x", None], dtype=object)})),
    "gzip.joblib": ("joblib", lambda: joblib_bytes(np.arange(1000), compress=("gzip", 3))),
    "bz2.joblib": ("joblib", lambda: joblib_bytes(np.arange(1000), compress=("bz2", 3))),
    "xz.joblib": ("joblib", lambda: joblib_bytes(np.arange(1000), compress=("xz", 3))),
    "lzma.joblib": ("joblib", lambda: joblib_bytes(np.arange(1000), compress=("lzma", 3))),
    "random.pkl": ("pickle", lambda: pickle.dumps([np.random.default_rng(0), np.random.RandomState(0), np.float64(1)])),
    "plain.pkl": (
        "pickle",
        lambda: pickle.dumps({"a": [1, 2.5, "x", None, True, b"y", (1, 2), {3}, frozenset({4})]}, 0),
    ),
    "large.pkl": ("pickle", lambda: pickle.dumps({f"key {i}": [i, str(i), (i, i)] for i in range(20_000)})),
    "state.pt": ("torch", lambda: zipped(TORCH)),
    "model.safetensors": ("safetensors", safetensors),
    "card.md": ("text", lambda: b"---\nlicense: mit\n---\n# A model\n"),
    "config.yaml": ("text", lambda: b"a: 1\nb: [2, 3]\n"),
    "config.json": (
        "json",
        lambda: b'{"model_type": "bert", "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}',
    ),
    "model.pmml": ("xml", lambda: b'<?xml version="1.0"?>\n<PMML version="4.4"><Header/></PMML>'),
    "model.txt": ("lightgbm", lambda: b"tree\nversion=v4\nnum_class=1\n"),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_file_is_clean(name: str, tmp_path: Path) -> None:
    expected, make = HONEST[name]
    file = tmp_path / name
    file.write_bytes(make())
    report = scan_file(file)
    assert [finding.message for finding in report.findings if not finding.rule.startswith("metadata.")] == []
    assert (report.verdict, report.format) == (ScanVerdict.CLEAN, expected)
