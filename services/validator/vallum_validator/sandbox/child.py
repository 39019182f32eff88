"""Starts the worker program and ends it: under Landlock and seccomp, or, where policy allows it, as a plain process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from vallum_common.errors import Unavailable
from vallum_validator.sandbox.isolation import Confinement
from vallum_validator.sandbox.refusals import explained

_COMMAND: Final = (sys.executable, "-I", "-B", "-m", "vallum_validator.sandbox.program")
# From .../vallum_validator/sandbox/child.py to the folder that the package is imported from.
_IMPORT_ROOT: Final = Path(__file__).resolve().parents[2]

_SYSTEM_PATHS: Final = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
    "/dev/urandom",
    "/dev/null",
)
"""What Python, NumPy and ONNX Runtime open at their start, found by taking away; /proc/self is the worker's own."""

_DENIED: Final = (
    # Landlock knows reading and writing. Owner, mode, times and attributes of any file are open to whoever owns it.
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat"),
    *("utime", "utimes", "futimesat", "utimensat"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
    # Other views of the file system, and watching it.
    *("chroot", "fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "move_mount", "mount_setattr"),
    *("name_to_handle_at", "mknod", "mknodat", "inotify_init", "inotify_init1", "inotify_add_watch"),
    # Other processes of the same user: how they are scheduled, and handles on them.
    *("pidfd_open", "pidfd_send_signal", "process_madvise", "process_mrelease", "kcmp"),
    *("setpriority", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr", "ioprio_set"),
    # What only a service that runs as root could do: clocks, users, the kernel's log.
    *("settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "syslog", "quotactl", "acct"),
    *("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups"),
    # Programs out of memory, sockets without an address, kernel code that few need.
    *("memfd_create", "memfd_secret", "socketpair", "listen", "accept", "accept4", "vmsplice", "splice", "tee"),
    "modify_ldt",
)
"""System calls refused beside those sandlock refuses, each seen to get through without (`test_sandbox_escape.py`)."""

_ENVIRONMENT: Final = {
    # One thread: the same sums in the same order every time, and no pool that outlives a call.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # joblib would try to make semaphores, which the sandbox refuses.
    "JOBLIB_MULTIPROCESSING": "0",
    # The default pool reserves more address space than the limit allows.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "LC_CTYPE": "C.UTF-8",
}

_MOMENT_S: Final = 2.0
KILLED: Final = "was killed, as happens to a process that takes more memory than it may"
"""How a worker ended that was killed by nobody who says why."""
_CLOSED_ITS_PIPE: Final = "stopped answering and went on running"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may use.

    Args:
        memory_bytes: private memory; more kills it.
        start_s: seconds from its start to its first answer.
        load_s: seconds for loading a model or reading a file, with the libraries that takes.
        call_s: seconds for any other answer.
        total_s: seconds for all answers together, so that a model that is slow on purpose ends too.
        open_files: file descriptors.
    """

    memory_bytes: int = 2 * 1024**3
    start_s: float = 60.0
    load_s: float = 120.0
    call_s: float = 60.0
    total_s: float = 900.0
    open_files: int = 64


class Child(Protocol):
    """A running worker process, seen from its parent."""

    @property
    def to_child(self) -> int:
        """File descriptor that the child reads."""

    @property
    def from_child(self) -> int:
        """File descriptor that the child writes."""

    def end(self, *, kill: bool = True) -> str:
        """Reap it and close the pipes; return in words how it ended, every time the same.

        Args:
            kill: at once; otherwise it has a moment to end by itself, because its pipe is closed already.
        """


def launch(confinement: Confinement, readable: Sequence[Path], limits: Limits) -> Child:
    """Start the worker program.

    Args:
        confinement: what holds it.
        readable: the files it may read besides interpreter and libraries; it may write none.
        limits: enforced from outside by sandlock.

    Raises:
        Unavailable: the kernel, or a container's policy, refused the sandbox.
    """
    return _Confined(confinement, readable, limits) if confinement.by_sandlock else _Plain()


class _Confined:
    def __init__(self, confinement: Confinement, readable: Sequence[Path], limits: Limits) -> None:
        import sandlock

        libraries = (*_SYSTEM_PATHS, sys.prefix, sys.base_prefix, str(_IMPORT_ROOT))
        self._sandbox = sandlock.Sandbox(
            fs_readable=[path for path in libraries if os.path.exists(path)] + [str(path) for path in readable],
            max_memory=limits.memory_bytes,
            max_processes=1,
            max_open_files=limits.open_files,
            no_coredump=True,
            extra_deny_syscalls=_DENIED,
            clean_env=True,
            env=_ENVIRONMENT,
            cwd="/",
            allow_degraded=[sandlock.Protection[name] for name in confinement.missing],
        )
        piped, null = sandlock.StdioMode.PIPED, sandlock.StdioMode.NULL
        try:
            self._process = self._sandbox.popen(_COMMAND, stdin=piped, stdout=piped, stderr=null)
        except (RuntimeError, sandlock.SandlockError) as error:
            raise Unavailable(explained(f"the sandbox could not be made here ({error}), nothing was run")) from error
        self._ended = ""

    @property
    def to_child(self) -> int:
        return int(self._process.stdin.fileno())

    @property
    def from_child(self) -> int:
        return int(self._process.stdout.fileno())

    def end(self, *, kill: bool = True) -> str:
        if not self._ended:
            if kill:
                self._process.kill()
            self._ended = self._describe(self._process.wait(timeout=_MOMENT_S))
            self._process.__exit__(None, None, None)
        return self._ended

    @staticmethod
    def _describe(result: Any) -> str:
        from sandlock import ExitReason

        if result.reason is ExitReason.SIGNALED:
            return _signalled(result.signal)
        if result.reason is ExitReason.TIMEOUT:
            return _CLOSED_ITS_PIPE
        return f"ended by itself with code {result.exit_code}" if result.reason is ExitReason.EXITED else KILLED


class _Plain:
    def __init__(self) -> None:
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(
            _COMMAND, stdin=pipe, stdout=pipe, stderr=null, env=_ENVIRONMENT, cwd="/", start_new_session=True, bufsize=0
        )
        self._ended = ""

    @property
    def to_child(self) -> int:
        return self._process.stdin.fileno() if self._process.stdin else -1

    @property
    def from_child(self) -> int:
        return self._process.stdout.fileno() if self._process.stdout else -1

    def end(self, *, kill: bool = True) -> str:
        if not self._ended:
            try:
                code = self._process.wait(timeout=0 if kill else _MOMENT_S)
                self._ended = _signalled(-code) if code < 0 else f"ended by itself with code {code}"
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                self._ended = _CLOSED_ITS_PIPE
            for stream in (self._process.stdin, self._process.stdout):
                if stream:
                    stream.close()
        return self._ended


def _signalled(number: int) -> str:
    if number == signal.SIGKILL:
        return KILLED
    try:
        return f"crashed ({signal.Signals(number).name})"
    except ValueError:
        return f"crashed (signal {number})"
