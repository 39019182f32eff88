"""The audit log: every event once, in one order, for ever; and the replay of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from vallum_common.clock import Clock
from vallum_common.errors import Unavailable
from vallum_compliance.domain.audit import AuditEvent, Entry, NewEntry, Selection

PAGE_ENTRIES: Final = 100
"""Entries in memory at one time for each replay; one has at most 1 MB."""
POLL_S: Final = 0.5
"""How long an entry appended by *another* process may wait for those who follow; our own wake them."""


class AuditUnit(Protocol):
    """One transaction."""

    async def append(self, entries: Sequence[NewEntry]) -> None:
        """Give entries the next places, in their order; one transaction at a time does so."""
        ...

    async def start(self, selection: Selection) -> int:
        """The first index a selection can begin at; where nothing fits yet, the one the next entry will have."""
        ...

    async def page(self, selection: Selection, *, start: int, limit: int) -> Sequence[Entry]:
        """The next entries of a selection in order of index, from `start` on; empty where there are none yet."""
        ...

    def after_commit(self, call: Callable[[], None]) -> None:
        """Have something called once the transaction is committed."""
        ...


class AuditStore(Protocol):
    """Where the log is kept."""

    def begin(self) -> AbstractAsyncContextManager[AuditUnit]:
        """A transaction that commits at the end of the block and rolls back when it is left by an exception."""
        ...


class AuditLog:
    """Appends and replays.

    Args:
        store: where the log is kept.
        clock: tells when an entry was recorded.
        poll_s: how long to wait for entries of other processes.
    """

    def __init__(self, store: AuditStore, *, clock: Clock, poll_s: float = POLL_S) -> None:
        self._store = store
        self._clock = clock
        self._poll_s = poll_s
        self._grown = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """Have those who follow be told to come back: compliance stops."""
        self._closed = True
        self._wake()

    async def append(self, unit: AuditUnit, events: Sequence[AuditEvent]) -> None:
        """Record events in their order. Each must be new: the inbox keeps out what was heard before."""
        now = self._clock.now()
        await unit.append([NewEntry(event, now) for event in events])
        unit.after_commit(self._wake)

    async def replay(self, selection: Selection, *, follow: bool) -> AsyncIterator[Entry]:
        """The entries of a selection in order, read page by page.

        Args:
            selection: which ones.
            follow: go on with new ones, until the caller stops.

        Raises:
            Unavailable: compliance stops; told only to those who follow.
        """
        async with self._store.begin() as unit:
            position = await unit.start(selection)
        while True:
            grown = self._grown
            async with self._store.begin() as unit:
                page = await unit.page(selection, start=position, limit=PAGE_ENTRIES)
            for entry in page:
                yield entry
                position = entry.index + 1
            if len(page) == PAGE_ENTRIES:
                continue
            if not follow:
                return
            if self._closed:
                raise Unavailable(f"compliance stops; replay again from index {position}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(grown.wait(), self._poll_s)

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()
