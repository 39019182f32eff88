"""Identity numbers that states give to people, by their own check digits.

A single check digit lets one number in ten or eleven through, so bare digits are never enough for one value: `BARE` is
for whole columns, of which nearly all values have to hold. What has separators or letters of its own is found in any
text (`vallum_validator.personal`). Numbers of companies, cars and authorities identify no person and are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

_SINGAPORE: Final = {"S": "JZIHGFEDCBA", "T": "GFEDCBAJZIH", "F": "XWUTRQPNMLK", "G": "RQPNMLKXWUT"}
_FINNISH: Final = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_DIHEDRAL: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 0, 6, 7, 8, 9, 5), (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7), (4, 0, 1, 2, 3, 9, 5, 6, 7, 8), (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2), (7, 6, 5, 9, 8, 2, 1, 0, 4, 3), (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)  # fmt: skip
_PERMUTED: Final = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before it. Source: ISO/IEC 7812-1, annex B."""
    values = [int(digit) for digit in reversed(digits)]
    doubled = [2 * value - 9 * (value > 4) for value in values[1::2]]
    return (sum(values[::2]) + sum(doubled)) % 10 == 0


def dutch(digits: str) -> bool:
    """Burgerservicenummer, 9 digits. Source: Rijksdienst voor Identiteitsgegevens, the eleven test."""
    return _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and _is_mixed(digits)


def german(digits: str) -> bool:
    """Steuer-Identifikationsnummer, 11 digits. Source: Bundeszentralamt für Steuern; ISO/IEC 7064, MOD 11,10."""
    counts = [digits[:10].count(digit) for digit in set(digits[:10])]
    if digits[0] == "0" or sorted(counts)[-1] not in (2, 3) or sorted(counts)[:-1].count(1) != len(counts) - 1:
        return False
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = 2 * total % 11
    return (11 - product) % 10 == int(digits[10])


def french(number: str) -> bool:
    """Numéro d'inscription au répertoire, 15 characters, 2A and 2B for Corsica. Source: INSEE."""
    if number[0] not in "12" or not 1 <= int(number[3:5]) <= 12:
        return False
    return 97 - int(number[:13].replace("2A", "19").replace("2B", "18")) % 97 == int(number[13:])


def british_health(digits: str) -> bool:
    """NHS number, 10 digits. Source: NHS Data Dictionary, NHS NUMBER; those of England and Wales begin with 4, 6 or 7.

    Others that begin so and have the same check digit are ISBN-10 of Japan and China.
    """
    return digits[0] in "467" and _weighted(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0 and _is_mixed(digits)


def polish(digits: str) -> bool:
    """PESEL, 11 digits. Source: ustawa o ewidencji ludności, art. 15; the century is in the month."""
    weighted = _weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1))
    return weighted % 10 == 0 and _is_day(int(digits[2:4]) % 20, digits[4:6])


def belgian(digits: str) -> bool:
    """Rijksregisternummer, 11 digits. Source: koninklijk besluit of 3 April 1984; from 2000 on a 2 goes before it."""
    check = int(digits[9:])
    return _is_day(digits[2:4], digits[4:6]) and any(97 - int(f"{c}{digits[:9]}") % 97 == check for c in ("", "2"))


def norwegian(digits: str) -> bool:
    """Fødselsnummer, 11 digits; 40 on the day is a D-number. Source: Skatteetaten; two check digits modulo 11."""
    first = _weighted(digits[:10], (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11
    second = _weighted(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11
    return first == second == 0 and _is_day(digits[2:4], int(digits[:2]) % 40)


def swedish(digits: str) -> bool:
    """Personnummer, 10 digits; 60 on the day is a samordningsnummer. Source: Skatteverket SKV 704."""
    return luhn(digits) and _is_day(digits[2:4], int(digits[4:6]) % 60)


def finnish(code: str) -> bool:
    """Henkilötunnus, `DDMMYY-NNNC`. Source: Digi- ja väestötietovirasto; MOD 31."""
    return _FINNISH[int(code[:6] + code[7:10]) % 31] == code[10] and _is_day(code[2:4], code[:2])


def turkish(digits: str) -> bool:
    """T.C. kimlik numarası, 11 digits. Source: Nüfus ve Vatandaşlık İşleri; two check digits."""
    values = [int(digit) for digit in digits]
    first = (7 * sum(values[0:9:2]) - sum(values[1:8:2])) % 10
    return values[0] > 0 and values[9] == first and values[10] == sum(values[:10]) % 10


def brazilian(digits: str) -> bool:
    """CPF, 11 digits. Source: Receita Federal; two check digits modulo 11."""
    checks = (_weighted(digits[: 9 + place], range(10 + place, 1, -1)) * 10 % 11 % 10 for place in (0, 1))
    return all(int(digits[9 + place]) == check for place, check in enumerate(checks)) and _is_mixed(digits)


def indian(digits: str) -> bool:
    """Aadhaar, 12 digits, the first from 2 on. Source: UIDAI; Verhoeff 1969, the dihedral check."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        for _ in range(place % 8):
            value = _PERMUTED[value]
        check = _DIHEDRAL[check][value]
    return digits[0] > "1" and check == 0 and _is_mixed(digits)


def chinese(number: str) -> bool:
    """Resident identity number, 18 characters. Source: GB 11643-1999; ISO/IEC 7064, MOD 11-2."""
    total = _weighted(number[:17], [2**place % 11 for place in range(17, 0, -1)])
    return "10X98765432"[total % 11] == number[17] and _is_day(number[10:12], number[12:14])


def south_african(digits: str) -> bool:
    """Identity number, 13 digits. Source: Department of Home Affairs; Luhn."""
    return luhn(digits) and digits[10] in "012" and _is_day(digits[2:4], digits[4:6])


def australian_tax(digits: str) -> bool:
    """Tax file number, 9 digits. Source: Australian Taxation Office, the eleven test."""
    return _weighted(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0 and _is_mixed(digits)


def australian_health(digits: str) -> bool:
    """Medicare card number, 10 digits. Source: Services Australia; the ninth digit checks the eight before."""
    return digits[0] in "23456" and _weighted(digits[:8], (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(digits[8])


def singaporean(code: str) -> bool:
    """NRIC and FIN, a letter, 7 digits, a letter. Source: Immigration & Checkpoints Authority; the table is known."""
    letters = _SINGAPORE.get(code[0])
    return letters is not None and letters[_weighted(code[1:8], (2, 7, 6, 5, 4, 3, 2)) % 11] == code[8]


BARE: Final[Mapping[str, tuple[int, Callable[[str], bool]]]] = {
    "Dutch citizen number": (9, dutch),
    "Australian tax file number": (9, australian_tax),
    "UK health service number": (10, british_health),
    "Swedish identity number": (10, swedish),
    "Australian health card": (10, australian_health),
    "German tax number": (11, german),
    "Polish identity number": (11, polish),
    "Belgian identity number": (11, belgian),
    "Norwegian identity number": (11, norwegian),
    "Turkish identity number": (11, turkish),
    "Brazilian tax number": (11, brazilian),
    "Indian identity number": (12, indian),
    "South African identity number": (13, south_african),
    "French social security number": (15, french),
    "Chinese identity number": (18, chinese),
}
"""Kind to how many digits it has, and whether they hold."""


def of_bare(digits: str) -> Iterator[str]:
    """Every kind that bare digits may be; none where it is something else."""
    if not digits.isascii() or not digits.isdecimal():
        return
    for kind, (length, holds) in BARE.items():
        if len(digits) == length and holds(digits):
            yield kind


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(weight * int(digit) for weight, digit in zip(weights, digits, strict=True))


def _is_day(month: str | int, day: str | int) -> bool:
    return 1 <= int(month) <= 12 and 1 <= int(day) <= 31


def _is_mixed(digits: str) -> bool:
    """Repeated digits are what people write who have no number."""
    return len(set(digits)) > 3
