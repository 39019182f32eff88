"""Personal data in text: what has a form of its own and, where the form has one, a checksum that is right.

Patterns alone take any long number for a card and any float for a telephone number, so a kind is here only if an honest
table of numbers or a vocabulary does not hold it by chance: a check digit, a separator in the right places, or a sign
that nothing else has. What has no such form (names, addresses) is not found here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, NamedTuple

from vallum_validator.national import (
    belgian,
    brazilian,
    british_health,
    chinese,
    dutch,
    finnish,
    french,
    german,
    luhn,
    singaporean,
    swedish,
)

KINDS: Final = (
    "e-mail address",
    "payment card",
    "bank account (IBAN)",
    "telephone number",
    "US social security number",
    "UK national insurance number",
    "German tax number",
    "French social security number",
    "Spanish identity number",
    "Italian tax code",
    "Dutch citizen number",
    "US taxpayer number",
    "UK health service number",
    "Swedish identity number",
    "Finnish identity number",
    "Belgian identity number",
    "Brazilian tax number",
    "Singaporean identity number",
    "Chinese identity number",
    "Indian tax number",
)
"""What can be found."""


class Hit(NamedTuple):
    """Where personal data stands; never what it is.

    Args:
        kind: one of `KINDS`.
        start: offset of its first character.
        end: offset behind its last.
    """

    kind: str
    start: int
    end: int


class _Form(NamedTuple):
    kind: str
    expression: re.Pattern[str]
    holds: Callable[[str], bool]


_ENDS: Final = r"(?![\w@/=+-]|[.,]\d)"
_TOP_LEVEL: Final = frozenset([
    "com", "org", "net", "edu", "gov", "mil", "info", "biz", "int", "eu", "io", "ai", "dev", "app", "me", "tv", "cc",
    "de", "fr", "uk", "us", "ca", "au", "at", "ch", "es", "it", "nl", "be", "se", "no", "dk", "fi", "pl", "cz", "sk",
    "hu", "ro", "bg", "gr", "pt", "ie", "ru", "ua", "tr", "in", "cn", "jp", "kr", "br", "mx", "ar", "cl", "co", "za",
    "il", "sg", "hk", "tw", "nz", "lt", "lv", "ee", "si", "hr"
])  # fmt: skip
_NO_PERSON: Final = re.compile(
    r"@(?:example\.|test\.|localhost|users\.noreply\.)|^(?:noreply|no-reply|info|support|contact|admin|root|git|hello|"
    r"opensource|security|sales|help|team|press|user|name|email|someone|username|you|your\.?name)@",
    re.IGNORECASE,
)
"""Addresses of documentation and of offices; RFC 2606 for the first."""


def find(text: str) -> Iterator[Hit]:
    """Every place where personal data stands in a text: addresses first, then the rest, each in order.

    Args:
        text: any; a table is searched cell by cell or as a whole.
    """
    if "@" in text:
        for address in _ADDRESS.finditer(text):
            if _is_address(address[0]):
                yield Hit(KINDS[0], address.start(), address.end())
    for place in _NUMBERED.finditer(text):
        if not _any_number().match(text, place.start()):  # nearly always: one look instead of one for each form
            continue
        for form in _numbers():
            found = form.expression.match(text, place.start())
            if found and form.holds(found[0]):
                yield Hit(form.kind, found.start(), found.end())
                break


def iban(compact: str) -> bool:
    """Whether an account number has its right check digits. Source: ISO 13616-1; lengths: SWIFT IBAN registry."""
    if _IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    turned = compact[4:] + compact[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


_IBAN_LENGTHS: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "BE": 16, "BG": 22, "BR": 29, "CH": 21, "CY": 28, "CZ": 24, "DE": 22,
    "DK": 18, "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GI": 23, "GR": 27, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15,
    "PL": 28, "PT": 25, "RO": 24, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26, "UA": 29,
}  # fmt: skip
_CARD_LENGTHS: Final = (
    (re.compile(r"4"), {13, 16, 19}),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), {16}),
    (re.compile(r"3[47]"), {15}),
    (re.compile(r"3(?:0[0-5]|[689])"), {14, 16}),
    (re.compile(r"6011|64[4-9]|65"), {16, 19}),
    (re.compile(r"35(?:2[89]|[3-8])"), {16}),
)
"""First digits and lengths of the issuers that write to everybody. Source: ISO/IEC 7812, issuers' own pages."""
_SPANISH_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"
_ITALIAN_ODD: Final = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def _compact(text: str) -> str:
    return re.sub(r"[\s.\-/]", "", text)


def _is_card(text: str) -> bool:
    digits = _compact(text)
    if not any(first.match(digits) and len(digits) in lengths for first, lengths in _CARD_LENGTHS):
        return False
    # 4111 1111 1111 1111 and the like stand in manuals.
    return luhn(digits) and len(set(digits[4:])) > 2


def _is_address(text: str) -> bool:
    return text.rpartition(".")[2].lower() in _TOP_LEVEL and not _NO_PERSON.search(text)


def _is_telephone(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return 9 <= len(digits) <= 15 and len(set(digits)) > 3 and "555" not in digits[-10:]


def _is_social_security(text: str) -> bool:
    area, group, serial = text.split("-")
    # Source: SSA, randomization FAQ; the second and third were printed in advertisements.
    return not (
        area in ("000", "666")
        or area[0] == "9"
        or group == "00"
        or serial == "0000"
        or text in ("078-05-1120", "219-09-9999", "123-45-6789")
    )


def _is_insurance(text: str) -> bool:
    letters = text[:2]
    # Source: HMRC, National Insurance Manual NIM39110.
    return (
        letters not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")
        and not set(letters) & set("DFIQUV")
        and (letters[1] != "O")
    )


def _is_spanish(text: str) -> bool:
    """Source: Ministerio del Interior, cálculo del dígito de control del NIF/NIE."""
    number = text[:-1].translate(str.maketrans("XYZ", "012")).rstrip("-")
    return _SPANISH_LETTERS[int(number) % 23] == text[-1] and len(set(number)) > 3


def _is_italian(text: str) -> bool:
    """Source: D.M. 23 dicembre 1976, decoded by the table there."""
    values = [int(character) if character.isdigit() else ord(character) - ord("A") for character in text]
    total = sum(_ITALIAN_ODD[value] for value in values[0:15:2]) + sum(values[1:15:2])
    return total % 26 == values[15]


def _of_digits(holds: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda text: holds(re.sub(r"\D", "", text))


_ADDRESS: Final = re.compile(
    r"(?<![\w.+/@-])[A-Za-z0-9][A-Za-z0-9._+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,4}"
    r"[A-Za-z]{2,4}(?![\w@-])"
)
_EXPRESSIONS: Final = (
    (
        "payment card",
        r"(?:\d{4}(?P<gap>[ -])\d{4}(?P=gap)\d{4}(?P=gap)\d{1,4}(?:(?P=gap)\d{3})?|3\d{3}(?P<space>[ -])\d{6}(?P=space)"
        r"\d{4,5}|\d{13,19})",
        _is_card,
    ),
    (
        "bank account (IBAN)",
        r"[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,4})?)",
        lambda text: iban(_compact(text)),
    ),
    ("telephone number", r"\+[1-9]\d{0,2}(?:[ .-](?:\d{1,8}|\(\d{1,5}\))){2,6}|\(\d{3}\) \d{3}-\d{4}", _is_telephone),
    ("US social security number", r"\d{3}-\d{2}-\d{4}", _is_social_security),
    ("UK national insurance number", r"[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]", _is_insurance),
    ("German tax number", r"\d{2} \d{3} \d{3} \d{3}", _of_digits(german)),
    (
        "French social security number",
        r"[12](?: \d{2} \d{2} (?:\d{2}|2A|2B) \d{3} \d{3} \d{2}|\d{4}(?:\d{2}|2A|2B)\d{8})",
        lambda text: french(_compact(text)),
    ),
    ("Spanish identity number", r"(?:\d{8}|[XYZ]\d{7})-?[A-Z]", _is_spanish),
    ("Italian tax code", r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", _is_italian),
    ("Dutch citizen number", r"\d{4}\.\d{2}\.\d{3}", _of_digits(dutch)),
    # Source: IRS, Internal Revenue Manual 3.21.263: what stands in the middle tells it from a social security number.
    ("US taxpayer number", r"9\d\d-(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])-\d{4}", lambda _: True),
    ("UK health service number", r"\d{3} \d{3} \d{4}", _of_digits(british_health)),
    # Not those of people who are no residents, with 60 on the day: numbers of orders look like them too often.
    ("Swedish identity number", r"(?:19|20)?\d{4}[0-3]\d[-+]\d{4}", _of_digits(lambda digits: swedish(digits[-10:]))),
    ("Finnish identity number", r"\d{6}[-+A-FU-Y]\d{3}[\dA-Y]", finnish),
    ("Belgian identity number", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", _of_digits(belgian)),
    ("Brazilian tax number", r"\d{3}\.\d{3}\.\d{3}-\d{2}", _of_digits(brazilian)),
    ("Singaporean identity number", r"[STFG]\d{7}[A-Z]", singaporean),
    ("Chinese identity number", r"[1-9]\d{5}(?:19|20)\d{9}[\dX]", chinese),
    # Source: Income Tax Rules 1962, rule 114: the fourth letter of a person's is P. It has no check that is published.
    ("Indian tax number", r"[A-Z]{3}P[A-Z]\d{4}[A-Z]", lambda _: True),
)


@cache
def _numbers() -> tuple[_Form, ...]:
    # Compiled when something begins like a number of a person: few texts come to that.
    return tuple(_Form(kind, re.compile(f"(?:{form}){_ENDS}"), holds) for kind, form, holds in _EXPRESSIONS)


@cache
def _any_number() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{form}){_ENDS}" for _, form, _ in _EXPRESSIONS))


_NUMBERED: Final = re.compile(
    r"(?<=[\s\"'(\[{;:>|,])(?=[\d+(A-Z])"
    r"(?:\d[\d .-]{5}[\d .+A-FU-Y-][\d .-]|[+(]\d|[A-Z][A-Z\d] ?[A-Z\d]{2})|\A(?=[\d+(A-Z])"
)
"""Where one of them may begin; everything else about it is checked there."""
