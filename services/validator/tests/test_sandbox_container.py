"""The sandbox under what container engines and older kernels refuse: it holds as everywhere, or nothing is run and why
is told. The conditions are real, see `models.engine`."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from vallum.validator.v1 import events_pb2
from vallum_validator import wire
from vallum_validator.domain.evidence import Assessment, Outcome
from vallum_validator.sandbox import refusals
from vallum_validator.sandbox.isolation import FULL_LANDLOCK_ABI, kernel_landlock_abi

from .models.engine import CONDITIONS, DOCKER, DOCKER_WITH_SYS_PTRACE, FULL, REFUSED, SCAN_REFUSED
from .models.hostile import ATTEMPTS

pytestmark = pytest.mark.skipif(
    kernel_landlock_abi() < FULL_LANDLOCK_ABI or os.uname().machine not in ("x86_64", "aarch64"),
    reason="this kernel has less than what the conditions take away",
)

HOUSE = Path(__file__).parents[3]
POLICIES = HOUSE / "policies"
WINE = HOUSE / "examples" / "wine"
SECONDS = 300
"""No test waits so long unless something hangs, which is a failure."""
ASK = """
import json, sys
from pathlib import Path
from vallum_common.errors import VallumError
from vallum_validator.sandbox.process import Worker
from vallum_validator.scan import scan_file
try:
    with Worker("the model", []) as worker:
        told = ["held", worker.isolation.mechanism, *worker.isolation.degraded]
except VallumError as error:
    told = [type(error).__name__, error.message]
reports = [scan_file(Path(path)) for path in sys.argv[1:]]
found = [[one.verdict.value, [finding.rule for finding in one.findings]] for one in reports]
print(json.dumps([told, found]))
"""
REASONS = {
    DOCKER: "pidfd_getfd is refused (EPERM), as in Docker and containerd without CAP_SYS_PTRACE",
    "landlock unknown": "landlock_create_ruleset is refused (ENOSYS)",
    "landlock off": "Landlock ABI 0, a model is run under 6",
    "seccomp refused": "seccomp with notification is refused (EPERM)",
    "seccomp unknown": "seccomp with notification is refused (ENOSYS)",
    "own filter refused": "could reach the network, system calls that no filter refuses; nothing was run",
    "pidfd_open unknown": "pidfd_open is refused (ENOSYS)",
    "memory of the worker not to be read": "process_vm_readv is refused (EPERM)",
    "memory of the worker not to be written": "process_vm_writev is refused (EPERM)",
    "openat2 unknown": "openat2 is refused (ENOSYS)",
}
"""What an operator is told; elsewhere that there is no sandbox, and where to read on."""
LANDLOCK_AWAY = ("landlock unknown", "landlock off", "landlock refused at last")


class _Nasty:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """An honest file, an honest one of a format that is read twice, and a hostile one."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "honest.pkl").write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))
    safetensors.numpy.save_file({"a": np.zeros((3, 4), np.float32)}, folder / "twice.safetensors")
    (folder / "hostile.pkl").write_bytes(pickle.dumps(_Nasty()))
    return [str(folder / name) for name in ("honest.pkl", "twice.safetensors", "hostile.pkl")]


def under(condition: str, *command: str) -> subprocess.CompletedProcess[str]:
    engine = (sys.executable, "-m", "services.validator.tests.models.engine", condition)
    return subprocess.run(
        (*engine, sys.executable, *command), cwd=HOUSE, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def asked(condition: str, files: Sequence[str]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """What became of a worker, and the verdict and rules of each file."""
    done = under(condition, "-c", ASK, *files)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    told, found = json.loads(done.stdout.splitlines()[-1])
    return told, [(verdict, rules) for verdict, rules in found]


def assessed(condition: str) -> Assessment:
    """What the service's measuring process says of the wine bundle."""
    policies = [str(POLICIES / name) for name in ("thresholds.yaml", "publishers.yaml")]
    done = under(condition, "-m", "vallum_validator.measure", "assess", str(WINE), *policies)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    content = base64.b64decode(json.loads(done.stdout.splitlines()[-1])["assessment"])
    return wire.assessment_from(events_pb2.ValidationCompleted.FromString(content))


def test_every_escape_fails_under_dockers_default_profile_too() -> None:
    """All of `test_sandbox_escape`, with no capability, no new privileges and the engine's filter below ours."""
    tests = "services/validator/tests/test_sandbox_escape.py"
    only = ("-k", "test_the_sandbox_refuses_to")
    done = under(DOCKER_WITH_SYS_PTRACE, "-m", "pytest", "-v", "-p", "no:cacheprovider", *only, tests)
    assert f"{len(ATTEMPTS)} passed" in done.stdout, done.stdout


@pytest.mark.parametrize("condition", FULL)
def test_everything_works_under(condition: str, files: list[str]) -> None:
    told, found = asked(condition, files)
    assert told == ["held", "sandlock"]
    assert found == [("CLEAN", []), ("CLEAN", []), ("MALICIOUS", ["pickle.global-denied", "pickle.call-denied"])]


@pytest.mark.parametrize("condition", REFUSED)
def test_nothing_is_run_and_the_reason_is_told_under(condition: str, files: list[str]) -> None:
    (kind, message), found = asked(condition, files)
    assert kind == "Unavailable"
    assert REASONS.get(condition, "the sandbox could not be made here") in message
    assert "nothing was run" in message or "a model is run under" in message
    note = ["scan.unconfined"] if condition in LANDLOCK_AWAY else []
    assert found == [
        ("CLEAN", note),
        ("UNKNOWN", [*note, "reference.unavailable"]),
        ("MALICIOUS", [*note, "pickle.global-denied", "pickle.call-denied"]),
    ]


@pytest.mark.parametrize("condition", SCAN_REFUSED)
def test_no_file_is_judged_by_a_process_that_cannot_be_confined_under(condition: str, files: list[str]) -> None:
    _, found = asked(condition, files)
    assert found == [("UNKNOWN", ["scan.failed"])] * len(files)


@pytest.mark.parametrize("condition", [DOCKER, "landlock unknown", "seccomp refused"])
def test_behaviour_is_inconclusive_under(condition: str) -> None:
    assessment = assessed(condition)
    assert assessment.isolation is None
    behaviour = [check for check in assessment.checks if check.name != "transparency"]
    assert {check.outcome for check in behaviour} == {Outcome.INCONCLUSIVE}
    assert all(REASONS[condition] in check.reason for check in behaviour)


def test_the_command_says_once_that_landlock_did_not_hold_the_scan(files: list[str]) -> None:
    command = "from vallum_client.cli.main import main; main()"
    done = under("landlock unknown", "-c", command, "scan", *files)
    told = " ".join(done.stdout.split())
    assert "scan.unconfined, 3 of 3 files: a parser that this file took over could open files of the user" in told
    assert "Landlock is refused here (ENOSYS)" in told
    assert (done.returncode, done.stdout.count("scan.unconfined"), done.stderr) == (1, 1, "")


def test_a_bundle_is_measured_under_dockers_default_profile() -> None:
    assessment = assessed(DOCKER_WITH_SYS_PTRACE)
    assert assessment.isolation is not None
    assert (assessment.isolation.mechanism, assessment.isolation.degraded) == ("sandlock", ())
    robustness = next(check for check in assessment.checks if check.name == "adversarial_robustness")
    assert robustness.value is not None


def test_what_is_not_refused_is_not_blamed_and_asking_leaves_nothing_open() -> None:
    before = os.listdir("/proc/self/fd")
    assert refusals.refusals() == ()
    assert refusals.explained("gone") == "gone; docs/sandbox.md tells what it needs, in a container too"
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(("scope", "blamed"), [("1", False), ("2", True), ("3", True), ("", False)])
def test_a_kernel_that_lets_administrators_alone_see_into_processes_is_blamed(
    scope: str, blamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ptrace_scope").write_text(scope)
    monkeypatch.setattr(refusals, "_YAMA", tmp_path / "ptrace_scope")
    assert any(f"ptrace_scope is {scope}" in reason for reason in refusals.refusals()) == blamed


@pytest.mark.parametrize("condition", FULL)
def test_the_condition_refuses_what_it_says(condition: str) -> None:
    """One that took nothing away would let everything work for nothing; where nothing works, it took something."""
    place = int(os.uname().machine == "aarch64")
    expected = {
        number: refusal.error
        for refusal in CONDITIONS[condition]
        if refusal.argument is None and (number := refusal.numbers[place]) is not None
    }
    calls = (
        "import ctypes, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "for number in map(int, sys.argv[1:]):\n"
        "    assert libc.syscall(number, -1, -1, -1, -1, -1, -1) == -1\n    print(number, ctypes.get_errno())\n"
    )
    done = under(condition, "-c", calls, *map(str, expected))
    assert expected
    assert dict(map(int, line.split()) for line in done.stdout.splitlines()) == expected, done.stderr
