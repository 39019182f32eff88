"""Data files as columns: parquet, csv and npz, read as they are; what the columns mean is for the caller to judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from vallum_validator.sandbox.frames import Array
from vallum_validator.sandbox.program.rows import travelling

MAX_ROWS: Final = 2_000_000
"""Enough for every statistic here; one column of it still fits into a frame."""


def read_columns(path: str, form: str, wanted: Sequence[str]) -> Mapping[str, Array]:
    """Read the wanted columns that a file has.

    Args:
        path: of the file.
        form: `parquet`, `csv` or `npz`.
        wanted: names; the file may have more, and may lack some.

    Returns:
        float64, int64 or text columns of equal length, in the order of `wanted`; those it lacks are left out.

    Raises:
        ValueError: the file is not of this form, or too long; says what is wrong.
    """
    columns = _READERS[form](path, wanted)
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"the columns have different lengths: {sorted(lengths)}")
    if lengths and max(lengths) > MAX_ROWS:
        raise ValueError(f"the file has {max(lengths)} rows; at most {MAX_ROWS} are read")
    return columns


def _read_parquet(path: str, wanted: Sequence[str]) -> Mapping[str, Array]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, memory_map=False) as file:
        if file.metadata.num_rows > MAX_ROWS:
            raise ValueError(f"the file has {file.metadata.num_rows} rows; at most {MAX_ROWS} are read")
        names = _present(file.schema_arrow.names, wanted)
        table = file.read(columns=names, use_threads=False)
    return {name: _from_arrow(table.column(name)) for name in names}


def _read_csv(path: str, wanted: Sequence[str]) -> Mapping[str, Array]:
    from pyarrow import csv, string

    with open(path, "rb") as stream:
        header = csv.open_csv(stream, parse_options=csv.ParseOptions(newlines_in_values=True)).schema.names
    names = _present(header, wanted)
    if not names:
        return {}
    # As text, all of it: a guessed type would turn the category "01" into 1.
    table = csv.read_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types={name: string() for name in names}, include_columns=names, strings_can_be_null=False
        ),
    )
    return {name: _from_arrow(table.column(name)) for name in names}


def _read_npz(path: str, wanted: Sequence[str]) -> Mapping[str, Array]:
    columns: dict[str, Array] = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in _present(archive.files, wanted):
            array = archive[name]
            if array.ndim == 2 and array.shape[1] == 1:
                array = array[:, 0]
            if array.ndim != 1:
                raise ValueError(f"array {name!r} has shape {array.shape}; a column is flat")
            columns[name] = travelling(array)
    return columns


def _present(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    twice = [name for name in wanted if list(names).count(name) > 1]
    if twice:
        raise ValueError(f"column {twice[0]!r} is there more than once")
    return [name for name in wanted if name in names]


def _from_arrow(column: Any) -> Array:
    import pyarrow as arrow

    kind = column.type
    if arrow.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if arrow.types.is_integer(kind) and not column.null_count:
        return np.asarray(column.to_numpy(), dtype=np.int64)
    if arrow.types.is_floating(kind) or arrow.types.is_integer(kind) or arrow.types.is_decimal(kind):
        return np.asarray(column.cast(arrow.float64()).to_numpy(), dtype=np.float64)
    if arrow.types.is_null(kind):
        return np.full(len(column), np.nan)
    text = np.empty(len(column), dtype=object)
    text[:] = [None if value is None else _spelling(value) for value in column.to_pylist()]
    return text


def _spelling(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


_READERS: Final = {"parquet": _read_parquet, "csv": _read_csv, "npz": _read_npz}
