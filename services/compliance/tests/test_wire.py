"""Incomplete events are refused, naming the field; what goes out says what the domain says."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from vallum.compliance.v1 import compliance_service_pb2 as messages
from vallum.compliance.v1 import decision_pb2
from vallum.risk.v1 import risk_pb2
from vallum.validator.v1 import evidence_pb2
from vallum_common.attestation import MAX_ENVELOPE_BYTES
from vallum_common.bus.event import decode_event
from vallum_common.bus.record import OutgoingRecord
from vallum_common.errors import Invalid
from vallum_common.testing import START, SequentialIds
from vallum_compliance import wire
from vallum_compliance.domain.audit import Entry
from vallum_compliance.domain.decision import Decision, Judgement, Reason, Severity, Verdict
from vallum_compliance.domain.evidence import ModelReference, PolicyInput, canonical_json
from vallum_compliance.wire import scan


class TestValidation:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"submission_id": ""}, "submission_id"),
            ({"submission_id": "a\0b"}, "submission_id"),
            ({"model": None}, "model.model"),
            ({"tier": ""}, "tier"),
            ({"tier": "HIGH"}, "tier"),
            ({"task": ""}, "task"),
            ({"scan": evidence_pb2.ScanReport()}, "scan.verdict"),
            ({"scan": evidence_pb2.ScanReport(verdict=9)}, "scan.verdict"),
            ({"checks": [evidence_pb2.CheckResult(outcome="CHECK_OUTCOME_PASS")]}, "checks.name"),
            ({"checks": [evidence_pb2.CheckResult(name="transparency")]}, "transparency.outcome"),
            ({"isolation": evidence_pb2.Isolation()}, "isolation.mechanism"),
        ],
    )
    def test_incomplete_one_is_refused_naming_the_field(self, given, changes, field):
        with pytest.raises(Invalid, match=field):
            wire.parse_validation(given.validation(**changes))

    @pytest.mark.parametrize("field", ["model", "version", "digest"])
    def test_reference_must_be_complete(self, given, field):
        with pytest.raises(Invalid, match=f"model.{field}"):
            wire.parse_validation(given.validation(model=given.reference(**{field: ""})))

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_measurement_that_is_no_number_is_refused(self, given, number):
        with pytest.raises(Invalid, match=r"transparency\.value"):
            wire.parse_validation(given.validation(checks=[given.check("transparency", value=number)]))
        interval = evidence_pb2.Interval(low=0, high=number)
        with pytest.raises(Invalid, match=r"transparency\.interval\.high"):
            wire.parse_validation(given.validation(checks=[given.check("transparency", interval=interval)]))

    def test_what_was_not_measured_is_none_and_not_zero(self, given):
        (check,) = wire.parse_validation(given.validation(checks=[given.check("transparency", "INCONCLUSIVE")])).checks
        assert (check.value, check.low, check.high) == (None, None, None)

    def test_finding_without_severity_is_refused(self, given):
        file = given.file()
        file.findings.add(rule="pickle.broken")
        with pytest.raises(Invalid, match=r"findings\.severity"):
            wire.parse_validation(given.validation(scan=given.scan("CLEAN", file)))

    @pytest.mark.parametrize(
        ("signature", "field"),
        [
            (evidence_pb2.SignatureReport(), "signature.outcome"),
            (evidence_pb2.SignatureReport(outcome=77), "signature.outcome"),
            (evidence_pb2.SignatureReport(outcome="SIGNATURE_OUTCOME_VERIFIED"), "signature.digest"),
            (evidence_pb2.SignatureReport(outcome="SIGNATURE_OUTCOME_VERIFIED", digest="cd" * 32), "signature.digest"),
        ],
    )
    def test_signature_about_other_bytes_or_of_no_worth_is_refused(self, given, signature, field):
        with pytest.raises(Invalid, match=field):
            wire.parse_validation(given.validation(signature=signature))


class TestScanPredicate:
    def predicate(self, given, **changes):
        return wire.parse_validation(given.validation(**changes)).scan_predicate

    def test_it_tells_what_was_found_where_and_by_which_rules(self, given):
        file = given.file("model.pkl", "pickle", "MALICIOUS")
        file.findings.add(rule="a", severity="SEVERITY_CRITICAL", member="data.pkl", offset=0, message="names os")
        file.findings.add(rule="b", severity="SEVERITY_LOW", message="m" * 1000)
        scan = given.scan("MALICIOUS", file)
        scan.rules_digest, scan.scanner_version = "ab" * 32, "1.2"
        predicate = self.predicate(given, scan=scan, signature=given.signature("UNTRUSTED"))
        assert predicate["scanner"]["rules"] == {"sha256": "ab" * 32}
        assert predicate["verdict"] == predicate["files"][0]["verdict"] == "MALICIOUS"
        placed, unplaced = predicate["files"][0]["findings"]
        expected = {"rule": "a", "severity": "CRITICAL", "message": "names os", "member": "data.pkl", "offset": 0}
        assert placed == expected
        assert set(unplaced) == {"rule", "severity", "message"}
        assert len(unplaced["message"]) == 300
        assert predicate["signature"]["outcome"] == "UNTRUSTED"

    def test_nothing_scanned_is_unknown_and_no_empty_list_of_findings(self, given):
        assert self.predicate(given, scan=None)["verdict"] == "UNKNOWN"

    def test_of_many_findings_the_worst_are_told_and_the_rest_counted(self, given):
        files = []
        for name in ("a", "b"):
            file = given.file(name, verdict="UNKNOWN")
            for _ in range(scan.MOST_FINDINGS):
                file.findings.add(rule="minor", severity="SEVERITY_LOW", message="\U0001f40d" * 4000)
            file.findings.add(rule="worst", severity="SEVERITY_CRITICAL", message="last of its file")
            files.append(file)
        told = self.predicate(given, scan=given.scan("UNKNOWN", *files))["files"]
        assert sum(len(file["findings"]) for file in told) == scan.MOST_FINDINGS
        assert [file["findings"][-1]["rule"] for file in told] == ["worst", "worst"]
        assert sum(file["findingsLeftOut"] for file in told) == scan.MOST_FINDINGS + 2
        assert len(canonical_json(told).encode()) * 4 / 3 < MAX_ENVELOPE_BYTES


class TestRisk:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"submission_id": ""}, "profile.submission_id"),
            ({"model": None}, "model.model"),
            ({"overall": None}, "overall"),
            ({"overall": risk_pb2.Score(score=0.5)}, "overall.interval"),
            ({"risks": [risk_pb2.Risk(name="a.b")]}, "score"),
        ],
    )
    def test_incomplete_one_is_refused_naming_the_field(self, given, changes, field):
        with pytest.raises(Invalid, match=field):
            wire.parse_risk(given.risk(**changes))

    @pytest.mark.parametrize("number", [math.nan, math.inf, -0.1, 1.1])
    def test_score_outside_its_range_is_refused(self, given, number):
        with pytest.raises(Invalid, match="between 0 and 1"):
            wire.parse_risk(given.risk(overall=given.score(0.5, number)))


class TestAuditEvent:
    def test_event_is_kept_as_it_was_received(self, given):
        heard = given.event(given.validation(), "event-1", offset=12)
        kept = wire.parse_audit_event(heard)
        assert kept.data == heard.record.value
        assert [(name, value.encode()) for name, value in kept.headers] == list(heard.record.headers)
        assert (kept.topic, kept.partition, kept.offset) == ("validation-completed", 0, 12)
        assert (kept.id, kept.type) == ("event-1", "vallum.validator.v1.ValidationCompleted")

    def test_header_without_a_value_is_kept_as_one(self, given):
        """Kafka has such headers, and a proxy may add one on the way."""
        heard = given.event(given.validation(), "event-1")
        record = replace(heard.record, headers=(*heard.record.headers, ("seen", None), ("note", b"")))
        kept = wire.parse_audit_event(replace(heard, record=record))
        assert kept.headers[-2:] == (("seen", None), ("note", ""))

    def test_event_that_was_never_on_kafka_is_refused(self, given):
        heard = wire.EventWriter(SequentialIds()).event(decided())
        with pytest.raises(Invalid, match="no record"):
            wire.parse_audit_event(heard)


def decided() -> Decision:
    reason = Reason("check-failed", Severity.REJECT, "it failed", {"share": 0.5, "names": ["a"], "none": None})
    return Decision(
        "s-1",
        ModelReference("m", "1", "ab" * 32),
        Judgement(Verdict.REJECTED, (reason,)),
        policy_digest="cd" * 32,
        policy_input=PolicyInput('{"a":[1,null]}'),
        decided_at=START,
        attestation=b"{}",
    )


class TestDecision:
    def test_message_says_all_of_it(self):
        message = wire.decision_message(decided())
        assert message.verdict == decision_pb2.VERDICT_REJECTED
        assert message.input_digest == PolicyInput('{"a":[1,null]}').digest
        (reason,) = message.reasons
        assert (reason.rule, reason.severity, reason.message) == ("check-failed", "reject", "it failed")
        assert dict(reason.values) == {"share": 0.5, "names": ["a"], "none": None}

    @pytest.mark.parametrize("verdict", list(Verdict))
    def test_every_verdict_has_a_value_in_the_contract(self, verdict):
        decision_pb2.Verdict.Value(f"VERDICT_{verdict}")

    def test_event_survives_kafka(self):
        event = wire.EventWriter(SequentialIds()).event(decided())
        record = OutgoingRecord.of_event(event, traceparent="")
        back = decode_event(event.topic, key=record.key, value=record.value, headers=record.headers)
        assert back == event
        assert (back.key, back.subject, back.source) == ("m", "m@1", "vallum/compliance")


class TestRequests:
    def test_negative_index_is_refused(self):
        with pytest.raises(Invalid, match="from_index is -1"):
            wire.parse_selection(messages.ReplayRequest(from_index=-1))

    def test_unset_time_means_from_the_beginning(self):
        assert wire.parse_selection(messages.ReplayRequest()).since is None

    @pytest.mark.parametrize("request_", [messages.GetDecisionRequest(), messages.GetDecisionRequest(model="m")])
    def test_decision_must_be_named(self, request_):
        with pytest.raises(Invalid, match="model and version"):
            wire.require_decision_name(request_)

    def test_replay_response_carries_the_bytes(self, given):
        event = given.audit_event(1)
        response = wire.replay_response(Entry(event, START, 5))
        assert (response.index, response.data, response.topic) == (5, event.data, "validation-completed")
        assert response.recorded_at.ToDatetime(START.tzinfo) == START
