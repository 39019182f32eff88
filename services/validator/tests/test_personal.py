"""Personal data is found by its form and its check digits; numbers that only look alike are not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum_validator.national import luhn
from vallum_validator.personal import KINDS, find, iban

FOUND = {
    "erika.mustermann@web.de": "e-mail address",
    "4556 7375 8689 9855": "payment card",
    "4556737586899855": "payment card",
    "3782 822463 10005": "payment card",
    "DE89 3704 0044 0532 0130 00": "bank account (IBAN)",
    "GB82WEST12345698765432": "bank account (IBAN)",
    "+49 30 901820": "telephone number",
    "+33 1 42 68 53 00": "telephone number",
    "(212) 867-5309": "telephone number",
    "536-90-4399": "US social security number",
    "AB 12 34 56 C": "UK national insurance number",
    "36 574 261 809": "German tax number",
    "1 85 05 78 006 084 91": "French social security number",
    "12345678Z": "Spanish identity number",
    "X1234567L": "Spanish identity number",
    "RSSMRA85T10A562S": "Italian tax code",
    "1234.56.782": "Dutch citizen number",
    "185057800608491": "French social security number",
    "912-70-1234": "US taxpayer number",
    "401 023 2137": "UK health service number",
    "811228-9874": "Swedish identity number",
    "19121212+1212": "Swedish identity number",
    "131052-308T": "Finnish identity number",
    "010516A903X": "Finnish identity number",
    "85.07.30-033.28": "Belgian identity number",
    "529.982.247-25": "Brazilian tax number",
    "S1234567D": "Singaporean identity number",
    "11010519491231002X": "Chinese identity number",
    "ABCPD1234E": "Indian tax number",
}
"""Made up or published as examples by those who give the numbers out."""

NOT_FOUND = [
    "info@web.de",
    "jane@example.com",
    "torch@2.0.1",
    "a@b",
    "4556 7375 8689 9856",
    "4111 1111 1111 1111",
    "0.4556737586899855",
    "4556737586899855.5",
    "14556737586899855",
    "DE88 3704 0044 0532 0130 00",
    "DE8937040044",
    "+1 2",
    "1.000 200 300",
    "(212) 555-0100",
    "666-12-3456",
    "900-12-3456",
    "123-45-6789",
    "000-12-3456",
    "1536-90-4399",
    "GB 12 34 56 C",
    "DA 12 34 56 C",
    "36 574 261 808",
    "1 85 13 78 006 084 91",
    "1 85 05 78 006 084 90",
    "12345678A",
    "RSSMRA85T10A562T",
    "1234.56.783",
    "185057800608492",
    "912-69-1234",
    "401 023 2138",
    "901 023 2137",
    "811328-9874",
    "811228-9875",
    "811288-9871",
    "131052-308U",
    "85.07.30-033.29",
    "529.982.247-26",
    "S1234567E",
    "11010519491231002Y",
    "110105194912310021",
    "ABCCD1234E",
    "128 256 1024",
    "2018 2019 2020 2021",
    "2024-01-02 03:04:05",
    "192.168.100.200",
    "1e-05 0.12345678901234567",
    "",
]


@pytest.mark.parametrize("text", FOUND)
@pytest.mark.parametrize("frame", ["{}", "a {} b", "x,{},y", '"{}"', "({})", "{}.", "n: {}\n"])
def test_personal_data_is_found_where_it_stands(text: str, frame: str) -> None:
    whole = frame.format(text)
    assert [(hit.kind, whole[hit.start : hit.end]) for hit in find(whole)] == [(FOUND[text], text)]


def test_every_kind_has_an_example() -> None:
    assert set(FOUND.values()) == set(KINDS)


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_alike_is_not_found(text: str) -> None:
    assert list(find(f"a {text} b")) == []


def test_no_float_is_personal_data() -> None:
    source = random.Random(0)
    text = ", ".join(repr(source.gauss(0, 1000)) for _ in range(50_000))
    assert list(find(text)) == []


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_any_text_can_be_searched(text: str) -> None:
    for hit in find(text):
        assert hit.kind in KINDS
        assert 0 <= hit.start < hit.end <= len(text)


@given(st.integers(min_value=0, max_value=10**15 - 1), st.integers(min_value=1, max_value=9), st.integers(0, 14))
def test_luhn_notices_every_wrong_digit(number: int, change: int, place: int) -> None:
    body = f"{number:015d}"
    right = next(body + str(digit) for digit in range(10) if luhn(body + str(digit)))
    wrong = right[:place] + str((int(right[place]) + change) % 10) + right[place + 1 :]
    assert not luhn(wrong)


@given(st.integers(min_value=0, max_value=10**18 - 1), st.integers(min_value=1, max_value=9), st.integers(4, 21))
def test_iban_notices_every_wrong_digit(number: int, change: int, place: int) -> None:
    account = f"{number:018d}"
    right = next(f"DE{check:02d}{account}" for check in range(2, 99) if iban(f"DE{check:02d}{account}"))
    wrong = right[:place] + str((int(right[place]) + change) % 10) + right[place + 1 :]
    assert not iban(wrong)
