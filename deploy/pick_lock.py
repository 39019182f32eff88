"""Cut from a hash-pinned lock the packages that a list names: `python pick_lock.py NAMES LOCK > PICKED`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==")


def pick(names: str, lock: str) -> str:
    """The blocks of a lock for the packages pinned in another list.

    Args:
        names: lines such as `numpy==2.4.6`; others, as local paths, are passed over.
        lock: a requirements file in which each pin is followed by its indented hashes.

    Raises:
        SystemExit: a package is not in the lock.
    """
    blocks = {match.group(1).lower(): block for block in re.split(r"\n(?=\S)", lock) if (match := _PIN.match(block))}
    wanted = [match.group(1).lower() for line in names.splitlines() if (match := _PIN.match(line))]
    missing = [name for name in wanted if name not in blocks]
    if missing:
        raise SystemExit(f"not in the lock: {', '.join(missing)}")
    return "\n".join(blocks[name] for name in wanted) + "\n"


if __name__ == "__main__":
    sys.stdout.write(pick(Path(sys.argv[1]).read_text(), Path(sys.argv[2]).read_text()))
