"""Time and identifiers as things that are passed in, so that every rule that depends on them can be tested."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> dt.datetime:
        """The present moment, always in UTC and never naive."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> dt.datetime:
        """The present moment in UTC."""
        return dt.datetime.now(dt.UTC)


class Ids(Protocol):
    """Makes identifiers."""

    def new(self) -> str:
        """A new identifier that no other process will ever make."""
        ...


class Uuid7Ids:
    """UUIDs of version 7: ordered by time, so that an index on them stays compact.

    Args:
        clock: its milliseconds are the first 48 bits.
        randomness: the other 74 bits; `random.SystemRandom` outside tests.

    Source: RFC 9562, section 5.7.
    """

    def __init__(self, clock: Clock, randomness: random.Random) -> None:
        self._clock = clock
        self._randomness = randomness

    def new(self) -> str:
        """A new UUID in its canonical text form."""
        milliseconds = int(self._clock.now().timestamp() * 1000)
        value = milliseconds << 80 | 0x7 << 76 | self._randomness.getrandbits(12) << 64
        value |= 0b10 << 62 | self._randomness.getrandbits(62)
        return str(uuid.UUID(int=value))
