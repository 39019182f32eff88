"""Make the bundle `adult-income` 1.1.0, the predecessor that a rollback brings back.

How it is trained and why: `examples/income.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from income import Version, make  # noqa: E402 - the folder of the examples is known only now

VERSION: Final = Version(
    number="1.1.0",
    parent="",
    trees=80,
    depth=1,
    learning_rate=0.15,
    ratio=0.92,
    change="First version: trees of depth one, so that each answer counts by itself.",
)

if __name__ == "__main__":
    make(FOLDER, VERSION)
