"""Mutations of hostile and honest files: no crash, no hang, no execution, and no pass for a file that still attacks.

`python tests/test_scan_fuzz.py` keeps mutating until it is stopped or finds something.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import pickle
import random
import sys
from pathlib import Path
from types import ModuleType

import joblib
import numpy as np

from vallum_validator.domain import ScanVerdict
from vallum_validator.scan.context import Budget, Context, Ledger, Limits
from vallum_validator.scan.dispatch import inspect

MUTATIONS = 10_000
TIGHT = Limits(expanded_bytes=4 << 20, ratio=10, base_opcodes=100_000)
TOKENS = [
    *(b"(", b".", b"R", b"\x94", b"h\0", b"\x93", b"0", b"\x80\x04", b"PK\x03\x04", b"PK\x01\x02", b"\xff\xff\xff\xff"),
    *(b"\0\0\0\0", b"\x95", b"N", b"t", b"b", b"\x81", b"cos\nsystem\n", b"\x7f", b"\x80", b"{", b'"', b"\n"),
]


def corpus() -> ModuleType:
    path = Path(__file__).with_name("corpus") / "attacks.py"
    specification = importlib.util.spec_from_file_location("scan_corpus_fuzz", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def seeds(marker: str) -> list[bytes]:
    attacks = corpus()
    packed = io.BytesIO()
    joblib.dump({"a": np.arange(5.0), "b": np.array(["x", None], dtype=object)}, packed)
    found = [attack.data for attack in itertools.chain(attacks.tricks(marker), attacks.containers(marker))]
    found += [pickle.dumps({"a": [1, 2.5, "x", (1, None)]}, protocol) for protocol in range(6)] + [packed.getvalue()]
    return [data for data in found if len(data) < 10_000]


def mutated(data: bytes, chosen: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(chosen.randrange(1, 5)):
        place = chosen.randrange(len(result) + 1)
        match chosen.randrange(6):
            case 0:
                result[place : place + 1] = bytes([chosen.randrange(256)])
            case 1:
                result[place:place] = chosen.choice(TOKENS)
            case 2:
                del result[place : place + chosen.randrange(1, 9)]
            case 3:
                result[place:place] = result[place : place + chosen.randrange(1, 40)]
            case 4:
                result[place : place + 4] = chosen.choice(TOKENS)
            case _:
                del result[place:]
        if not result:
            return b"."
    return bytes(result)


def scan(data: bytes) -> ScanVerdict:
    ledger = Ledger(TIGHT.findings)
    inspect(memoryview(data), Context("", 0, ledger, Budget.of(TIGHT, len(data)), inspect))
    return ledger.verdict


class Caught(pickle._Unpickler):
    """Stops where something would be imported, and notes whether it is hostile."""

    reached = False

    def find_class(self, module: str, name: str) -> object:
        if module in ("os", "posix", "subprocess") or (module == "builtins" and name in ("eval", "exec", "setattr")):
            self.reached = True
        raise ImportError


def attacks_still(data: bytes) -> bool:
    unpickler = Caught(io.BytesIO(data))
    with contextlib.suppress(Exception):  # whatever ends the loading: all that matters is what was reached before
        unpickler.load()
    return unpickler.reached


def check(data: bytes) -> None:
    verdict = scan(data)
    assert not (verdict is ScanVerdict.CLEAN and attacks_still(data)), data


def test_mutations_never_crash_the_scanner_or_pass_an_attack(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    chosen = random.Random(4)
    files = seeds(str(marker))
    for _ in range(MUTATIONS):
        check(mutated(chosen.choice(files), chosen))
    assert not marker.exists()


if __name__ == "__main__":
    source = random.Random()
    originals = seeds("/nonexistent/marker")
    while True:
        check(mutated(source.choice(originals), source))
