"""What the worker denies itself before it opens anything, on top of what sandlock holds from outside.

sandlock decides about sockets itself, by destination, and connections of TCP Fast Open and of multipath TCP went past
it and past Landlock; it leaves a service that runs as root its capabilities; and it lets any process of the same user
have its limits changed. A second filter of system calls, which only ever takes away, closes these. It is the worker's
own act, before the first hostile byte: nothing later can undo it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_AT_NUMBER, _AT_ARCHITECTURE, _AT_FIRST_ARGUMENT = 0, 4, 16
"""Source: Linux, include/uapi/linux/{prctl,seccomp,filter}.h. Both architectures below are little-endian."""

_X32: Final = 0x40000000
"""System calls of the x32 interface have this bit: another number for the same call."""
_CAPABILITIES_VERSION: Final = 0x20080522
_FILTERS: Final = 2
"""Sandlock's and the worker's own. Counted beside those of the parent: with a container's filter for one of ours, a
model reached a listener by multipath TCP and was said to be held (`test_sandbox_container.py`)."""

_ARCHITECTURES: Final[Mapping[str, tuple[int, int, tuple[int, ...]]]] = {
    # AUDIT_ARCH, prlimit64, and: socket, connect, sendto, sendmsg, sendmmsg, bind, execve, execveat
    "x86_64": (0xC000003E, 302, (41, 42, 44, 46, 307, 49, 59, 322)),
    "aarch64": (0xC00000B7, 261, (198, 203, 206, 211, 269, 200, 221, 281)),
}
"""Source: Linux, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h."""


def hold() -> None:
    """Give up every capability, every new socket, every other program, and the limits of other processes.

    What does not succeed is not raised: `lacking` finds it, and the caller decides.
    """
    with contextlib.suppress(OSError):
        _drop_capabilities()
    with contextlib.suppress(OSError, KeyError):
        _filter_system_calls(*_ARCHITECTURES[os.uname().machine])


def lacking(filters: int | None) -> list[str]:
    """What does not hold this process, read back from the kernel.

    Args:
        filters: of system calls that held the parent already, as those of a container do; `None` where it cannot tell.
    """
    status = status_of_process()
    held = {
        "system calls that no filter refuses": filters is not None
        and status["Seccomp"] == "2"
        and int(status.get("Seccomp_filters", 0)) >= filters + _FILTERS,
        "privileges of programs it may start": status["NoNewPrivs"] == "1",
        "capabilities of the service": int(status["CapEff"], 16) == 0,
    }
    return [what for what, holds in held.items() if not holds]


def status_of_process() -> Mapping[str, str]:
    """What the kernel tells of this process, by its names."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def filters_of_process() -> int | None:
    """How many filters of system calls hold this process; `None` where the kernel does not tell."""
    try:
        return int(status_of_process()["Seccomp_filters"])
    except (OSError, KeyError, ValueError):
        return None


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _drop_capabilities() -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITIES_VERSION, 0))
    _check(_libc().capset(header, ctypes.create_string_buffer(24)))


def _filter_system_calls(architecture: int, set_limits: int, refused: tuple[int, ...]) -> None:
    program = _program(architecture, set_limits, refused)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    _check(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _check(_libc().prctl(_SET_SECCOMP, _FILTER, ctypes.create_string_buffer(header), 0, 0))


def _program(architecture: int, set_limits: int, refused: tuple[int, ...]) -> bytes:
    """The filter as the kernel reads it. A jump says how many instructions it passes over."""
    allow = len(refused) + 7
    refuse = allow + 1
    lines = [
        (_LOAD, 0, 0, _AT_ARCHITECTURE),
        (_EQUAL, 0, refuse - 2, architecture),
        (_LOAD, 0, 0, _AT_NUMBER),
        (_AT_LEAST, refuse - 4, 0, _X32),
        *((_EQUAL, refuse - place - 1, 0, number) for place, number in enumerate(refused, start=4)),
        (_EQUAL, 0, 2, set_limits),
        (_LOAD, 0, 0, _AT_FIRST_ARGUMENT),
        # Its own limits, process 0, can only fall.
        (_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
