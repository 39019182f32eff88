"""Files whose payload runs when the real loader opens them: none is CLEAN, and scanning runs none of them."""

from __future__ import annotations

import gzip
import lzma
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lz4.frame
import pytest
import zstandard

from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.scan import scan_file

from .corpus import Attack, Payload, every_attack
from .corpus.assembly import Call, stream
from .corpus.generate import Entry, write_hostile, write_index
from .corpus.honest import honest_files

ROOT = Path(__file__).resolve().parents[3]
LEAST = 440
LEAST_THAT_RUN = 260
LEAST_MALICIOUS = 0.95
"""Of those that run. Source: the issue that asked for the scanner."""

ATTACKS = every_attack()
RANK = {ScanVerdict.CLEAN: 0, ScanVerdict.UNKNOWN: 1, ScanVerdict.MALICIOUS: 2}


@dataclass(frozen=True)
class Scanned:
    """The corpus on disk, and what the scan says of it."""

    folder: Path
    entries: list[Entry]
    reports: dict[str, FileReport]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    folder = tmp_path_factory.mktemp("attacks")
    entries = write_hostile(folder)
    write_index(folder, entries)
    return Scanned(folder, entries, {entry.name: scan_file(folder / entry.file) for entry in entries})


@pytest.fixture(scope="module")
def ran(scanned: Scanned) -> set[str]:
    """The attacks whose payload a real loader runs, by name. They are loaded after everything has been scanned."""
    assert not [entry.name for entry in scanned.entries if os.path.lexists(entry.marker)], "scanning ran a payload"
    command = [sys.executable, "-W", "ignore", "-m", "services.validator.tests.corpus.run", str(scanned.folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, check=True, cwd=ROOT)
    markers = set(result.stdout.splitlines())
    return {entry.name for entry in scanned.entries if entry.marker in markers}


def test_names_are_unique_and_every_family_is_there() -> None:
    assert [name for name, count in Counter(attack.name for attack in ATTACKS).items() if count > 1] == []
    families = Counter(attack.family for attack in ATTACKS)
    assert len(ATTACKS) >= LEAST
    assert min(families.values()) >= 10, families


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_verdict_is_as_bad_as_it_must_be(attack: Attack, scanned: Scanned) -> None:
    report = scanned.reports[attack.name]
    expected = ScanVerdict(attack.expected)
    assert RANK[report.verdict] >= RANK[expected], [finding.message for finding in report.findings]
    assert report.findings


def test_every_payload_that_is_said_to_run_runs(scanned: Scanned, ran: set[str]) -> None:
    assert [entry.name for entry in scanned.entries if entry.loader and entry.name not in ran] == []
    assert len(ran) >= LEAST_THAT_RUN


def test_no_attack_that_runs_is_clean_and_nearly_all_are_malicious(scanned: Scanned, ran: set[str]) -> None:
    verdicts = Counter(scanned.reports[name].verdict for name in ran)
    assert verdicts[ScanVerdict.CLEAN] == 0
    assert verdicts[ScanVerdict.MALICIOUS] >= LEAST_MALICIOUS * len(ran), verdicts


def test_honest_neighbours_of_the_attacks_are_clean(tmp_path: Path) -> None:
    refused = {}
    for name, content in honest_files(estimators=False):
        (tmp_path / name).write_bytes(content)
        report = scan_file(tmp_path / name)
        if report.verdict is not ScanVerdict.CLEAN:
            refused[name] = [finding.message for finding in report.findings]
    assert refused == {}


@pytest.mark.parametrize("pack", [lz4.frame.compress, zstandard.compress, gzip.compress, lzma.compress])
def test_what_is_packed_is_judged_in_a_process_that_has_imported_nothing_yet(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    verdicts = []
    for name, content in (("a", Payload("x").pickle), ("b", pickle.dumps([1]))):
        (tmp_path / name).write_bytes(pack(content))
        program = "import pathlib, vallum_validator.scan as scan; print(scan.scan_file(pathlib.Path({!r})).verdict)"
        command = [sys.executable, "-c", program.format(name)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path)
        verdicts.append(result.stdout.strip().rpartition(".")[2])
    assert verdicts == ["MALICIOUS", "CLEAN"]


def test_finding_says_where_and_what(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(b"\x80\x02cos\nsystem\n(X\x02\0\0\0idtR.")
    first, second = scan_file(file).findings
    assert (first.rule, first.offset) == ("pickle.global-denied", 2)
    assert "'os.system'" in first.message
    assert (second.rule, second.offset) == ("pickle.call-denied", 22)
    assert "REDUCE" in second.message
    assert "('id',)" in second.message


def test_building_an_attack_runs_nothing(tmp_path: Path) -> None:
    payload = Payload(str(tmp_path / "marker"))
    for attack in ATTACKS:
        attack.build(payload)
    stream(Call("os:system", payload.shell))
    assert list(tmp_path.iterdir()) == []
