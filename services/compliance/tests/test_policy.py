"""What the release policy says, and that a policy in trouble never approves."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import cel
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as generated
from hypothesis import strategies as st

from vallum.validator.v1.evidence_pb2 import Isolation
from vallum_common.errors import Invalid
from vallum_compliance import wire
from vallum_compliance.domain.decision import Severity, Verdict
from vallum_compliance.domain.evidence import Evidence, PolicyInput
from vallum_compliance.policy import load_policy, parse_policy

APPROVED, CONDITIONS = Verdict.APPROVED, Verdict.APPROVED_WITH_CONDITIONS
REJECTED, REVIEW = Verdict.REJECTED, Verdict.NEEDS_REVIEW
TECHNICAL = "technical.model_vulnerabilities"


def input_of(validation: Any, risk: Any) -> PolicyInput:
    parts = wire.parse_validation(validation).document(), wire.parse_risk(risk).document()
    policy_input = Evidence("s", *parts).policy_input()
    assert policy_input is not None
    return policy_input


def policy_of(when: str, *, severity: str = "condition", message: str = "fired", values: str = "{}") -> Any:
    text = f"""
version: "1"
source: a test
limits: {{share: {{value: 0.5, source: a test}}}}
rules:
  - {{name: only, severity: {severity}, when: {json.dumps(when)}, message: "{message}", values: {values}}}
"""
    return parse_policy(text.encode(), name="test.yaml")


def judged(policy: Any, given: Any, *, risk: Any = None, **changes: Any) -> tuple[Verdict, list[str]]:
    judgement = policy.judge(input_of(given.validation(**changes), risk or given.risk()))
    return judgement.verdict, [reason.rule for reason in judgement.reasons]


class TestShippedPolicy:
    @pytest.mark.parametrize("tier", ["minimal", "limited", "high"])
    def test_good_model_is_approved_without_a_reason(self, policy, given, tier):
        assert judged(policy, given, tier=tier) == (APPROVED, [])

    @pytest.mark.parametrize("tier", ["minimal", "limited", "high"])
    def test_malicious_scan_is_rejected_at_every_tier(self, policy, given, tier):
        verdict, rules = judged(policy, given, tier=tier, scan=given.scan("MALICIOUS"))
        assert (verdict, rules[0]) == (REJECTED, "scan-malicious")

    @pytest.mark.parametrize(("tier", "verdict"), [("minimal", REVIEW), ("limited", REVIEW), ("high", REJECTED)])
    def test_unknown_scan_is_never_approved(self, policy, given, tier, verdict):
        assert judged(policy, given, tier=tier, scan=given.scan("UNKNOWN"))[0] == verdict

    def test_missing_scan_is_unknown(self, policy, given):
        assert judged(policy, given, scan=None) == (REJECTED, ["scan-unknown-high"])

    @pytest.mark.parametrize("check", ["adversarial_robustness", "data_privacy", "bias_fairness", "transparency"])
    @pytest.mark.parametrize(("tier", "verdict"), [("minimal", CONDITIONS), ("limited", REJECTED), ("high", REJECTED)])
    def test_failed_check_is_rejected_above_minimal(self, policy, given, check, tier, verdict):
        assert judged(policy, given, tier=tier, outcomes={check: "FAIL"})[0] == verdict

    @pytest.mark.parametrize("check", ["adversarial_robustness", "data_privacy", "bias_fairness", "transparency"])
    @pytest.mark.parametrize(("tier", "verdict"), [("minimal", CONDITIONS), ("limited", CONDITIONS), ("high", REVIEW)])
    def test_inconclusive_check_closes_the_gate_at_tier_high(self, policy, given, check, tier, verdict):
        assert judged(policy, given, tier=tier, outcomes={check: "INCONCLUSIVE"})[0] == verdict

    @pytest.mark.parametrize("tier", ["minimal", "limited", "high"])
    def test_behaviour_nobody_measured_needs_review(self, policy, given, tier):
        outcomes = dict.fromkeys(("adversarial_robustness", "data_privacy", "bias_fairness"), "INCONCLUSIVE")
        verdict, rules = judged(policy, given, tier=tier, outcomes=outcomes)
        assert verdict == REVIEW
        assert "behaviour-unmeasured" in rules

    @pytest.mark.parametrize("tier", ["minimal", "limited", "high"])
    def test_check_that_was_not_done_needs_review(self, policy, given, tier):
        checks = [given.check("adversarial_robustness"), given.check("data_privacy"), given.check("transparency")]
        assert judged(policy, given, tier=tier, checks=checks) == (REVIEW, ["check-missing"])

    @pytest.mark.parametrize(("tier", "verdict"), [("minimal", REVIEW), ("limited", REVIEW), ("high", REJECTED)])
    def test_measured_high_risk_is_never_approved(self, policy, given, tier, verdict):
        assert judged(policy, given, tier=tier, risk=given.risk(high=[TECHNICAL]))[0] == verdict

    def test_high_risk_nobody_measured_does_not_reject(self, policy, given):
        risk = given.risk(high=[TECHNICAL])
        for entry in risk.profile.risks:
            entry.measured = entry.name != TECHNICAL
        assert judged(policy, given, risk=risk) == (APPROVED, [])

    def test_no_measured_risk_at_all_needs_review(self, policy, given):
        assert judged(policy, given, risk=given.risk(measured=False)) == (REVIEW, ["risk-unmeasured"])

    @pytest.mark.parametrize("format", ["pickle", "joblib", "torch"])
    def test_pickle_family_is_approved_only_with_conditions(self, policy, given, format):
        scan = given.scan("CLEAN", given.file("model.bin", format))
        assert judged(policy, given, scan=scan) == (CONDITIONS, ["pickle-family"])

    @pytest.mark.parametrize("isolation", [None, Isolation(mechanism="none")])
    @pytest.mark.parametrize("tier", ["minimal", "limited", "high"])
    def test_missing_isolation_needs_review(self, policy, given, tier, isolation):
        assert judged(policy, given, tier=tier, isolation=isolation)[0] == REVIEW

    @pytest.mark.parametrize(("tier", "verdict"), [("minimal", CONDITIONS), ("limited", CONDITIONS), ("high", REVIEW)])
    def test_weak_isolation_is_told(self, policy, given, tier, verdict):
        isolation = Isolation(mechanism="sandlock", seccomp=True, degraded=["no Landlock for sockets"])
        assert judged(policy, given, tier=tier, isolation=isolation)[0] == verdict

    def test_unsigned_model_of_a_vendor_needs_review(self, policy, given):
        assert judged(policy, given, vendor="Acme") == (REVIEW, ["vendor-unsigned"])
        signature = given.signature("VERIFIED")
        assert judged(policy, given, vendor="Acme", signature=signature) == (APPROVED, [])

    @pytest.mark.parametrize("tier", ["minimal", "limited", "high"])
    @pytest.mark.parametrize(
        ("outcome", "verdict", "rules"),
        [
            ("VERIFIED", APPROVED, []),
            ("NOT_SIGNED", APPROVED, []),
            ("UNTRUSTED", REVIEW, ["signature-untrusted"]),
            ("UNKNOWN", REVIEW, ["signature-unknown"]),
            ("NOT_ALLOWED", REJECTED, ["signature-not-allowed"]),
            ("INVALID", REJECTED, ["signature-invalid"]),
        ],
    )
    def test_what_a_signature_is_worth_is_judged_at_every_tier(self, policy, given, tier, outcome, verdict, rules):
        signature = given.signature(outcome)
        assert judged(policy, given, tier=tier, signature=signature) == (verdict, rules)
        with_vendor = judged(policy, given, tier=tier, signature=signature, vendor="Acme")[1]
        assert with_vendor == [*rules, *(["vendor-unsigned"] if outcome != "VERIFIED" else [])]

    def test_a_signature_nobody_looked_at_is_no_signature_that_is_good(self, policy, given):
        """Events from before signatures were verified say only that there is one."""
        assert judged(policy, given, has_signature=True) == (REVIEW, ["signature-unknown"])

    def test_reason_tells_the_values_it_saw(self, policy, given):
        risk = given.risk(high=[TECHNICAL])
        validation = given.validation(outcomes={"data_privacy": "FAIL"})
        failed, high = policy.judge(input_of(validation, risk)).reasons
        assert failed.message == "failed: data_privacy (data_privacy ended as FAIL)"
        measured = {"name": "data_privacy", "value": 0.1, "low": 0.05, "high": 0.15, "samples": 900}
        assert failed.values["measured"] == [measured]
        assert high.message == f"probably above 0.7: {TECHNICAL}"
        assert high.values["limit"] == 0.5
        assert high.values["scores"][0]["probability_high"] == 0.9

    def test_worst_reason_is_told_first(self, policy, given):
        scan = given.scan("MALICIOUS", given.file("model.pkl", "pickle", "MALICIOUS", ["pickle.global-denied"]))
        judgement = policy.judge(input_of(given.validation(scan=scan, isolation=None), given.risk()))
        assert [reason.severity for reason in judgement.reasons] == ["reject", "review", "condition"]
        assert "model.pkl: pickle.global-denied" in judgement.reasons[0].message

    def test_digest_is_that_of_the_file(self, policy, given):
        assert policy.digest == hashlib.sha256(given.policy_file.read_bytes()).hexdigest()


class TestTrouble:
    @pytest.mark.parametrize(
        "when",
        [
            "model.colour == 'red'",
            "checks[0].value > 'a'",
            "nobody.knows",
            "1 / 0 == 1",
            "model.tier",
            "checks.exists(c, c.nothing)",
            "isolation",
            "9223372036854775807 + 1 > 0",
        ],
    )
    @pytest.mark.parametrize(("severity", "verdict"), [("condition", REVIEW), ("review", REVIEW), ("reject", REJECTED)])
    def test_rule_that_cannot_be_evaluated_counts_as_fired(self, given, when, severity, verdict):
        judgement = policy_of(when, severity=severity).judge(input_of(given.validation(), given.risk()))
        assert judgement.verdict == verdict
        assert "could not be evaluated" in judgement.reasons[0].message
        assert judgement.reasons[0].values["error"]

    def test_rule_that_does_not_compile_counts_as_fired(self, given):
        judgement = policy_of("model.tier ==").judge(input_of(given.validation(), given.risk()))
        assert judgement.verdict == REVIEW
        assert judgement.reasons[0].severity == Severity.REVIEW

    @pytest.mark.parametrize("value", ["model.colour", "0.0 / 0.0", "b'bytes'", "("])
    def test_value_that_cannot_be_told_makes_a_condition_a_review(self, given, value):
        policy = policy_of("true", message="saw {it}", values=f'{{it: "{value}"}}')
        assert policy.judge(input_of(given.validation(), given.risk())).verdict == REVIEW

    def test_broken_rule_does_not_hide_another(self, given):
        text = """
version: "1"
source: a test
rules:
  - {name: broken, severity: condition, when: "nobody", message: m}
  - {name: sound, severity: reject, when: "model.tier == 'high'", message: m}
"""
        judgement = parse_policy(text.encode(), name="t").judge(input_of(given.validation(), given.risk()))
        assert judgement.verdict == REJECTED
        assert [reason.rule for reason in judgement.reasons] == ["sound", "broken"]

    def test_long_lists_and_texts_are_cut_and_say_so(self, given):
        files = [given.file(f"{number:03}-" + "x" * 1000) for number in range(100)]
        policy = policy_of("true", message="{files}", values='{files: "scan.files.map(f, f.path)"}')
        judgement = policy.judge(input_of(given.validation(scan=given.scan("CLEAN", *files)), given.risk()))
        (reason,) = judgement.reasons
        assert len(reason.values["files"]) == 21
        assert reason.values["files"][-1] == "… and 80 more"
        assert len(reason.message) < 21 * 310

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("rules: [", "not YAML"),
            ("", "not valid at the document"),
            ("version: '1'\nsource: s\nrules: []", "not valid at rules"),
            ("version: '1'\nsource: s\nrules: [{name: a, severity: maybe, when: x, message: m}]", "rules.0.severity"),
            ("version: '1'\nsource: s\nrules: [{name: a, severity: review, when: x, message: '{b}'}]", "'b'"),
            ("version: '1'\nsource: s\nrule: []\nrules: [{name: a, severity: review, when: x, message: m}]", "rule"),
            (
                "version: '1'\nsource: s\nrules: [{name: a, severity: review, when: x, message: m},"
                " {name: a, severity: review, when: x, message: m}]",
                "two rules",
            ),
            (
                "version: '1'\nsource: s\nlimits: {a: {value: .nan, source: s}}\n"
                "rules: [{name: a, severity: review, when: x, message: m}]",
                "limits.a",
            ),
        ],
    )
    def test_file_that_is_no_policy_is_refused_in_one_line(self, text, says):
        with pytest.raises(Invalid) as refused:
            parse_policy(text.encode(), name="release.yaml")
        assert "release.yaml" in refused.value.message
        assert says in refused.value.message
        assert "\n" not in refused.value.message

    def test_file_that_is_not_text_or_not_there_is_refused(self, tmp_path):
        with pytest.raises(Invalid, match="UTF-8"):
            parse_policy(b"\xff\xfe\x00", name="release.yaml")
        with pytest.raises(Invalid, match="cannot be read"):
            load_policy(tmp_path / "nowhere.yaml")


outcomes = st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE"])
CHECK_NAMES = ("adversarial_robustness", "data_privacy", "bias_fairness", "transparency")
many_checks = st.fixed_dictionaries(dict.fromkeys(CHECK_NAMES, outcomes))
tiers = st.sampled_from(["minimal", "limited", "high"])
TOKENS = (
    "model",
    ".tier",
    "==",
    "!=",
    "&&",
    "||",
    "!",
    "(",
    ")",
    "true",
    "false",
    "'high'",
    "checks",
    "size",
    "null",
    "1",
)
same_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


class TestProperties:
    @same_fixtures
    @generated(tiers, many_checks, st.sampled_from(["CLEAN", "UNKNOWN", "MALICIOUS"]), st.booleans())
    def test_same_input_and_policy_give_the_same_judgement(self, policy, given, tier, checks, verdict, isolated):
        changes = {} if isolated else {"isolation": None}
        files = [given.file(f"{name}.pkl", "pickle", verdict, ["a", "b"]) for name in "zyxw"]
        validation = given.validation(tier=tier, outcomes=checks, scan=given.scan(verdict, *files), **changes)
        policy_input = input_of(validation, given.risk(high=[TECHNICAL, "business.regulatory_fines"]))
        first = policy.judge(policy_input)
        again = parse_policy(policy.text.encode(), name="again").judge(PolicyInput(str(policy_input.text)))
        assert again == first
        assert repr(again) == repr(first)

    @same_fixtures
    @generated(tiers, many_checks, st.sampled_from(CHECK_NAMES), st.sampled_from(["FAIL", "INCONCLUSIVE"]))
    def test_a_check_that_no_longer_passes_never_opens_the_gate(self, policy, given, tier, checks, name, worse):
        before = judged(policy, given, tier=tier, outcomes={**checks, name: "PASS"})[0]
        after = judged(policy, given, tier=tier, outcomes={**checks, name: worse})[0]
        assert before.allows_deployment or not after.allows_deployment
        assert after != APPROVED

    @same_fixtures
    @generated(st.text(max_size=40) | st.lists(st.sampled_from(TOKENS), max_size=8).map(" ".join))
    def test_whatever_the_expression_only_false_lets_pass(self, given, expression):
        policy_input = input_of(given.validation(), given.risk())
        if policy_of(expression).judge(policy_input).verdict == APPROVED:
            assert cel.evaluate(expression, policy_input.document()) is False
