"""What runs of data owe the memo: entries that are counted when a number is needed, and worked out when one is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vallum_validator.scan.pickled.bulk import Run, notes
from vallum_validator.scan.pickled.values import OPAQUE


class _Needs(Exception):
    """A run reads a memo entry of another run, which must be worked out first."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run


class ReplayMemo(dict[int, Any]):
    """The memo as one run sees it, while it is worked out after the fact.

    Args:
        memo: of the machine.
        run: that is worked out.
        active: runs that wait for each other.
    """

    def __init__(self, memo: dict[int, Any], run: Run, active: list[Run]) -> None:
        super().__init__()
        self._memo = memo
        self._run = run
        self._active = active

    def __len__(self) -> int:
        return self._run.memo_base + super().__len__()

    def __missing__(self, index: int) -> Any:
        value = self._memo[index]
        if not isinstance(value, Run):
            return value
        if value in self._active:
            return OPAQUE  # read before it is noted: the real unpickler stops here
        raise _Needs(value)

    def __setitem__(self, index: int, value: Any) -> None:
        super().__setitem__(index, value)
        if self._memo.get(index) is self._run:
            self._memo[index] = value


class Backlog:
    """Memo entries since the last time anybody needed their numbers.

    Args:
        data: the bytes the runs lie in.
        memo: of the machine; an entry of a run that is not worked out yet is the `Run`.
        replay: follows a run opcode by opcode with the memo given; returns what it leaves on the stack.
    """

    def __init__(
        self, data: memoryview, memo: dict[int, Any], replay: Callable[[Run, dict[int, Any]], list[Any]]
    ) -> None:
        self._data = data
        self._memo = memo
        self._replay = replay
        self._entries: list[Any] = []
        self._open: list[Run] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, entry: Any) -> None:
        """A run, or one value that is noted under the next number."""
        self._entries.append(entry)

    def settle(self) -> None:
        """Give every entry its number."""
        entries, self._entries = self._entries, []
        for entry in entries:
            if not isinstance(entry, Run):
                self._memo[len(self._memo)] = entry
                continue
            entry.memo_base = len(self._memo)
            count = notes(self._data, entry)
            if count is None:
                # It names its numbers itself (protocols before 4), so it is followed now, on the memo as it is.
                for run in list(self._open):
                    self.work_out(run)
                entry.values = self._replay(entry, self._memo)
            else:
                self._memo.update(dict.fromkeys(range(entry.memo_base, entry.memo_base + count), entry))
                self._open.append(entry)

    def work_out(self, run: Run) -> list[Any]:
        """What a settled run leaves on the stack; its memo entries are in the memo afterwards."""
        active = [run]
        while run.values is None:
            try:
                active[-1].values = self._replay(active[-1], ReplayMemo(self._memo, active[-1], active))
            except _Needs as needed:
                active.append(needed.run)
            else:
                self._open.remove(active.pop())
        return run.values
