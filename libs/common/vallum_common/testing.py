"""Test doubles that pass the same contracts as the real things."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Final

START: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@dataclass
class FakeClock:
    """A clock that moves only when told.

    Args:
        moment: the present, UTC.
    """

    moment: dt.datetime = START

    def now(self) -> dt.datetime:
        """The present moment."""
        return self.moment

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.moment += dt.timedelta(seconds=seconds)


@dataclass
class SequentialIds:
    """UUIDs that count: 00000000-…-000000000001, …"""

    count: int = field(default=0)

    def new(self) -> str:
        """The next one."""
        self.count += 1
        return str(uuid.UUID(int=self.count))
