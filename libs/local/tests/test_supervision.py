"""A service that ends is started again, ever more slowly; a foundation that ends stops the platform."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vallum_common.errors import Unavailable
from vallum_local.children import Command
from vallum_local.supervision import Supervised, restart_delay, supervise

COMMAND = Command("risk", ("risk",), {}, Path("logs/risk.log"))


@dataclass
class FakeChild:
    """A child that ends when the test says so."""

    command: Command
    exit_code: int | None = None

    def last_words(self) -> str:
        return "out of memory"


@dataclass
class Nursery:
    """Starts fake children and remembers them, and what was reported."""

    children: list[FakeChild] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def start(self, command: Command) -> FakeChild:
        self.children.append(FakeChild(command))
        return self.children[-1]

    def supervised(self) -> Supervised:
        return Supervised(COMMAND, self.lines.append, self.start)


def test_delay_doubles_up_to_half_a_minute() -> None:
    assert [restart_delay(failures) for failures in (1, 2, 3, 4, 5, 6, 7, 1000)] == [1, 2, 4, 8, 16, 30, 30, 30]


def test_running_service_is_left_alone() -> None:
    nursery = Nursery()
    service = nursery.supervised()

    for now in range(100):
        service.step(now)

    assert len(nursery.children) == 1
    assert nursery.lines == []


def test_crashed_service_is_started_again_after_a_delay_and_reported() -> None:
    nursery = Nursery()
    service = nursery.supervised()
    service.step(0)
    nursery.children[0].exit_code = -9

    service.step(5.0)
    service.step(5.9)
    assert len(nursery.children) == 1
    service.step(6.0)

    assert len(nursery.children) == 2
    assert nursery.lines == [
        "risk ended with exit code -9; starting it again in 1 s, see logs/risk.log",
        "risk started again",
    ]


def test_service_that_keeps_crashing_is_started_ever_more_slowly() -> None:
    nursery = Nursery()
    service = nursery.supervised()
    started_at = []
    for tenth in range(600):
        before = len(nursery.children)
        service.step(tenth / 10)
        if len(nursery.children) > before:
            started_at.append(tenth / 10)
            nursery.children[-1].exit_code = 1

    gaps = [round(later - earlier, 1) for earlier, later in itertools.pairwise(started_at)]
    assert gaps == [1.1, 2.1, 4.1, 8.1, 16.1]  # each ends within a tenth of a second of being started


def test_service_that_ran_steadily_is_started_again_soon() -> None:
    nursery = Nursery()
    service = nursery.supervised()
    service.step(0)
    for now in (1, 100, 200):
        nursery.children[-1].exit_code = 1
        service.step(now)
        service.step(now + 1)

    assert len(nursery.children) == 4
    assert all("in 1 s" in line for line in nursery.lines if "ended" in line)


async def test_platform_ends_when_a_foundation_does() -> None:
    kafka = FakeChild(Command("kafka", (), {}, Path("logs/kafka.log")), exit_code=137)

    with pytest.raises(Unavailable, match=r"kafka ended with exit code 137; logs/kafka\.log ends with: out of memory"):
        await supervise([], [kafka])
