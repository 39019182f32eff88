"""`vallum alerts …`, `metrics`, `observe`: what happens while models serve."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vallum.monitor.v1 import events_pb2, monitor_service_pb2
from vallum.validator.v1 import evidence_pb2
from vallum_client.cli.audit import parse_time
from vallum_client.cli.context import Exit, as_dict, plain_enum, session, split_version
from vallum_client.cli.models import Environment, Version
from vallum_client.client import Client
from vallum_client.traffic import batches, read_traffic
from vallum_common.errors import NotFound

_HEARING_S: Final = (0.5, 1.0, 2.0)
METRICS: Final = ("security_posture_score", "risk_exposure", "compliance_rate", "incident_response_time_hours")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    alerts = typer.Typer(no_args_is_help=True, help="What the detectors are sure enough of.")
    alerts.callback()(lambda: None)  # keeps `watch` a sub-command although it is the only one
    alerts.command("watch")(watch)
    app.add_typer(alerts, name="alerts")
    app.command("metrics")(metrics)
    app.command("observe")(observe)


def watch(
    *,
    model: Annotated[str, typer.Option(help="Only alerts about this model.")] = "",
    since: Annotated[str, typer.Option(help="Begin with past alerts from this time on, RFC 3339.")] = "",
    past_only: Annotated[bool, typer.Option(help="End after the alerts of the past.")] = False,
) -> int:
    """Show alerts as they are raised, until Ctrl-C; with --json one document per line."""
    request = monitor_service_pb2.WatchAlertsRequest(model=model, past_only=past_only)
    if since or past_only:
        request.since.FromDatetime(parse_time(since or "1970-01-01T00:00:01Z"))
    return session.ask(lambda client: _watch(client, request))


async def _watch(client: Client, request: monitor_service_pb2.WatchAlertsRequest) -> int:
    with client.errors("monitor"):
        async for answer in client.monitor.WatchAlerts(request):
            if session.json:
                session.document(alert_dict(answer.alert))
            else:
                _say(answer.alert)
    return Exit.GOOD


def alert_dict(alert: events_pb2.AlertRaised) -> dict[str, Any]:
    """An alert with plain names."""
    severity = plain_enum(evidence_pb2.Severity.Name(alert.severity), "SEVERITY_")
    return {**as_dict(alert), "severity": severity}


def _say(alert: events_pb2.AlertRaised) -> None:
    document = alert_dict(alert)
    confirmed = "confirmed" if alert.confirmed else "not yet confirmed"
    subject = f"{alert.model.model}@{alert.model.version} in {alert.environment}"
    session.say(f"{document['raised_at'][:19]}  {document['severity']:<8} {alert.detector} ({confirmed})")
    session.explain(subject)
    session.explain(alert.message)


def metrics() -> int:
    """The four security metrics, each with how it was computed."""

    async def ask(client: Client) -> monitor_service_pb2.GetSecurityMetricsResponse:
        with client.errors("monitor"):
            answer: monitor_service_pb2.GetSecurityMetricsResponse = await client.monitor.GetSecurityMetrics(
                monitor_service_pb2.GetSecurityMetricsRequest()
            )
            return answer

    answer = session.ask(ask)
    found = {name: getattr(answer, name) for name in METRICS}
    if session.json:
        session.document({name: _metric(metric) for name, metric in found.items()})
        return Exit.GOOD
    for name, metric in found.items():
        value = f"{metric.value:.3g}" if metric.HasField("value") else "–"
        session.say((f"{name:<30}", "bold"), f" {value}")
        session.explain(metric.formula)
        session.explain(", ".join(f"{key} {amount:.3g}" for key, amount in sorted(metric.inputs.items())))
    return Exit.GOOD


def _metric(metric: monitor_service_pb2.Metric) -> dict[str, Any]:
    value = metric.value if metric.HasField("value") else None
    return {"value": value, "formula": metric.formula, "inputs": dict(metric.inputs)}


def observe(
    version: Version,
    traffic: Annotated[Path, typer.Argument(help="Answered requests: parquet or csv, one column per feature.")],
    *,
    environment: Environment,
    batch_rows: Annotated[int, typer.Option(min=1, max=10_000, help="Rows in one message.")] = 500,
    prediction: Annotated[str, typer.Option(help="Column that holds the model's answers.")] = "prediction",
) -> int:
    """Report inference traffic, as a serving layer does."""
    name, number_ = split_version(version)
    table = read_traffic(traffic)

    async def ask(client: Client) -> monitor_service_pb2.ReportInferenceResponse:
        sent = list(
            batches(table, model=name, version=number_, environment=environment, rows=batch_rows, answers=prediction)
        )
        # The monitor hears of a deployment a moment after `deploy` has answered. Sent again, a batch keeps its id.
        for wait_s in _HEARING_S:
            with contextlib.suppress(NotFound):
                return await _report(client, sent)
            await asyncio.sleep(wait_s)
        return await _report(client, sent)

    answer = session.ask(ask)
    if session.json:
        session.document(as_dict(answer))
    session.say(f"{answer.accepted_rows} rows in {answer.accepted_batches} batches; {answer.repeated_batches} repeated")
    return Exit.GOOD


async def _report(
    client: Client, sent: Sequence[monitor_service_pb2.ReportInferenceRequest]
) -> monitor_service_pb2.ReportInferenceResponse:
    with client.errors("monitor"):
        answer: monitor_service_pb2.ReportInferenceResponse = await client.monitor.ReportInference(iter(sent))
        return answer
