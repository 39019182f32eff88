"""Personal data where there should be none: in the columns of the data, the card and the manifest; counted, never told.

Only forms with a check digit or an unmistakable sign are found (`vallum_validator.personal`); names and addresses of
streets are not. What a hit in the data does to the outcome is policy; a card and a manifest name people to turn to, so
there hits are told and decide nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vallum_validator.domain.evidence import CheckResult, Detail, Outcome
from vallum_validator.personal import find
from vallum_validator.table import Column, Subject, Table

MAX_ROWS: Final = 20_000
"""Rows of each table that are looked at, evenly spread."""

_PARTS: Final = ("evaluation", "members", "population")
_LEAST_DIGITS: Final = 9
"""A number with fewer digits identifies nobody by itself."""
_LARGEST_WHOLE: Final = 2.0**53
_DELIBERATE: Final = 0.5
"""One number in ten has a right check digit by chance; a column of identifiers has nearly all."""


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What was found.

    Args:
        columns: `part.column` to the number of rows by kind.
        text: `card` and `manifest` to the number of places by kind.
        parts: `evaluation`, `members`, `population` to the rows with at least one hit and the rows looked at.
    """

    columns: Mapping[str, Mapping[str, int]]
    text: Mapping[str, Mapping[str, int]]
    parts: Mapping[str, tuple[int, int]]

    @property
    def rows(self) -> int:
        """How many were looked at in all."""
        return sum(rows for _, rows in self.parts.values())

    @property
    def share(self) -> float:
        """Share of rows with personal data in the worst part, lest a large part without any hide it; 0 without rows."""
        return max((hits / rows for hits, rows in self.parts.values()), default=0.0)


def personal_data(subject: Subject) -> PersonalData:
    """Look through all that a submission brings to be read."""
    columns: dict[str, Mapping[str, int]] = {}
    parts: dict[str, tuple[int, int]] = {}
    for part in _PARTS:
        table: Table | None = getattr(subject, part)
        if table is None or not len(table):
            continue
        places = np.unique(np.linspace(0, len(table) - 1, min(len(table), MAX_ROWS)).astype(np.intp))
        hit = np.zeros(len(places), dtype=bool)
        for name, column in table.columns.items():
            counts, where = _column(column[places])
            if counts:
                columns[f"{part}.{name}"] = counts
                hit |= where
        parts[part] = int(hit.sum()), len(places)
    texts = {"card": subject.card or "", "manifest": subject.manifest.model_dump_json()}
    return PersonalData(columns, {name: _kinds(text) for name, text in texts.items()}, parts)


def with_personal_data(result: CheckResult, found: PersonalData, limit: float, source: str) -> CheckResult:
    """Return a result with what was found, and as FAIL where policy allows less of it.

    Args:
        result: of the rest of the check.
        found: in the submission.
        limit: largest share of rows with personal data in any part.
        source: of the limit.
    """
    details: dict[str, Detail] = {
        **result.details,
        "personal_data": {
            "columns": {name: dict(counts) for name, counts in found.columns.items()},
            **{name: dict(counts) for name, counts in found.text.items()},
            "rows": found.rows,
            "share": found.share,
            "limit": limit,
            "source": source,
        },
    }
    if found.share <= limit:
        return replace(result, details=details)
    part, (hits, rows) = max(found.parts.items(), key=lambda each: each[1][0] / each[1][1])
    first, counts = next(each for each in found.columns.items() if each[0].startswith(f"{part}."))
    told = (
        f"{hits} of {rows} rows hold personal data ({next(iter(counts))} in {first!r}), policy allows "
        f"{limit:.1%}; {result.reason}"
    )
    return replace(result, outcome=Outcome.FAIL, reason=told, details=details)


def _column(column: Column) -> tuple[Mapping[str, int], NDArray[np.bool_]]:
    """The number of rows with each kind, and which rows have any."""
    texts = column.tolist() if column.dtype == object else _long_numbers(column)
    known = {text: frozenset(_kinds(text)) if text else frozenset() for text in set(texts)}
    kinds = [known[text] for text in texts]
    counts = Counter(kind for row in kinds for kind in row)
    if column.dtype != object:
        asked = sum(text is not None for text in texts)
        counts = Counter({kind: count for kind, count in counts.items() if count >= _DELIBERATE * asked})
    where = np.array([bool(row & counts.keys()) for row in kinds], dtype=bool)
    return dict(sorted(counts.items())), where


def _long_numbers(column: Column) -> list[str | None]:
    """Whole numbers long enough to identify somebody, as they would be written; beyond 2**53 they are not exact."""
    with np.errstate(invalid="ignore"):
        long = (np.abs(column) >= 10.0 ** (_LEAST_DIGITS - 1)) & (np.abs(column) < _LARGEST_WHOLE)
        long &= column == np.trunc(column)
    return [str(int(value)) if is_long else None for value, is_long in zip(column.tolist(), long, strict=True)]


def _kinds(text: str) -> dict[str, int]:
    return dict(sorted(Counter(hit.kind for hit in find(text)).items()))
