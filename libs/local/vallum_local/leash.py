"""Becomes the command it is given, leashed: the kernel ends that command when the process that started it ends.

A parent killed with -9 cannot stop its children, so the request is left with the kernel before (`PR_SET_PDEATHSIG`).
Run as a script with the bare interpreter, never imported by the platform: it must be small, quick and free of our code.

    python -I -S leash.py PARENT_PID SIGNAL USER COMMAND…

`USER` is a numeric user and group id to become, or `-`. Dropping rights clears the request, so it is made afterwards.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # linux/prctl.h
COMMAND_NOT_STARTED = 127


def main(arguments: Sequence[str]) -> int:
    """Replace this process by the command; returns only when that is not possible.

    Args:
        arguments: parent's process id, signal number, user id or `-`, then the command.

    Returns:
        Exit code 127, with the reason on stderr.
    """
    parent, signal_number, user, *command = arguments
    try:
        if user != "-":
            os.setgroups([])
            os.setgid(int(user))
            os.setuid(int(user))
        library = ctypes.CDLL(None, use_errno=True)
        if library.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(int(signal_number)), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
        # The parent may have died before the request was made; nobody would ever send the signal.
        if os.getppid() != int(parent):
            return COMMAND_NOT_STARTED
        os.execvp(command[0], command)  # noqa: S606 – replacing this process is its purpose, and no shell is involved
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]!r}: {error}\n")
        return COMMAND_NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
