"""The limits as they are documented."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from vallum_validator.scan import Limits

PAGE = Path(__file__).parents[3] / "docs" / "scan.md"


def test_page_gives_every_limit_with_its_default() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", PAGE.read_text(), re.MULTILINE))
    assert told == {name: str(value) for name, value in dataclasses.asdict(Limits()).items()}


def test_a_large_honest_file_has_its_time_and_a_small_bomb_has_not() -> None:
    limits = Limits()
    assert limits.processor_s(10 * 1024**3) > 5_000
    assert limits.processor_s(1024**2) < 5
    assert limits.memory(1024**2) < 240 * 1024**2
    assert limits.memory(10 * 1024**3) == limits.memory_ceiling
