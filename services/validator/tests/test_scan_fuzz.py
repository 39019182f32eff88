"""Mutations of hostile and honest files: no crash, no hang, no execution, and no pass for a file that still attacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .corpus.containers import npy
from .fuzz.oracle import reaches_hostile_name

ROOT = Path(__file__).resolve().parents[3]
MUTATIONS = 24_000


def test_mutations_never_crash_the_scan_or_pass_an_attack(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.validator.tests.fuzz.run", "--count", str(MUTATIONS)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-4000:]
    verdicts = json.loads(result.stdout)
    assert sum(verdicts.values()) == MUTATIONS
    # All three occur, or the mutations no longer reach what they are for.
    assert min(verdicts[name] for name in ("CLEAN", "UNKNOWN", "MALICIOUS")) > MUTATIONS / 100


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02ccollections\nOrderedDict\n)R}bcbuiltins\neval\n.",
        npy(b"cos\nsystem\n."),
    ],
)
def test_oracle_sees_what_loaders_reach(data: bytes) -> None:
    assert reaches_hostile_name(data)


@pytest.mark.parametrize(
    "data", [b"N.", b"ccollections\nOrderedDict\n)R.", b"cdog\ncat\n.", b"os.system", b"Nos\nsystem\n."]
)
def test_oracle_leaves_harmless_files_alone(data: bytes) -> None:
    assert not reaches_hostile_name(data)
