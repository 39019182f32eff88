"""`vallum up`, `scan`, `checks run`, `token issue`, `outbox republish`: what needs no running platform."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vallum_client.cli.context import Exit, number, session
from vallum_client.cli.documents import check_dict, scan_dict
from vallum_client.profile import DEFAULT_PROFILE
from vallum_common.errors import Invalid

_DATA: Final = DEFAULT_PROFILE.parent
_OUTCOME_EXITS: Final = {"PASS": Exit.GOOD, "FAIL": Exit.NO, "INCONCLUSIVE": Exit.COULD_NOT_TELL}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(up)
    # `main` goes straight to it; this lists it among the commands.
    anything = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    app.command("scan", context_settings=anything)(scan)
    checks = typer.Typer(no_args_is_help=True, help="The four checks, without a server.")
    checks.callback()(lambda: None)  # keeps `run` a sub-command although it is the only one
    checks.command("run")(run_checks)
    app.add_typer(checks, name="checks")
    outbox = typer.Typer(no_args_is_help=True, help="Events on their way to Kafka.")
    outbox.callback()(lambda: None)
    outbox.command("republish")(republish)
    app.add_typer(outbox, name="outbox")
    token = typer.Typer(no_args_is_help=True, help="Development tokens.")
    token.callback()(lambda: None)
    token.command("issue")(issue)
    app.add_typer(token, name="token")


def republish(*, data: Annotated[Path, typer.Option(help="Folder of the platform.")] = _DATA) -> int:
    """Have every service send its whole outbox again at its next start: fills a new Kafka cluster."""
    from vallum_common.lifecycle import REPUBLISH_FILE
    from vallum_local.ports import SERVICES

    folders = [data / name for name in SERVICES if (data / name).is_dir()]
    if not folders:
        raise Invalid(f"no platform in {str(data)!r}; name its folder with --data")
    for folder in folders:
        (folder / REPUBLISH_FILE).touch()
    if session.json:
        session.document({"services": [folder.name for folder in folders]})
    session.say("each service sends its outbox again at its next start;")
    session.say("who has heard an event already will know it")
    return Exit.GOOD


def up(
    *,
    data: Annotated[Path, typer.Option(help="Folder for data, keys and logs.")] = _DATA,
    broker: Annotated[str, typer.Option(help="`local`, or HOST:PORT of a Kafka cluster.")] = "local",
    database: Annotated[str, typer.Option(help="`local`, or the URL of a PostgreSQL server.")] = "local",
    artifacts: Annotated[str, typer.Option(help="URL of the artefact store; a folder in DIR unless given.")] = "",
    policies: Annotated[Path | None, typer.Option(help="Folder of policy files; the house's own unless given.")] = None,
    port_base: Annotated[int, typer.Option(min=1024, max=65000, help="First port; the services follow.")] = 7400,
) -> int:
    """Start the five services here, and Kafka and PostgreSQL with them; Ctrl-C stops."""
    from vallum_local.platform import PlatformOptions  # only this command needs it
    from vallum_local.ports import Ports
    from vallum_local.topics import platform_topics
    from vallum_local.up import run_up, say

    options = PlatformOptions(data, Ports(port_base), broker, database, artifacts or None, policies)
    return run_up(options, platform_topics(), report=_tell_ready(data) if session.json else say)


def _tell_ready(data: Path) -> Callable[[str], None]:
    """For `--json`: one document once the platform is ready, instead of lines of progress."""

    def report(line: str) -> None:
        if "Vallum is ready" in line:
            profile = data.resolve() / "client.toml"
            session.document({"profile": str(profile), **tomllib.loads(profile.read_text())})

    return report


def issue(
    *,
    role: Annotated[str, typer.Option(help="platform, soc, auditor, risk-officer or operator.")],
    subject: Annotated[str, typer.Option(help="Who the token names.")],
    ttl: Annotated[str, typer.Option(help="How long it is valid, e.g. 1h.")] = "1h",
    data: Annotated[Path, typer.Option(help="Folder of the platform.")] = _DATA,
) -> int:
    """Issue a development token with the platform's own issuer key."""
    from vallum_local.identity import issue_for_command, parse_ttl

    now = dt.datetime.now(dt.UTC)
    token = issue_for_command(data, subject=subject, role=role, ttl=parse_ttl(ttl), now=now)
    if session.json:
        session.document({"token": token, "role": role, "subject": subject})
    else:
        typer.echo(token)
    return Exit.GOOD


def scan(context: typer.Context) -> int:
    """Scan files statically; nothing is loaded. 0 all CLEAN, 1 any MALICIOUS, 2 any UNKNOWN."""
    from vallum_client.cli.scan import run_scan

    return run_scan([*(["--json"] if session.json else []), *context.args])


def run_checks(
    bundle: Annotated[Path, typer.Argument(help="Folder or .tar.gz with vallum.yaml in it.")],
    *,
    check: Annotated[list[str] | None, typer.Option(help="Only this check; may be repeated.")] = None,
    thresholds: Annotated[Path | None, typer.Option(help="Threshold file; the house's own unless given.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the evidence, with figures, to this HTML file.")] = None,
) -> int:
    """Run the four checks here, without a server. 0 all PASS, 1 any FAIL, 2 any INCONCLUSIVE."""
    from vallum_common.bundle import open_bundle
    from vallum_local.services import default_policies
    from vallum_validator.assess import Progress, assess, seed_of
    from vallum_validator.checks.thresholds import load_thresholds
    from vallum_validator.domain.evidence import CHECK_NAMES
    from vallum_validator.wire import check_message, scan_message

    only = tuple(check or CHECK_NAMES)
    unknown = [name for name in only if name not in CHECK_NAMES]
    if unknown:
        raise Invalid(f"no check {unknown[0]!r}; the checks are {', '.join(CHECK_NAMES)}")

    def show(progress: Progress) -> None:
        if progress.check is not None and not session.json:
            _tell_check(check_dict(check_message(progress.check)))

    if report is not None:
        from vallum_client.report import Evidence, prepare, write  # Jinja: only who wants a page needs it

        prepare(report)
    with open_bundle(bundle) as opened:
        assessment = assess(
            opened.root,
            opened.manifest,
            thresholds=load_thresholds(thresholds or default_policies() / "thresholds.yaml"),
            seed=seed_of(opened.files[0].sha256, opened.manifest_bytes),
            on_progress=show,
            only=only,
        )
    results = [check_dict(check_message(result)) for result in assessment.checks if result.name in only]
    if report is not None:
        facts = {"tier": opened.manifest.model.tier.value, "SHA-256 of the artefact": opened.files[0].sha256}
        write(report, Evidence(opened.manifest.name, facts, results, scan_dict(scan_message(assessment.scan))))
        session.say(f"report written to {report}")
    if session.json:
        session.document({"checks": results, "scan": assessment.scan.verdict.value})
    return max((_OUTCOME_EXITS[result["outcome"]] for result in results), key=lambda code: (code != 0, -code))


def _tell_check(result: dict[str, Any]) -> None:
    colour = {"PASS": "green", "FAIL": "red"}.get(result["outcome"], "yellow")
    interval = "" if result["interval"] is None else "–".join(number(end) for end in result["interval"])
    session.say((f"{result['outcome']:<12}", colour), f" {result['name']:<23} {number(result['value'])}  {interval}")
    session.explain(result["reason"])
