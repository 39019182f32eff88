"""How PostgreSQL, which refuses to run as root, runs where we are root: with no new user and nothing loosened.

Inside a user namespace our files are still ours, but the process is not root. Where the kernel or a container forbids
such namespaces, PostgreSQL runs as the system's `nobody`, provided that user can reach the folder; else we say so.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vallum_common.errors import Denied

NOBODY = "nobody"
UNSHARE = "unshare"  # of util-linux


@dataclass(frozen=True)
class Unprivileged:
    """What is done to a command so that it does not run as root.

    Args:
        launcher: a command that runs it; empty where none is needed.
        user: the user id it gets, which its files must belong to; None for ours.
    """

    launcher: tuple[str, ...] = ()
    user: int | None = None


def unprivileged(folder: Path, program: Path) -> Unprivileged:
    """The best way this machine offers.

    Args:
        folder: where the program keeps its files, in a folder of ours; handed to `nobody` if that is who will run it.
        program: what will run.

    Raises:
        Denied: there is none; the message says what would help.
    """
    if os.geteuid() != 0:
        return Unprivileged()
    try:
        nobody = pwd.getpwnam(NOBODY).pw_uid
    except KeyError as error:
        raise Denied(
            f"PostgreSQL may not run as root, and there is no user {NOBODY!r}; run vallum as a user"
        ) from error
    # Any id with a name would do: initdb wants to look it up. Outside the namespace it is still root's own.
    launcher = (UNSHARE, "--user", f"--map-user={nobody}", f"--map-group={nobody}")
    if _succeeds([*launcher, str(program), "--version"], user=None):
        return Unprivileged(launcher=launcher)
    reachable = ["test", "-x", str(folder.parent.parent)]
    if _succeeds([str(program), "--version"], user=nobody) and _succeeds(reachable, user=nobody):
        _hand_over(folder, nobody)
        return Unprivileged(user=nobody)
    raise Denied(
        f"PostgreSQL may not run as root, user namespaces are off, and user {NOBODY!r} cannot reach {str(folder)!r} or "
        f"{str(program)!r}; run vallum as an ordinary user, put both where others may enter, or give a --database URL"
    )


def _hand_over(folder: Path, user: int) -> None:
    """Only folders of ours change: the given one gets its user, and its parent, the platform's own, may be passed."""
    folder.parent.chmod(0o711)
    os.chown(folder, user, user)


def _succeeds(command: Sequence[str], user: int | None) -> bool:
    try:
        done = subprocess.run(
            command,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
