"""The stack, the memo and the loop of an unpickler that only watches.

It keeps the stack and the memo exactly as CPython's `_pickle` does, because scanners that only look for opcodes were
fooled by values that travel through the memo (protectai/modelscan#85). What is named, called or changed is handed to
an `Observer`; the machine itself decides nothing.
"""

from __future__ import annotations

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.context import Budget
from vallum_validator.scan.pickled.bulk import MIN_BYTES, fetches, match
from vallum_validator.scan.pickled.memo import Memo, Notes, OverlaidNotes
from vallum_validator.scan.pickled.values import Global, Instance, Run, duplicate
from vallum_validator.scan.texts import LARGE

_STOP: Final = ord(".")
_BATCHES: Final = (5, 31)
"""Opcodes between two looks at whether a run of data begins: often where one ended not long ago, and in different
places of a tuple."""
_PATIENCE: Final = 16
"""How many looks without a long run make a stream one of objects, where looking costs more than it gives."""
_LONG_RUN: Final = 128
_BOUND_EVERY: Final = 4096
_READS: Final = {
    **dict.fromkeys(b"02Qqrp\x85\x94\x98", 1),
    **dict.fromkeys(b"Rab\x81\x86\x93", 2),
    **dict.fromkeys(b"s\x87\x92", 3),
}
"""How many single values an opcode reads from the top of the stack."""
_REPLAY_COST: Final = 2
"""How many times its cost a run is charged each time it is worked out."""
_MEMO_SLACK: Final = 1 << 20
_MAX_MARKS: Final = 10_000
_MAX_LINE: Final = 1 << 20

Handler = Callable[["Machine", int], int]
"""What an opcode does; gets the offset behind it, returns the offset of the next."""


class Observer(Protocol):
    """Who is told what the pickle would do, in the order it would do it."""

    def name(self, offset: int, opcode: str, module: str, name: str) -> Global:
        """A global is imported."""
        ...

    def name_computed(self, offset: int, module: Any, name: Any) -> Any:
        """A global is imported whose name is no text in the stream; gives the value to go on with."""
        ...

    def call(self, offset: int, opcode: str, target: Any, arguments: Any) -> Any:
        """`target(*arguments)` or `target.__new__(target, *arguments)` runs; gives the value to go on with."""
        ...

    def build(self, offset: int, target: Any, state: Any) -> None:
        """`target.__setstate__(state)` runs, or the state goes into its `__dict__`."""
        ...

    def store(self, offset: int, opcode: str, target: Any, items: list[Any]) -> None:
        """Items (of SETITEMS keys and values in turn) go into what is no list, dict or set of this stream."""
        ...

    def keyed(self, offset: int, opcode: str, keys: list[Any]) -> None:
        """The keys of a dict or the members of a set are asked for their hash."""
        ...

    def extension(self, offset: int, opcode: str, code: int) -> Any:
        """A global is named by its number in the `copyreg` registry of the loading process."""
        ...

    def persistent(self, offset: int, opcode: str, identity: Any) -> Any:
        """The loading program is asked for the object with this id."""
        ...

    def buffer(self, offset: int) -> Any:
        """A buffer from outside the stream is needed."""
        ...

    def bomb(self, offset: int, index: int, entries: int) -> None:
        """A memo index far above the number of entries: `_pickle` makes a table of that size."""
        ...


class Machine:
    """One unpickler over one stream.

    Args:
        data: the bytes, of which the stream is a part.
        observer: who is told.
        budget: of opcodes and of values on the stack.
        after_build: called after BUILD with the target and the offset behind the opcode; gives the offset to go on
            from. joblib keeps raw arrays there.
        bulk: whether runs of plain data are passed over at once; what is reported is the same.
    """

    __slots__ = (
        "_covered",
        "_followed",
        "_handlers",
        "_metastack",
        "_runs",
        "after_build",
        "budget",
        "bulk",
        "data",
        "frame_end",
        "fruitless",
        "memo",
        "observer",
        "position",
        "protocol",
        "stack",
    )

    def __init__(
        self,
        data: memoryview,
        *,
        observer: Observer,
        budget: Budget,
        after_build: Callable[[Machine, Any, int], int] | None = None,
        bulk: bool = True,
    ) -> None:
        self.data = data
        self.observer = observer
        self.budget = budget
        self.after_build = after_build
        self.stack: list[Any] = []
        self._metastack: list[list[Any]] = []
        self._runs = Memo(data, self._replay)
        self.memo: Notes = self._runs
        self.protocol = 0
        self.frame_end = 0
        self.fruitless = 0
        self.position = 0
        """Where `run` ended: behind STOP, or at the opcode that it could not follow."""
        self.bulk = bulk and len(data) >= MIN_BYTES
        self._covered = 0
        self._followed = 0
        self._handlers: Sequence[Handler | None] = ()

    def run(self, offset: int, handlers: Sequence[Handler | None]) -> int:
        """Follow the opcodes from `offset` to STOP.

        Returns:
            the offset behind STOP.

        Raises:
            Invalid: the real unpickler would stop with an error here, or the machine cannot follow.
            Exhausted: a limit was reached.
        """
        self._handlers = handlers
        data, opcode, position = self.data, 0, offset
        unbounded, batch = 0, _BATCHES[-1]
        try:
            while True:
                for _ in range(batch):
                    opcode = data[position]
                    handler = handlers[opcode]
                    if self._covered and opcode in _READS:
                        self.uncover(_READS[opcode])
                    if handler is None:
                        return self._stop(opcode, position)
                    position = handler(self, position + 1)
                self.budget.step(batch)
                unbounded += batch
                if unbounded > _BOUND_EVERY:
                    self._bound_stack()
                    unbounded = 0
                if self.bulk:
                    position = self.skip_run(position)
                    batch = _BATCHES[self.fruitless > _PATIENCE]
        except IndexError as error:
            raise Invalid(
                f"the stream ends or the stack is empty at offset {position}, opcode {opcode:#04x}"
            ) from error
        finally:
            self.position = position

    def _stop(self, opcode: int, position: int) -> int:
        if opcode != _STOP:
            raise Invalid(f"byte {opcode:#04x} at offset {position} is no pickle opcode")
        self.pop()
        if position + 1 < self.frame_end:
            # The next load from this file begins right here (_pickle, where it can peek) or behind the frame (the
            # unpickler in Python, which joblib uses for arrays of objects).
            raise Exhausted(f"STOP at offset {position} lies inside a frame, loaders disagree where the next begins")
        return position + 1

    def skip_run(self, position: int) -> int:
        """Pass over the data that begins here, as far as it goes."""
        begin = position
        limit = self.frame_end if position < self.frame_end < len(self.data) else len(self.data)
        stack = self.stack
        # What follows an object is its state, and will be asked for as one value.
        single = bool(stack) and isinstance(stack[-1], Instance | Global)
        while position >= self._followed and (run := match(self.data, position, limit, single=single)):
            if (fetch := self._fetches_others(run)) is not None:
                self._followed = fetch
                break
            self.budget.step(run.cost)
            run.work_out = self._runs.work_out
            self._runs.add(run)
            if run.stand_in is not None:
                stack.append(run.stand_in)
            elif run.values is not None:
                stack += run.values
            else:
                stack.append(run)
                self._covered += 1
            position = run.end
        self.fruitless = 0 if position - begin >= _LONG_RUN else self.fruitless + 1
        return position

    def _fetches_others(self, run: Run) -> int | None:
        """Where a run reads what is no plain data or may be changed, so that it must be followed opcode by opcode."""
        size = -1
        for offset, index in fetches(self.data, run):
            size = len(self._runs) if size < 0 else size
            if index < size and not self._runs.keeps_data(index):
                return offset
        return None

    def look(self, position: int) -> int:
        """As `skip_run`, where that has paid lately."""
        return self.skip_run(position) if self.bulk and self.fruitless <= _PATIENCE else position

    def uncover(self, count: int) -> None:
        """Put the values of runs in their place where one of the topmost `count` values is a run."""
        stack, depth = self.stack, 1
        while depth <= min(count, len(stack)):
            if type(stack[-depth]) is Run:
                self._covered -= 1
                stack[-depth : len(stack) - depth + 1] = stack[-depth].bare()
            else:
                depth += 1

    def _replay(self, run: Run, memo: Notes) -> list[Any]:
        self.budget.step(_REPLAY_COST * run.cost)
        inner = Machine(self.data, observer=self.observer, budget=self.budget, bulk=False)
        inner.memo = memo
        position = run.start
        while position < run.end:
            handler = self._handlers[self.data[position]]
            if handler is None:
                raise Invalid(f"byte {self.data[position]:#04x} at offset {position} is no data")
            position = handler(inner, position + 1)
        return inner.stack

    def fork(self, observer: Observer) -> Machine:
        """Another unpickler in the same state, to follow what would happen if other bytes came next."""
        other = Machine(self.data, observer=observer, budget=self.budget, bulk=False)
        other._metastack = [self._copied(level) for level in self._metastack]
        other.stack = self._copied(self.stack)
        other.memo = OverlaidNotes(self._runs)
        other.protocol = self.protocol
        return other

    def _copied(self, values: list[Any]) -> list[Any]:
        self.budget.step(len(values))
        return [duplicate(value) for value in _bare(values)]

    def _bound_stack(self) -> None:
        if len(self._metastack) > _MAX_MARKS:
            raise Exhausted(f"more than {_MAX_MARKS} marks are open at one time")
        self.budget.hold(len(self.stack) + sum(map(len, self._metastack)) + self._runs.held)

    def end_of(self, start: int, length: int) -> int:
        """The offset behind `length` bytes from `start`. Raises: Invalid where the data is shorter."""
        end = start + length
        if end > len(self.data):
            raise Invalid(f"{length} bytes are needed at offset {start}, {len(self.data) - start} are left")
        if length >= LARGE:
            self.budget.noted.constants.append((start, end))
        return self._within_frame(start, end) if start < self.frame_end < end else end

    def _within_frame(self, start: int, end: int) -> int:
        # _pickle drops what is left of a frame when an argument reaches beyond it and the file cannot peek (BytesIO);
        # the unpickler in Python stops; pickle.loads reads on. No pickler writes such a frame.
        if start < self.frame_end < end:
            raise Exhausted(f"the argument at offset {start} crosses the end of its frame, where loaders disagree")
        return end

    def line(self, start: int) -> tuple[bytes, int]:
        """The text up to the next newline, and the offset behind that.

        Raises:
            Exhausted: there is no newline within a mebibyte.
        """
        for width in (256, 4096, 65_536, _MAX_LINE):
            window = bytes(self.data[start : start + width])
            length = window.find(b"\n")
            if length >= 0:
                return window[:length], self._within_frame(start, start + length + 1)
        if len(window) < _MAX_LINE:
            # At the end of the file the unpickler in Python takes what there is, and cuts its last byte.
            return window[:-1], len(self.data)
        raise Exhausted(f"the text at offset {start} has no end within {_MAX_LINE} bytes")

    def pop(self) -> Any:
        """The top of the stack; IndexError where a mark or the bottom is reached, as CPython's fence does."""
        return self.stack.pop()

    def mark(self) -> None:
        """MARK: the values that follow belong together."""
        self._metastack.append(self.stack)
        self.stack = []

    def pop_mark(self, *, bare: bool = False) -> list[Any]:
        """The values since the last mark, which is removed.

        Args:
            bare: whether every value is needed; else a `Run` may stand for many.
        """
        values = self.stack
        self.stack = self._metastack.pop()
        if self._covered:
            runs = sum(type(value) is Run for value in values)
            self._covered -= runs
            if runs and bare:
                values = _bare(values)
            self.uncover(1)
        return values

    def import_as(self, module: str, name: str) -> tuple[str, str]:
        """Module and name as `find_class` will look them up: protocols before 3 use the names of Python 2."""
        if self.protocol < 3:
            if (module, name) in NAME_MAPPING:
                return NAME_MAPPING[(module, name)]
            return IMPORT_MAPPING.get(module, module), name
        return module, name

    def discard(self) -> None:
        """POP: takes the top value, or the mark where it is on top."""
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def remember(self, offset: int, index: int) -> None:
        """PUT, at that offset: note the top of the stack under `index`."""
        if index < 0:
            raise Invalid(f"memo index {index} is negative")
        if index > len(self.memo) + _MEMO_SLACK:
            self.observer.bomb(offset, index, len(self.memo))
        self.memo.put(index, self.stack[-1])

    def recall(self, index: int) -> Any:
        """GET: the value noted under `index`."""
        try:
            return self.memo.get(index)
        except KeyError as error:
            raise Invalid(f"memo index {index} was never noted") from error


def _bare(values: list[Any]) -> list[Any]:
    """The values with those of runs in their place."""
    bare: list[Any] = []
    for value in values:
        bare += value.bare() if type(value) is Run else [value]
    return bare
