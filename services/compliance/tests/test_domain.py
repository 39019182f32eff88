"""Evidence, verdicts and leaves."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st

from vallum_common.errors import Conflict
from vallum_compliance import wire
from vallum_compliance.domain.audit import AuditEvent, NewEntry
from vallum_compliance.domain.decision import Reason, Severity, Verdict, judgement_of
from vallum_compliance.domain.evidence import Evidence, PolicyInput, canonical_json

MOMENT = dt.datetime(2026, 11, 23, 1, 2, 3, 4, tzinfo=dt.UTC)


class TestEvidence:
    def test_there_is_no_input_before_both_halves(self, given):
        validation = wire.parse_validation(given.validation()).document()
        risk = wire.parse_risk(given.risk()).document()
        assert Evidence("s").policy_input() is None
        assert Evidence("s", validation=validation).policy_input() is None
        assert Evidence("s", risk=risk).policy_input() is None
        assert Evidence("s", validation, risk).policy_input() is not None

    @pytest.mark.parametrize("part", ["model", "version", "digest"])
    def test_halves_about_other_bytes_contradict_each_other(self, given, part):
        validation = wire.parse_validation(given.validation()).document()
        risk = wire.parse_risk(given.risk(model=given.reference(**{part: "other"}))).document()
        with pytest.raises(Conflict, match="'other'"):
            Evidence("s", validation, risk).policy_input()

    def test_input_has_the_names_policies_use(self, given):
        halves = wire.parse_validation(given.validation()).document(), wire.parse_risk(given.risk()).document()
        document = Evidence("s", *halves).policy_input().document()
        assert set(document) == {"model", "signature", "scan", "checks", "isolation", "risk"}
        assert document["model"] == {
            "id": "adult-income",
            "version": "1.2.0",
            "digest": given.digest,
            "tier": "high",
            "task": "classification",
            "vendor": "",
            "has_signature": False,
        }
        assert document["signature"]["outcome"] == "NOT_SIGNED"
        assert document["checks"][0] == {
            "name": "adversarial_robustness",
            "outcome": "PASS",
            "value": 0.1,
            "low": 0.05,
            "high": 0.15,
            "samples": 900,
            "reason": "adversarial_robustness ended as PASS",
        }
        assert document["risk"]["risks"][0]["measured"] is True
        assert document["isolation"]["degraded"] == []

    def test_nothing_that_differs_between_submissions_is_the_key_of_a_map(self, given):
        """CEL goes through a map in an order that changes from run to run; a verdict must not."""
        halves = wire.parse_validation(given.validation()).document(), wire.parse_risk(given.risk()).document()
        document = Evidence("s", *halves).policy_input().document()
        for part in (document["scan"]["files"], document["checks"], document["risk"]["risks"]):
            assert isinstance(part, list)
        assert isinstance(document["risk"]["categories"], list)

    def test_digest_is_that_of_the_text(self):
        assert PolicyInput('{"a":"é"}').digest == hashlib.sha256('{"a":"é"}'.encode()).hexdigest()


class TestCanonicalJson:
    def test_keys_are_sorted_and_nothing_is_wasted(self):
        assert canonical_json({"b": [1, 0.5, None, True], "a": "é\n"}) == '{"a":"é\\n","b":[1,0.5,null,true]}'

    @generated(st.floats(allow_nan=False, allow_infinity=False))
    def test_every_number_reads_back_the_same(self, number):
        back = json.loads(canonical_json([number]))[0]
        assert back == number
        assert math.copysign(1, back) == math.copysign(1, number)

    @pytest.mark.parametrize("number", [math.nan, math.inf])
    def test_what_is_no_number_is_refused(self, number):
        with pytest.raises(ValueError, match="JSON"):
            canonical_json([number])


class TestVerdict:
    @pytest.mark.parametrize(
        ("severities", "verdict"),
        [
            ([], Verdict.APPROVED),
            ([Severity.CONDITION], Verdict.APPROVED_WITH_CONDITIONS),
            ([Severity.CONDITION, Severity.REVIEW], Verdict.NEEDS_REVIEW),
            ([Severity.REVIEW, Severity.REJECT, Severity.CONDITION], Verdict.REJECTED),
        ],
    )
    def test_worst_reason_decides(self, severities, verdict):
        assert judgement_of(Reason("r", severity, "m", {}) for severity in severities).verdict == verdict

    def test_only_the_two_approvals_allow_deployment(self):
        allowed = {verdict for verdict in Verdict if verdict.allows_deployment}
        assert allowed == {Verdict.APPROVED, Verdict.APPROVED_WITH_CONDITIONS}

    def test_equal_severities_keep_the_order_of_the_policy(self):
        reasons = [Reason(name, Severity.REVIEW, "m", {}) for name in "cab"]
        assert [reason.rule for reason in judgement_of(reasons).reasons] == ["c", "a", "b"]


EVENT = AuditEvent(
    id="e-1",
    type="vallum.registry.v1.ModelSubmitted",
    source="vallum/registry",
    subject="m@1",
    time=MOMENT,
    topic="model-submitted",
    partition=3,
    offset=7,
    key=b"m",
    headers=(("ce_id", "e-1"), ("note", "é\n")),
    data=b"payload",
)


class TestLeaf:
    def test_leaf_is_exactly_these_bytes(self):
        """The vector another implementation can be checked against."""
        digest = hashlib.sha256(b"payload").hexdigest()
        assert NewEntry(EVENT, MOMENT).leaf() == (
            b'{"data_sha256":"'
            + digest.encode()
            + b'","headers":[["ce_id","e-1"],["note","\xc3\xa9\\n"]],"key":"bQ==",'
            b'"offset":7,"partition":3,"recorded_at":"2026-11-23T01:02:03.000004Z","topic":"model-submitted"}'
        )

    def test_leaf_hash_is_that_of_rfc_6962(self):
        """Computed with sha256sum over a zero byte and the bytes above."""
        assert NewEntry(EVENT, MOMENT).leaf_hash().hex() == (
            "17729cce07283af5a020c6634f1ef366755b5927a7928b07e169289e84018a8d"
        )

    @pytest.mark.parametrize(
        "change",
        [
            {"topic": "x"},
            {"partition": 4},
            {"offset": 8},
            {"key": None},
            {"key": b""},
            {"headers": (("note", "é\n"), ("ce_id", "e-1"))},
            {"headers": (*EVENT.headers, ("seen", ""))},
            {"headers": (*EVENT.headers, ("seen", None))},
            {"data": b"payloaD"},
        ],
    )
    def test_whatever_is_changed_changes_the_leaf(self, change):
        assert NewEntry(replace(EVENT, **change), MOMENT).leaf_hash() != NewEntry(EVENT, MOMENT).leaf_hash()
        assert NewEntry(EVENT, MOMENT + dt.timedelta(microseconds=1)).leaf() != NewEntry(EVENT, MOMENT).leaf()

    def test_leaf_of_the_largest_event_fits_into_a_tile(self):
        assert len(NewEntry(replace(EVENT, data=bytes(1_000_000)), MOMENT).leaf()) < 65_536
