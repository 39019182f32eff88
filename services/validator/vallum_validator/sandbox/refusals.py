"""Why the sandbox could not be made: what this system refuses of the calls it is made of, in words an operator can use.

Asked once it is known that nothing will be run, and only then: no answer here decides what is held. A kernel that is
too old, a container's profile and a hardened machine refuse different calls, and sandlock tells them all alike.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

_LANDLOCK, _PIDFD_OPEN, _OPENAT2, _PIDFD_GETFD = 444, 434, 437, 438
"""Numbers of system calls are the same on every architecture for all that came after 2019."""
_OLDER: Final[Mapping[str, tuple[int, int, int]]] = {"x86_64": (317, 310, 311), "aarch64": (277, 270, 271)}
"""seccomp, process_vm_readv and process_vm_writev. Source: as in `program.hold`."""
_ACTION_AVAILABLE, _USER_NOTIFICATION = 2, 0x7FC00000
"""Source: Linux, include/uapi/linux/seccomp.h."""
_YAMA: Final = Path("/proc/sys/kernel/yama/ptrace_scope")
_ADMINISTRATORS_ONLY: Final = 2
"""Source: Linux, Documentation/admin-guide/LSM/Yama.rst."""
_HINTS: Final = {"pidfd_getfd": ", as in Docker and containerd without CAP_SYS_PTRACE"}
_REFUSED: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP})


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Call(NamedTuple):
    name: str
    number: int
    arguments: tuple[object, ...]


def explained(what: str) -> str:
    """Return what went wrong with why, so far as this system tells.

    Args:
        what: went wrong, e.g. `the sandbox could not be made here`.
    """
    reasons = refusals()
    why = f": {'; '.join(reasons)}" if reasons else ""
    return f"{what}{why}; docs/sandbox.md tells what it needs, in a container too"


def refusals() -> tuple[str, ...]:
    """Each call of the sandbox that is refused to this process, in words; empty where none is, or on other systems."""
    if sys.platform != "linux":
        return ()
    libc = ctypes.CDLL(None, use_errno=True)
    return (*_refused_calls(libc), *_refused_by_yama())


def _refused_calls(libc: ctypes.CDLL) -> list[str]:
    own = libc.syscall(_PIDFD_OPEN, os.getpid(), 0)
    seccomp, read, write = _OLDER.get(os.uname().machine, (-1, -1, -1))
    place = ctypes.create_string_buffer(8)
    part = _Iovec(ctypes.addressof(place), 8)
    memory = (os.getpid(), ctypes.byref(part), 1, ctypes.byref(part), 1, 0)
    action = ctypes.c_uint32(_USER_NOTIFICATION)
    calls = (
        _Call("landlock_create_ruleset", _LANDLOCK, (None, 0, 1)),
        _Call("seccomp with notification", seccomp, (_ACTION_AVAILABLE, 0, ctypes.byref(action))),
        _Call("pidfd_open", _PIDFD_OPEN, (os.getpid(), 0)),
        _Call("pidfd_getfd", _PIDFD_GETFD, (own, 0, 0)),
        _Call("openat2", _OPENAT2, (-1, None, None, 0)),
        _Call("process_vm_readv", read, memory),
        _Call("process_vm_writev", write, memory),
    )
    try:
        tried = {call.name: _try(libc, call) for call in calls}
    finally:
        if own >= 0:
            os.close(own)
    return [f"{name} is refused ({why}){_HINTS.get(name, '')}" for name, why in tried.items() if why]


def _try(libc: ctypes.CDLL, call: _Call) -> str:
    """The name of the error where the call is refused; empty where it works, or fails for its arguments only."""
    if call.number < 0:
        return ""
    result = libc.syscall(call.number, *call.arguments)
    number = ctypes.get_errno() if result < 0 else 0
    if result >= 0 and call.number in (_PIDFD_OPEN, _PIDFD_GETFD):
        os.close(result)
    return errno.errorcode[number] if number in _REFUSED else ""


def _refused_by_yama() -> list[str]:
    try:
        scope = int(_YAMA.read_text())
    except (OSError, ValueError):
        return []
    if scope < _ADMINISTRATORS_ONLY:
        return []
    return [f"kernel.yama.ptrace_scope is {scope}, and more than 1 keeps a process from its own worker"]
