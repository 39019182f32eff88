"""Mutates files and holds the scan to its law, in a process of its own with bounded memory.

    python -m services.validator.tests.fuzz.run [--count 10000] [--seed 4]

The law: the scan never raises and never runs anything, and it calls no file CLEAN in which a real loader would reach a
hostile name. Prints how many files got which verdict; ends with 1 and the file where the law is broken. Without a
count it goes on until it is stopped.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import pickle
import random
import resource
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterable
from fractions import Fraction

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression

from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan.context import Budget, Context, Ledger, Limits
from vallum_validator.scan.dispatch import inspect

from ..corpus import Payload, every_attack
from ..corpus.containers import torch_members, zipped
from ..corpus.spellings import tagged
from .mutate import mutated
from .oracle import reaches_hostile_name

TIGHT = Limits(expanded_bytes=4 << 20, ratio=10, base_opcodes=100_000)
MEMORY_BYTES = 4 << 30
LARGEST_SEED = 10_000
SPELLINGS = 40
"""Documents in YAML among the hostile files, each written in another way."""


def seeds(marker: str) -> list[bytes]:
    """What is mutated: every small attack, and as many honest files of the same formats."""
    hostile = [attack.build(Payload(marker)) for attack in every_attack()]
    hostile += [tagged(marker, seed) for seed in range(SPELLINGS)]
    hostile = [data for data in hostile if 0 < len(data) < LARGEST_SEED]
    honest = _honest()
    return hostile + honest * (len(hostile) // len(honest))


def _honest() -> list[bytes]:
    value = {"a": [1, 2.5, "x", (1, None)], "b": OrderedDict(c={4}), "d": np.arange(3), "e": Fraction(1, 3)}
    packed, array, arrays = io.BytesIO(), io.BytesIO(), io.BytesIO()
    joblib.dump({"a": np.arange(5.0), "b": np.array(["x", None], dtype=object)}, packed)
    np.save(array, np.arange(5.0))
    np.savez(arrays, a=np.arange(5), b=np.zeros((2, 2)))
    documents = ({"learner": {"a": [1, 2]}, "version": [3, 2, 0]}, {"model_type": "bert", "layers": [{"size": 3}]})
    return [
        *(pickle.dumps(value, protocol) for protocol in range(6)),
        *(pickle.dumps(LogisticRegression(C=2), protocol) for protocol in (0, 2, 4)),
        *(stream.getvalue() for stream in (packed, array, arrays)),
        *(json.dumps(document).encode() for document in documents),
        b"# Card\n\n![image](x)\n---\na: {b: [1, !!str 2]}\nc: &d 'e'\nf: *d\n",
        zipped({**torch_members(pickle.dumps(OrderedDict(a=1), 2)), "archive/.data/serialization_id": b"1" * 40}),
    ]


def scan(data: bytes) -> ScanVerdict:
    """The verdict, without the last line of defence around the inspectors: what they raise is seen here."""
    ledger = Ledger(TIGHT.findings)
    inspect(memoryview(data), Context("", 0, ledger, Budget.of(TIGHT, len(data)), inspect))
    return ledger.verdict


def check(data: bytes) -> ScanVerdict:
    """Hold one file to the law; return the verdict.

    Raises:
        AssertionError: the file is CLEAN and attacks.
    """
    verdict = scan(data)
    if verdict is ScanVerdict.CLEAN and reaches_hostile_name(data):
        raise AssertionError("a file that attacks is CLEAN")
    return verdict


def fuzz(rounds: Iterable[int], seed: int) -> Counter[str]:
    """Mutate and check; return the count of verdicts."""
    chosen, files = random.Random(seed), seeds("/nonexistent/marker")
    verdicts: Counter[str] = Counter()
    for _ in rounds:
        data = mutated(chosen.choice(files), chosen)
        try:
            verdicts[check(data).value] += 1
        except BaseException:
            sys.stderr.write(f"seed {seed}, file {sum(verdicts.values())}: {data!r}\n")
            raise
        if not sum(verdicts.values()) % 500:
            # Later files begin as what earlier ones became.
            files.append(data[:LARGEST_SEED])
    return verdicts


def main() -> None:
    """Run as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, help="files; without it, until stopped")
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    rounds = range(options.count) if options.count else itertools.count()
    sys.stdout.write(json.dumps(fuzz(rounds, options.seed)) + "\n")


if __name__ == "__main__":
    main()
