"""What a container engine, or an older kernel, does to a process: refuses it system calls and takes its capabilities.

    python -m services.validator.tests.models.engine CONDITION COMMAND…

runs the command under one of `CONDITIONS`, for good and really: by a filter in the kernel, with no capability left and
no new privileges. Needs neither root nor an engine. Linux on x86_64 or arm64.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_PROFILE: Final[Mapping[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data/docker_seccomp.json").read_text(encoding="utf-8")
)
_ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Place in the profile, and AUDIT_ARCH."""
_CALLS: Final[Mapping[str, tuple[int, int]]] = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "personality": (135, 92),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "seccomp": (317, 277),
    "prctl": (157, 167),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "openat2": (437, 437),
    "memfd_create": (319, 279),
    "close_range": (436, 436),
    "capset": (126, 91),
    "setsid": (112, 157),
}
"""Source: Linux, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h."""
_SET_SECCOMP, _NO_NEW_PRIVILEGES, _DROP_FROM_BOUNDING_SET = 22, 38, 24
_LISTENER: Final = 8
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
"""Source: Linux, include/uapi/linux/{prctl,seccomp,filter,bpf_common}.h."""

Line = tuple[int, int, int, int]


@dataclass(frozen=True)
class Refusal:
    """A system call that is refused.

    Args:
        numbers: of the call, on x86_64 and arm64; `None` where an architecture has none.
        error: what it returns.
        argument: place of the argument that decides; the lower half of it is looked at.
        values: of the argument that are refused,
        bits: or of which any refuses,
        others: or the only values that are not refused.
    """

    numbers: Sequence[int | None]
    error: int = errno.EPERM
    argument: int | None = None
    values: Sequence[int] = ()
    bits: int = 0
    others: Sequence[int] = ()

    def lines(self, place: int) -> list[Line]:
        """The instructions; the number of the call is loaded before and after."""
        number = self.numbers[place]
        if number is None:
            return []
        refuse: Line = (_RETURN, 0, 0, _REFUSE | self.error)
        if self.argument is None:
            return [(_EQUAL, 0, 1, number), refuse]
        tests: list[Line]
        if self.others:
            tests = [(_EQUAL, len(self.others) - at, 0, value) for at, value in enumerate(self.others)]
        elif self.bits:
            tests = [(_ANY_BIT, 0, 1, self.bits)]
        else:
            last = len(self.values) - 1
            tests = [(_EQUAL, last - at, int(at == last), value) for at, value in enumerate(self.values)]
        body = [(_LOAD, 0, 0, 16 + 8 * self.argument), *tests, refuse, (_LOAD, 0, 0, 0)]
        return [(_EQUAL, 0, len(body), number), *body]


def _call(name: str, error: int = errno.EPERM, **decided: Any) -> Refusal:
    return Refusal(_CALLS[name], error, **decided)


_DOCKER_WITH_SYS_PTRACE: Final = (
    *(Refusal(numbers) for numbers in _PROFILE["refused"].values()),
    _call("clone", argument=0, bits=_PROFILE["namespaces_of_clone"]),
    _call("clone3", errno.ENOSYS),
    _call("socket", argument=0, values=_PROFILE["sockets_refused"]),
    _call("personality", argument=0, others=_PROFILE["personalities_allowed"]),
)
_DOCKER: Final = (
    *_DOCKER_WITH_SYS_PTRACE,
    *(Refusal(numbers) for numbers in _PROFILE["refused_without_sys_ptrace"].values()),
)
DOCKER, DOCKER_WITH_SYS_PTRACE = "docker", "docker with SYS_PTRACE"

FULL: Final[Mapping[str, tuple[Refusal, ...]]] = {
    DOCKER_WITH_SYS_PTRACE: _DOCKER_WITH_SYS_PTRACE,
    "memfd_create refused": (_call("memfd_create"),),
    "close_range unknown": (_call("close_range", errno.ENOSYS),),
    "capset refused": (_call("capset"),),
}
"""Conditions in which everything works, by name."""
REFUSED: Final[Mapping[str, tuple[Refusal, ...]]] = {
    DOCKER: _DOCKER,
    "landlock unknown": (*_DOCKER_WITH_SYS_PTRACE, _call("landlock_create_ruleset", errno.ENOSYS)),
    "landlock off": (*_DOCKER_WITH_SYS_PTRACE, _call("landlock_create_ruleset", errno.EOPNOTSUPP)),
    "landlock refused at last": (*_DOCKER_WITH_SYS_PTRACE, _call("landlock_restrict_self")),
    "seccomp refused": (_call("seccomp"),),
    "seccomp unknown": (_call("seccomp", errno.ENOSYS),),
    "seccomp without listeners": (_call("seccomp", errno.EINVAL, argument=1, bits=_LISTENER),),
    "own filter refused": (*_DOCKER_WITH_SYS_PTRACE, _call("prctl", argument=0, values=[_SET_SECCOMP])),
    "privileges not to be given up": (_call("prctl", argument=0, values=[_NO_NEW_PRIVILEGES]),),
    "pidfd_open unknown": (_call("pidfd_open", errno.ENOSYS),),
    "memory of the worker not to be read": (_call("process_vm_readv"),),
    "memory of the worker not to be written": (_call("process_vm_writev"),),
    "openat2 unknown": (_call("openat2", errno.ENOSYS),),
}
"""Conditions in which nothing may be run, by name."""
SCAN_REFUSED: Final[Mapping[str, tuple[Refusal, ...]]] = {"setsid refused": (_call("setsid"),)}
"""Conditions in which not even the static scan can be confined, by name."""
CONDITIONS: Final = {**FULL, **REFUSED, **SCAN_REFUSED}


def enter(condition: str) -> None:
    """Put this process under a condition, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(64):
        libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    _check(libc.capset(header, ctypes.create_string_buffer(24)))
    place, architecture = _ARCHITECTURES[os.uname().machine]
    lines = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
        (_LOAD, 0, 0, 0),
        *(line for refusal in CONDITIONS[condition] for line in refusal.lines(place)),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(lines), ctypes.addressof(code)))
    _check(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _check(libc.prctl(_SET_SECCOMP, 2, program, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main() -> None:
    """Enter the condition and become the command."""
    condition, *command = sys.argv[1:]
    enter(condition)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
