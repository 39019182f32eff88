"""Data files as tables: read in a worker of their own, and judged here against what the manifest says about them.

The worker is not the model's, so that a hostile model cannot touch the rows it is measured with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import Feature, FeatureType, Manifest, Task
from vallum_common.errors import Invalid
from vallum_validator.sandbox.frames import Array
from vallum_validator.sandbox.process import Worker
from vallum_validator.table import Column, Table, canonical_column, categories

MAX_CELLS: Final = 64 * 1024 * 1024
"""Rows times columns of one table; at eight bytes each, half a gibibyte."""

_CELLS_PER_MESSAGE: Final = 1024 * 1024
_FORMS: Final = ("parquet", "csv", "npz")
_MISSING: Final = frozenset({"", "NA", "N/A", "n/a", "<NA>", "#N/A", "NaN", "nan", "NULL", "null", "None"})
"""How csv files spell a missing value (the list pandas reads by default, shortened); a category of the same spelling in
`values` is the category."""
_MISSING_LABEL: Final = frozenset({"", "NA", "<NA>", "NaN", "nan"})
_TRUTH: Final = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


def read_table(worker: Worker, part: str, path: Path, manifest: Manifest) -> Table:
    """Read one data file of a bundle.

    Args:
        worker: may read `path`.
        part: `evaluation`, `members` or `population`; only the first needs label and sensitive columns.
        path: of the file.
        manifest: says which columns there must be and what they hold.

    Returns:
        The feature columns in order, then label and sensitive columns as far as the file has them. A classification
        label is canonical text.

    Raises:
        Invalid: the file cannot be read or does not hold what the manifest says; one line with column, value and row.
        WorkerFailed: the worker broke off.
    """
    form = PurePosixPath(path.name).suffix.removeprefix(".").lower()
    if form not in _FORMS:
        raise Invalid(f"{path.name!r} must end in one of {', '.join(_FORMS)}")
    data = manifest.data
    label = data.evaluation.label if data.evaluation else None
    beside = [name for name in (label, *data.sensitive) if name is not None and name not in data.features]
    wanted = list(dict.fromkeys([*data.features, *beside]))
    head = {"command": "open_table", "part": part, "path": str(path.resolve()), "format": form, "wanted": wanted}
    opened = worker.call(head, seconds=worker.limits.load_s).head
    rows, present = _described(opened, wanted)
    needed = wanted if part == "evaluation" else list(data.features)
    absent = [name for name in needed if name not in present]
    if absent:
        more = f" (and lacks {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise Invalid(f"{path.name!r} has no column {absent[0]!r}{more}")
    if rows == 0:
        raise Invalid(f"{path.name!r} has no rows")
    if rows * len(present) > MAX_CELLS:
        raise Invalid(f"{path.name!r} has {rows} rows of {len(present)} columns; at most {MAX_CELLS} cells are read")
    columns = {name: _column(name, raw, manifest) for name, raw in _fetch(worker, part, present, rows)}
    if part == "evaluation" and label is not None and manifest.model.task is Task.CLASSIFICATION:
        _check_classes(label, columns[label])
    return Table(columns)


def _described(opened: Mapping[str, object], wanted: Sequence[str]) -> tuple[int, list[str]]:
    rows, columns = opened.get("rows"), opened.get("columns")
    if type(rows) is not int or rows < 0 or not isinstance(columns, list):
        raise Invalid("the data reader did not say what it found")
    return rows, [name for name in wanted if name in columns]


def _fetch(worker: Worker, part: str, names: Sequence[str], rows: int) -> Iterator[tuple[str, Array]]:
    step = max(1, _CELLS_PER_MESSAGE // rows)
    for start in range(0, len(names), step):
        portion = list(names[start : start + step])
        answer = worker.call({"command": "columns", "part": part, "names": portion}).arrays
        for name in portion:
            column = answer.get(name)
            if column is None or column.shape != (rows,):
                raise Invalid(f"the data reader did not give the {rows} rows of column {name!r}")
            yield name, column


def _column(name: str, raw: Array, manifest: Manifest) -> Column:
    evaluation = manifest.data.evaluation
    if name in manifest.data.features:
        feature = manifest.data.features[name]
        if feature.type is FeatureType.CATEGORICAL:
            return _category(name, raw, feature)
        return _numeric_feature(name, raw, feature)
    if evaluation is not None and name == evaluation.label:
        return _label(name, raw, manifest.model.task)
    return _any(raw)


def _category(name: str, raw: Array, feature: Feature) -> Column:
    known = frozenset(categories(feature))
    column = canonical_column(raw)
    for row, value in enumerate(column.tolist()):
        if value is None or value in known:
            continue
        if value not in _MISSING:
            raise Invalid(f"column {name!r} holds {value[:80]!r} (row {row + 1}), which is none of its `values`")
        column[row] = None
    return column


def _numeric_feature(name: str, raw: Array, feature: Feature) -> NDArray[np.float64]:
    kind = feature.type.value
    column = _numbers(name, raw, f"not a {'truth value' if feature.type is FeatureType.BOOLEAN else 'number'}")
    known = column[~np.isnan(column)]
    odd = known[np.isinf(known)]
    if feature.type is FeatureType.INTEGER:
        odd = known[np.isinf(known) | (known != np.trunc(known))]
    elif feature.type is FeatureType.BOOLEAN:
        odd = known[(known != 0) & (known != 1)]
    if len(odd):
        row = int(np.flatnonzero(column == odd[0])[0]) + 1
        raise Invalid(f"column {name!r} is of type {kind} and holds {float(odd[0])!r} (row {row})")
    return column


def _numbers(name: str, raw: Array, complaint: str) -> NDArray[np.float64]:
    if raw.dtype != object:
        return raw.astype(np.float64)
    meaning: dict[str | None, float] = {None: math.nan}
    for row, text in enumerate(raw.tolist()):
        if text not in meaning:
            number = _number(text)
            if number is None:
                raise Invalid(f"column {name!r} holds {text[:80]!r} (row {row + 1}), {complaint}")
            meaning[text] = number
    return np.array([meaning[text] for text in raw.tolist()], dtype=np.float64)


def _number(text: str) -> float | None:
    plain = text.strip()
    if plain in _MISSING:
        return math.nan
    try:
        return _TRUTH[plain.lower()] if plain.lower() in _TRUTH else float(plain)
    except ValueError:
        return None


def _label(name: str, raw: Array, task: Task) -> Column:
    if task is Task.REGRESSION:
        numbers = _numbers(name, raw, "not a number")
        _check_labelled(name, ~np.isfinite(numbers))
        return numbers
    column = canonical_column(raw)
    _check_labelled(name, np.array([value is None or value in _MISSING_LABEL for value in column.tolist()], dtype=bool))
    return column


def _check_labelled(name: str, absent: NDArray[np.bool_]) -> None:
    if absent.any():
        first = int(np.flatnonzero(absent)[0]) + 1
        raise Invalid(
            f"label {name!r} is missing (NaN) in {int(absent.sum())} of {len(absent)} rows, first in row {first}"
        )


def _check_classes(name: str, column: Column) -> None:
    distinct = set(column.tolist())
    if len(distinct) < 2:
        raise Invalid(
            f"label {name!r} has one class only, {next(iter(distinct))!r}; two are needed to measure anything"
        )


def _any(raw: Array) -> Column:
    """A sensitive column that is no feature: numbers where all of it is numbers, however the file stores them."""
    if raw.dtype != object:
        return raw.astype(np.float64)
    texts = [None if text in _MISSING else text for text in canonical_column(raw).tolist()]
    numbers = [math.nan if text is None else _plain_number(text) for text in texts]
    if all(number is not None for number in numbers) and any(text is not None for text in texts):
        return np.array(numbers, dtype=np.float64)
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    return column


def _plain_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
