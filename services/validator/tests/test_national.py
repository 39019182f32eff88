"""Identity numbers: published examples hold, no wrong digit does, and few numbers do by chance."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum_validator import national
from vallum_validator.national import BARE, of_bare

EXAMPLES = {
    "Dutch citizen number": "123456782",
    "Australian tax file number": "123456782",
    "UK health service number": "4010232137",
    "Swedish identity number": "8112289874",
    "Australian health card": "2123456701",
    "German tax number": "36574261809",
    "Polish identity number": "44051401359",
    "Belgian identity number": "85073003328",
    "Norwegian identity number": "01029900031",
    "Turkish identity number": "10000000146",
    "Brazilian tax number": "52998224725",
    "Indian identity number": "234123412346",
    "South African identity number": "8001015009087",
    "French social security number": "185057800608491",
    "Chinese identity number": "440524188001010014",
}
"""Of those who give the numbers out, or of their descriptions; none belongs to anybody."""


def test_every_kind_has_an_example() -> None:
    assert EXAMPLES.keys() == BARE.keys()


@pytest.mark.parametrize("kind", BARE)
def test_published_example_holds(kind: str) -> None:
    assert kind in of_bare(EXAMPLES[kind])
    assert len(EXAMPLES[kind]) == BARE[kind][0]


@pytest.mark.parametrize("kind", sorted(BARE.keys() - {"Australian health card"}))
def test_no_single_wrong_digit_holds(kind: str) -> None:
    right, holds = EXAMPLES[kind], BARE[kind][1]
    for place in range(len(right)):
        for digit in "0123456789":
            wrong = right[:place] + digit + right[place + 1 :]
            assert wrong == right or not holds(wrong), wrong


def test_a_wrong_digit_of_a_health_card_does_not_hold() -> None:
    """The tenth tells which issue of the card it is and is checked by nothing."""
    right = EXAMPLES["Australian health card"]
    for place in range(9):
        wrong = right[:place] + str((int(right[place]) + 1) % 10) + right[place + 1 :]
        assert not national.australian_health(wrong), wrong


@pytest.mark.parametrize("kind", BARE)
def test_few_numbers_hold_by_chance(kind: str) -> None:
    source = random.Random(0)
    length, holds = BARE[kind]
    held = sum(holds("".join(source.choices("0123456789", k=length))) for _ in range(5_000))
    assert held / 5_000 < 0.12


@pytest.mark.parametrize(
    ("holds", "right", "wrong"),
    [
        (national.singaporean, ["S0000001I", "S1234567D", "F2346401L"], ["S1234567A", "M1234567D", "T1234567D"]),
        (national.finnish, ["131052-308T", "010516A903X"], ["131052-308S", "321052-308T"]),
        (national.french, ["255081416802538"], ["255081416802539", "355081416802538"]),
        (national.french, ["1850520086084" + f"{97 - 1850520086084 % 97:02d}"], ["185052A08608400"]),
        (national.belgian, ["17073003384"], ["17073003383"]),
        (national.chinese, ["11010519491231002X"], ["110105194912310020"]),
    ],
)
def test_letters_and_centuries(holds: Callable[[str], bool], right: list[str], wrong: list[str]) -> None:
    assert [number for number in right if not holds(number)] == []
    assert [number for number in wrong if holds(number)] == []


@given(st.text(max_size=20) | st.text(alphabet="0123456789-X²٣", min_size=8, max_size=19))
def test_any_text_can_be_asked_about(text: str) -> None:
    assert set(of_bare(text)) <= BARE.keys()
