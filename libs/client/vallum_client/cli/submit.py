"""`vallum submit`: upload, watch, verdict."""

from __future__ import annotations

import asyncio
import contextlib
import os
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from vallum.compliance.v1 import compliance_service_pb2, decision_pb2
from vallum.registry.v1 import model_pb2, registry_service_pb2
from vallum.validator.v1 import evidence_pb2, validator_service_pb2
from vallum_client.cli.context import REASON_WIDTH, Exit, as_dict, number, plain_enum, session
from vallum_client.cli.documents import signature_dict, signature_line
from vallum_client.client import WAIT_S, Client
from vallum_client.upload import submit as upload
from vallum_common.bundle import Bundle, open_bundle
from vallum_common.errors import Conflict, Invalid, NotFound, Unavailable

_POLL_S: Final = 0.3
_VERDICT_EXITS: Final = {
    "APPROVED": Exit.GOOD,
    "APPROVED_WITH_CONDITIONS": Exit.GOOD,
    "REJECTED": Exit.NO,
    "NEEDS_REVIEW": Exit.COULD_NOT_TELL,
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("submit")(submit)


def submit(
    bundle: Annotated[Path, typer.Argument(help="Folder or .tar.gz with vallum.yaml in it.")],
    *,
    wait: Annotated[bool, typer.Option(help="Wait for the verdict.")] = True,
    timeout: Annotated[float, typer.Option(help="Longest time to wait for the verdict, in seconds.")] = WAIT_S,
    attestation: Annotated[Path | None, typer.Option(help="Write the signed verdict to this file.")] = None,
) -> int:
    """Upload a bundle and show each stage as it happens; the exit code follows the verdict."""
    with open_bundle(bundle) as opened:
        return session.ask(lambda client: _submit(client, opened, wait, timeout, attestation))


async def _submit(client: Client, bundle: Bundle, wait: bool, timeout: float, target: Path | None) -> int:
    session.say((bundle.manifest.name, "bold"), f"  tier {bundle.manifest.model.tier.value}")
    try:
        submitted = await _upload(client, bundle)
    except Conflict as error:
        # Nothing was judged: a version that stands for other bytes is a mistake in the bundle, not a verdict.
        raise Invalid(error.message) from error
    reference: dict[str, Any] = {
        "model": submitted.model.model,
        "version": submitted.model.version,
        "digest": submitted.model.digest,
        "submission_id": submitted.submission_id,
    }
    session.say(f"  submitted   {submitted.submission_id}  sha256 {submitted.model.digest[:16]}…")
    if not wait:
        if session.json:
            session.document(reference)
        return Exit.GOOD
    try:
        async with asyncio.timeout(timeout):
            reference["signature"] = await _watch(client, submitted.submission_id)
            decision = await _decision(client, submitted.submission_id)
    except TimeoutError:
        session.say(f"  no verdict within {timeout:g} s; `vallum models show {bundle.manifest.name}` tells later")
        if session.json:
            session.document({**reference, "verdict": None, "reasons": []})
        return Exit.COULD_NOT_TELL
    return _tell(client, reference, decision, target)


async def _upload(client: Client, bundle: Bundle) -> registry_service_pb2.SubmitModelResponse:
    columns = (TextColumn("  uploading  "), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, console=session.console, transient=True, disable=session.json or not session.console.is_terminal
    ) as progress:
        task = progress.add_task("upload", total=None)
        return await upload(
            client, bundle, on_sent=lambda sent, total: progress.update(task, completed=sent, total=total)
        )


async def _watch(client: Client, submission_id: str) -> dict[str, Any] | None:
    """Show each check as it ends, until the registry knows the verdict; what the signature is worth."""
    ended = asyncio.create_task(_until_decided(client, submission_id))
    signature: dict[str, Any] | None = None
    try:
        shown, scanned = 0, False
        with session.console.status("") if not session.json else contextlib.nullcontext() as status:
            async for report in _reports(client, submission_id, ended):
                if status is not None and report.stage:
                    status.update(f"  {report.stage} …")
                if signature is None and report.HasField("signature"):
                    signature = signature_dict(report.signature)
                    _say_signature(signature)
                if not scanned and report.HasField("scan"):
                    scanned = True
                    _say_scan(report.scan)
                for check in report.checks[shown:]:
                    _say_check(check)
                shown = len(report.checks)
                if report.HasField("signature"):
                    signature = signature_dict(report.signature)  # the scan may have had something to say of it
        await ended
    finally:
        ended.cancel()
    return signature


async def _until_decided(client: Client, submission_id: str) -> None:
    request = registry_service_pb2.WatchSubmissionRequest(submission_id=submission_id)
    while True:
        # The submission is recorded: a registry that restarts meanwhile is waited for, within the caller's time-out.
        with contextlib.suppress(Unavailable), client.errors("registry"):
            async for state in client.registry.WatchSubmission(request):
                if state.state != model_pb2.MODEL_STATE_SUBMITTED:
                    return
        await asyncio.sleep(_POLL_S)


async def _reports(
    client: Client, submission_id: str, ended: asyncio.Task[None]
) -> AsyncIterator[validator_service_pb2.GetReportResponse]:
    """The report each time it may have grown, and once more after the verdict."""
    request = validator_service_pb2.GetReportRequest(submission_id=submission_id)
    last = False
    while not last:
        last = ended.done()
        with contextlib.suppress(NotFound, Unavailable), client.errors("validator"):
            yield await client.validator.GetReport(request)
        if not last:
            await asyncio.wait({ended}, timeout=_POLL_S)


def _say_signature(signature: dict[str, Any]) -> None:
    outcome, colour, who = signature_line(signature)
    session.say("  signature               ", (outcome, colour), who)
    if outcome not in ("VERIFIED", "NOT_SIGNED"):
        session.explain(signature["reason"])


def _say_scan(scan: evidence_pb2.ScanReport) -> None:
    verdict = plain_enum(evidence_pb2.ScanVerdict.Name(scan.verdict), "SCAN_VERDICT_")
    colour = "green" if verdict == "CLEAN" else "red"
    session.say("  scan                    ", (verdict, colour))
    for file in scan.files:
        for finding in file.findings:
            if finding.severity >= evidence_pb2.SEVERITY_HIGH:
                where = f" at byte {finding.offset}" if finding.HasField("offset") else ""
                session.explain(f"{file.path}{where}: {finding.message}")


def _say_check(check: evidence_pb2.CheckResult) -> None:
    outcome = plain_enum(evidence_pb2.CheckOutcome.Name(check.outcome), "CHECK_OUTCOME_")
    colour = {"PASS": "green", "FAIL": "red"}.get(outcome, "yellow")
    value = number(check.value) if check.HasField("value") else "–"
    interval = f"{number(check.interval.low)}–{number(check.interval.high)}" if check.HasField("interval") else ""
    session.say(f"  {check.name:<23} ", (f"{outcome:<12}", colour), f" {value}  {interval}")
    if outcome != "PASS":
        session.explain(check.reason)


async def _decision(client: Client, submission_id: str) -> compliance_service_pb2.GetDecisionResponse:
    request = compliance_service_pb2.GetDecisionRequest(submission_id=submission_id)
    with client.errors("compliance"):
        answer: compliance_service_pb2.GetDecisionResponse = await client.compliance.GetDecision(request)
        return answer


def _tell(
    client: Client,
    reference: dict[str, Any],
    answer: compliance_service_pb2.GetDecisionResponse,
    target: Path | None,
) -> int:
    decision = answer.decision
    verdict = plain_enum(decision_pb2.Verdict.Name(decision.verdict), "VERDICT_")
    path = (
        target or client.profile.path.parent / "attestations" / f"{reference['model']}@{reference['version']}.dsse.json"
    )
    scan = _beside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(decision.attestation)
    if answer.scan_attestation:
        scan.write_bytes(answer.scan_attestation)
    reasons = [
        {"rule": r.rule, "severity": r.severity, "message": r.message, "values": as_dict(r.values)}
        for r in decision.reasons
    ]
    if session.json:
        written = {"attestation": str(path), "scan_attestation": str(scan) if answer.scan_attestation else None}
        session.document({**reference, "verdict": verdict, "reasons": reasons, **written})
    colour = {Exit.GOOD: "green", Exit.NO: "red"}.get(_VERDICT_EXITS[verdict], "yellow")
    session.say("  verdict                 ", (verdict, f"bold {colour}"))
    for reason in reasons:
        told = textwrap.shorten(f"{reason['severity']}: {reason['rule']}: {reason['message']}", REASON_WIDTH)
        session.explain(told)
    session.say(f"  attestation             {os.path.relpath(path)}")
    if answer.scan_attestation:
        session.say(f"  scan attestation        {os.path.relpath(scan)}")
    return _VERDICT_EXITS[verdict]


def _beside(path: Path) -> Path:
    """Where the attestation of the scan goes: `m@1.scan.dsse.json` beside `m@1.dsse.json`."""
    return path.with_name(f"{path.name.removesuffix('.dsse.json')}.scan.dsse.json")
