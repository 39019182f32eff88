"""The same law under coverage guidance, for as long as one likes.

    pip install atheris
    python -m services.validator.tests.fuzz.guided FOLDER -max_total_time=600

`atheris` is no dependency of the project: install it where this is run. FOLDER keeps the files that reach new code; it
begins with the seeds of `run.py`. Further options are those of libFuzzer.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vallum_validator.scan"]):
    from . import run
from .mutate import mutated

LARGEST = 20_000


def _one(data: bytes) -> None:
    run.check(bytes(data) or b".")


def _mutate(data: bytes, largest: int, seed: int) -> bytes:
    chosen = random.Random(seed)
    if chosen.randrange(3) == 0:
        return bytes(atheris.Mutate(data, largest))
    return mutated(bytes(data) or b"N.", chosen)[:largest]


def main() -> None:
    """Fill the folder with seeds and go on from there."""
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for number, data in enumerate(dict.fromkeys(run.seeds("/nonexistent/marker"))):
        (folder / f"seed{number}").write_bytes(data)
    atheris.Setup([sys.argv[0], str(folder), f"-max_len={LARGEST}", *sys.argv[2:]], _one, custom_mutator=_mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
