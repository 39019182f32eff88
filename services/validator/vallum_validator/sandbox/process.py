"""One worker and the conversation with it: every call has a deadline, every answer is checked, and a worker that
misbehaves once is ended and never asked again."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from vallum_common.errors import Invalid, Unavailable
from vallum_validator.domain.evidence import Isolation
from vallum_validator.sandbox.child import KILLED, Limits, launch
from vallum_validator.sandbox.frames import PREFIX_BYTES, Array, Frame, FrameInvalid, decode, encode, sizes
from vallum_validator.sandbox.isolation import check_held, confinement_for, kernel_landlock_abi
from vallum_validator.sandbox.program.hold import filters_of_process
from vallum_validator.sandbox.refusals import explained, refusals

_READ_BYTES: Final = 1024 * 1024
_MESSAGE_CHARACTERS: Final = 300
_REACHES: Final = (
    "files outside its own",
    "the network",
    "system calls that no filter refuses",
    "privileges of programs it may start",
    "capabilities of the service",
)
"""What a worker looks for before anything is opened in it, in the words of the evidence."""


class WorkerFailed(Invalid):
    """The worker broke off: it crashed, was killed, took too long or sent what is no answer. It is gone for good."""


class WorkerRefused(Invalid):
    """The worker answered that it could not do what it was asked; it may be asked something else."""


class Worker:
    """A worker process, running from the construction until `close`; use it as a context manager.

    Args:
        name: who it is in messages, e.g. `the model`.
        readable: the files it may read; it may write none.
        limits: of memory, time and descriptors.
        allow_weaker_isolation: whether it may run with less than full isolation; the evidence names what was missing.
        clock: seconds that only grow, e.g. `time.monotonic`.
        landlock_abi: what the kernel offers.

    Raises:
        Unavailable: this machine cannot hold it as policy wants.
        WorkerFailed: it did not come up.
    """

    def __init__(
        self,
        name: str,
        readable: Sequence[Path],
        *,
        limits: Limits | None = None,
        allow_weaker_isolation: bool = False,
        clock: Callable[[], float] = time.monotonic,
        landlock_abi: Callable[[], int] = kernel_landlock_abi,
    ) -> None:
        self._name = name
        self.limits = limits or Limits()
        self._clock = clock
        self._failure = ""
        self._spent_s = 0.0
        self._may = ""
        self._sequence = 0
        confinement = confinement_for(landlock_abi(), allow_weaker=allow_weaker_isolation)
        self._child = launch(confinement, [path.resolve(strict=True) for path in readable], self.limits)
        try:
            self._selector = selectors.DefaultSelector()
            for descriptor in (self._child.to_child, self._child.from_child):
                os.set_blocking(descriptor, False)
            confined = confinement.by_sandlock
            greeting = self.call(
                {
                    "command": "hello",
                    "confined": confined,
                    "filters": filters_of_process(),
                    "limits": {} if confined else self._own_limits(),
                },
                seconds=self.limits.start_s,
            )
            reached = tuple(what for what in _REACHES if what in greeting.head.get("reached", _REACHES))
            held = confinement.isolation()
            # A plain process is known to reach everything; that is already in words.
            self.isolation: Isolation = (
                check_held(held, reached, allow_weaker=allow_weaker_isolation) if held.seccomp else held
            )
        except BaseException as error:
            self.close()
            if isinstance(error, WorkerFailed) and confinement.by_sandlock and refusals():
                what = f"the sandbox did not come up ({error.message}), nothing was run"
                raise Unavailable(explained(what)) from error
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker; a second time does nothing."""
        self._failure = self._failure or f"{self._name} has been ended"
        self._selector.close()
        self._child.end()

    def _own_limits(self) -> Mapping[str, int]:
        """What a plain process must limit itself, having no supervisor that would, nor one that takes it along."""
        return {"RLIMIT_AS": self.limits.memory_bytes, "RLIMIT_CPU": max(1, int(self.limits.total_s))}

    def call(
        self, head: Mapping[str, Any], arrays: Mapping[str, Array] | None = None, *, seconds: float | None = None
    ) -> Frame:
        """Ask once and wait for the answer.

        Args:
            head: with the key `command`.
            arrays: what goes with it.
            seconds: to wait; `None` for the limit of a call.

        Raises:
            WorkerRefused: it answered that it cannot.
            WorkerFailed: there is no answer and never will be one.
        """
        if self._failure:
            raise WorkerFailed(self._failure)
        self._sequence += 1
        request = encode(Frame({**head, "sequence": self._sequence}, arrays or {}))
        for_this_s = seconds or self.limits.call_s
        allowed_s = min(for_this_s, max(0.0, self.limits.total_s - self._spent_s))
        # Both limits, and not what was left of them: that differs from run to run, and evidence must not.
        self._may = f"{for_this_s:g} s for this answer, {self.limits.total_s:g} s for all"
        began = self._clock()
        try:
            frame = self._exchange(request, began + allowed_s)
        except FrameInvalid as error:
            raise self._fail(f"sent what is no answer: {error}") from error
        finally:
            self._spent_s += self._clock() - began
        if frame.head.get("sequence") != self._sequence:
            raise self._fail("sent an answer to a question that was not asked")
        if "error" in frame.head:
            raise WorkerRefused(_one_line(frame.head["error"]))
        return frame

    def _fail(self, what: str) -> WorkerFailed:
        self._failure = f"{self._name} {what}"
        self._child.end()
        return WorkerFailed(self._failure)

    def _exchange(self, request: bytes, deadline: float) -> Frame:
        """Write and read at once: a worker may answer before it has read everything, and must not block us by it."""
        rest = memoryview(request)
        received = bytearray()
        announced: tuple[int, int] | None = None
        reading, writing = self._child.from_child, self._child.to_child
        self._selector.register(reading, selectors.EVENT_READ)
        self._selector.register(writing, selectors.EVENT_WRITE)
        try:
            while announced is None or len(received) < PREFIX_BYTES + sum(announced):
                ready = self._wait(deadline)
                if writing in ready:
                    rest = rest[self._write(rest) :]
                    if not rest:
                        self._selector.unregister(writing)
                if reading in ready:
                    received += self._read()
                if announced is None and len(received) >= PREFIX_BYTES:
                    announced = sizes(bytes(received[:PREFIX_BYTES]))
        finally:
            for key in list(self._selector.get_map().values()):
                self._selector.unregister(key.fileobj)
        end_of_head = PREFIX_BYTES + announced[0]
        if len(received) > end_of_head + announced[1]:
            raise FrameInvalid("bytes follow the frame")
        return decode(bytes(received[PREFIX_BYTES:end_of_head]), bytes(received[end_of_head:]))

    def _wait(self, deadline: float) -> set[Any]:
        left_s = deadline - self._clock()
        ready = {key.fileobj for key, _ in self._selector.select(left_s)} if left_s > 0 else set()
        if not ready:
            raise self._fail(f"took longer than it may ({self._may}) and was ended")
        return ready

    def _write(self, rest: memoryview) -> int:
        try:
            return os.write(self._child.to_child, rest[:_READ_BYTES])
        except BrokenPipeError as error:
            raise self._gone() from error

    def _read(self) -> bytes:
        block = os.read(self._child.from_child, _READ_BYTES)
        if not block:
            raise self._gone()
        return block

    def _gone(self) -> WorkerFailed:
        how = self._child.end(kill=False)
        limit = f" ({self.limits.memory_bytes / 2**30:g} GiB)" if how == KILLED else ""
        self._failure = f"{self._name} {how}{limit}"
        return WorkerFailed(self._failure)


def _one_line(text: object) -> str:
    """Whatever a worker writes may be made to forge log lines or terminals: one printable line, of bounded length."""
    words = " ".join(str(text).split())
    return "".join(character for character in words if character.isprintable())[:_MESSAGE_CHARACTERS]
