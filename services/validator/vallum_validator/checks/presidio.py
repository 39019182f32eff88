"""Presidio as a second reader of personal data: its hits come to our own and never take one away.

Whether it is asked, for what and from which score on is policy. A part it could not read, or read too slowly, is no
pass: policy asked for it. Like our own search it counts and never repeats what it found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np

from vallum_common.errors import VallumError
from vallum_validator.checks.personal_data import DELIBERATE, PersonalData, texts_of
from vallum_validator.checks.thresholds import PresidioRule
from vallum_validator.domain.evidence import CheckResult, Detail, Outcome
from vallum_validator.table import Column, Subject, TextReader

_WORD: Final = re.compile(r"[^\W_]+")


class Kind(NamedTuple):
    """What was found by whom.

    Args:
        entity: in Presidio's words.
        recogniser: of Presidio.
    """

    entity: str
    recogniser: str


class Count(NamedTuple):
    """How often, and how sure.

    Args:
        rows: of a column, or lines of a text.
        score: the highest, in [0, 1].
    """

    rows: int
    score: float


@dataclass(frozen=True, slots=True)
class SecondReading:
    """What the second reader found.

    Args:
        rule: by which it was asked.
        versions: of Presidio and its model.
        columns: `part.column` to what was found in it.
        text: `card` and `manifest` to the same.
        parts: to the rows in which it or our own search found something, and the rows that both looked at.
        failure: one line why the reading ended early; empty where it did not.
    """

    rule: PresidioRule
    versions: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[Kind, Count]] = field(default_factory=dict)
    text: Mapping[str, Mapping[Kind, Count]] = field(default_factory=dict)
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    failure: str = ""

    @property
    def share(self) -> float:
        """Share of rows with personal data, by either search, in the worst part; 0 without rows."""
        return max((hits / rows for hits, rows in self.parts.values()), default=0.0)

    def detail(self) -> dict[str, Detail]:
        """Return it as evidence."""
        return {
            "versions": dict(self.versions),
            "entities": list(self.rule.entities),
            "least_score": self.rule.score,
            "source": self.rule.source,
            "columns": {name: _told(found) for name, found in self.columns.items()},
            **{name: _told(found) for name, found in self.text.items()},
            "rows": sum(rows for _, rows in self.parts.values()),
            "share": self.share,
            "failure": self.failure,
        }


def second_reading(subject: Subject, own: PersonalData) -> SecondReading | None:
    """Have a submission read once more; `None` where policy does not ask for it.

    Args:
        subject: what is measured.
        own: what our search found; rows that it marked stay marked.
    """
    rule = subject.thresholds.data_privacy.presidio
    if rule is None:
        return None
    if subject.presidio is None:
        return SecondReading(rule, failure="nothing here can ask it")
    columns: dict[str, Mapping[Kind, Count]] = {}
    text: dict[str, Mapping[Kind, Count]] = {}
    parts: dict[str, tuple[int, int]] = {}
    versions: Mapping[str, str] = {}
    failure = ""
    try:
        with subject.presidio() as reader:
            versions = reader.versions
            for part, marks in own.marks.items():
                table = getattr(subject, part)
                seen = np.linspace(0, len(marks.rows) - 1, min(len(marks.rows), rule.most_rows)).astype(np.intp)
                hit = marks.hit[seen]
                for name, column in table.columns.items():
                    counts, where = _column(reader, name, column[marks.rows[seen]])
                    if counts:
                        columns[f"{part}.{name}"] = counts
                        hit |= where
                    parts[part] = int(hit.sum()), len(seen)  # counts, even where the next column cannot be read
            text = {
                "card": _lines(reader, subject.card or ""),
                "manifest": _lines(reader, subject.manifest.model_dump_json(indent=1)),
            }
    except VallumError as error:
        failure = error.message
    return SecondReading(rule, versions, columns, text, parts, failure)


def with_second_reading(result: CheckResult, found: SecondReading, limit: float) -> CheckResult:
    """Return a result with what was found: FAIL where policy allows less of it, no PASS where the reading is not whole.

    Args:
        result: of the rest of the check, our own search included.
        found: in the submission.
        limit: largest share of rows with personal data in any part.
    """
    own = result.details["personal_data"]
    assert isinstance(own, Mapping)  # noqa: S101 (with_personal_data was here before)
    details: dict[str, Detail] = {**result.details, "personal_data": {**own, "presidio": found.detail()}}
    result = replace(result, details=details)
    if found.share > limit and result.outcome is not Outcome.FAIL:
        return replace(result, outcome=Outcome.FAIL, reason=f"{_reason(found, limit)}; {result.reason}")
    if found.failure and result.outcome is not Outcome.FAIL:
        told = f"policy asks for Presidio, which did not read everything: {found.failure}; {result.reason}"
        return replace(result, outcome=Outcome.INCONCLUSIVE, reason=told)
    return result


def _reason(found: SecondReading, limit: float) -> str:
    part, (hits, rows) = max(found.parts.items(), key=lambda each: each[1][0] / each[1][1])
    first = next((each for each in found.columns.items() if each[0].startswith(f"{part}.")), None)
    by = ""
    if first:
        kind, count = next(iter(first[1].items()))
        by = f", {kind.entity} in {first[0]!r} by Presidio's {kind.recogniser} with score {count.score:g} among them"
    return f"{hits} of {rows} rows hold personal data{by}; policy allows {limit:.1%}"


def _column(reader: TextReader, name: str, column: Column) -> tuple[Mapping[Kind, Count], Column]:
    texts = texts_of(column)
    known = _read(reader, [text for text in dict.fromkeys(texts) if text], _WORD.findall(name))
    found = _deliberate(texts, [known.get(text, {}) if text else {} for text in texts])
    where = np.array([bool(each) for each in found], dtype=bool)
    return _counted(found), where


def _deliberate(texts: Sequence[str | None], found: list[Mapping[Kind, float]]) -> list[Mapping[Kind, float]]:
    """What was found without what bare numbers are by chance: many recognisers know one by a single check digit.

    It matters here more than in our own search, because Presidio takes any eleven digits for a number of a person.
    """
    bare = [bool(text) and str(text).removeprefix("-").isdecimal() for text in texts]
    counts = Counter(kind for each, is_bare in zip(found, bare, strict=True) if is_bare for kind in each)
    meant = {kind for kind, count in counts.items() if count >= DELIBERATE * sum(bare)}
    return [
        {kind: score for kind, score in each.items() if kind in meant} if is_bare else each
        for each, is_bare in zip(found, bare, strict=True)
    ]


def _lines(reader: TextReader, text: str) -> Mapping[Kind, Count]:
    lines = [line for line in text.splitlines() if line.strip()]
    known = _read(reader, list(dict.fromkeys(lines)), [])
    found = [known.get(line, {}) for line in lines]
    return _counted(found)


def _read(reader: TextReader, texts: Sequence[str], context: Sequence[str]) -> Mapping[str, Mapping[Kind, float]]:
    """Each text in which something was found to what, and the highest score."""
    known: dict[str, dict[Kind, float]] = {}
    for hit in reader.read(texts, context):
        kinds = known.setdefault(texts[hit.text], {})
        kind = Kind(hit.entity, hit.recogniser)
        kinds[kind] = max(hit.score, kinds.get(kind, 0.0))
    return known


def _counted(found: Sequence[Mapping[Kind, float]]) -> Mapping[Kind, Count]:
    rows = Counter(kind for each in found for kind in each)
    return {
        kind: Count(rows[kind], max(each[kind] for each in found if kind in each))
        for kind in sorted(rows, key=lambda kind: (-rows[kind], kind))
    }


def _told(found: Mapping[Kind, Count]) -> list[Detail]:
    return [
        {"entity": kind.entity, "recogniser": kind.recogniser, "rows": count.rows, "score": count.score}
        for kind, count in found.items()
    ]
