"""Keeps the five services running: one that ends is started again, ever more slowly while it keeps ending."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vallum_common.errors import Unavailable
from vallum_local.children import Child, Command

WATCH_INTERVAL_S = 0.2
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
STEADY_S = 60.0


def restart_delay(failures: int) -> float:
    """Seconds before a service is started again: 1, 2, 4 … 30.

    Args:
        failures: how often it ended in a row, 1 or more.
    """
    return float(min(FIRST_DELAY_S * 2 ** min(failures - 1, 10), LONGEST_DELAY_S))


@dataclass
class Supervised:
    """One service and its history: the child that runs, or when the next one may start.

    Args:
        command: how it is started.
        report: is told when it ends and when it is started again.
        start: starts a child.
    """

    command: Command
    report: Callable[[str], None]
    start: Callable[[Command], Child] = Child
    child: Child | None = None
    failures: int = 0
    changed_at_s: float = 0.0

    def step(self, now_s: float) -> None:
        """Start it if it should run and does not; notice if it ended.

        Args:
            now_s: monotonic time, seconds.
        """
        if self.child is None:
            if self.failures == 0 or now_s >= self.changed_at_s + restart_delay(self.failures):
                self.child, self.changed_at_s = self.start(self.command), now_s
                if self.failures:
                    self.report(f"{self.command.name} started again")
            return
        exit_code = self.child.exit_code
        if exit_code is None:
            return
        steady = now_s - self.changed_at_s >= STEADY_S
        self.failures = 1 if steady else self.failures + 1
        self.child, self.changed_at_s = None, now_s
        self.report(
            f"{self.command.name} ended with exit code {exit_code}; starting it again "
            f"in {restart_delay(self.failures):g} s, see {self.command.log}"
        )


async def supervise(
    services: Sequence[Supervised],
    foundations: Sequence[Child],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Keep the services running until cancelled.

    Args:
        services: started and restarted here.
        foundations: Kafka and PostgreSQL, as far as they are ours; they are not restarted.
        clock: monotonic time, seconds.

    Raises:
        Unavailable: a foundation ended; the platform cannot go on.
    """
    while True:
        for child in foundations:
            if child.exit_code is not None:
                raise Unavailable(
                    f"{child.command.name} ended with exit code {child.exit_code}; "
                    f"{child.command.log} ends with: {child.last_words()}"
                )
        for service in services:
            service.step(clock())
        await asyncio.sleep(WATCH_INTERVAL_S)
