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
from typing import Any, Final, TypeVar

import structlog
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from vallum.validator.v1 import events_pb2, evidence_pb2
from vallum_common.errors import Invalid
from vallum_validator import wire
from vallum_validator.domain.evidence import Assessment, Step, SubmittedFile
from vallum_validator.domain.findings import FileReport, ScanReport
from vallum_validator.measure.bounded import bounded, bounded_check, bounded_scan, bounded_signature
from vallum_validator.service import no_evidence

_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VALLUM_ALLOWLISTS")
"""All the child is given: no database URL, no token, no key."""
_LINE_BYTES: Final = 64 * 1024 * 1024
_UNREADABLE: Final = (
    DecodeError,
    json_format.ParseError,
    Invalid,
    KeyError,
    TypeError,
    ValueError,  # no JSON, no base64, or a line longer than is read
    RecursionError,
)
"""What reading an answer may raise: the child has opened hostile files, so its answers are hostile, too."""

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


class _MeasurementFailed(Exception):
    """The measuring process ended without an answer; the text says how."""


@dataclass(frozen=True, slots=True)
class ProcessMeasurer:
    """Measures in child processes.

    Args:
        thresholds: the threshold file in force.
        publishers: the file in force of who may publish what.
        thresholds_digest: its hex SHA-256.
        rules_digest: of the scan rules in force.
        time_limit_s: for one submission; after it the child and all it started are killed.
    """

    thresholds: Path
    publishers: Path
    thresholds_digest: str
    rules_digest: str
    time_limit_s: float

    async def assess(
        self, bundle: Path, artifact: SubmittedFile, on_step: Callable[[Step], Awaitable[None]]
    ) -> Assessment:
        """Scan and measure a bundle; whatever the measuring process does, this returns evidence."""

        async def read(answer: Mapping[str, Any]) -> Assessment | None:
            if "assessment" in answer:
                content = base64.b64decode(answer["assessment"])
                return bounded(wire.assessment_from(events_pb2.ValidationCompleted.FromString(content)))
            await on_step(_step(answer))
            return None

        try:
            return await self._ask("assess", *map(str, (bundle, self.thresholds, self.publishers)), read=read)
        except _MeasurementFailed as error:
            reason = str(error)
        log.error("measurement_failed", artifact=artifact.sha256, reason=reason)
        return no_evidence(artifact, reason, rules_digest=self.rules_digest, thresholds_digest=self.thresholds_digest)

    async def scan(self, path: Path, name: str) -> tuple[FileReport, str]:
        """Scan one file; with the digest of the rules in force."""

        async def read(answer: Mapping[str, Any]) -> FileReport:
            file = wire.file_from(evidence_pb2.FileReport.FromString(base64.b64decode(answer["file"])))
            return bounded_scan(ScanReport((file,), self.rules_digest)).files[0]

        try:
            return await self._ask("scan", str(path), name, read=read), self.rules_digest
        except _MeasurementFailed as error:
            log.error("scan_failed", reason=str(error))
            file = SubmittedFile(name, "")
            nothing = no_evidence(file, str(error), rules_digest=self.rules_digest, thresholds_digest="")
            return nothing.scan.files[0], self.rules_digest

    async def _ask(self, *arguments: str, read: Callable[[Mapping[str, Any]], Awaitable[Answer | None]]) -> Answer:
        """Start the child and read its answers until one of them is the last; then end the child.

        Raises:
            _MeasurementFailed: it died, answered what cannot be read, answered nothing or took too long.
        """
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
        try:
            async with asyncio.timeout(self.time_limit_s):
                async for answer in _answers(process):
                    if (last := await read(answer)) is not None:
                        return last
                code = await process.wait()
        except TimeoutError:
            raise _MeasurementFailed(f"measuring took longer than {self.time_limit_s:g} s") from None
        except _UNREADABLE as error:
            raise _MeasurementFailed(
                f"the measuring process answered what cannot be read ({type(error).__name__})"
            ) from error
        finally:
            # The whole session: the sandboxed workers are the child's children.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        raise _MeasurementFailed(f"the measuring process {_how(code)}")


async def _answers(process: asyncio.subprocess.Process) -> AsyncIterator[Mapping[str, Any]]:
    assert process.stdout is not None  # noqa: S101 (PIPE was asked for)
    async for line in process.stdout:
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise TypeError("an answer must be a JSON object")
        yield answer


def _how(code: int) -> str:
    if code == 0:
        return "ended without an answer"
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _step(answer: Mapping[str, Any]) -> Step:
    check, scan, signature = answer["check"], answer["scan"], answer.get("signature")
    return Step(
        stage=answer["stage"],
        check=bounded_check(wire.check_from(json_format.ParseDict(check, evidence_pb2.CheckResult())))
        if check
        else None,
        scan=bounded_scan(wire.scan_from(json_format.ParseDict(scan, evidence_pb2.ScanReport()))) if scan else None,
        signature=bounded_signature(
            wire.signature_from(json_format.ParseDict(signature, evidence_pb2.SignatureReport()))
        )
        if signature
        else None,
    )
