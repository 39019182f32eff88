"""`vallum models …`, `deploy`, `rollback`, `quarantine`, `release`: the registry."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vallum.registry.v1 import model_pb2, registry_service_pb2
from vallum.risk.v1 import risk_service_pb2
from vallum.validator.v1 import validator_service_pb2
from vallum_client.cli.context import (
    REASON_WIDTH,
    Exit,
    as_dict,
    number,
    plain_enum,
    session,
    split_version,
)
from vallum_client.cli.documents import check_dict, profile_dict, scan_dict, signature_dict, signature_line
from vallum_client.client import Client
from vallum_common.errors import Conflict, NotFound

_MOST: Final = 500

Version = Annotated[str, typer.Argument(metavar="M@V", help="Model and version, e.g. adult-income@1.2.0.")]
Environment = Annotated[str, typer.Option(help="Where it serves, e.g. production.")]
Reason = Annotated[str, typer.Option(help="Why; written into the history.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    models = typer.Typer(no_args_is_help=True, help="Models, versions, history, lineage.")
    models.command("list")(list_models)
    models.command("show")(show)
    models.command("history")(history)
    models.command("lineage")(lineage)
    models.command("bom")(bom)
    app.add_typer(models, name="models")
    app.command("deploy")(deploy)
    app.command("rollback")(rollback)
    app.command("quarantine")(quarantine)
    app.command("release")(release)


def list_models(
    model: Annotated[str, typer.Argument(help="Only versions of this model.")] = "",
    *,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Most versions to list.")] = 100,
) -> int:
    """Versions, newest first."""
    found = session.ask(lambda client: _list(client, model, limit))
    if session.json:
        session.document({"models": [_summary(entry) for entry in found]})
        return Exit.GOOD
    rows = (
        (f"{entry.model.model}@{entry.model.version}", _state(entry.state), entry.verdict, entry.tier,
         ", ".join(entry.active_environments))
        for entry in found
    )  # fmt: skip
    session.table(("model", "state", "verdict", "tier", "serves in"), rows)
    return Exit.GOOD


async def _list(client: Client, model: str, limit: int) -> list[registry_service_pb2.ModelSummary]:
    request = registry_service_pb2.ListModelsRequest(model=model, page_size=limit)
    with client.errors("registry"):
        return list((await client.registry.ListModels(request)).models)


def _summary(entry: registry_service_pb2.ModelSummary) -> dict[str, Any]:
    return {**as_dict(entry.model), **as_dict(entry), "model": entry.model.model, "state": _state(entry.state)}


def show(version: Version) -> int:
    """One version: state, verdict, deployments, checks, risk, and a page with all the evidence on it."""
    name, number_ = split_version(version)
    document = session.ask(lambda client: _show(client, name, number_))
    if session.json:
        session.document(document)
        return Exit.GOOD
    session.say((version, "bold"), f"  {document['state']}  {document['verdict'] or 'not decided'}")
    session.say(f"  sha256 {document['digest']}")
    session.say(f"  tier {document['tier']}, owner {document['owner']}, submitted by {document['submitted_by']}")
    if document["signature"]:
        outcome, colour, who = signature_line(document["signature"])
        session.say("  signature ", (outcome, colour), who)
    for deployment in document["deployments"]:
        session.say(f"  {deployment['environment']}: {deployment['state']} since {deployment['changed_at']}")
    session.say()
    rows = (
        (check["name"], check["outcome"], number(check["value"]), _interval(check["interval"]), check["reason"])
        for check in document["checks"]
    )
    session.table(("check", "outcome", "value", "interval", "reason"), rows)
    if document["risk"]:
        overall = document["risk"]["overall"]
        session.say()
        session.say(f"  overall risk {number(overall['score'])} {_interval(overall['interval'])}")
    if "report" in document:
        session.say(f"  report       {os.path.relpath(document['report'])}")
    return Exit.GOOD


async def _show(client: Client, name: str, version: str) -> dict[str, Any]:
    with client.errors("registry"):
        request = registry_service_pb2.GetModelRequest(model=name, version=version)
        model = await client.registry.GetModel(request)
    document = as_dict(model)
    document.update({**as_dict(model.model), "state": _state(model.state)})
    document.update({"checks": [], "risk": None, "signature": None})
    document["deployments"] = [_deployment(entry) for entry in model.deployments]
    try:
        with client.errors("validator"):
            report = await client.validator.GetReport(
                validator_service_pb2.GetReportRequest(submission_id=model.submission_id)
            )
        document["checks"] = [check_dict(check) for check in report.checks]
        document["scan"] = scan_dict(report.scan)
        document["signature"] = signature_dict(report.signature) if report.HasField("signature") else None
        with client.errors("risk"):
            profile = await client.risk.GetRiskProfile(
                risk_service_pb2.GetRiskProfileRequest(model=name, version=version)
            )
        document["risk"] = profile_dict(profile.profile)
    except NotFound:
        pass  # not measured or scored yet: shown as empty
    if document["checks"]:
        document["report"] = str(_write_report(client.profile.path.parent / "reports", document))
    return document


def _write_report(folder: Path, document: dict[str, Any]) -> Path:
    """Write the page with the evidence on a version; a repeated time gives the same bytes."""
    from vallum_client.report import Evidence, write  # Jinja: only who looks at evidence needs it

    name = f"{document['model']}@{document['version']}"
    overall = (document["risk"] or {}).get("overall")
    facts = {
        "verdict": document["verdict"] or "not decided",
        "state": document["state"],
        "tier": document["tier"],
        "owner": document["owner"],
        "overall risk": f"{number(overall['score'])} ({_interval(overall['interval'])})" if overall else "not scored",
        "SHA-256 of the artefact": document["digest"],
    }
    return write(folder / f"{name}.html", Evidence(name, facts, document["checks"], document["scan"]))


def history(
    model: Annotated[str, typer.Argument(metavar="M[@V]", help="A model, or one version of it.")],
) -> int:
    """Who did what, when and why, oldest first."""
    name, version = split_version(model) if "@" in model else (model, "")

    async def ask(client: Client) -> registry_service_pb2.GetHistoryResponse:
        with client.errors("registry"):
            request = registry_service_pb2.GetHistoryRequest(model=name, version=version)
            answer: registry_service_pb2.GetHistoryResponse = await client.registry.GetHistory(request)
            return answer

    found = session.ask(ask).entries
    if session.json:
        entries = [{**as_dict(e.model), **as_dict(e.entry), "from_state": _state(e.entry.from_state),
                    "to_state": _state(e.entry.to_state)} for e in found]  # fmt: skip
        session.document({"entries": entries})
        return Exit.GOOD
    for e in found:
        where = f" in {e.entry.environment}" if e.entry.environment else ""
        state = _state(e.entry.to_state)
        session.say(
            f"{e.entry.at.ToJsonString()[:19]}  {e.model.version}  {e.entry.action}{where} by {e.entry.actor} → {state}"
        )
        if e.entry.reason:
            session.explain(textwrap.shorten(e.entry.reason, REASON_WIDTH))
    return Exit.GOOD


def lineage(version: Version) -> int:
    """Where a version comes from and what was made from it."""
    name, number_ = split_version(version)

    async def ask(client: Client) -> dict[str, Any]:
        with client.errors("registry"):
            request = registry_service_pb2.GetLineageRequest(model=name, version=number_)
            return as_dict(await client.registry.GetLineage(request))

    document = session.ask(ask)
    if session.json:
        session.document(document)
        return Exit.GOOD
    session.say((version, "bold"))
    session.say(f"  code      {document['code'] or 'not declared'}")
    for kind in ("ancestors", "children"):
        for entry in document[kind]:
            session.say(f"  {kind:<9} {entry['model']}@{entry['version']}  {entry['digest'][:16] or 'not registered'}")
    for dataset in document["datasets"]:
        session.say(f"  data set  {dataset['name']}  {dataset['sha256'][:16] or 'no digest'}")
    return Exit.GOOD


def bom(
    version: Version,
    *,
    output: Annotated[Path | None, typer.Option(help="Write it to this file instead of stdout.")] = None,
) -> int:
    """The bill of materials of a version: CycloneDX 1.6 with model card and findings, checked against the schema."""
    from vallum_client.bom import bill_of_materials, checked  # the schema takes a second to load
    from vallum_client.cli.materials import gather

    name, number_ = split_version(version)
    text = checked(bill_of_materials(session.ask(lambda client: gather(client, name, number_))))
    if output is None:
        sys.stdout.write(text)
        return Exit.GOOD
    output.write_text(text)
    if session.json:
        session.document({"model": name, "version": number_, "bom": str(output)})
    session.say(f"{version}: {output}")
    return Exit.GOOD


def deploy(version: Version, *, environment: Environment, reason: Reason = "") -> int:
    """Put a version into an environment; refused (exit 1) without a valid signed approval."""
    name, number_ = split_version(version)

    async def ask(client: Client) -> dict[str, Any]:
        with client.errors("registry"):
            request = registry_service_pb2.DeployRequest(
                model=name, version=number_, environment=environment, reason=reason
            )
            return _deployment((await client.registry.Deploy(request)).deployment)

    return _tell(session.ask(ask), f"{version} serves in {environment}")


def rollback(
    model: Annotated[str, typer.Argument(metavar="M[@V]", help="A model, or the version of it that serves now.")],
    *,
    environment: Environment,
    reason: Reason = "",
) -> int:
    """Take what serves in an environment out and put the last good version back in."""

    async def ask(client: Client) -> dict[str, Any]:
        name, number_ = split_version(model) if "@" in model else (model, await _serving(client, model, environment))
        with client.errors("registry"):
            request = registry_service_pb2.RollbackRequest(
                model=name, version=number_, environment=environment, reason=reason
            )
            answer = await client.registry.Rollback(request)
        restored = _deployment(answer.restored) if answer.HasField("restored") else None
        return {"rolled_back": _deployment(answer.rolled_back), "restored": restored}

    document = session.ask(ask)
    restored = document["restored"]
    after = f"{restored['version']} serves again" if restored else "nothing serves there now"
    return _tell(document, f"{model} {document['rolled_back']['version']} is out of {environment}; {after}")


async def _serving(client: Client, model: str, environment: str) -> str:
    for entry in await _list(client, model, _MOST):
        if environment in entry.active_environments:
            return entry.model.version
    raise Conflict(f"no version of {model!r} serves in {environment!r}; `vallum models list {model}` shows which do")


def quarantine(version: Version, *, reason: Reason) -> int:
    """Take a version out everywhere and bar it from deployment."""
    name, number_ = split_version(version)

    async def ask(client: Client) -> dict[str, Any]:
        with client.errors("registry"):
            request = registry_service_pb2.QuarantineRequest(model=name, version=number_, reason=reason)
            answer = await client.registry.Quarantine(request)
        return {**as_dict(answer.model), "ended": [_deployment(entry) for entry in answer.ended]}

    document = session.ask(ask)
    ended = ", ".join(entry["environment"] for entry in document["ended"]) or "nowhere"
    return _tell(document, f"{version} is quarantined; it served in: {ended}")


def release(version: Version, *, reason: Reason) -> int:
    """End a quarantine; the version must be deployed again."""
    name, number_ = split_version(version)

    async def ask(client: Client) -> dict[str, Any]:
        with client.errors("registry"):
            request = registry_service_pb2.ReleaseRequest(model=name, version=number_, reason=reason)
            answer = await client.registry.Release(request)
        return {**as_dict(answer.model), "state": _state(answer.state)}

    document = session.ask(ask)
    return _tell(document, f"{version} is released; its state is {document['state']}")


def _tell(document: dict[str, Any], line: str) -> int:
    if session.json:
        session.document(document)
    session.say(line)
    return Exit.GOOD


def _deployment(message: model_pb2.Deployment) -> dict[str, Any]:
    state = plain_enum(model_pb2.DeploymentState.Name(message.state), "DEPLOYMENT_STATE_")
    return {**as_dict(message), **as_dict(message.model), "state": state}


def _state(state: model_pb2.ModelState) -> str:
    return plain_enum(model_pb2.ModelState.Name(state), "MODEL_STATE_")


def _interval(interval: Any) -> str:
    if not interval:
        return ""
    low, high = interval if isinstance(interval, list) else (interval["low"], interval["high"])
    return f"{number(low)}–{number(high)}"
