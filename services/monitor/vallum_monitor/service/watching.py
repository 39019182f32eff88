"""Alerts for those who watch: the past ones that are asked for, then new ones as they are raised."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from vallum_common.errors import Unavailable
from vallum_monitor.domain.alerts import Alert, AlertSelection
from vallum_monitor.service.ports import Store

PAGE_ALERTS: Final = 100
POLL_S: Final = 0.5
"""How long an alert raised by *another* process may wait for those who watch; our own wake them."""


class AlertFeed:
    """Alerts in the order in which they were raised.

    Args:
        store: where they are kept.
        poll_s: how long to wait for those of other processes.
    """

    def __init__(self, store: Store, *, poll_s: float = POLL_S) -> None:
        self._store = store
        self._poll_s = poll_s
        self._grown = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """Have those who watch be told to come back: the monitor stops."""
        self._closed = True
        self.wake()

    def wake(self) -> None:
        """Have those who watch look again."""
        self._grown.set()
        self._grown = asyncio.Event()

    async def watch(self, selection: AlertSelection, *, past_only: bool) -> AsyncIterator[Alert]:
        """Alerts of a selection, read page by page.

        Args:
            selection: which ones; without `since` only those raised from now on.
            past_only: end after those of the past instead of waiting for new ones.

        Raises:
            Unavailable: the monitor stops.
        """
        position = 0
        if selection.since is None:
            async with self._store.begin() as unit:
                position = await unit.last_position()
        while True:
            grown = self._grown
            async with self._store.begin() as unit:
                page = await unit.alerts(selection, after=position, limit=PAGE_ALERTS)
            for kept in page:
                yield kept.alert
                position = kept.position
            if len(page) == PAGE_ALERTS:
                continue
            if past_only:
                return
            if self._closed:
                raise Unavailable("the monitor stops; watch again from the time of the last alert")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(grown.wait(), self._poll_s)
