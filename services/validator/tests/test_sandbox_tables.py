"""Data files of every form become the same table, and each fault is told in one line with column, value and row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vallum_common.bundle import Manifest
from vallum_common.errors import Invalid
from vallum_validator.sandbox.process import Worker
from vallum_validator.sandbox.tables import read_table
from vallum_validator.table import Table, canonical_column

from .models.bundles import LABEL, MIXED_FEATURES, manifest_of, mixed, write_table

FORMS = ("parquet", "csv", "npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def worker(folder: Path) -> Iterator[Worker]:
    """One reader for all files of these tests; it may read the whole folder."""
    with Worker("the data reader", [folder]) as reader:
        yield reader


@pytest.fixture
def read(worker: Worker, folder: Path, request: pytest.FixtureRequest) -> Any:
    def write_and_read(
        frame: pd.DataFrame, labels: Any, manifest: Manifest, *, form: str = "parquet", part: str = "evaluation"
    ) -> Table:
        path = folder / f"{abs(hash(request.node.name))}-{part}.{form}"
        return read_table(worker, part, write_table(path, frame, labels), manifest)

    return write_and_read


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_table(read: Any, form: str) -> None:
    frame, labels = mixed(60)
    table = read(frame, labels, manifest_of(MIXED_FEATURES), form=form)
    assert list(table.columns) == [*MIXED_FEATURES, LABEL]
    assert table.columns["age"].tolist() == frame["age"].tolist()
    assert np.allclose(table.columns["height"], frame["height"])
    assert table.columns["member"].tolist() == frame["member"].astype(float).tolist()
    assert table.columns["sex"].tolist() == frame["sex"].tolist()
    assert table.columns["district"].tolist() == frame["district"].tolist()
    assert table.columns[LABEL].tolist() == labels.tolist()


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_missing_values_are_nan_and_none(read: Any, form: str) -> None:
    frame = pd.DataFrame({"n": [1.0, None, 3.0], "t": ["x", None, "y"]})
    features = {"n": {"type": "number"}, "t": {"type": "categorical", "values": ["x", "y"]}}
    table = read(frame, ["a", "b", "a"], manifest_of(features), form=form)
    assert np.isnan(table.columns["n"]).tolist() == [False, True, False]
    assert table.columns["t"].tolist() == ["x", None, "y"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 1], ["0", "1", "1"]),
        ([0.0, 1.0, 1.0], ["0", "1", "1"]),
        ([True, False, True], ["true", "false", "true"]),
        (["a", " b", "a"], ["a", " b", "a"]),
    ],
)
def test_labels_are_canonical_however_they_are_stored(read: Any, form: str, labels: Any, expected: list[str]) -> None:
    table = read(pd.DataFrame({"n": [1.0, 2.0, 3.0]}), labels, manifest_of({"n": {"type": "number"}}), form=form)
    assert table.columns[LABEL].tolist() == expected


def test_a_category_keeps_its_leading_zero_in_csv(read: Any) -> None:
    manifest = manifest_of({"zone": {"type": "categorical", "values": ["01", "1", "NA"]}})
    table = read(pd.DataFrame({"zone": ["01", "1", "NA"]}), ["a", "b", "a"], manifest, form="csv")
    assert table.columns["zone"].tolist() == ["01", "1", "NA"]


def test_numeric_categories_are_matched_by_value(read: Any) -> None:
    manifest = manifest_of({"zone": {"type": "categorical", "values": [1, 2]}})
    table = read(pd.DataFrame({"zone": [2.0, 1.0]}), ["a", "b"], manifest)
    assert table.columns["zone"].tolist() == ["2", "1"]


def test_pandas_categories_and_small_types_are_read(read: Any) -> None:
    frame = pd.DataFrame(
        {
            "t": pd.Categorical(["x", "y"]),
            "i": np.array([1, 2], dtype=np.int8),
            "f": np.array([0.5, 1.5], dtype=np.float32),
            "b": pd.array([True, None], dtype="boolean"),
        }
    )
    features = {
        "t": {"type": "categorical", "values": ["x", "y"]},
        "i": {"type": "integer"},
        "f": {"type": "number"},
        "b": {"type": "boolean"},
    }
    table = read(frame, ["a", "b"], manifest_of(features))
    assert table.columns["i"].tolist() == [1.0, 2.0]
    assert table.columns["f"].tolist() == [0.5, 1.5]
    assert (table.columns["b"][0], np.isnan(table.columns["b"][1])) == (1.0, True)
    assert table.columns["t"].tolist() == ["x", "y"]


@pytest.mark.parametrize("form", FORMS)
def test_sensitive_columns_beside_the_features_come_along(read: Any, form: str) -> None:
    frame = pd.DataFrame({"n": [1.0, 2.0], "race": ["w", "b"], "decade": [3, 4], "unused": [5, 6]})
    manifest = manifest_of({"n": {"type": "number"}}, sensitive=["race", "decade"])
    table = read(frame, ["a", "b"], manifest, form=form)
    assert list(table.columns) == ["n", LABEL, "race", "decade"]
    assert table.columns["race"].tolist() == ["w", "b"]
    assert table.columns["decade"].tolist() == [3.0, 4.0]


def test_members_need_neither_label_nor_sensitive_columns(read: Any) -> None:
    manifest = manifest_of({"n": {"type": "number"}}, sensitive=["race"])
    table = read(pd.DataFrame({"n": [1.0]}), None, manifest, part="members")
    assert list(table.columns) == ["n"]


def test_members_bring_their_label_where_they_have_one(read: Any) -> None:
    table = read(pd.DataFrame({"n": [1.0]}), [1], manifest_of({"n": {"type": "number"}}), part="members")
    assert table.columns[LABEL].tolist() == ["1"]


def test_many_columns_come_in_several_messages(read: Any) -> None:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(3_000, 700)), columns=[f"f{i}" for i in range(700)])
    features = {name: {"type": "number"} for name in frame.columns}
    table = read(frame, random.integers(0, 2, 3_000), manifest_of(features))
    assert np.array_equal(np.stack([table.columns[name] for name in features], axis=1), frame.to_numpy())


def test_a_regression_label_stays_a_number(read: Any) -> None:
    manifest = manifest_of({"n": {"type": "number"}}, task="regression")
    assert read(pd.DataFrame({"n": [1.0, 2.0]}), [0.5, 0.5], manifest).columns[LABEL].tolist() == [0.5, 0.5]


NUMBER = {"n": {"type": "number"}}
FAULTS: dict[str, tuple[dict[str, Any], list[Any], dict[str, Any], dict[str, Any], str]] = {
    "a_missing_feature": ({"x": [1, 2]}, ["a", "b"], NUMBER, {}, "has no column 'n'"),
    "many_missing_features": (
        {"x": [1, 2]},
        ["a", "b"],
        {"n": {"type": "number"}, "m": {"type": "number"}},
        {},
        r"has no column 'n' \(and lacks 1 more\)",
    ),
    "a_missing_sensitive_column": ({"n": [1, 2]}, ["a", "b"], NUMBER, {"sensitive": ["race"]}, "has no column 'race'"),
    "a_label_that_is_nan": (
        {"n": [1, 2, 3]},
        [1.0, None, 0.0],
        NUMBER,
        {},
        r"missing \(NaN\) in 1 of 3 rows, first in row 2",
    ),
    "an_empty_text_label": ({"n": [1, 2]}, ["a", ""], NUMBER, {}, r"label 'outcome' is missing \(NaN\) in 1 of 2 rows"),
    "one_class_only": ({"n": [1, 2]}, ["a", "a"], NUMBER, {}, "has one class only, 'a'"),
    "no_rows": ({"n": []}, [], NUMBER, {}, "has no rows"),
    "text_in_a_number": (
        {"n": ["1", "abc"]},
        ["a", "b"],
        NUMBER,
        {},
        r"'n' holds 'abc' \(row 2\), not a number",
    ),
    "infinity": ({"n": [1.0, np.inf]}, ["a", "b"], NUMBER, {}, r"is of type number and holds inf \(row 2\)"),
    "a_fraction_in_an_integer": (
        {"n": [1.0, 2.5]},
        ["a", "b"],
        {"n": {"type": "integer"}},
        {},
        r"is of type integer and holds 2\.5 \(row 2\)",
    ),
    "a_number_in_a_truth_value": (
        {"n": [1.0, 2.0]},
        ["a", "b"],
        {"n": {"type": "boolean"}},
        {},
        r"is of type boolean and holds 2\.0 \(row 2\)",
    ),
    "a_category_not_in_values": (
        {"n": ["x", "z"]},
        ["a", "b"],
        {"n": {"type": "categorical", "values": ["x"]}},
        {},
        r"column 'n' holds 'z' \(row 2\), which is none of its `values`",
    ),
}


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_data_fault_is_named(read: Any, fault: str, form: str) -> None:
    columns, labels, features, changes, reason = FAULTS[fault]
    with pytest.raises(Invalid, match=reason):
        read(pd.DataFrame(columns), labels, manifest_of(features, **changes), form=form)


def test_a_missing_label_column_is_named(read: Any) -> None:
    with pytest.raises(Invalid, match="has no column 'outcome'"):
        read(pd.DataFrame({"n": [1.0]}), None, manifest_of(NUMBER))


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_not_of_its_form_is_refused(worker: Worker, folder: Path, form: str) -> None:
    path = folder / f"broken.{form}"
    path.write_bytes(b"\x00\xff broken \n" * 10)
    with pytest.raises(Invalid):
        read_table(worker, "evaluation", path, manifest_of(NUMBER))


def test_an_array_of_objects_is_never_unpickled(worker: Worker, folder: Path) -> None:
    path = folder / "objects.npz"
    np.savez(path, n=np.array([1.0, 2.0]), outcome=np.array(["a", None], dtype=object))
    with pytest.raises(Invalid, match="allow_pickle"):
        read_table(worker, "evaluation", path, manifest_of(NUMBER))


def test_a_column_named_twice_is_refused(worker: Worker, folder: Path) -> None:
    path = folder / "twice.csv"
    path.write_text("n,n,outcome\n1,2,a\n3,4,b\n")
    with pytest.raises(Invalid, match="column 'n' is there more than once"):
        read_table(worker, "evaluation", path, manifest_of(NUMBER))


def test_an_ending_that_is_no_data_form_is_refused(worker: Worker, folder: Path) -> None:
    with pytest.raises(Invalid, match="must end in one of parquet, csv, npz"):
        read_table(worker, "evaluation", folder / "rows.xlsx", manifest_of(NUMBER))


def test_text_with_line_breaks_and_quotes_is_read(worker: Worker, folder: Path) -> None:
    path = folder / "quoted.csv"
    path.write_bytes('\ufeffn,t,outcome\r\n1,"a ""b""\nc, d",x\r\n2,é,y\r\n'.encode())
    features = {"n": {"type": "number"}, "t": {"type": "categorical", "values": ['a "b"\nc, d', "é"]}}
    table = read_table(worker, "evaluation", path, manifest_of(features))
    assert table.columns["t"].tolist() == canonical_column(['a "b"\nc, d', "é"]).tolist()
