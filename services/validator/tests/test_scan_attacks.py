"""Files whose payload runs when the real loader opens them: every one is MALICIOUS, and scanning runs none of them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vallum_validator.domain import ScanVerdict
from vallum_validator.scan import scan_file

CORPUS = Path(__file__).with_name("corpus")


def _corpus(name: str) -> ModuleType:
    """A module of the corpus, which is no package: each of its files can be run on its own."""
    specification = importlib.util.spec_from_file_location(f"scan_corpus_{name}", CORPUS / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


attacks = _corpus("attacks")
LOAD = CORPUS / "run.py"
LEAST_THAT_RUN = 130


@dataclass(frozen=True)
class Sample:
    name: str
    file: Path
    loader: str
    marker: str


def _attacks(marker: str) -> Iterator[Any]:
    for name, call in attacks.callables(marker):
        yield attacks.Attack(f"call {name}", attacks.stream(call))
    yield from attacks.tricks(marker)
    yield from attacks.containers(marker)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("attacks")
    made = []
    for index in range(sum(1 for _ in _attacks("x"))):
        marker = folder / f"marker{index}"
        attack = next(attack for place, attack in enumerate(_attacks(str(marker))) if place == index)
        file = folder / f"file{index}"
        file.write_bytes(attack.data)
        made.append(Sample(attack.name, file, attack.loader, str(marker)))
    return made


def test_no_attack_is_clean_those_that_run_are_malicious_and_scanning_runs_none(samples: list[Sample]) -> None:
    verdicts = {sample.name: scan_file(sample.file).verdict for sample in samples}
    assert not [sample.name for sample in samples if os.path.lexists(sample.marker)], "scanning ran a payload"

    folder = samples[0].file.parent
    index = [[sample.file.name, sample.loader, sample.marker] for sample in samples if sample.loader]
    (folder / "index.json").write_text(json.dumps(index))
    result = subprocess.run([sys.executable, LOAD, folder], capture_output=True, text=True, timeout=240, check=True)
    ran = set(result.stdout.split())

    assert [sample.name for sample in samples if sample.loader and sample.marker not in ran] == []
    assert len(ran) >= LEAST_THAT_RUN
    assert len(samples) >= 120
    assert {name: verdict for name, verdict in verdicts.items() if verdict is not ScanVerdict.MALICIOUS} == {}


@pytest.mark.parametrize(
    ("advisory", "data"),
    [
        ("protectai/modelscan#85: names through the memo", b"\x80\x02cos\nsystem\nq\x050h\x05(X\x01\0\0\0xtR."),
        ("mmaitre314/picklescan#66: importlib", attacks.stream(attacks.Call("importlib:import_module", "os"))),
        ("mmaitre314/picklescan#69: mailcap", attacks.stream(attacks.Call("mailcap:findmatch", {}, "x"))),
        ("GHSA picklescan: pip main", attacks.stream(attacks.Call("pip:main", ["install", "x"]))),
        ("GHSA picklescan: numpy.f2py", attacks.stream(attacks.Call("numpy.f2py.crackfortran:myeval", "1"))),
        (
            "GHSA picklescan: torch bottleneck",
            attacks.stream(attacks.Call("torch.utils.bottleneck.__main__:run_cprofile", "1", {})),
        ),
        ("GHSA picklescan: torch collect_env", attacks.stream(attacks.Call("torch.utils.collect_env:run", "id"))),
        ("GHSA picklescan: idlelib", attacks.stream(attacks.Call("idlelib.run:Executive.runcode", None, "1"))),
        ("GHSA picklescan: lib2to3", attacks.stream(attacks.Call("lib2to3.pgen2.grammar:Grammar.loads", None, b""))),
        ("torch.fx wrapper", attacks.stream(attacks.Call("torch.fx.graph_module:_exec_with_source", "1", {}))),
        ("sympy", attacks.stream(attacks.Call("sympy:sympify", "1"))),
        ("dill", attacks.stream(attacks.Call("dill:loads", b""))),
        ("pandas.eval", attacks.stream(attacks.Call("pandas:eval", "@x"))),
        ("mlflow", attacks.stream(attacks.Call("mlflow.projects.backend.local:_run_entry_point", "id", ".", "1", "2"))),
        ("CVE-2025-1716: pip", attacks.stream(attacks.Call("pip._internal.cli.main:main", ["install", "x"]))),
        ("function by value", attacks.stream(attacks.Call("cloudpickle.cloudpickle:_builtin_type", "CodeType"))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_published_bypass_is_malicious(advisory: str, data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(data)
    assert scan_file(file).verdict is ScanVerdict.MALICIOUS, advisory


def test_finding_says_where_and_what(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(b"\x80\x02cos\nsystem\n(X\x02\0\0\0idtR.")
    first, second = scan_file(file).findings
    assert (first.rule, first.offset) == ("pickle.global-denied", 2)
    assert "'os.system'" in first.message
    assert (second.rule, second.offset) == ("pickle.call-denied", 22)
    assert "REDUCE" in second.message
    assert "('id',)" in second.message
