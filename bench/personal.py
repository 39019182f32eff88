"""Personal data by our own search and with Presidio beside it: what each finds, takes for some, and costs.

    make presidio && python bench/personal.py [--rows 500]

Three readings of the same columns: ours; ours and Presidio with the entities and score that `policies/thresholds.yaml`
names as its example; ours and Presidio with everything it has, at the same score. Columns of people are made up by the
rules of those who give such numbers out; honest columns are Adult's, texts of this repository, and what tables hold
beside: numbers, codes, dates. Told is the share of rows with a hit; a column of people without one was missed, an
honest column above policy's 1 % would refuse a model for nothing. Presidio runs in its sandboxed worker, without a
language model, and is asked for distinct texts.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import random
import re
import string
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import psutil

from vallum_validator.checks import load_thresholds
from vallum_validator.checks.personal_data import personal_data
from vallum_validator.checks.presidio import second_reading
from vallum_validator.checks.testing import subject_of
from vallum_validator.checks.thresholds import PresidioRule, Thresholds
from vallum_validator.national import BARE
from vallum_validator.sandbox.child import Limits
from vallum_validator.sandbox.opened import Holding
from vallum_validator.sandbox.presidio import PresidioReader, check_installed, open_presidio
from vallum_validator.table import Table

ROOT = Path(__file__).resolve().parent.parent
LINE = "{:<32} {:>7} {:>10} {:>10}  {}"
Make = Callable[[], str]


def switched_on() -> Thresholds:
    """The shipped policy with its example of Presidio as no comment."""
    text = (ROOT / "policies" / "thresholds.yaml").read_text()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "thresholds.yaml"
        file.write_text(re.sub(r"(?m)^  #(presidio:|  )", r"  \1", text))
        return load_thresholds(file)


def everything() -> tuple[str, ...]:
    """All that Presidio finds without a language model."""
    from vallum_validator.sandbox.program.presidio import _recognisers

    return tuple(sorted({entity for each in _recognisers() for entity in each.supported_entities}))


def people(source: random.Random) -> Mapping[str, Make]:
    """A maker of values for each column of people."""

    def digits(count: int) -> str:
        return "".join(source.choices(string.digits, k=count))

    def day() -> tuple[str, str]:
        return f"{source.randint(1, 12):02}", f"{source.randint(1, 28):02}"

    def held(length: int, holds: Callable[[str], bool], shape: str) -> str:
        while True:
            month, date = day()
            start = {"md": digits(2) + month + date, "dm": date + month, "cn": digits(6) + "1980" + month + date}
            number = start.get(shape, source.choice("12") + digits(2) + month if shape == "fr" else "")
            if holds(number := number + digits(length - len(number))):
                return number

    shapes = {"Norwegian identity number": "dm", "Chinese identity number": "cn", "French social security number": "fr"}
    dated = {"Polish", "Belgian", "Swedish", "South"}
    makers: dict[str, Make] = {
        kind: lambda kind=kind, length=length, holds=holds: held(  # type: ignore[misc]
            length, holds, shapes.get(kind, "md" if kind.split()[0] in dated else "")
        )
        for kind, (length, holds) in BARE.items()
    }
    first, last = ["ada", "grace", "alan", "edsger"], ["lovelace", "hopper", "turing", "dijkstra"]
    return makers | {
        "e-mail": lambda: f"{source.choice(first)}.{source.choice(last)}{digits(2)}@mail.com",
        "US taxpayer number": lambda: f"9{digits(2)}-7{digits(1)}-{digits(4)}",
        "US social security number": lambda: (
            f"{source.randint(100, 600)}-{source.randint(10, 99)}-{source.randint(1000, 9999)}"
        ),
        "Aadhaar, spaced": lambda: re.sub("(....)(?=.)", r"\1 ", makers["Indian identity number"]()),
        "Bitcoin address": lambda: base58(b"\0" + source.randbytes(20)),
        "IPv4 address": lambda: ".".join(str(source.randint(1, 254)) for _ in range(4)),
        "MAC address": lambda: ":".join(f"{source.randint(0, 255):02X}" for _ in range(6)),
        "passport": lambda: source.choice(string.ascii_uppercase) + digits(8),
        "British driving licence": lambda: (
            f"{source.choice(last)[:5].upper():9<5}{digits(1)}{day()[0]}{day()[1]}{digits(1)}AB9{source.choice('ABCDE')}{source.choice('ABCDE')}"
        ),
        "name": lambda: f"{source.choice(first)} {source.choice(last)}".title(),
    }


def base58(payload: bytes) -> str:
    """An address with its check sum."""
    check = hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, text = int.from_bytes(payload + check), ""
    while number:
        number, rest = divmod(number, 58)
        text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[rest] + text
    return "1" + text


def honest(source: random.Random) -> Mapping[str, Make]:
    """A maker of values for each column that identifies nobody."""

    def digits(count: int) -> str:
        return "".join(source.choices(string.digits, k=count))

    numbers: dict[str, Make] = {
        f"{count} digits": lambda count=count: source.choice("123456789") + digits(count - 1)  # type: ignore[misc]
        for count in range(6, 17)
    }
    letters, both = string.ascii_uppercase, string.ascii_uppercase + string.digits
    return numbers | {
        "date": lambda: f"{source.randint(1990, 2024)}-{source.randint(1, 12):02}-{source.randint(1, 28):02}",
        "uuid": lambda: str(uuid.UUID(int=source.getrandbits(128))),
        "sha1": lambda: f"{source.getrandbits(160):040x}",
        "float as text": lambda: repr(source.gauss(0, 1)),
        "code AA999999": lambda: "".join(source.choices(letters, k=2)) + digits(6),
        "code A99999999": lambda: source.choice(letters) + digits(8),
        "code of 10": lambda: "".join(source.choices(both, k=10)),
        "order 999999-9999": lambda: f"{digits(6)}-{digits(4)}",
        "version": lambda: f"{source.randint(0, 9)}.{source.randint(0, 30)}.{source.randint(0, 30)}",
        "numbers with spaces": lambda: " ".join(digits(3) for _ in range(4)),
    }


def columns(rows: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns of people, and the honest ones."""
    source = random.Random(0)
    of_people = {name: [make() for _ in range(rows)] for name, make in people(source).items()}
    made = {name: [make() for _ in range(rows)] for name, make in honest(source).items()}
    adult = pd.read_parquet(ROOT / "examples" / "data" / "adult.parquet").head(rows)
    real = {f"Adult {name}": adult[name].to_numpy() for name in adult}
    for name in ("README.md", "LICENSE", "services/validator/README.md"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line.strip()]
        real[f"lines of {name}"] = [lines[place % len(lines)] for place in range(rows)]
    return of_people, {**real, **made}


def column(values: Any) -> Any:
    """As a table holds it."""
    array = np.asarray(values)
    if array.dtype.kind in "iuf":
        return array.astype(np.float64)
    texts = np.empty(len(values), dtype=object)
    texts[:] = [None if value is None or value != value else str(value) for value in values]
    return texts


def read(name: str, values: Any, thresholds: Thresholds, reader: Any) -> tuple[float, str]:
    """Share of rows with a hit by us or the reader, and the reader's most frequent finding."""
    table = Table({name: column(values)})
    subject = subject_of(lambda _: None, {"x": {"type": "number"}}, thresholds=thresholds, evaluation=table)
    own = personal_data(subject)
    if reader is None:
        return own.share, ""
    found = second_reading(dataclasses.replace(subject, presidio=lambda: nullcontext(reader)), own)
    assert found is not None
    if found.failure:
        raise SystemExit(found.failure)
    kinds = [kind.entity for kind in found.columns.get(f"evaluation.{name}", {})]
    return found.share, ", ".join(kinds[:3])


@contextmanager
def watched() -> Iterator[list[float]]:
    """The most memory that children held at one time, in megabytes, as the only item of a list."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            held = 0
            for child in psutil.Process().children(recursive=True):
                try:
                    held += child.memory_info().rss
                except psutil.Error:
                    continue
            peak[0] = max(peak[0], held / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def costs(rule: PresidioRule, texts: list[str]) -> str:
    """What a worker with a rule takes, in words."""
    with watched() as peak:
        began = time.perf_counter()
        with open_presidio(rule, Holding(Limits(), allow_weaker_isolation=False)) as reader:
            started = time.perf_counter()
            reader.read(texts, ["note"])
            ended = time.perf_counter()
    return (
        f"{len(rule.entities)} entities: {started - began:.1f} s to start, "
        f"{1e3 * (ended - started) / len(texts):.2f} ms a text, {peak[0]:.0f} MB"
    )


def main() -> None:
    """Print the table and the costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500)
    rows = parser.parse_args().rows
    policy = switched_on()
    check_installed(policy)
    example = policy.data_privacy.presidio
    assert example is not None
    rule = example.model_copy(update={"entities": everything()})
    wide = policy.model_copy(update={"data_privacy": policy.data_privacy.model_copy(update={"presidio": rule})})
    holding = Holding(Limits(total_s=3600), allow_weaker_isolation=False)
    parts = columns(rows)
    # Not by `open_presidio`, which gives a submission less time than all of this takes.
    with holding.worker("Presidio", []) as few, holding.worker("Presidio", []) as many:
        small, large = PresidioReader(few, example), PresidioReader(many, rule)
        print(f"versions: {dict(small.versions)}, {rows} rows")
        for title, part in zip(("people", "honest"), parts, strict=True):
            print(LINE.format(title, "ours", "+ example", "+ all", "most frequent by all"))
            shares = []
            for name, values in part.items():
                own, added = read(name, values, policy, None)[0], read(name, values, policy, small)[0]
                all_of_it, kinds = read(name, values, wide, large)
                shares.append((own, added, all_of_it))
                print(LINE.format(name[:32], f"{own:.3f}", f"{added:.3f}", f"{all_of_it:.3f}", kinds), flush=True)
            above = [sum(each[place] > 0.01 for each in shares) for place in range(3)]
            print(LINE.format(f"columns of {len(part)} above 1 %", *above, ""))
    texts = [value for values in parts[1].values() for value in dict.fromkeys(column(values)) if isinstance(value, str)]
    for each in (example, rule):
        print(costs(each, random.Random(0).sample(texts, 2_000)))


if __name__ == "__main__":
    main()
