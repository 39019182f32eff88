"""The folder one platform keeps everything in: its data, keys, passwords and logs, under a lock.

Nothing outside it is ever changed. Everything in it is closed to other users of the machine.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from vallum_common.errors import Conflict, Denied, Invalid, NotFound

LOCK_NAME = "platform.lock"
PASSWORD_BYTES = 24


def private_folder(path: Path) -> Path:
    """Make the folder, closed to others, and its parents as they come; return its absolute path.

    Raises:
        Denied: it cannot be made there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Denied(
            f"cannot make the folder {str(path)!r}: {error.strerror}; it should be writable for you"
        ) from error
    return path.resolve()


def write_private(path: Path, content: str) -> None:
    """Write a file readable by nobody else; whenever we are killed, it holds the old content or the new."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)


def read_private(path: Path) -> str:
    """Content of a secret file.

    Raises:
        NotFound: there is none.
        Denied: others may read it, so it may be known to them.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_text()
    except FileNotFoundError as error:
        raise NotFound(f"{str(path)!r} does not exist; `vallum up` makes it") from error
    if mode & 0o077:
        raise Denied(f"{str(path)!r} may be read by others (mode {mode:o}); replace the secret and set its mode to 600")
    return content


def passwords(path: Path, names: Sequence[str]) -> dict[str, str]:
    """A random password for each name, the same one every time.

    Args:
        path: where they are kept; made when missing, and extended when a name is new.
        names: who needs one.

    Raises:
        Denied: others may read the file.
        Invalid: the file was damaged.
    """
    try:
        known = json.loads(read_private(path))
    except NotFound:
        known = {}
    except json.JSONDecodeError as error:
        raise Invalid(f"{str(path)!r} is damaged: {error}; it should be a JSON object of passwords") from error
    complete = {name: known.get(name) or secrets.token_hex(PASSWORD_BYTES) for name in names}
    if complete.items() - known.items():
        write_private(path, json.dumps(known | complete, indent=2) + "\n")
    return complete


class LockedFolder:
    """The platform's folder, held by this process until `close`, or until it dies.

    Args:
        path: made when missing.

    Raises:
        Conflict: another process holds it, or it holds something that is not a platform.
        Denied: it cannot be made there.
    """

    def __init__(self, path: Path) -> None:
        self.root = private_folder(path)
        lock = self.root / LOCK_NAME
        if not lock.exists() and any(self.root.iterdir()):
            raise Conflict(f"{str(self.root)!r} holds other files; --data should name an empty or a new folder")
        self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._lock, 20, 0).decode().strip()
            os.close(self._lock)
            raise Conflict(
                f"{str(self.root)!r} is in use by process {holder}; stop that one, or give another folder with --data"
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def folder(self, name: str) -> Path:
        """A folder in it, made when missing."""
        return private_folder(self.root / name)

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
