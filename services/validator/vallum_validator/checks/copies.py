"""Rows that are copies of others, told from rows that repeat by nature: a copy is no further evidence.

Intervals count rows as drawn one by one. A file of sixty rows, each fifty times, looks like three thousand: by it a
fair model was refused and an unfair one passed. Rows of few coarse features repeat by nature, though, and then as often
as they will in use; those have to be counted. Whoever copies a part of the rows stays unseen, and gains little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vallum_validator.table import Table, canonical_column

_NEAR: Final = 2
"""Features in which neighbours differ: a category in columns of zeros and ones takes two."""
_LOOKED_AT: Final = 200
"""Distinct rows for which a neighbour is looked for."""
_CROWDED: Final = 0.5
"""Ours: where rows repeat by nature, others differ in a feature or two, and nearly every row has such a neighbour; rows
of three measured numbers have none."""


def originals(table: Table, features: Sequence[str]) -> NDArray[np.intp]:
    """Return the places of the rows to count, ascending: each distinct row once where most are copies, else all.

    Args:
        table: rows; the same in all columns is the same row.
        features: names of the columns that the model reads.
    """
    codes = {name: _codes(table, name) for name in table.columns}
    _, first = np.unique(_key(codes), return_index=True)
    if 2 * len(first) > len(table):
        return np.arange(len(table))
    read = np.unique(_independent(table.take(first), features), axis=0)
    some = read[:: max(1, len(read) // _LOOKED_AT)]
    crowded = [np.count_nonzero((read != row).sum(axis=1) <= _NEAR) > 1 for row in some]
    return np.arange(len(table)) if np.mean(crowded) >= _CROWDED else np.sort(first)


def _independent(table: Table, features: Sequence[str]) -> NDArray[np.intp]:
    """The features as codes, shape (rows, columns), of whole numbers and words that tell the same only one: whatever is
    known of a shop or a tariff repeats with it by nature, in as many columns as there are."""
    kept: dict[bytes, NDArray[np.intp]] = {}
    for name in features:
        column = table.columns[name]
        code = pd.factorize(_codes(table, name))[0]
        measured = column.dtype == np.float64 and not np.all(np.isnan(column) | (column == np.round(column)))
        kept.setdefault(name.encode() if measured else code.tobytes(), code)
    return np.column_stack(list(kept.values()))


def _codes(table: Table, name: str) -> NDArray[np.intp]:
    column = table.columns[name]
    values = column if column.dtype == np.float64 else np.array([str(each) for each in canonical_column(column)])
    return np.unique(values, return_inverse=True)[1]


def _key(codes: Mapping[str, NDArray[np.intp]]) -> NDArray[np.uint64]:
    """One number for each row: those of two different rows are the same with a chance of one in 2**64."""
    rng = np.random.default_rng(0)
    key = np.zeros(len(next(iter(codes.values()))), dtype=np.uint64)
    for code in codes.values():
        key += rng.integers(2**64, size=int(code.max(initial=0)) + 1, dtype=np.uint64)[code]
    return key
