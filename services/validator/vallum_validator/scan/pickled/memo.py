"""The memo of a pickle, which stays small where runs of data write into it.

Runs are numbered only when a number is needed, and worked out only when an entry of theirs is read: most are never.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any, Final, Protocol

from vallum_validator.scan.pickled.bulk import notes
from vallum_validator.scan.pickled.values import OPAQUE, Container, Run, duplicate, is_still

Replay = Callable[[Run, "Notes"], list[Any]]
"""Follows a run opcode by opcode with the memo given; returns what it leaves on the stack."""


class Notes(Protocol):
    """What the opcodes ask of a memo."""

    def __len__(self) -> int:
        """How many indices are in use."""
        ...

    def note(self, value: Any) -> None:
        """MEMOIZE: under the number of entries."""
        ...

    def put(self, index: int, value: Any) -> None:
        """PUT: under any index."""
        ...

    def get(self, index: int) -> Any:
        """GET. Raises: KeyError."""
        ...


class _Needs(Exception):
    """A run reads an entry of another run, which must be worked out first."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run


class _OwnNotes:
    """The memo as one run sees it while it is worked out after the fact: what it notes itself, and what was before."""

    def __init__(self, memo: Memo, run: Run) -> None:
        self._memo = memo
        self._base = run.memo_base
        self.values: list[Any] = []

    def __len__(self) -> int:
        return self._base + len(self.values)

    def note(self, value: Any) -> None:
        self.values.append(value)

    def put(self, _: int, value: Any) -> None:
        # `notes` has checked that the numbers a run names are those it would get anyway.
        self.values.append(value)

    def get(self, index: int) -> Any:
        if index >= self._base:
            own = index - self._base
            return self.values[own] if own < len(self.values) else OPAQUE  # the real unpickler stops here
        found = self._memo.peek(index)
        if type(found) is Run:
            raise _Needs(found)
        return found


class Memo:
    """The memo of one machine.

    While indices are used one after the other, as picklers do, it is a row of pieces: lists of values, and runs that
    stand for as many entries as they note. The first index out of the row turns it into a table.

    Args:
        data: the bytes the runs lie in.
        replay: works out a run.
    """

    __slots__ = ("_data", "_from_runs", "_last", "_pending", "_pieces", "_replay", "_starts", "_table", "kept")

    def __init__(self, data: memoryview, replay: Replay) -> None:
        self._data = data
        self._replay = replay
        self._last: list[Any] = []
        self._pieces: list[list[Any] | Run] = [self._last]
        self._starts = [0]
        self._table: dict[int, Any] | None = None
        self._pending: list[Any] = []
        self._from_runs: set[int] = set()
        self.kept = 0
        """How many values are really held, in pieces before the last."""

    def __len__(self) -> int:
        if self._pending:
            self._settle()
        return len(self._table) if self._table is not None else self._starts[-1] + len(self._last)

    @property
    def held(self) -> int:
        """How many values are really held."""
        return len(self._table) if self._table is not None else self.kept + len(self._last) + len(self._pending)

    def note(self, value: Any) -> None:
        """MEMOIZE: under the number of entries."""
        if self._pending:
            self._pending.append(value)
        elif self._table is None:
            self._last.append(value)
        else:
            self._table[len(self._table)] = value

    def add(self, run: Run) -> None:
        """Whatever a run notes, in its place."""
        if self._table is None:
            self._pending.append(run)
        else:
            self._follow_now(run)

    def _follow_now(self, run: Run) -> None:
        """For a run that names numbers of its own choice: on the memo as it is."""
        run.values = self._replay(run, self)
        stand_in, table = run.stand_in, self._into_table()
        if stand_in is not None:
            made, run.values = run.values[0], [stand_in]
            stand_in.take_over(made)
            table.update({index: stand_in for index, value in table.items() if value is made})

    def put(self, index: int, value: Any) -> None:
        """PUT: under any index."""
        size = len(self)
        if self._table is not None:
            self._table[index] = value
        elif index == size:
            self._last.append(value)
        else:
            # Runs that are not worked out yet may have read what is written over here.
            self._into_table()[index] = value

    def get(self, index: int) -> Any:
        """GET. Raises: KeyError."""
        found = self._get(index)
        if self._from_runs and type(found) is Container and id(found) in self._from_runs:
            found.sealed = True
        return found

    def _get(self, index: int) -> Any:
        if 0 <= index < len(self._last) and len(self._pieces) == 1 and self._table is None:
            return self._last[index]
        if self._pending and index >= self._starts[-1] + len(self._last):
            self._settle()
        found = self.peek(index)
        if type(found) is Run:
            self.work_out(found)
            found = self.peek(index)
        return found

    def peek(self, index: int) -> Any:
        """The value under an index, or the run that must be worked out to know it. Raises: KeyError."""
        if self._table is not None:
            return self._table[index]
        if not 0 <= index < self._starts[-1] + len(self._last):
            raise KeyError(index)
        place = bisect_right(self._starts, index) - 1
        piece = self._pieces[place]
        return piece if isinstance(piece, Run) else piece[index - self._starts[place]]

    def keeps_data(self, index: int) -> bool:
        """Whether what is noted under an index by now is plain data and stays it."""
        try:
            found = self.peek(index)
        except KeyError:
            return True
        return type(found) is Run or is_still(found)

    def has(self, index: int) -> bool:
        """Whether an index is in use."""
        return index in self._table if self._table is not None else 0 <= index < len(self)

    def _settle(self) -> None:
        """Give every pending entry its number."""
        pending, self._pending = self._pending, []
        for entry in pending:
            if type(entry) is not Run:
                self.note(entry)
            elif self._table is not None:
                self._follow_now(entry)
            else:
                self._settle_run(entry)

    def _settle_run(self, run: Run) -> None:
        run.memo_base = self._starts[-1] + len(self._last)
        count = notes(self._data, run)
        if count is None:
            self._into_table()
            self._follow_now(run)
        elif count:
            self.kept += len(self._last)
            self._last = []
            self._pieces += [run, self._last]
            self._starts += [run.memo_base, run.memo_base + count]

    def work_out(self, run: Run) -> list[Any]:
        """What a run leaves on the stack; its entries are in the memo afterwards."""
        if run.values is None:
            self._settle()
        active = [run]
        while run.values is None:
            current = active[-1]
            own = _OwnNotes(self, current)
            try:
                values = self._replay(current, own)
            except _Needs as needed:
                active.append(needed.run)
                continue
            if current.stand_in is not None:
                made = values[0]
                current.stand_in.take_over(made)
                values = [current.stand_in]
                own.values = [current.stand_in if value is made else value for value in own.values]
            current.values = values
            self._replace(current, own.values)
            active.pop()
        return run.values

    def _replace(self, run: Run, noted: list[Any]) -> None:
        for value in noted:
            if type(value) is Container and value is not run.stand_in:
                self._from_runs.add(id(value))
        place = bisect_right(self._starts, run.memo_base) - 1
        if noted and self._table is None and self._pieces[place] is run:
            self._pieces[place] = noted
            self.kept += len(noted)

    def _into_table(self) -> dict[int, Any]:
        if self._table is not None:
            return self._table
        for piece in list(self._pieces):
            if type(piece) is Run:
                self.work_out(piece)
        values: list[Any] = []
        for piece in self._pieces:
            values += piece  # type: ignore[arg-type]  # no run is left
        self._table = dict(enumerate(values))
        self._pieces, self._starts, self._last = [self._last], [0], []
        return self._table


class OverlaidNotes:
    """A memo that begins as another one and leaves that as it is.

    Args:
        below: read where nothing is noted here; what is read is copied, or BUILD would change it for both.
    """

    _MISSING: Final = object()

    def __init__(self, below: Memo) -> None:
        self._below = below
        self._own: dict[int, Any] = {}
        self._size = len(below)

    def __len__(self) -> int:
        return self._size

    def note(self, value: Any) -> None:
        """MEMOIZE: under the number of entries."""
        self.put(self._size, value)

    def put(self, index: int, value: Any) -> None:
        """PUT: under any index."""
        if index not in self._own and not self._below.has(index):
            self._size += 1
        self._own[index] = value

    def get(self, index: int) -> Any:
        """GET. Raises: KeyError."""
        found = self._own.get(index, self._MISSING)
        if found is self._MISSING:
            found = self._own[index] = duplicate(self._below.get(index))
        return found
