"""Personal data in data, card and manifest: counted by column and kind, never told; in the data it decides."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vallum_validator.checks import load_thresholds, run_check
from vallum_validator.checks.personal_data import MAX_ROWS, personal_data
from vallum_validator.checks.testing import subject_of
from vallum_validator.domain.evidence import CheckResult, Outcome
from vallum_validator.national import BARE
from vallum_validator.table import Subject, Table

THRESHOLDS = load_thresholds(Path(__file__).parents[3] / "policies" / "thresholds.yaml")
ROWS = 200
IBAN = "DE89 3704 0044 0532 0130 00"
CARD = 4_539_578_763_621_486


def _subject(columns: dict[str, Any], **more: Any) -> Subject:
    rows = len(next(iter(columns.values()))) if columns else ROWS
    x = np.linspace(-1, 1, rows)
    label = np.array([str(int(each > 0)) for each in x], dtype=object)
    table = Table({"x": x, "label": label, **columns})
    return subject_of(
        lambda asked: (asked.columns["x"] > 0).astype(int),
        {"x": {"type": "number"}},
        thresholds=THRESHOLDS,
        evaluation=table,
        **more,
    )


def _text(*values: str | None) -> np.ndarray:
    column = np.empty(ROWS, dtype=object)
    column[:] = (list(values) * ROWS)[:ROWS]
    return column


def _check(subject: Subject) -> CheckResult:
    return run_check("data_privacy", subject)


def test_account_numbers_in_a_column_fail_and_are_not_repeated() -> None:
    result = _check(_subject({"note": _text(IBAN, "nothing", None, "")}))
    assert result.outcome is Outcome.FAIL
    assert result.details["personal_data"]["columns"] == {"evaluation.note": {"bank account (IBAN)": ROWS // 4}}
    assert result.details["personal_data"]["share"] == 0.25
    assert result.reason.startswith(f"{ROWS // 4} of {ROWS} rows hold personal data (bank account (IBAN) in")
    assert "data.members is missing" in result.reason
    assert "3704" not in repr(result)


def test_one_row_in_a_hundred_may_be_chance() -> None:
    column = _text("nothing")
    column[:2] = "a.person@mail.com"
    result = _check(_subject({"note": column}))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.details["personal_data"]["columns"] == {"evaluation.note": {"e-mail address": 2}}


def test_a_column_of_card_numbers_is_found_and_numbers_that_pass_by_chance_are_not() -> None:
    rng = np.random.default_rng(0)
    cards = np.full(ROWS, float(CARD))
    chance = rng.integers(10**14, 9 * 10**15, ROWS).astype(np.float64)
    found = personal_data(_subject({"card": cards, "sequence": chance}))
    assert dict(found.columns) == {"evaluation.card": {"payment card": ROWS}}


def test_article_numbers_as_text_are_no_cards() -> None:
    """One in ten of those that begin with 4 (EAN of Germany) is a card number of 13 digits by chance."""
    articles = _text(*(f"40{number:011d}" for number in range(0, 10**11, 10**11 // ROWS)))
    assert not personal_data(_subject({"article": articles})).columns
    articles[:3] = f"card {CARD}"
    found = personal_data(_subject({"article": articles, "card": _text(str(CARD), "none", "12", None)})).columns
    assert dict(found) == {"evaluation.article": {"payment card": 3}, "evaluation.card": {"payment card": ROWS // 4}}


def _numbers(kind: str, count: int = ROWS) -> list[str]:
    """Valid numbers of a kind."""
    source = random.Random(0)
    length, holds = BARE[kind]
    found: list[str] = []
    while len(found) < count:
        day = f"{source.randint(1, 12):02}{source.randint(10, 28)}"
        digits = "".join(source.choices("123456789", k=length - 1))
        if kind == "Norwegian identity number":
            digits = day[2:] + day[:2] + digits[4:]
        elif kind == "Chinese identity number":
            digits = digits[:6] + "1980" + day + digits[14:]
        elif kind == "French social security number":
            digits = "1" + digits[1:3] + day[:2] + digits[5:]
        elif length > 9:
            digits = digits[:2] + day + digits[6:10] + "0" * (length == 13) + digits[10 + (length == 13) :]
        found += [number for last in "0123456789" if holds(number := digits + last)]
    return found[:count]


@pytest.mark.parametrize("kind", BARE)
def test_a_column_of_identity_numbers_is_found(kind: str) -> None:
    numbers = _numbers(kind)
    columns = {"texts": _text(*numbers, None)}
    if BARE[kind][0] < 16:
        columns["numbers"] = np.array([float(number) for number in numbers])
    found = personal_data(_subject(columns))
    assert all(found.columns[f"evaluation.{name}"][kind] >= ROWS - 1 for name in columns)
    assert found.share == 1.0


@pytest.mark.parametrize("digits", range(9, 19))
def test_numbers_that_hold_by_chance_are_no_identity_numbers(digits: int) -> None:
    source = random.Random(digits)
    numbers = ["".join(source.choices("0123456789", k=digits)) for _ in range(ROWS)]
    runs = [str(10 ** (digits - 1) + number) for number in range(ROWS)]
    found = personal_data(_subject({"random": _text(*numbers), "run": _text(*runs)}))
    bare = {kind for counts in found.columns.values() for kind in counts} - {"payment card"}
    assert bare == set()


def test_numbers_below_zero_are_no_identity_numbers() -> None:
    below = -np.arange(10_000_000.0, 10_000_000.0 + ROWS)
    odd = _text("-12345678", "-123456789", "²²²²²²²²²", "٣٣٣٣٣٣٣٣٣")
    assert not personal_data(_subject({"below": 10 * below, "odd": odd})).columns


def test_one_number_that_is_repeated_is_no_column_of_identity_numbers() -> None:
    few = _numbers("Polish identity number", 9)
    assert not personal_data(_subject({"few": _text(*few), "same": np.full(ROWS, float(few[0]))})).columns


def test_a_card_may_name_whom_to_turn_to() -> None:
    result = _check(_subject({}, card="## Contact\nowner@company.org"))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.details["personal_data"]["card"] == {"e-mail address": 1}


@pytest.mark.parametrize("part", ["members", "population"])
def test_all_tables_are_looked_at(part: str) -> None:
    rows = {"x": np.zeros(ROWS), "label": _text("0"), "note": _text(IBAN)}
    found = personal_data(_subject({}, **{part: Table(rows)}))
    assert dict(found.columns) == {f"{part}.note": {"bank account (IBAN)": ROWS}}
    assert found.share == 1.0


def test_a_large_part_without_personal_data_does_not_hide_those_of_a_small_one() -> None:
    many = 200 * ROWS
    population = Table({"x": np.zeros(many), "label": np.full(many, "0", dtype=object)})
    result = _check(_subject({"note": _text(IBAN)}, population=population))
    assert result.outcome is Outcome.FAIL
    assert result.reason.startswith(f"{ROWS} of {ROWS} rows hold personal data")


def test_only_so_many_rows_are_looked_at() -> None:
    found = personal_data(_subject({"n": np.zeros(3 * MAX_ROWS)}))
    assert found.rows == MAX_ROWS
