"""Measuring in a child: whatever the child does, the service gets evidence and never an exception."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from google.protobuf import json_format
from hypothesis import given, settings

from vallum_common.errors import Unavailable
from vallum_validator import wire
from vallum_validator.domain.evidence import (
    CHECK_NAMES,
    Outcome,
    SignatureMethod,
    SignatureOutcome,
    SignatureReport,
    SignatureScope,
    Step,
    SubmittedFile,
)
from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.measure import process
from vallum_validator.measure.process import ProcessMeasurer

from .fakes import ASSESSMENT, DIGEST
from .models.publishing import Publisher, entry, policy
from .test_wire import CHECKS, SCANS, SIGNATURES

THRESHOLDS = Path(__file__).parents[3] / "policies" / "thresholds.yaml"
PUBLISHERS = THRESHOLDS.with_name("publishers.yaml")
ARTIFACT = SubmittedFile("model.bin", DIGEST)
SIGNED = SignatureReport(
    SignatureOutcome.VERIFIED, "acme", SignatureMethod.KEY, "ab" * 32, SignatureScope.BUNDLE, DIGEST, "signed by acme"
)
ASSESSED = json.dumps(
    {"assessment": base64.b64encode(wire.assessment_message(ASSESSMENT).SerializeToString()).decode()}
)
BEGAN = json.dumps({"stage": "scan", "check": None, "scan": None})
LONG_S = 60.0


async def ignore(step: Step) -> None:
    """For those who do not watch."""


async def ends(process: int) -> bool:
    """Whether a process that is nobody's child here ends soon: it does some time after it was killed."""
    for _ in range(1000):
        if not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.01)
    return False


def measurer(time_limit_s: float = LONG_S) -> ProcessMeasurer:
    return ProcessMeasurer(THRESHOLDS, PUBLISHERS, "thresholds", "rules", time_limit_s)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in the place of the measuring child."""

    def put(script: str) -> None:
        path = tmp_path / "child"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return put


async def failure(time_limit_s: float = LONG_S) -> str:
    """The reason in the evidence of a measurement that failed; all of it says that nothing could be told."""
    evidence = await measurer(time_limit_s).assess(Path("bundle"), ARTIFACT, ignore)
    (file,) = evidence.scan.files
    assert (file.path, file.sha256, file.verdict) == ("model.bin", DIGEST, ScanVerdict.UNKNOWN)
    assert [(check.name, check.outcome) for check in evidence.checks] == [
        (name, Outcome.INCONCLUSIVE) for name in CHECK_NAMES
    ]
    assert (evidence.scan.rules_digest, evidence.thresholds_digest, evidence.isolation) == ("rules", "thresholds", None)
    (reason,) = {check.reason for check in evidence.checks}
    return reason


class TestChildThatFails:
    @pytest.mark.parametrize(
        ("script", "said"),
        [
            ("kill -9 $$", "was killed by SIGKILL"),
            ("kill -SEGV $$", "was killed by SIGSEGV"),
            ("exit 3", "ended with code 3"),
            ("exit 0", "ended without an answer"),
            (f"echo '{BEGAN}'", "ended without an answer"),
            (f"echo '{BEGAN}'; exit 1", "ended with code 1"),
        ],
    )
    async def test_its_death_is_the_evidence(self, child, script, said):
        child(script)
        assert said in await failure()

    @pytest.mark.parametrize(
        "line",
        [
            "garbage",
            "3",
            "[]",
            "null",
            "{}",
            '{"stage": "scan"}',
            '{"stage": "scan", "check": 3, "scan": null}',
            '{"stage": "scan", "check": {"outcome": "SUPER"}, "scan": null}',
            '{"stage": "scan", "check": {"no": "field"}, "scan": null}',
            '{"stage": "scan", "check": {"name": "x"}, "scan": null}',
            '{"assessment": 3}',
            '{"assessment": "x"}',
            '{"assessment": "/////w=="}',
            '{"assessment": "MgIQYw=="}',
        ],
    )
    async def test_answer_that_cannot_be_read_is_no_answer(self, child, line):
        child(f"cat <<'END'\n{line}\nEND")
        assert "answered what cannot be read" in await failure()

    @pytest.mark.parametrize("octets", [r"\377\376", r"\000", r"\033[2J"])
    async def test_answer_that_is_no_text_is_no_answer(self, child, octets):
        child(f"printf '{octets}\\n'")
        assert "answered what cannot be read" in await failure()

    async def test_answer_that_nests_without_end_is_no_answer(self, child):
        child("head -c 200000 /dev/zero | tr '\\0' '['; echo")
        assert "answered what cannot be read (RecursionError)" in await failure()

    async def test_line_without_end_is_not_kept(self, child, monkeypatch):
        monkeypatch.setattr(process, "_LINE_BYTES", 100_000)
        child("head -c 1000000 /dev/zero | tr '\\0' 'a'; echo; sleep 600")
        assert "answered what cannot be read (ValueError)" in await failure()

    async def test_child_that_hangs_is_killed_with_all_it_started(self, child, tmp_path):
        child(f"trap '' TERM\nsleep 600 &\necho $! > {tmp_path}/grandchild\necho '{BEGAN}'\nsleep 600")
        assert "measuring took longer than 0.5 s" in await failure(0.5)
        grandchild = int((tmp_path / "grandchild").read_text())
        assert await ends(grandchild)

    async def test_child_that_goes_on_after_its_answer_is_killed(self, child, tmp_path):
        child(f"echo $$ > {tmp_path}/pid\necho '{ASSESSED}'\nsleep 600")
        assert await measurer().assess(Path("bundle"), ARTIFACT, ignore) == ASSESSMENT
        assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))

    async def test_time_limit_that_strikes_while_progress_is_saved_is_evidence_too(self, child):
        """A cancellation let through here would end the worker, and with it the service."""
        child(f"echo '{BEGAN}'\nsleep 600")

        async def save(step: Step) -> None:
            await asyncio.Event().wait()

        evidence = await measurer(0.5).assess(Path("bundle"), ARTIFACT, save)
        assert "took longer than 0.5 s" in evidence.checks[0].reason

    async def test_trouble_of_who_watches_is_not_the_childs(self, child, tmp_path):
        child(f"echo $$ > {tmp_path}/pid\necho '{BEGAN}'\nsleep 600")

        async def save(step: Step) -> None:
            raise Unavailable("the database does not answer")

        with pytest.raises(Unavailable):
            await measurer().assess(Path("bundle"), ARTIFACT, save)
        assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))

    async def test_service_that_is_stopped_leaves_no_child(self, child, tmp_path):
        child(f"echo $$ > {tmp_path}/pid\necho '{BEGAN}'\nsleep 600")
        began = asyncio.Event()

        async def save(step: Step) -> None:
            began.set()

        work = asyncio.create_task(measurer().assess(Path("bundle"), ARTIFACT, save))
        await began.wait()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))

    @pytest.mark.parametrize("script", ["kill -9 $$", "exit 0", "echo garbage", "echo {}", "echo '{\"file\": 3}'"])
    async def test_scan_that_fails_is_unknown(self, child, script):
        child(script)
        report, rules = await measurer().scan(Path("file"), "model.bin")
        assert (report.path, report.verdict, rules) == ("model.bin", ScanVerdict.UNKNOWN, "rules")
        assert report.findings[0].rule == "measure.failed"


class TestChildThatAnswers:
    async def test_it_is_asked_with_the_bundle_and_the_thresholds(self, child, tmp_path):
        child(f"printf '%s\\n' \"$@\" > {tmp_path}/arguments")
        await measurer().assess(Path("some/bundle"), ARTIFACT, ignore)
        told = (tmp_path / "arguments").read_text().split("\n")
        assert told == ["-m", "vallum_validator.measure", "assess", "some/bundle", str(THRESHOLDS), str(PUBLISHERS), ""]

    async def test_it_is_given_no_secret(self, child, tmp_path, monkeypatch):
        monkeypatch.setenv("VALLUM_DATABASE_URL", "postgresql://validator:hunter2@127.0.0.1/validator")
        monkeypatch.setenv("VALLUM_TOKEN_FILE", "/var/lib/vallum/hunter2.token")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        child(f"tr '\\0' '\\n' < /proc/$$/environ > {tmp_path}/environment\nls -l /proc/$$/fd > {tmp_path}/descriptors")
        await measurer().assess(Path("bundle"), ARTIFACT, ignore)
        told = (tmp_path / "environment").read_text()
        assert {line.partition("=")[0] for line in told.split("\n") if line} <= {*process._ENVIRONMENT}
        assert "hunter2" not in told
        assert "socket:" not in (tmp_path / "descriptors").read_text()

    async def test_steps_are_passed_on_in_order(self, child):
        check, scan = ASSESSMENT.checks[0], ASSESSMENT.scan
        nothing = {"check": None, "scan": None}
        steps = [
            {"stage": "signature", **nothing, "signature": json_format.MessageToDict(wire.signature_message(SIGNED))},
            {"stage": "scan", **nothing},
            {"stage": "scan", **nothing, "scan": json_format.MessageToDict(wire.scan_message(scan))},
            {"stage": check.name, **nothing, "check": json_format.MessageToDict(wire.check_message(check))},
        ]
        child("cat <<'END'\n" + "\n".join([*map(json.dumps, steps), ASSESSED]) + "\nEND")
        seen = []

        async def note(step: Step) -> None:
            seen.append(step)

        assert await measurer().assess(Path("bundle"), ARTIFACT, note) == ASSESSMENT
        assert seen[0] == Step("signature", signature=SIGNED)
        assert seen[1:] == [Step("scan"), Step("scan", scan=scan), Step(check.name, check=check)]

    @given(CHECKS, SCANS, SIGNATURES)
    @settings(max_examples=40, deadline=None)
    def test_step_comes_back_from_its_line(self, check, scan, signature):
        messages = {
            "check": wire.check_message(check),
            "scan": wire.scan_message(scan),
            "signature": wire.signature_message(signature),
        }
        line = json.dumps({"stage": "x", **{name: json_format.MessageToDict(m) for name, m in messages.items()}})
        assert process._step(json.loads(line)) == Step("x", check=check, scan=scan, signature=signature)


class Runs:
    """Would make a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


class TestRealChild:
    async def test_hostile_artefact_is_measured_and_never_run(self, tmp_path):
        """Whoever signed it: a good signature tells who made a model, not what it does."""
        bundle, acme = tmp_path / "bundle", Publisher(tmp_path / "acme")
        bundle.mkdir()
        manifest = "model: {id: credit-score, version: '1', artifact: model.pkl, owner: eve}\nsignature: m.sig"
        (bundle / "vallum.yaml").write_text(manifest)
        (bundle / "model.pkl").write_bytes(pickle.dumps(Runs(tmp_path / "marker")))
        acme.sign(bundle, bundle / "m.sig")
        believed = policy(tmp_path / "policy", entry(keys=[acme.public_pem]))
        stages = []

        async def note(step: Step) -> None:
            stages.append(step.stage)

        asked = replace(measurer(), publishers=believed)
        evidence = await asked.assess(bundle, SubmittedFile("model.pkl", DIGEST), note)
        assert evidence.signature.outcome is SignatureOutcome.VERIFIED
        assert stages[:2] == ["signature", "scan"]
        assert evidence.scan.verdict is ScanVerdict.MALICIOUS
        assert {check.outcome for check in evidence.checks} == {Outcome.INCONCLUSIVE}
        *of_the_model, card = evidence.checks
        assert all("not loaded" in check.reason for check in of_the_model)
        assert card.reason == "card is missing: the manifest does not name it"
        assert [stage for stage in dict.fromkeys(stages) if stage in CHECK_NAMES] == list(CHECK_NAMES)
        assert not (tmp_path / "marker").exists()

    async def test_bundle_that_cannot_be_opened_is_evidence(self, tmp_path):
        assert "ended with code 1" in (await measurer().assess(tmp_path, ARTIFACT, ignore)).checks[0].reason

    def test_what_libraries_print_is_not_taken_for_an_answer(self, tmp_path):
        (tmp_path / "model.npy").write_bytes(b"no array")
        program = (
            "import os, sys\n"
            "from vallum_validator.measure import __main__ as child\n"
            "scan = child.scan_file\n"
            "def noisy(path, name):\n"
            '    print(\'{"file": "forged"}\', flush=True)\n'
            "    os.write(1, b'forged\\n')\n"
            "    return scan(path, name=name)\n"
            "child.scan_file = noisy\n"
            "sys.exit(child.main(['scan', sys.argv[1], 'model.npy']))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "model.npy"], capture_output=True, text=True, check=True
        )
        (line,) = done.stdout.splitlines()
        assert list(json.loads(line)) == ["file"]
        assert "forged" not in done.stdout
        assert "forged" in done.stderr
