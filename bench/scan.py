"""The scan beside other open scanners, in one run: what each finds, refuses for nothing, and costs.

    python bench/scan.py [--peers picklescan modelscan fickling hayward modelaudit] [--megabytes 1000] [--sample 20]

Each peer is installed from the package index into an environment of its own that goes with the run; one that cannot be
installed is named and left out. The hostile files are those of the validator's tests whose payload a real loader runs,
as the tests show; here nothing is loaded. Every file is one process, as a person would start it, except for Vallum's
own verdicts, which come from one run over the folder. modelaudit takes seconds for a file and sees a sample.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from services.validator.tests.corpus.generate import Entry, write_honest, write_hostile  # noqa: E402

VALLUM: Final = (Path(sys.executable).parent / "vallum", "scan", "--format", "json")
PEERS: dict[str, tuple[str, ...]] = {
    "picklescan": ("picklescan", "-p"),
    "modelscan": ("modelscan", "-p"),
    "fickling": ("fickling", "--check-safety"),
    "hayward": ("hayward", "scan"),
    "modelaudit": ("modelaudit", "scan"),
}
UNDECLARED = {"fickling": ("typing-extensions",)}
"""What a peer imports and does not ask for."""
SLOW = frozenset({"modelaudit"})
FILE_SECONDS, LARGE_SECONDS = 60, 150
STARTS = 7
ENVIRONMENT = {**os.environ, "PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1", "NO_COLOR": "1"}
LINE = "{:<11} {:>7} {:>7} {:>5} {:>5} | {:>6} {:>5} {:>5} | {:>6} | {:>7} {:>6} {:>7} | {:>6}"

Command = Sequence[str | Path]


@dataclass(frozen=True)
class Run:
    """One run of a scanner.

    Args:
        code: 0 clean, 1 refused, anything else that it could not tell or took too long.
        seconds: wall time.
        megabytes: the most that the process and its children held at one time; 0 where nobody looked.
        output: what it printed.
    """

    code: int
    seconds: float
    megabytes: float = 0.0
    output: str = ""


def run(command: Command, *paths: Path, limit_s: float = FILE_SECONDS, measured: bool = False) -> Run:
    """Scan some files."""
    start = time.perf_counter()
    with subprocess.Popen(
        [*command, *paths],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
        cwd=paths[0].parent,
    ) as process:
        with _watched(process.pid) if measured else nullcontext([0.0]) as peak:
            try:
                output, _ = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
        return Run(process.returncode, time.perf_counter() - start, peak[0], output)


@contextmanager
def _watched(pid: int) -> Iterator[list[float]]:
    """The peak of the resident memory of a process with its children, in megabytes, as the only item of a list."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            with suppress(psutil.Error):
                root = psutil.Process(pid)
                held = sum(each.memory_info().rss for each in (root, *root.children(recursive=True)))
                peak[0] = max(peak[0], held / 1e6)
            done.wait(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def install(peers: Sequence[str], folder: Path) -> dict[str, Command]:
    """The command of each peer that can be installed."""
    uv = Path(sys.executable).parent / "uv"

    def one(peer: str) -> tuple[str, Command] | None:
        home = folder / f"env-{peer}"
        make: Command = (uv, "venv", "--quiet", "--python", sys.executable, home)
        fill: Command = (uv, "pip", "install", "--quiet", "--python", home / "bin" / "python", peer)
        fill = (*fill, *UNDECLARED.get(peer, ()))
        if any(subprocess.run(step, check=False).returncode for step in (make, fill)):
            sys.stderr.write(f"{peer} could not be installed and is left out\n")
            return None
        program, *options = PEERS[peer]
        return peer, (home / "bin" / program, *options)

    with ThreadPoolExecutor(2) as pool:
        return dict(found for found in pool.map(one, peers) if found)


def large(folder: Path, megabytes: int) -> dict[str, Path]:
    """A pickle that is nearly all one array, one that is nearly all opcodes, and the smallest there is."""
    values = {
        "arrays": {"weights": np.random.default_rng(0).random(megabytes * 125_000)},
        "opcodes": {f"key {index:07d}": f"value {index}" for index in range(700_000)},
        "tiny": {"a": 1},
    }
    files = {name: folder / f"{name}.pkl" for name in values}
    for name, value in values.items():
        with files[name].open("wb") as stream:
            pickle.dump(value, stream)
    return files


def hash_seconds(file: Path) -> float:
    """What SHA-256 alone takes over the same bytes, the file being in the page cache."""
    start = time.perf_counter()
    with file.open("rb") as stream:
        hashlib.file_digest(stream, "sha256")
    return time.perf_counter() - start


def judged(command: Command, files: Sequence[Path]) -> Counter[str]:
    """How many files a peer refuses, calls clean, and cannot tell, by its exit code."""
    with ThreadPoolExecutor(2) as pool:
        codes = [result.code for result in pool.map(lambda file: run(command, file), files)]
    return Counter({0: "clean", 1: "refused"}.get(code, "error") for code in codes)


def judged_by_us(files: Sequence[Path]) -> Counter[str]:
    """The verdicts of one run over the files."""
    result = run(VALLUM, *files, limit_s=600)
    return Counter(report["verdict"] for report in json.loads(result.output)["files"])


def costs(command: Command, sizes: dict[str, Path], floors: dict[str, float]) -> list[str]:
    """Start-up, throughput and memory, as they go into the table."""
    start_s = statistics.median(run(command, sizes["tiny"]).seconds for _ in range(STARTS))
    results = {}
    for name in ("arrays", "opcodes"):
        results[name] = run(command, sizes[name], limit_s=LARGE_SECONDS, measured=True)
        if results[name].seconds < LARGE_SECONDS / 10:
            again = run(command, sizes[name], limit_s=LARGE_SECONDS, measured=True)
            results[name] = min(results[name], again, key=lambda each: each.seconds)
    speed = {name: sizes[name].stat().st_size / 1e6 / result.seconds for name, result in results.items()}
    return [
        f"{start_s * 1000:.0f}",
        f"{speed['arrays']:.0f}",
        f"{(results['arrays'].seconds - start_s) / floors['arrays']:.2f}",
        f"{speed['opcodes']:.1f}",
        f"{max(result.megabytes for result in results.values()):.0f}",
    ]


def row(tool: str, hostile: Counter[str], honest: Counter[str], cost: Sequence[str]) -> str:
    """A line of the table."""
    sure, unsure = ("MALICIOUS", "UNKNOWN") if tool == "vallum" else ("refused", "error")
    clean = "CLEAN" if tool == "vallum" else "clean"
    false = honest[sure] if tool != "vallum" else honest[sure] + honest[unsure]
    cells = [sum(hostile.values()), hostile[sure], hostile[unsure], hostile[clean], sum(honest.values()), false]
    return LINE.format(tool, *cells, honest["error"], *cost)


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """About that many of the files, evenly from all of them."""
    return list(files[:: max(1, len(files) // count)])


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--megabytes", type=int, default=1000, help="of the file that is nearly all one array")
    parser.add_argument("--honest", type=int, default=150, help="files for each peer; Vallum sees all")
    parser.add_argument("--sample", type=int, default=20, help="hostile and honest files for a slow peer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vallum-bench-") as name:
        folder = Path(name)
        entries = [entry for entry in write_hostile(folder) if entry.loader]
        bad = [folder / entry.file for entry in entries]
        good = [folder / entry.file for entry in write_honest(folder)]
        sizes = large(folder, options.megabytes)
        floors = {key: min(hash_seconds(file) for _ in range(3)) for key, file in sizes.items()}
        tools = install(options.peers, folder)
        print(f"{len(bad)} files whose payload runs, {len(good)} honest ones; one process for each file and peer")
        print(LINE.format("", "hostile", "refused", "error", "clean", "honest", "false", "error", "start", *_UNITS))
        print(row("vallum", judged_by_us(bad), judged_by_us(good), costs(VALLUM, sizes, floors)), flush=True)
        for tool, command in tools.items():
            if run(command, sizes["tiny"]).code != 0:
                # It does not even run: its exit code would look like a refusal of everything.
                print(f"{tool:<11} refuses the pickle of a dict with one number, and is left out")
                continue
            count = options.sample if tool in SLOW else options.honest
            hostile = judged(command, spread(bad, count) if tool in SLOW else bad)
            print(row(tool, hostile, judged(command, spread(good, count)), costs(command, sizes, floors)), flush=True)
        _summary(entries, sizes, floors)


_UNITS = ("MB/s", "x hash", "MB/s", "MB")


def _summary(entries: Sequence[Entry], sizes: dict[str, Path], floors: dict[str, float]) -> None:
    rate = sizes["arrays"].stat().st_size / 1e6 / floors["arrays"]
    ran = sum(os.path.lexists(entry.marker) for entry in entries)
    print(f"\nstart in ms; first MB/s and 'x hash' (without start, by SHA-256 alone, {rate:.0f} MB/s) on one array of")
    print(
        f"{sizes['arrays'].stat().st_size / 1e6:.0f} MB, second on {sizes['opcodes'].stat().st_size / 1e6:.0f} MB of",
        end=" ",
    )
    print("opcodes; MB is the peak of the process with its children.")
    print("vallum: 'refused' is MALICIOUS, 'error' is UNKNOWN, which closes the gate, too; 'false' counts both.")
    print(f"{', '.join(SLOW)}: a sample of the files only, since one takes seconds.")
    print("peers: 'error' is any other exit code, and more than a minute; refused and false are exit code 1.")
    print(f"payloads that ran while all of them scanned: {ran}")


if __name__ == "__main__":
    main()
