"""The scan beside other open scanners, in one run: what each finds, refuses for nothing, and costs.

    python bench/scan.py [--peers picklescan modelscan fickling hayward modelaudit] [--honest 40] [--megabytes 200]

Each peer is installed with pip into an environment of its own that goes with the run; one that cannot be installed is
named and left out. The hostile files are those of the validator's tests, where each is shown to run its payload.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parent.parent / "services" / "validator" / "tests"
OURS = (
    "import sys, pathlib\nfrom vallum_validator.scan import scan_file\n"
    "verdict = scan_file(pathlib.Path(sys.argv[1])).verdict.value\n"
    "sys.exit({'CLEAN': 0, 'MALICIOUS': 1}.get(verdict, 2))\n"
)
PEERS: dict[str, list[str]] = {
    "picklescan": ["picklescan", "-p"],
    "modelscan": ["modelscan", "-p"],
    "fickling": ["fickling", "--check-safety"],
    "hayward": ["hayward", "scan"],
    "modelaudit": ["modelaudit", "scan"],
}
SECONDS = 120


@dataclass(frozen=True)
class Run:
    """One run of a scanner.

    Args:
        code: 0 clean, anything else not.
        seconds: wall time.
        megabytes: peak resident memory.
    """

    code: int
    seconds: float
    megabytes: float


def run(command: Sequence[str | Path], file: Path) -> Run:
    """Scan one file."""
    environment = {**os.environ, "PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd=file.parent
    )
    deadline, peak = start + SECONDS, 0.0
    while True:
        child, status = os.waitpid(process.pid, os.WNOHANG)
        if child:
            break
        with contextlib.suppress(OSError, IndexError):
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            peak = max(peak, pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
        if time.perf_counter() > deadline:
            process.kill()
        time.sleep(0.002)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(process.returncode, time.perf_counter() - start, peak)


def module(path: Path) -> ModuleType:
    """A test module, loaded by its path."""
    specification = importlib.util.spec_from_file_location(f"bench_{path.stem}", path)
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = loaded
    specification.loader.exec_module(loaded)
    return loaded


def hostile(folder: Path) -> list[Path]:
    """The files of the test corpus whose loader runs their payload; none is loaded here."""
    attacks = module(TESTS / "corpus" / "attacks.py")
    marker = str(folder / "marker")
    found = [attacks.Attack(name, attacks.stream(call)) for name, call in attacks.callables(marker)]
    found += [attack for make in (attacks.tricks, attacks.containers) for attack in make(marker) if attack.loader]
    suffix = {"joblib": ".joblib", "numpy": ".npy", "npz": ".npz", "torch-zip": ".pt"}
    files = []
    for index, attack in enumerate(found):
        files.append(folder / f"hostile{index}{suffix.get(attack.loader, '.pkl')}")
        files[-1].write_bytes(attack.data)
    return files


def honest(folder: Path, count: int) -> list[Path]:
    """Fitted scikit-learn estimators as pickle and compressed joblib."""
    tests = module(TESTS / "test_scan_honest.py")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimators = list(tests.fitted_estimators())
    chosen = estimators[:: max(1, 2 * len(estimators) // count)]
    files = []
    for name, estimator in chosen:
        for suffix, content in (
            (".pkl", pickle.dumps(estimator)),
            (".joblib", tests.joblib_bytes(estimator, compress=3)),
        ):
            files.append(folder / f"{name}{suffix}")
            files[-1].write_bytes(content)
    return files


def install(peers: Sequence[str], folder: Path) -> Iterator[tuple[str, list[str | Path]]]:
    """The command of each peer that can be installed."""
    for peer in peers:
        home = folder / f"env-{peer}"
        made = subprocess.run([sys.executable, "-m", "venv", home], check=False).returncode == 0
        pip = [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", peer]
        if made and subprocess.run(pip, check=False).returncode == 0:
            program, *options = PEERS[peer]
            yield peer, [home / "bin" / program, *options]
        else:
            print(f"{peer} could not be installed and is left out", file=sys.stderr)


def large(folder: Path, megabytes: int) -> dict[str, Path]:
    """A pickle that is nearly all one array, and one that is nearly all opcodes."""
    values: dict[str, Any] = {
        "arrays": {"weights": np.random.default_rng(0).random(megabytes * 125_000)},
        "opcodes": {f"key {index:07d}": f"value {index}" for index in range(700_000)},
    }
    files = {}
    for name, value in values.items():
        files[name] = folder / f"{name}.pkl"
        with files[name].open("wb") as stream:
            pickle.dump(value, stream)
    return files


def hash_seconds(file: Path) -> float:
    """What SHA-256 alone takes over the same bytes, the file being in the page cache."""
    start = time.perf_counter()
    with file.open("rb") as stream:
        hashlib.file_digest(stream, "sha256")
    return time.perf_counter() - start


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=["picklescan", "modelscan", "fickling", "hayward"], choices=PEERS)
    parser.add_argument("--honest", type=int, default=40)
    parser.add_argument("--megabytes", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vallum-bench-") as name:
        folder = Path(name)
        bad, good, sizes = hostile(folder), honest(folder, options.honest), large(folder, options.megabytes)
        tools: dict[str, list[str | Path]] = {"vallum": [sys.executable, "-c", OURS]}
        tools.update(install(options.peers, folder))
        floors = {key: min(hash_seconds(file) for _ in range(3)) for key, file in sizes.items()}
        shape = "{:<11} {:>9} {:>9} {:>9} {:>9} {:>12} {:>12} {:>8}"
        print(f"{len(bad)} hostile files, {len(good)} honest; times of one process each")
        print(shape.format("", "refused", "clean", "false", "start ms", "array MB/s", "opcode MB/s", "peak MB"))
        for tool, command in tools.items():
            on_bad, on_good = [run(command, file) for file in bad], [run(command, file) for file in good]
            on_large = {
                key: min((run(command, file) for _ in range(2)), key=lambda r: r.seconds) for key, file in sizes.items()
            }
            speeds = {key: sizes[key].stat().st_size / 1e6 / result.seconds for key, result in on_large.items()}
            print(
                shape.format(
                    tool,
                    sum(result.code != 0 for result in on_bad),
                    sum(result.code == 0 for result in on_bad),
                    sum(result.code != 0 for result in on_good),
                    round(1000 * statistics.median(result.seconds for result in on_good)),
                    round(speeds["arrays"]),
                    round(speeds["opcodes"], 1),
                    round(max(result.megabytes for result in on_large.values())),
                ),
                flush=True,
            )
        rates = {key: sizes[key].stat().st_size / 1e6 / seconds for key, seconds in floors.items()}
        print(f"SHA-256 alone: {rates['arrays']:.0f} MB/s; a payload ran: {int((folder / 'marker').exists())}")


if __name__ == "__main__":
    main()
