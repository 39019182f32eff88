"""Second opinions: other scanners, asked as programs, whose word can only close the gate and never open it.

They work by deny-lists, so what they pass proves nothing, and what they refuse is a reason to look: the file is
UNKNOWN, not MALICIOUS, because a hit of theirs comes with no place in the bytes that we could stand for. That they
fail, crash or take too long is noted and changes nothing; unless they are asked for, they are not even looked for.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.domain.findings import FileReport, Finding, ScanVerdict
from vallum_validator.scan.context import shown
from vallum_validator.scan.rules import RULES

_SECONDS: Final = 60.0
_MEMORY_BYTES: Final = 4 * 1024**3
_OUTPUT_BYTES: Final = 4 * 1024**2
_HITS_SHOWN: Final = 3
_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")


@dataclasses.dataclass(frozen=True, slots=True)
class Opinion:
    """A scanner that can be asked.

    Args:
        name: of the program, and of its rule.
        command: that scans the file at `{}`.
        hits: what it refuses, from exit code and output; `None` where that is no answer of this program.
    """

    name: str
    command: tuple[str, ...]
    hits: Callable[[int, str], Sequence[str] | None]


def _picklescan(code: int, output: str) -> Sequence[str] | None:
    """Exit codes of picklescan 1.0: 0 nothing, 1 something dangerous, 2 an error. Python crashes with 1, too."""
    lines = output.splitlines()
    if code not in (0, 1) or not any(line.startswith("Infected files:") for line in lines):
        return None
    return [line.removesuffix(" FOUND").rpartition(": ")[2] for line in lines if line.endswith(" FOUND")]


def _hayward(code: int, output: str) -> Sequence[str] | None:
    """The JSON report of hayward 1.4; the exit code is 1 where it holds a finding that is at least HIGH."""
    try:
        report = json.loads(output)
        found = [f"{finding['rule_id']}: {finding['message']}" for finding in report["findings"]
                 if finding["severity"] in ("critical", "high")]  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if code == bool(found) else None


OPINIONS: Final[Mapping[str, Opinion]] = {
    opinion.name: opinion
    for opinion in (
        Opinion("picklescan", ("picklescan", "-p", "{}"), _picklescan),
        Opinion("hayward", ("hayward", "scan", "-f", "json", "--quiet", "{}"), _hayward),
    )
}
"""Every scanner that can be asked, by its name."""


def find(names: Sequence[str]) -> Mapping[str, str]:
    """The path of each program.

    Raises:
        Invalid: no such scanner can be asked, or it is not installed.
    """
    found = {}
    beside = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    for name in names:
        if name not in OPINIONS:
            raise Invalid(f"no second opinion {name!r}; there are {', '.join(OPINIONS)}")
        program = shutil.which(name, path=beside)
        if program is None:
            raise Invalid(f"{name} is not installed; install vallum-validator[second-opinions]")
        found[name] = program
    return found


def ask(report: FileReport, programs: Mapping[str, str]) -> FileReport:
    """The report with what the other scanners say of its file.

    Args:
        report: of the file at its `path`.
        programs: the path of each program to ask, as `find` gives them.
    """
    if not report.sha256:  # it could not be read, or is no file
        return report
    for name, program in programs.items():
        report = _with(report, *_answer(OPINIONS[name], program, Path(report.path).absolute()))
    return report


def _answer(opinion: Opinion, program: str, file: Path) -> tuple[str, str] | tuple[()]:
    command = [program, *(str(file) if word == "{}" else word for word in opinion.command[1:])]
    try:
        # An empty folder, because some scanners read settings, even a whole policy, from where they are started.
        with tempfile.TemporaryDirectory(prefix="vallum-opinion-") as folder:
            code, output = _run(command, folder)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return "opinion.failed", f"{opinion.name} gave no answer: {type(error).__name__}"
    hits = opinion.hits(code, output)
    if hits is None:
        return "opinion.failed", f"{opinion.name} gave no answer that can be read, and exit code {code}"
    told = ", ".join(map(shown, hits[:_HITS_SHOWN])) + (", …" if len(hits) > _HITS_SHOWN else "")
    if hits or code:
        return f"opinion.{opinion.name}", f"{opinion.name} refuses it: {told or f'exit code {code}'}"
    return ()


def _run(command: Sequence[str], folder: str) -> tuple[int, str]:
    """Exit code and output of a program that has a time limit and sees little of our environment."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    with tempfile.TemporaryFile() as output:
        code = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={**environment, "HOME": folder},
            timeout=_SECONDS,
            preexec_fn=_limit,
            check=False,
        ).returncode
        output.seek(0)
        return code, output.read(_OUTPUT_BYTES).decode(errors="replace")


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_OUTPUT_BYTES, _OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(_SECONDS), int(_SECONDS)))


def _with(report: FileReport, *said: Any) -> FileReport:
    if not said:
        return report
    rule, message = RULES[said[0]], said[1]
    finding = Finding(rule.id, rule.severity, "", None, message)
    verdict = rule.verdict if report.verdict is ScanVerdict.CLEAN else report.verdict
    return dataclasses.replace(report, verdict=verdict, findings=(*report.findings, finding))
