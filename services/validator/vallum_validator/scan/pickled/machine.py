"""The stack, the memo and the loop of an unpickler that only watches.

It keeps the stack and the memo exactly as CPython's `_pickle` does, because scanners that only look for opcodes were
fooled by values that travel through the memo (protectai/modelscan#85). What is named, called or changed is handed to
an `Observer`; the machine itself decides nothing.
"""

from __future__ import annotations

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any, Final, Protocol

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.context import Budget, shown
from vallum_validator.scan.pickled.values import Global

_STOP: Final = ord(".")
_BATCH: Final = 4096
_MEMO_SLACK: Final = 1 << 20
_MAX_MARKS: Final = 10_000
_MAX_LINE: Final = 1 << 20


class Observer(Protocol):
    """Who is told what the pickle would do, in the order it would do it."""

    def name(self, offset: int, module: str, name: str) -> Global:
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

    def store(self, offset: int, opcode: str, target: Any) -> None:
        """Items are stored in something that is no list, dict or set of this stream."""
        ...

    def extension(self, offset: int, code: int) -> Any:
        """A global is named by its number in the `copyreg` registry of the loading process."""
        ...

    def persistent(self, offset: int, identity: Any) -> Any:
        """The loading program is asked for the object with this id."""
        ...

    def buffer(self, offset: int) -> Any:
        """A buffer from outside the stream is needed."""
        ...


class Machine:
    """One unpickler over one stream.

    Args:
        data: the bytes, of which the stream is a part.
        observer: who is told.
        budget: of opcodes and of values on the stack.
        after_build: called after BUILD with the target and the offset behind the opcode; gives the offset to go on
            from. joblib keeps raw arrays there.
    """

    __slots__ = ("_metastack", "after_build", "budget", "data", "frame_end", "memo", "observer", "protocol", "stack")

    def __init__(
        self,
        data: memoryview,
        *,
        observer: Observer,
        budget: Budget,
        after_build: Callable[[Machine, Any, int], int] | None = None,
    ) -> None:
        self.data = data
        self.observer = observer
        self.budget = budget
        self.after_build = after_build
        self.stack: list[Any] = []
        self._metastack: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.protocol = 0
        self.frame_end = 0

    def run(self, offset: int, handlers: list[Callable[[Machine, int], int] | None]) -> int:
        """Follow the opcodes from `offset` to STOP.

        Returns:
            the offset behind STOP.

        Raises:
            Invalid: the real unpickler would stop with an error here, or the machine cannot follow.
            Exhausted: a limit was reached.
        """
        data, opcode = self.data, 0
        position = offset
        try:
            while True:
                for count in range(_BATCH):
                    opcode = data[position]
                    handler = handlers[opcode]
                    if handler is None:
                        if opcode == _STOP:
                            self.pop()
                            self.budget.step(count)
                            return position + 1
                        raise Invalid(f"byte {opcode:#04x} at offset {position} is no pickle opcode")
                    position = handler(self, position + 1)
                self.budget.step(_BATCH)
                self._bound_stack()
        except IndexError as error:
            raise Invalid(
                f"the stream ends or the stack is empty at offset {position}, opcode {opcode:#04x}"
            ) from error

    def fork(self, observer: Observer) -> Machine:
        """Another unpickler in the same state, to follow what would happen if other bytes came next."""
        other = Machine(self.data, observer=observer, budget=self.budget)
        other.stack, other._metastack = list(self.stack), [list(level) for level in self._metastack]
        other.memo, other.protocol = dict(self.memo), self.protocol
        return other

    def _bound_stack(self) -> None:
        if len(self._metastack) > _MAX_MARKS:
            raise Exhausted(f"more than {_MAX_MARKS} marks are open at one time")
        self.budget.hold(len(self.stack) + sum(map(len, self._metastack)) + len(self.memo))

    def end_of(self, start: int, length: int) -> int:
        """The offset behind `length` bytes from `start`. Raises: Invalid where the data is shorter."""
        end = start + length
        if end > len(self.data) or length < 0:
            raise Invalid(f"{length} bytes are needed at offset {start}, {len(self.data) - start} are left")
        return end

    def line(self, start: int) -> tuple[bytes, int]:
        """The text up to the next newline, and the offset behind that.

        Raises:
            Invalid: there is no newline, or only after more than a mebibyte.
        """
        for width in (256, _MAX_LINE):
            window = bytes(self.data[start : start + width])
            length = window.find(b"\n")
            if length >= 0:
                return window[:length], start + length + 1
        raise Invalid(f"the text at offset {start} has no end within {_MAX_LINE} bytes")

    def pop(self) -> Any:
        """The top of the stack; IndexError where a mark or the bottom is reached, as CPython's fence does."""
        return self.stack.pop()

    def mark(self) -> None:
        """MARK: the values that follow belong together."""
        self._metastack.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """The values since the last mark, which is removed."""
        values = self.stack
        self.stack = self._metastack.pop()
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

    def remember(self, index: int) -> None:
        """PUT: note the top of the stack under `index`."""
        if index < 0:
            raise Invalid(f"memo index {index} is negative")
        if index > len(self.memo) + _MEMO_SLACK:
            raise Invalid(f"memo index {shown(index)} is far above the {len(self.memo)} entries: a memory bomb")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> Any:
        """GET: the value noted under `index`."""
        try:
            return self.memo[index]
        except KeyError as error:
            raise Invalid(f"memo index {index} was never noted") from error
