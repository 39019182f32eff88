"""Whatever a model does instead of answering, an assessment ends, in time, with each check that needed it INCONCLUSIVE
by name: never a PASS, never a hang."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vallum_common.bundle import Manifest
from vallum_validator import assess as assessment
from vallum_validator.assess import assess
from vallum_validator.checks.thresholds import Thresholds, load_thresholds
from vallum_validator.domain.evidence import CHECK_NAMES, Outcome
from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.sandbox.child import Limits
from vallum_validator.scan import scan_file

from .models.bundles import LABEL, manifest_of, write_table
from .models.hostile import write_model

ROWS = 300
BEHAVIOUR = CHECK_NAMES[:3]
LIMITS = Limits(memory_bytes=512 * 1024**2, load_s=20.0, call_s=2.0, total_s=60.0)
PROBABILITIES = "classes_ = [0, 1]\ndef predict_proba(self, frame):\n    return {}"
ANSWER = "return [int(one > 0) for one in frame['a']]"
LATE = f"asked = getattr(self, 'asked', 0) + 1\nself.asked = asked\nif asked <= 3:\n    {ANSWER}\n"
"""Behaves for the probe, which asks twice, and for the first call of a check."""

MISBEHAVIOUR = {
    "sleeps": ("import time; time.sleep(600)", "", "took longer than it may"),
    "sleeps_later": (f"{LATE}import time; time.sleep(600)", "", "took longer than it may"),
    "crashes": (f"{LATE}import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "", "the model crashed (SIGSEGV)"),
    "leaks": (
        f"self.kept = getattr(self, 'kept', []) + [bytearray(b'x' * (200 * 1024**2))]\n{ANSWER}",
        "",
        "memory",
    ),
    "not_a_number": (ANSWER, PROBABILITIES.format("[[float('nan'), 1.0]] * len(frame)"), "NaN"),
    "too_few": ("return [0] * (rows - 1)", "", "labels to 300 rows"),
    "too_wide": ("return [[0, 1]] * rows", "", "not one answer per row"),
    "wrong_sum": (ANSWER, PROBABILITIES.format("[[0.4, 0.4]] * len(frame)"), "sum to 0.8, not to one"),
    "unsteady": ("import os\nreturn [os.urandom(1)[0] % 2 for _ in range(rows)]", "", "different answers to the same"),
    "unsteady_later": (f"{LATE}import os\nreturn [os.urandom(1)[0] % 2 for _ in range(rows)]", "", "answer"),
    "place": ("return [place % 2 for place in range(rows)]", "", "different answers to the same rows"),
}


@pytest.fixture(scope="module")
def thresholds() -> Thresholds:
    return load_thresholds(Path(__file__).parents[3] / "policies" / "thresholds.yaml")


def bundle(root: Path, body: str, members: str) -> tuple[Path, Manifest]:
    """A bundle with all its data, whose model misbehaves."""
    write_model(root / "model.pickle", body, members=members)
    random = np.random.default_rng(0)
    for name in ("evaluation", "members", "population"):
        values = random.normal(size=ROWS)
        frame = pd.DataFrame({"a": values, "group": random.integers(0, 2, ROWS)})
        write_table(root / f"{name}.parquet", frame, (values > 0).astype(int))
    manifest = manifest_of(
        {"a": {"type": "number"}},
        artifact="model.pickle",
        sensitive=["group"],
        evaluation={"file": "evaluation.parquet", "label": LABEL, "positive": 1},
        members={"file": "members.parquet"},
        population={"file": "population.parquet"},
    )
    return root, manifest


def missed(path: Path, *, name: str) -> FileReport:
    """The scan's report as if it had missed what a hostile pickle does; data files are scanned as they are."""
    report = scan_file(path, name=name)
    return dataclasses.replace(report, verdict=ScanVerdict.CLEAN) if name == "model.pickle" else report


@pytest.mark.parametrize("kind", MISBEHAVIOUR)
def test_each_check_is_inconclusive_by_name_for_a_model_that(
    kind: str, tmp_path: Path, thresholds: Thresholds, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, members, reason = MISBEHAVIOUR[kind]
    monkeypatch.setattr(assessment, "scan_file", missed)
    result = assess(*bundle(tmp_path, body, members), thresholds=thresholds, seed=1, only=BEHAVIOUR, limits=LIMITS)
    assert [(check.name, check.outcome) for check in result.checks] == [
        (name, Outcome.INCONCLUSIVE) for name in BEHAVIOUR
    ]
    for check in result.checks:
        assert reason in check.reason, check
        assert check.value is None


def test_a_model_that_behaves_in_the_same_bundle_is_measured(
    tmp_path: Path, thresholds: Thresholds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assessment, "scan_file", missed)
    root, manifest = bundle(tmp_path, ANSWER, "")
    result = assess(root, manifest, thresholds=thresholds, seed=1, only=BEHAVIOUR)
    assert all(check.value is not None for check in result.checks)
