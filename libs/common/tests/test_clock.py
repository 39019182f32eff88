"""Time is UTC and identifiers are ordered by it, whether they come from the machine or from a test."""

from __future__ import annotations

import datetime as dt
import random
import uuid

import pytest

from vallum_common.clock import Clock, Ids, SystemClock, Uuid7Ids
from vallum_common.testing import START, FakeClock, SequentialIds


@pytest.fixture(params=[SystemClock(), FakeClock()], ids=["system", "fake"])
def clock(request: pytest.FixtureRequest) -> Clock:
    """Both clocks keep the same promises."""
    return request.param


@pytest.fixture(params=["uuid7", "sequential"])
def ids(request: pytest.FixtureRequest) -> Ids:
    """Both makers of identifiers keep the same promises."""
    return Uuid7Ids(FakeClock(), random.Random(1)) if request.param == "uuid7" else SequentialIds()


def test_now_is_utc_and_does_not_go_back(clock: Clock) -> None:
    first = clock.now()
    assert first.utcoffset() == dt.timedelta(0)
    assert clock.now() >= first


def test_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock()
    assert clock.now() == clock.now() == START
    clock.advance(1.5)
    assert clock.now() - START == dt.timedelta(seconds=1.5)


def test_ids_are_uuids_in_canonical_form_and_never_the_same(ids: Ids) -> None:
    made = [ids.new() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(str(uuid.UUID(one)) == one for one in made)


def test_uuid7_is_that_of_the_rfc() -> None:
    """RFC 9562, appendix A.6: the example of the standard, from its own time and random bits."""

    class Bits(random.Random):
        def getrandbits(self, k: int) -> int:
            return {12: 0xCC3, 62: 0x18C4DC0C0C07398F}[k]

    clock = FakeClock(dt.datetime(2022, 2, 22, 19, 22, 22, tzinfo=dt.UTC))
    assert Uuid7Ids(clock, Bits()).new() == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_uuid7_ids_are_ordered_by_the_millisecond_they_were_made_in() -> None:
    clock = FakeClock()
    ids = Uuid7Ids(clock, random.Random(1))
    made = []
    for _ in range(100):
        made.append(ids.new())
        clock.advance(0.001)
    assert made == sorted(made)
    assert {uuid.UUID(one).version for one in made} == {7}
    assert {uuid.UUID(one).variant for one in made} == {uuid.RFC_4122}
