"""What a scanning process gives up before it reads hostile bytes: memory, time, files, programs, the network.

A parser has nothing to do but compute. Should one be taken over all the same, it finds itself without the files of its
user, unable to start a program or to open a connection, and cannot regain any of it. Landlock is used where the kernel
has it; resource limits hold everywhere. On systems other than Linux the limits are all there is. What Landlock did not
take away is told, so that no report says less than was so.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from vallum_validator.scan.context import Limits

_ON_LINUX: Final = sys.platform == "linux"
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if _ON_LINUX else None
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_ADD_RULE: Final = 445
_LANDLOCK_RESTRICT_SELF: Final = 446
"""Numbers of system calls are the same on every architecture for all that came after 2019."""
_RULE_PATH_BENEATH: Final = 1

_FILE_RIGHTS: Final = (1 << 13) - 1
_RIGHTS_SINCE: Final = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""REFER, TRUNCATE and IOCTL_DEV, by the Landlock ABI that brought them.
Source: Linux, Documentation/userspace-api/landlock.rst, as for all below."""
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG = 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8
_TRUNCATE: Final = 1 << 14
_TCP_RIGHTS: Final = 0b11
_SCOPES: Final = 0b11
"""Abstract sockets and signals."""

_ALL: Final = "open files of the user, start programs and connect"
_HELD_SINCE: Final = {3: "cut off files", 4: "connect by TCP", 6: "send signals and use abstract sockets"}
"""What a process may still do below this ABI. Source: as above."""

_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
"""What a module in C may need beside itself: without them lz4 cannot be imported, and no lz4 file be judged."""
_SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_SPARE_DESCRIPTORS: Final = 64


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals back around a fork, or a Ctrl-C could make the child go on with the work of its parent."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def confine(limits: Limits, size_bytes: int, *, parent: int, keep: Iterable[int], spool: str | None) -> str:
    """Give up, for good, what the scan of a file needs not.

    Args:
        limits: of the scan.
        size_bytes: of the file.
        parent: process id of the parent; the process ends with it.
        keep: the descriptors that stay open.
        spool: an empty folder for temporary files, the only one that may be written to.

    Returns:
        what this system did not let it give up, with the reason; empty where it is all gone.

    Raises:
        OSError: what any system lets a process do was refused.
    """
    tempfile.tempdir = spool or os.devnull
    _leave_the_terminal()
    end_with(parent)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    kept = sorted(keep)
    for before, after in zip([2, *kept], [*kept, 1 << 20], strict=True):
        os.closerange(before + 1, after)
    _limit(limits, size_bytes, kept[-1])
    return _restrict_files(_LIBC, spool) if _LIBC is not None else f"{_ALL}: this is no Linux"


def end_with(parent: int) -> None:
    """Have this process killed when its parent ends, however that comes about. Linux only: elsewhere time ends it."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it ended before it could have told us


def _leave_the_terminal() -> None:
    """Neither the terminal's signals nor its input and output are for this process."""
    os.setsid()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def _limit(limits: Limits, size_bytes: int, highest: int) -> None:
    seconds = math.ceil(limits.processor_s(size_bytes))
    bounds = {
        # Not RLIMIT_AS: a mapped file takes address space and no memory. This counts what is private and writable.
        resource.RLIMIT_DATA: private_bytes() + limits.memory(size_bytes),
        resource.RLIMIT_FSIZE: limits.expansion(size_bytes) + 1,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: highest + _SPARE_DESCRIPTORS,
    }
    for which, bound in bounds.items():
        _set(which, bound, bound)
    _set(resource.RLIMIT_CPU, seconds, seconds + 1)  # at the first a signal that can be told from others


def _set(which: int, soft: int, hard: int) -> None:
    """Set a limit, or keep the caller's own where that is tighter."""
    present = resource.getrlimit(which)[1]
    if present != resource.RLIM_INFINITY:
        soft, hard = min(soft, present), min(hard, present)
    with suppress(ValueError, OSError):
        resource.setrlimit(which, (soft, hard))


def private_bytes() -> int:
    """Private writable memory of this process as the kernel counts it against RLIMIT_DATA; 0 where it does not tell."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _restrict_files(libc: ctypes.CDLL, spool: str | None) -> str:
    """By Landlock: read the interpreter and our own code, write into one folder, and nothing else.

    Returns:
        what is left open, and why; empty where nothing is.
    """
    abi = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)
    if abi < 1:
        return f"{_ALL}: {_refusal()}"
    rights = _FILE_RIGHTS | sum(right for since, right in _RIGHTS_SINCE.items() if abi >= since)
    rules = _Ruleset(rights, _TCP_RIGHTS if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(rules), size, 0)
    if ruleset < 0:
        return f"{_ALL}: {_refusal()}"
    for folder in _code_folders():
        _allow(libc, ruleset, folder, _READ_FILE | _READ_DIR)
    if spool:
        _allow(libc, ruleset, spool, (_WRITE_FILE | _READ_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE) & rights)
    refusal = _refusal() if libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) else ""
    os.close(ruleset)
    if refusal:
        return f"{_ALL}: {refusal}"
    open_still = [what for since, what in _HELD_SINCE.items() if abi < since]
    return f"{', '.join(open_still)}: Landlock has ABI {abi} here" if open_still else ""


def _refusal() -> str:
    return f"Landlock is refused here ({errno.errorcode.get(ctypes.get_errno(), 'unknown')})"


def _code_folders() -> set[str]:
    """Where modules are imported from, which a scanner imports as late as it needs them."""
    folders = (*sys.path, sys.prefix, sys.base_prefix, *_LIBRARIES)
    return {folder for folder in folders if os.path.isabs(folder) and os.path.isdir(folder)}


def _allow(libc: ctypes.CDLL, ruleset: int, folder: str, rights: int) -> None:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        rule = _PathBeneath(rights, descriptor)
        libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
        os.close(descriptor)
