"""Who is compared with whom: the groups that sensitive columns make, alone and crossed, and one table of counts for
all.

Every rate of every group is a sum over one small tensor of counts (cells x true class x predicted class), so a thousand
bootstrap draws or another question cost microseconds and never touch the rows again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vallum_common.errors import Invalid
from vallum_validator.checks.truth import Labelled
from vallum_validator.table import Column, canonical_column, label_order

Counts = NDArray[np.int64]

_MISSING = "(missing)"
_OTHER = "(other values)"
_BINS = 4
_CELLS = 10_000


@dataclass(frozen=True, slots=True)
class Family:
    """One way to divide the rows into groups.

    Args:
        columns: the sensitive columns it crosses.
        names: one per group, e.g. `Female` or `Female x Black`.
        counts: rows by group, true and predicted class, shape (groups, classes, classes).
        group_of_cell: for each group of the family that crosses all columns, the group here that holds it.
        of_row: the group of each row, shape (rows,).
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    counts: Counts
    group_of_cell: NDArray[np.intp]
    of_row: NDArray[np.intp]

    @property
    def title(self) -> str:
        """The crossed columns as one word."""
        return " x ".join(self.columns)


@dataclass(frozen=True, slots=True)
class Confusion:
    """A family seen through one answer: that one against all others.

    Args:
        rows: per group, shape (groups,).
        selected: rows that got the answer.
        actual: rows whose true answer it is.
        hits: rows of which both hold.
    """

    rows: Counts
    selected: Counts
    actual: Counts
    hits: Counts

    @property
    def false_alarms(self) -> Counts:
        """Rows that got the answer although it is not the true one."""
        return self.selected - self.hits

    @property
    def others(self) -> Counts:
        """Rows whose true answer is another."""
        return self.rows - self.actual


def confusion(counts: Counts, answer: int) -> Confusion:
    """Return a tensor of shape (groups, classes, classes) seen through one answer."""
    return Confusion(
        rows=counts.sum(axis=(1, 2)),
        selected=counts[:, :, answer].sum(axis=1),
        actual=counts[:, answer, :].sum(axis=1),
        hits=counts[:, answer, answer],
    )


def families(
    rows: Labelled, sensitive: Sequence[str], most_groups: int, least_share: float = 1.0
) -> tuple[Family, ...]:
    """Return every sensitive column by itself, every pair crossed, and all of them crossed.

    Args:
        rows: predicted rows.
        sensitive: names of columns.
        most_groups: a column with more values is cut: numbers into quartiles, text into its most frequent values.
        least_share: of the rows; a text with that many is a group however many there are.

    Raises:
        Invalid: a sensitive column is not in the data.
    """
    coded: list[tuple[tuple[str, ...], NDArray[np.intp]]] = []
    for name in sensitive:
        if name not in rows.table.columns:
            raise Invalid(f"data.evaluation has no column {name!r}, which data.sensitive names")
        coded.append(_coded(rows.table.columns[name], most_groups, least_share))
    pairs = itertools.combinations(range(len(sensitive)), 2)
    every = tuple(range(len(sensitive)))
    cell = np.ravel_multi_index([codes for _, codes in coded], _sizes(coded, every))
    crosses: list[tuple[int, ...]] = [(place,) for place in range(len(sensitive))] + [*pairs]
    if len(sensitive) > 2:
        crosses.append(every)
    first_of_cell = _first_of_each(cell)
    return tuple(_family(rows, sensitive, coded, cross, first_of_cell) for cross in crosses)


def _family(
    rows: Labelled,
    sensitive: Sequence[str],
    coded: Sequence[tuple[tuple[str, ...], NDArray[np.intp]]],
    cross: tuple[int, ...],
    first_of_cell: NDArray[np.intp],
) -> Family:
    sizes = _sizes(coded, cross)
    code = np.ravel_multi_index([coded[place][1] for place in cross], sizes)
    present, group = _present(code, int(np.prod(sizes)))
    parts = np.unravel_index(present, sizes)
    names = tuple(
        " x ".join(coded[place][0][part[group_at]] for place, part in zip(cross, parts, strict=True))
        for group_at in range(len(present))
    )
    classes = len(rows.classes)
    flat = (group * classes + rows.truth) * classes + rows.predicted
    counts = np.bincount(flat, minlength=len(present) * classes**2).reshape(len(present), classes, classes)
    columns = tuple(sensitive[place] for place in cross)
    return Family(columns, names, counts.astype(np.int64), group[first_of_cell], group)


def _present(code: NDArray[np.intp], size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the codes that occur, ascending, and for each row the place of its own among them."""
    present = np.flatnonzero(np.bincount(code, minlength=size))
    place = np.zeros(size, dtype=np.intp)
    place[present] = np.arange(len(present))
    return present, place[code]


def _first_of_each(cell: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each code that occurs, ascending, a row that has it."""
    row = np.full(int(cell.max()) + 1, -1, dtype=np.intp)
    row[cell[::-1]] = np.arange(len(cell))[::-1]
    return row[row >= 0]


def _sizes(coded: Sequence[tuple[tuple[str, ...], NDArray[np.intp]]], cross: tuple[int, ...]) -> list[int]:
    sizes = [len(coded[place][0]) for place in cross]
    if np.prod([float(size) for size in sizes]) > _CELLS:
        raise Invalid(f"data.sensitive makes more than {_CELLS} groups; that many cannot be compared")
    return sizes


def _coded(column: Column, most_groups: int, least_share: float) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    if column.dtype == np.float64 and len(np.unique(column[~np.isnan(column)])) > most_groups:
        return _quartiles(column)
    # Each distinct value is looked at once: a hundred thousand rows hold a handful.
    place, distinct = pd.factorize(column)
    texts = canonical_column(np.asarray(distinct))
    count = np.bincount(place[place >= 0], minlength=len(texts))
    frequent = np.argsort(-count, kind="stable")
    # What is large enough to be judged is never hidden among others, in whom the one group that is refused drowns.
    most = (
        len(texts)
        if len(texts) <= most_groups
        else max(most_groups - 1, int((count >= least_share * len(place)).sum()))
    )
    kept = {str(texts[value]) for value in frequent[:most]}
    names = sorted(kept, key=label_order)
    index = {name: number for number, name in enumerate(names)}
    missing, other = len(names), len(names) + 1
    # The last entry is what the place -1 of a missing value picks.
    code = np.array([*(index.get(text, other) for text in texts), missing], dtype=np.intp)
    return (*names, _MISSING, _OTHER), code[place]


def _quartiles(column: Column) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    known = column[~np.isnan(column)]
    edges = np.unique(np.quantile(known, np.arange(1, _BINS) / _BINS))
    ends = [-np.inf, *edges, np.inf]
    names = [f"[{low:g}, {high:g})" for low, high in itertools.pairwise(ends)]
    code = np.where(np.isnan(column), len(names), np.searchsorted(edges, column, side="right"))
    return (*names, _MISSING), code.astype(np.intp)
