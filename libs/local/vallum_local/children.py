"""Child processes that end when we do, in order when we stop and by the kernel's hand when we are killed.

Start them from a thread that lives as long as they should: the kernel takes the end of the *starting thread* for the
end of the parent. All of this package starts its children from the main thread. Linux only (see `leash`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vallum_common.errors import Unavailable

LEASH = Path(__file__).with_name("leash.py")
POLL_INTERVAL_S = 0.05
STOP_INTERVAL_S = 0.01
STOP_GRACE_S = 10.0
ENDED_BUT_KEPT = os.WEXITED | os.WNOHANG | os.WNOWAIT
INHERITED = ("PATH", "HOME", "LANG", "TZ")


@dataclass(frozen=True)
class Command:
    """How one child is started, and how it is stopped.

    Args:
        name: what people call it; its log is `name`.log.
        argv: the program and its arguments.
        environment: its whole environment; nothing of ours is added.
        log: file that receives its output, appended to.
        stop_signal: asks it to stop in order.
        death_signal: what the kernel sends it when we are killed.
        launcher: a command that runs it, e.g. `unshare …`; must replace itself by it, not fork.
        user: numeric user and group id it runs under; None for ours.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    launcher: tuple[str, ...] = ()
    user: int | None = None


class Child:
    """A running command; the constructor starts it.

    Args:
        command: what to start.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        command.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(command.death_signal))]
        user = "-" if command.user is None else str(command.user)
        with os.fdopen(os.open(command.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as log:
            self._process = subprocess.Popen(
                [*command.launcher, *leash, user, *command.argv],
                env=dict(command.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for us alone: we stop the children in order
                umask=0o077,
            )

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; afterwards its exit code, or minus the signal that ended it.

        Noticing its end also ends whatever it started and left behind.
        """
        if self._process.returncode is None and os.waitid(os.P_PID, self.pid, ENDED_BUT_KEPT):
            # Only now, before it is collected, can its number not have gone to a stranger's process group.
            self._kill_group()
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Send its stop signal, if it still runs."""
        if self.exit_code is None:
            self._process.send_signal(self.command.stop_signal)

    def wait_or_kill(self, grace_s: float) -> None:
        """Wait for its end; kill it, and everything it started, when that takes too long.

        Args:
            grace_s: seconds it is given to end by itself.
        """
        deadline = time.monotonic() + grace_s
        while self.exit_code is None:
            if time.monotonic() >= deadline:
                self._kill_group()
                self._process.wait()
            time.sleep(STOP_INTERVAL_S)

    def _kill_group(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """The last line of its log, or a note that there is none."""
        lines = self.command.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][-300:] if lines else "(empty)"


def stop_children(children: Sequence[Child], grace_s: float = STOP_GRACE_S) -> None:
    """Stop all of them at once; when this returns, none of them runs.

    It blocks on purpose: being cancelled half-way would leave children behind.

    Args:
        children: any of them may have ended before.
        grace_s: seconds they have together, before the rest is killed.
    """
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + grace_s
    for child in children:
        child.wait_or_kill(deadline - time.monotonic())


async def until_ready(child: Child, is_ready: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
    """Return as soon as the child answers.

    Args:
        child: what was started.
        is_ready: asks it once; must bound its own waiting.
        timeout_s: seconds after which waiting is given up; the child is left as it is.

    Raises:
        Unavailable: it ended, or did not answer in time; the message ends with its last words.
    """
    name, log = child.command.name, child.command.log
    deadline = time.monotonic() + timeout_s
    while not await is_ready():
        if child.exit_code is not None:
            raise Unavailable(
                f"{name} ended with exit code {child.exit_code} while starting; {log} ends with: {child.last_words()}"
            )
        if time.monotonic() > deadline:
            raise Unavailable(f"{name} did not answer within {timeout_s:g} s; {log} ends with: {child.last_words()}")
        await asyncio.sleep(POLL_INTERVAL_S)


async def run_to_end(command: Command, timeout_s: float) -> None:
    """Run a command that is expected to end by itself, and successfully.

    Args:
        command: what to run.
        timeout_s: seconds it may take.

    Raises:
        Unavailable: it failed or took too long; the message ends with its last words.
    """
    child = Child(command)
    deadline = time.monotonic() + timeout_s
    try:
        while child.exit_code is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"{command.name} did not end within {timeout_s:g} s, see {command.log}")
            await asyncio.sleep(POLL_INTERVAL_S)
        if child.exit_code != 0:
            raise Unavailable(
                f"{command.name} failed with exit code {child.exit_code}; {command.log} ends with: {child.last_words()}"
            )
    finally:
        stop_children([child], grace_s=0)


async def is_listening(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a child may inherit: where programs, home, language and time zone are; no secret, no agent, no proxy.

    Args:
        environment: usually `os.environ`.
    """
    return {name: value for name, value in environment.items() if name in INHERITED or name.startswith("PYTHON")}
