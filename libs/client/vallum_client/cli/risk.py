"""`vallum risk …`: the twelve risks."""

from __future__ import annotations

from typing import Annotated

import typer

from vallum.risk.v1 import risk_pb2, risk_service_pb2
from vallum_client.cli.context import Exit, Part, number, session, split_version
from vallum_client.cli.documents import profile_dict
from vallum_client.cli.models import Version
from vallum_client.client import Client


def register(app: typer.Typer) -> None:
    """Add the commands."""
    risk = typer.Typer(no_args_is_help=True, help="The twelve risks of a version, and the register of all.")
    risk.command("show")(show)
    risk.command("register")(list_register)
    app.add_typer(risk, name="risk")


def show(version: Version) -> int:
    """The newest risk profile of a version."""
    name, number_ = split_version(version)

    async def ask(client: Client) -> risk_pb2.RiskProfile:
        with client.errors("risk"):
            request = risk_service_pb2.GetRiskProfileRequest(model=name, version=number_)
            answer: risk_service_pb2.GetRiskProfileResponse = await client.risk.GetRiskProfile(request)
            return answer.profile

    profile = session.ask(ask)
    if session.json:
        session.document(profile_dict(profile))
        return Exit.GOOD
    session.say((version, "bold"), f"  overall {_score(profile.overall)}")
    rows: list[tuple[Part, ...]] = []
    for category in profile.categories:
        rows.append(((category.name, "bold"), _score(category.score), "", ""))
        rows += [_row(risk) for risk in profile.risks if risk.category == category.name]
    session.table(("risk", "score (90 %)", "P(>0.7)", "driven most by"), rows)
    for recommendation in profile.recommendations:
        session.explain(f"{recommendation.risk}: {recommendation.action}")
    return Exit.GOOD


def list_register(*, limit: Annotated[int, typer.Option(min=1, max=500, help="Most versions to list.")] = 100) -> int:
    """All versions, worst overall score first."""

    async def ask(client: Client) -> list[risk_pb2.RiskProfile]:
        with client.errors("risk"):
            request = risk_service_pb2.ListRiskRegisterRequest(page_size=limit)
            return list((await client.risk.ListRiskRegister(request)).profiles)

    profiles = session.ask(ask)
    if session.json:
        session.document({"profiles": [profile_dict(profile) for profile in profiles]})
        return Exit.GOOD
    rows = (
        (f"{p.model.model}@{p.model.version}", _score(p.overall),
         ", ".join(f"{c.name} {number(c.score.score, 2)}" for c in p.categories))
        for p in profiles
    )  # fmt: skip
    session.table(("model", "overall (90 %)", "categories"), rows)
    return Exit.GOOD


def _row(risk: risk_pb2.Risk) -> tuple[str, str, str, str]:
    name = "  " + risk.name.partition(".")[2]
    if not risk.measured:
        return name, "unmeasured", "", ""
    return name, _score(risk.score), number(risk.score.probability_high, 2), risk.drivers[0].evidence


def _score(score: risk_pb2.Score) -> str:
    return f"{number(score.score, 2)} ({number(score.interval.low, 2)}–{number(score.interval.high, 2)})"
