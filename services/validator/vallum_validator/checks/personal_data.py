"""Personal data where there should be none: in the columns of the data, the card and the manifest; counted, never told.

Only forms with a check digit or an unmistakable sign are found (`vallum_validator.personal`), and bare digits where
they hold nearly throughout a column (`vallum_validator.national`); names and addresses of streets are not. What a hit
in the data does to the outcome is policy; a card and a manifest name people to turn to, so there hits are told and
decide nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vallum_validator.domain.evidence import CheckResult, Detail, Outcome
from vallum_validator.national import of_bare
from vallum_validator.personal import find
from vallum_validator.table import Column, Subject, Table

MAX_ROWS: Final = 20_000
"""Rows of each table that are looked at, evenly spread."""

_PARTS: Final = ("evaluation", "members", "population")
_LEAST_DIGITS: Final = 9
"""A number with fewer digits identifies nobody by itself."""
_LARGEST_WHOLE: Final = 2.0**53
DELIBERATE: Final = 0.5
"""One number in ten has a right check digit by chance; a column of identifiers has nearly all."""
_LEAST_DISTINCT: Final = 10
"""Ten of twenty hold by chance in seven columns of a million, where one number in ten does."""


class Marks(NamedTuple):
    """The rows of a table that were looked at.

    Args:
        rows: their indices, shape (looked at,).
        hit: which of them hold personal data, the same shape.
    """

    rows: NDArray[np.intp]
    hit: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What was found.

    Args:
        columns: `part.column` to the number of rows by kind.
        text: `card` and `manifest` to the number of places by kind.
        marks: `evaluation`, `members`, `population` to the rows that were looked at.
    """

    columns: Mapping[str, Mapping[str, int]]
    text: Mapping[str, Mapping[str, int]]
    marks: Mapping[str, Marks]

    @property
    def parts(self) -> Mapping[str, tuple[int, int]]:
        """Each part to the rows with at least one hit and the rows looked at."""
        return {part: (int(marks.hit.sum()), len(marks.rows)) for part, marks in self.marks.items()}

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
    marked: dict[str, Marks] = {}
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
        marked[part] = Marks(places, hit)
    texts = {"card": subject.card or "", "manifest": subject.manifest.model_dump_json()}
    return PersonalData(columns, {name: _kinds(text) for name, text in texts.items()}, marked)


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
    texts = texts_of(column)
    known = {text: frozenset(_kinds(text)) if text else frozenset() for text in set(texts)}
    bare = [text for text in texts if _is_bare(text)]
    counts = Counter(kind for text in bare for kind in known[text])
    meant = {kind for kind, count in counts.items() if count >= DELIBERATE * len(bare)}
    identity = _of_bare(set(bare))
    kinds = [(known[text] & meant) | identity[text] if text in identity else known[text] for text in texts]
    where = np.array([bool(row) for row in kinds], dtype=bool)
    return dict(sorted(Counter(kind for row in kinds for kind in row).items())), where


def _is_bare(text: str | None) -> bool:
    """Whether it is a long number and nothing else, whatever the type of its column."""
    if text is None or not text.isascii() or len(text) < _LEAST_DIGITS:
        return False
    return text.removeprefix("-").isdecimal()


def _of_bare(distinct: Collection[str | None]) -> Mapping[str | None, frozenset[str]]:
    """The identity numbers among bare digits: one holds by chance, as many as this of a column do not."""
    found = {text: frozenset(of_bare(text or "")) for text in distinct}
    least = max(DELIBERATE * len(distinct), _LEAST_DISTINCT)
    meant = {kind for kind, count in Counter(chain.from_iterable(found.values())).items() if count >= least}
    return {text: kinds & meant for text, kinds in found.items()}


def texts_of(column: Column) -> list[str | None]:
    """What is looked for personal data in: a text, or a number that is long enough as it would be written."""
    texts: list[str | None] = column.tolist() if column.dtype == object else _long_numbers(column)
    return texts


def _long_numbers(column: Column) -> list[str | None]:
    """Whole numbers long enough to identify somebody, as they would be written; beyond 2**53 they are not exact."""
    with np.errstate(invalid="ignore"):
        long = (np.abs(column) >= 10.0 ** (_LEAST_DIGITS - 1)) & (np.abs(column) < _LARGEST_WHOLE)
        long &= column == np.trunc(column)
    return [str(int(value)) if is_long else None for value, is_long in zip(column.tolist(), long, strict=True)]


def _kinds(text: str) -> dict[str, int]:
    return dict(sorted(Counter(hit.kind for hit in find(text)).items()))
