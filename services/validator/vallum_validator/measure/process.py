"""The service's half: starts the measuring process, passes its progress on, and makes evidence even of its death."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from vallum.validator.v1 import events_pb2, evidence_pb2
from vallum_common.errors import Invalid
from vallum_validator import wire
from vallum_validator.domain import Assessment, FileReport, Step, SubmittedFile
from vallum_validator.service import no_evidence

_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""All the child is given: no database URL, no token, no key."""
_LINE_BYTES: Final = 64 * 1024 * 1024

log = structlog.get_logger(__name__)


class _MeasurementFailed(Exception):
    """The measuring process ended without an answer; the text says how."""


@dataclass(frozen=True, slots=True)
class ProcessMeasurer:
    """Measures in child processes.

    Args:
        thresholds: the threshold file in force.
        thresholds_digest: its hex SHA-256.
        rules_digest: of the scan rules in force.
        time_limit_s: for one submission; after it the child and all it started are killed.
    """

    thresholds: Path
    thresholds_digest: str
    rules_digest: str
    time_limit_s: float

    async def assess(
        self, bundle: Path, artifact: SubmittedFile, on_step: Callable[[Step], Awaitable[None]]
    ) -> Assessment:
        """Scan and measure a bundle; whatever the measuring process does, this returns evidence."""
        try:
            async for answer in self._run("assess", str(bundle), str(self.thresholds)):
                if "assessment" in answer:
                    message = events_pb2.ValidationCompleted.FromString(base64.b64decode(answer["assessment"]))
                    return wire.assessment_from(message)
                await on_step(_step(answer))
            reason = "the measuring process ended without an answer"
        except _MeasurementFailed as error:
            reason = str(error)
        except (DecodeError, json_format.ParseError, KeyError, ValueError, Invalid) as error:
            reason = f"the measuring process answered what cannot be read ({type(error).__name__})"
        log.error("measurement_failed", artifact=artifact.sha256, reason=reason)
        return no_evidence(artifact, reason, rules_digest=self.rules_digest, thresholds_digest=self.thresholds_digest)

    async def scan(self, path: Path, name: str) -> tuple[FileReport, str]:
        """Scan one file; with the digest of the rules in force."""
        try:
            async for answer in self._run("scan", str(path), name):
                message = evidence_pb2.FileReport.FromString(base64.b64decode(answer["file"]))
                return wire.file_from(message), self.rules_digest
            reason = "the scanning process ended without an answer"
        except _MeasurementFailed as error:
            reason = str(error)
        nothing = no_evidence(SubmittedFile(name, ""), reason, rules_digest=self.rules_digest, thresholds_digest="")
        return nothing.scan.files[0], self.rules_digest

    async def _run(self, *arguments: str) -> AsyncIterator[Mapping[str, Any]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "vallum_validator.measure",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            limit=_LINE_BYTES,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 (PIPE was asked for)
        try:
            async with asyncio.timeout(self.time_limit_s):
                async for line in process.stdout:
                    yield json.loads(line)
                code = await process.wait()
        except TimeoutError:
            raise _MeasurementFailed(f"measuring took longer than {self.time_limit_s:g} s") from None
        finally:
            # The whole session: the sandboxed workers are the child's children.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if code != 0:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            raise _MeasurementFailed(f"the measuring process {how}")


def _step(answer: Mapping[str, Any]) -> Step:
    check, scan = answer["check"], answer["scan"]
    return Step(
        stage=answer["stage"],
        check=wire.check_from(json_format.ParseDict(check, evidence_pb2.CheckResult())) if check else None,
        scan=wire.scan_from(json_format.ParseDict(scan, evidence_pb2.ScanReport())) if scan else None,
    )
