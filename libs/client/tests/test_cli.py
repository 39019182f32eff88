"""The command: options anywhere, exit codes that tell, errors in one line, names shown as they are."""

from __future__ import annotations

import importlib
import json

import pytest
import typer
from rich.console import Console

from vallum.compliance.v1 import compliance_service_pb2
from vallum.monitor.v1 import events_pb2 as monitor_events_pb2
from vallum.monitor.v1 import monitor_service_pb2
from vallum.registry.v1 import model_pb2, registry_service_pb2
from vallum.risk.v1 import risk_pb2, risk_service_pb2
from vallum.validator.v1 import evidence_pb2, validator_service_pb2
from vallum_client.cli.context import Session, exit_of, number, plain_enum, session, split_version
from vallum_client.cli.main import COMMANDS, _command, _options_first
from vallum_client.profile import SERVICES
from vallum_common.errors import (
    Conflict,
    Denied,
    Exhausted,
    Invalid,
    Kind,
    NotFound,
    Unavailable,
    VallumError,
)

from .conftest import write_profile


class TestOptions:
    @pytest.mark.parametrize(
        ("typed", "ordered"),
        [
            (["scan", "a", "--json"], ["--json", "scan", "a"]),
            (["--json", "scan", "a"], ["--json", "scan", "a"]),
            (["models", "list", "--profile", "p.toml", "m"], ["--profile", "p.toml", "models", "list", "m"]),
            (["scan", "--profile=p.toml", "a", "--json"], ["--profile=p.toml", "--json", "scan", "a"]),
            (["scan", "--json", "--", "--json"], ["--json", "scan", "--", "--json"]),
            (["scan", "--profile"], ["--profile", "scan"]),
            ([], []),
        ],
    )
    def test_global_options_may_stand_anywhere(self, typed, ordered):
        assert _options_first(typed) == ordered

    @pytest.mark.parametrize(
        ("ordered", "command"),
        [
            (["--json", "scan", "submit"], "scan"),
            (["--profile", "submit", "scan"], "scan"),
            (["--profile=submit", "models", "list"], "models"),
            (["--help"], ""),
            ([], ""),
        ],
    )
    def test_command_is_the_first_word_of_ours(self, ordered, command):
        assert _command(ordered) == command

    def test_every_command_is_found_in_the_module_that_is_imported_for_it(self):
        for module, commands in COMMANDS.items():
            app = typer.Typer()
            importlib.import_module(f"vallum_client.cli.{module}").register(app)
            names = {command.name for command in app.registered_commands}
            assert names | {group.name for group in app.registered_groups} == set(commands)

    @pytest.mark.parametrize("command", sorted(name for names in COMMANDS.values() for name in names))
    def test_every_command_has_help_of_80_columns(self, vallum, command, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        typed = vallum(command, "--help")
        assert (typed.code, typed.error) == (0, "")
        assert max(map(len, typed.out.splitlines())) <= 80

    def test_options_of_one_command_do_not_reach_the_next(self, vallum):
        vallum("models", "list", "--json", "--profile", "other.toml")
        vallum("models", "list")
        assert (session.json, session.profile) == (False, None)


class TestExitCodes:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (Invalid("x"), 3),
            (NotFound("x"), 3),
            (Denied("x"), 3),
            (Exhausted("x"), 3),
            (Conflict("x"), 1),
            (Unavailable("x"), 4),
            (VallumError("x"), 4),
        ],
    )
    def test_each_kind_of_error_has_its_code(self, vallum, platform, error, code):
        """From the service that raises it, over gRPC, to the shell."""
        assert exit_of(error) == code
        platform.answers["Deploy"] = error
        typed = vallum("deploy", "m@1", "--environment", "production")
        assert (typed.code, typed.out, typed.error) == (code, "", "vallum: x\n")

    def test_every_kind_is_tested(self):
        errors = (Invalid, NotFound, Denied, Exhausted, Conflict, Unavailable, VallumError)
        assert {error.kind for error in errors} == set(Kind)

    def test_platform_that_does_not_answer_is_4_and_named(self, vallum, tmp_path):
        write_profile(tmp_path / ".vallum", dict.fromkeys(SERVICES, "127.0.0.1:1"))
        typed = vallum("models", "list")
        assert typed.code == 4
        assert "registry at 127.0.0.1:1 does not answer" in typed.error
        assert typed.error.count("\n") == 1

    def test_without_a_profile_it_says_what_to_do(self, vallum):
        typed = vallum("models", "list")
        assert typed.code == 3
        assert "`vallum up`" in typed.error

    def test_profile_may_come_from_the_environment(self, vallum, monkeypatch):
        monkeypatch.setenv("VALLUM_PROFILE", "elsewhere.toml")
        assert "'elsewhere.toml'" in vallum("models", "list").error
        assert "'given.toml'" in vallum("models", "list", "--profile", "given.toml").error

    @pytest.mark.parametrize(
        "words",
        [
            ("nonsense",),
            ("scan",),
            ("scan", "--format"),
            ("scan", "x", "--form", "table"),
            ("models", "show", "m"),
            ("models", "show", "../m@1"),
            ("audit", "replay", "--since", "yesterday"),
            ("audit", "replay", "--since", "0001-01-01T00:00:00+14:00"),
            ("audit", "replay", "--from-index", "-1"),
            ("deploy", "m@1"),
            ("submit", ""),
            ("checks", "run", ""),
            ("signature", "verify", "bundle", "--publishers="),
            ("models", "bom", "m@1", "--output", ""),
        ],
    )
    def test_wrong_use_is_3_and_told(self, vallum, platform, words):
        typed = vallum(*words)
        assert (typed.code, typed.out) == (3, "")
        assert typed.error.startswith("vallum: ")
        assert typed.error.count("\n") == 1

    def test_no_command_is_answered_with_the_help(self, vallum):
        typed = vallum()
        assert typed.code == 3
        assert "Usage:" in typed.error
        assert "submit" in typed.error

    def test_what_nobody_foresaw_is_one_line_and_no_answer(self, vallum, monkeypatch):
        """1 would be read as "refused", 0 and 2 as other verdicts."""

        def fail(command):
            raise RuntimeError("first line\nsecond line")

        monkeypatch.setattr("vallum_client.cli.main.build_app", fail)
        typed = vallum("submit", "bundle")
        assert typed.code == 4
        assert typed.error == "vallum: RuntimeError: first line; VALLUM_DEBUG=1 shows where\n"

    def test_file_that_cannot_be_used_is_named_and_is_no_answer(self, vallum, monkeypatch):
        def fail(command):
            raise PermissionError(13, "Permission denied", "/root/a.json")

        monkeypatch.setattr("vallum_client.cli.main.build_app", fail)
        typed = vallum("submit", "bundle")
        assert (typed.code, typed.error) == (4, "vallum: '/root/a.json' cannot be used: Permission denied\n")


class TestShowing:
    def test_only_what_is_ours_is_styled(self):
        console = Console(width=80, force_terminal=True, color_system="standard", highlight=False)
        with console.capture() as captured:
            Session(console=console).say(("CLEAN", "green"), " [red]a.bin[/red] [/]")
        assert captured.get() == "\x1b[32mCLEAN\x1b[0m [red]a.bin[/red] [/]\n"

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("\x1b[2J\x1b[31mred", "\\x1b[2J\\x1b[31mred"),
            ("a\nCLEAN     onnx  b", "a\\nCLEAN     onnx  b"),
            ("a\rCLEAN", "a\\rCLEAN"),
            ("fdp.exe\u202e", "fdp.exe\\u202e"),
            ("\x9b31m", "\\x9b31m"),
            ("bad\udcff", "bad\\udcff"),
            ("größe 数据.onnx", "größe 数据.onnx"),
        ],
    )
    def test_names_cannot_steer_the_terminal(self, name, told):
        """A hostile file name must not write a line of its own, or turn the text around (CVE-2021-42574)."""
        console = Console(width=80)
        with console.capture() as captured:
            Session(console=console).say(name)
            Session(console=console).table(("name",), [(name,)])
        assert captured.get().split("\n")[0] == told
        assert told in captured.get().split("\n")[2]

    def test_path_stays_in_one_piece_and_text_is_folded(self):
        console = Console(width=80)
        with console.capture() as captured:
            Session(console=console).say("/a" * 60)
            Session(console=console).explain("a word " * 40)
        first, *rest = captured.get().splitlines()
        assert first == "/a" * 60
        assert len(rest) > 1
        assert max(map(len, rest)) <= 80
        assert all(line.startswith("    ") for line in rest)

    def test_json_is_all_that_is_printed(self, capsys):
        console = Console(width=80)
        opened = Session(json=True, console=console)
        opened.say("for people")
        opened.document({"name": "größe"})
        assert capsys.readouterr().out == '{"name": "größe"}\n'

    @pytest.mark.parametrize("text", ["m", "m@", "@1", "M@1", "m@1@2", "m@1\n", "m/x@1", "m@../1"])
    def test_what_is_no_version_is_refused(self, text):
        with pytest.raises(Invalid, match="write model@version"):
            split_version(text)

    def test_version_number_and_enum_are_read(self):
        assert split_version("adult-income@1.2.0-rc.1+x") == ("adult-income", "1.2.0-rc.1+x")
        assert (number(None), number(0.12345), number(2.0, 1)) == ("–", "0.123", "2.0")
        assert plain_enum("MODEL_STATE_APPROVED", "MODEL_STATE_") == "APPROVED"
        assert plain_enum("MODEL_STATE_UNSPECIFIED", "MODEL_STATE_") == ""


REFERENCE = model_pb2.ModelReference(model="adult-income", version="1.2.0", digest="ab" * 32)
LONG = "a reason that goes on and on, with figures such as 0.123456 and names such as sex=Female, " * 4


def score(value):
    return risk_pb2.Score(score=value, interval=evidence_pb2.Interval(low=0.1, high=0.9), probability_high=0.25)


@pytest.fixture
def answering(platform):
    """A platform on which one model has been through everything, told with long names and reasons."""
    driver = risk_pb2.Driver(evidence="checks.adversarial_robustness", contribution=0.4)
    shared = {"category": "technical", "score": score(0.5)}
    risks = [
        risk_pb2.Risk(name="technical.model_vulnerabilities", measured=True, drivers=[driver], **shared),
        risk_pb2.Risk(name="technical.data_breaches", **shared),
    ]
    profile = risk_pb2.RiskProfile(
        model=REFERENCE,
        overall=score(0.4),
        categories=[risk_pb2.Category(name="technical", score=score(0.5))],
        risks=risks,
        recommendations=[risk_pb2.Recommendation(risk="technical.model_vulnerabilities", action=LONG)],
    )
    check = evidence_pb2.CheckResult(
        name="bias_fairness",
        outcome=evidence_pb2.CHECK_OUTCOME_FAIL,
        value=0.5,
        interval=evidence_pb2.Interval(low=0.25, high=0.75),
        confidence=0.95,
        samples=900,
        seed=2**40,
        reason=LONG,
    )
    entry = model_pb2.HistoryEntry(action="deployed", actor="developer", environment="production", reason=LONG)
    deployment = model_pb2.Deployment(model=REFERENCE, environment="production", state=1)
    alert = monitor_events_pb2.AlertRaised(
        alert_id="a-1", model=REFERENCE, environment="production", detector="population-drift", severity=4, message=LONG
    )
    metric = monitor_service_pb2.Metric(value=0.5, formula=LONG, inputs={"approved_models": 1.0, "all_models": 2.0})
    for moment in (entry.at, deployment.changed_at, alert.raised_at):
        moment.FromJsonString("2026-11-23T10:00:00Z")
    platform.answers |= {
        "GetRiskProfile": risk_service_pb2.GetRiskProfileResponse(profile=profile),
        "ListRiskRegister": risk_service_pb2.ListRiskRegisterResponse(profiles=[profile]),
        "GetModel": registry_service_pb2.GetModelResponse(
            model=REFERENCE, state=2, submission_id="s-1", verdict="APPROVED", deployments=[deployment], owner="o"
        ),
        "ListModels": registry_service_pb2.ListModelsResponse(
            models=[registry_service_pb2.ModelSummary(model=REFERENCE, state=2, active_environments=["production"])]
        ),
        "GetHistory": registry_service_pb2.GetHistoryResponse(
            entries=[registry_service_pb2.VersionedHistoryEntry(model=REFERENCE, entry=entry)]
        ),
        "GetLineage": registry_service_pb2.GetLineageResponse(model=REFERENCE, ancestors=[REFERENCE]),
        "GetReport": validator_service_pb2.GetReportResponse(
            submission_id="s-1", scan=evidence_pb2.ScanReport(verdict=1), checks=[check]
        ),
        "WatchAlerts": [monitor_service_pb2.WatchAlertsResponse(alert=alert)],
        "GetSecurityMetrics": monitor_service_pb2.GetSecurityMetricsResponse(
            security_posture_score=metric, risk_exposure=metric, compliance_rate=metric
        ),
        "Replay": [
            compliance_service_pb2.ReplayResponse(
                index=7,
                id="e-1",
                source="vallum/x",
                subject="adult-income@1.2.0",
                type="vallum.unknown.v1.X",
                data=b"\xff",
            )
        ],
        "Deploy": registry_service_pb2.DeployResponse(deployment=deployment),
        "Quarantine": registry_service_pb2.QuarantineResponse(model=REFERENCE, ended=[deployment]),
    }
    return platform


WORDS = {
    "risk show": ("risk", "show", "adult-income@1.2.0"),
    "risk register": ("risk", "register"),
    "models list": ("models", "list"),
    "models show": ("models", "show", "adult-income@1.2.0"),
    "models history": ("models", "history", "adult-income"),
    "models lineage": ("models", "lineage", "adult-income@1.2.0"),
    "alerts watch": ("alerts", "watch", "--past-only"),
    "metrics": ("metrics",),
    "audit replay": ("audit", "replay"),
    "deploy": ("deploy", "adult-income@1.2.0", "--environment", "production"),
    "quarantine": ("quarantine", "adult-income@1.2.0", "--reason", "r"),
}


class TestCommands:
    @pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
    def test_output_fits_80_columns(self, vallum, answering, words):
        typed = vallum(*words)
        assert (typed.code, typed.error) == (0, "")
        assert typed.out
        assert max(map(len, typed.out.splitlines())) <= 80

    @pytest.mark.parametrize(
        ("words", "fields"),
        [
            (WORDS["risk show"], {"overall", "categories", "risks", "recommendations"}),
            (WORDS["models show"], {"model", "version", "digest", "state", "verdict", "deployments", "checks", "risk"}),
            (
                WORDS["metrics"],
                {"security_posture_score", "risk_exposure", "compliance_rate", "incident_response_time_hours"},
            ),
            (WORDS["audit replay"], {"index", "type", "id", "source", "subject", "time", "data"}),
        ],
    )
    def test_json_holds_what_is_promised(self, vallum, answering, words, fields):
        typed = vallum(*words, "--json")
        assert typed.code == 0
        assert set(typed.document) >= fields

    def test_risks_are_told_with_interval_and_whether_they_were_measured(self, vallum, answering):
        document = vallum(*WORDS["risk show"], "--json").document
        assert document["overall"] == {"score": 0.4, "interval": [0.1, 0.9], "probability_high": 0.25}
        assert [(risk["name"], risk["measured"], risk["interval"]) for risk in document["risks"]] == [
            ("technical.model_vulnerabilities", True, [0.1, 0.9]),
            ("technical.data_breaches", False, [0.1, 0.9]),
        ]
        assert "unmeasured" in vallum(*WORDS["risk show"]).out

    def test_numbers_and_enums_of_a_check_are_plain(self, vallum, answering):
        (check,) = vallum(*WORDS["models show"], "--json").document["checks"]
        assert (check["outcome"], check["value"], check["interval"]) == ("FAIL", 0.5, [0.25, 0.75])
        assert (check["samples"], check["seed"]) == (900, 2**40)

    def test_metric_without_a_value_is_null_and_not_0(self, vallum, answering):
        document = vallum("metrics", "--json").document
        assert document["compliance_rate"]["value"] == 0.5
        assert document["incident_response_time_hours"]["value"] is None

    def test_event_of_an_unknown_type_is_replayed_as_its_bytes(self, vallum, answering):
        document = vallum("audit", "replay", "--json").document
        assert (document["index"], document["data"]) == (7, "/w==")

    def test_token_of_the_profile_is_on_every_call(self, vallum, answering):
        vallum("models", "list")
        assert answering.tokens == ["Bearer a token"]

    def test_question_is_asked_as_it_was_typed(self, vallum, answering):
        vallum("audit", "replay", "--model", "m", "--from-index", "3", "--since", "2026-01-01T01:00:00+01:00")
        (request,) = answering.requests
        assert (request.model, request.from_index, request.since.ToJsonString()) == ("m", 3, "2026-01-01T00:00:00Z")

    def test_stream_is_one_document_per_line(self, vallum, answering):
        answering.answers["Replay"] *= 3
        assert [json.loads(line)["index"] for line in vallum("audit", "replay", "--json").out.splitlines()] == [7, 7, 7]
