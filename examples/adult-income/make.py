"""Make the bundle `adult-income` 1.2.0, which is approved.

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
    number="1.2.0",
    parent="adult-income@1.1.0",
    trees=60,
    depth=2,
    learning_rate=0.15,
    ratio=0.92,
    change="New in 1.2.0: trees of depth two, so that two answers can matter together.",
)

if __name__ == "__main__":
    make(FOLDER, VERSION)
