"""Protobuf and domain: what is written is read back, and what is incomplete or no number is refused."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from vallum.registry.v1 import model_pb2
from vallum.risk.v1 import risk_pb2
from vallum.validator.v1 import events_pb2, evidence_pb2
from vallum_common.bus.event import decode_event
from vallum_common.bus.record import OutgoingRecord
from vallum_common.errors import Invalid
from vallum_common.testing import SequentialIds
from vallum_risk import wire
from vallum_risk.domain import (
    RISK_NAMES,
    RISKS,
    Count,
    Driver,
    Measurement,
    ModelReference,
    Recommendation,
    Risk,
    RiskProfile,
    Score,
    Sign,
)

from .evidently import REFERENCE

PROBABILITIES = st.floats(0, 1)
TEXTS = st.text(min_size=1, max_size=20)
SCORES = st.builds(Score, PROBABILITIES, PROBABILITIES, PROBABILITIES, PROBABILITIES)
DRIVERS = st.builds(Driver, TEXTS, st.floats(-1, 1))
PROFILES = st.builds(
    RiskProfile,
    reference=st.builds(ModelReference, TEXTS, TEXTS, TEXTS),
    submission_id=TEXTS,
    overall=SCORES,
    categories=st.fixed_dictionaries(dict.fromkeys(RISKS, SCORES)),
    risks=st.tuples(
        *(st.builds(Risk, st.just(n), SCORES, st.booleans(), st.tuples(DRIVERS) | st.just(())) for n in RISK_NAMES)
    ),
    recommendations=st.lists(st.builds(Recommendation, TEXTS, TEXTS), max_size=3).map(tuple),
    risk_model_digest=TEXTS,
    scored_at=st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)),
    cause_event_id=TEXTS,
)


@for_all(PROFILES)
@settings(max_examples=50, deadline=None)
def test_profile_comes_back_from_its_bytes(profile):
    content = wire.profile_message(profile).SerializeToString()
    assert wire.profile_from(risk_pb2.RiskProfile.FromString(content)) == profile


def test_event_tells_of_the_profile_when_it_was_scored(given, shipped):
    profile = given.profile(shipped, given.evidence(scan=Sign.GOOD))
    event = wire.EventWriter(SequentialIds()).event(profile)
    record = OutgoingRecord.of_event(event, traceparent="")
    read = decode_event(event.topic, key=record.key, value=record.value, headers=record.headers)
    assert (read.topic.name, read.key, read.subject) == ("risk-scored", "adult-income", "adult-income@1.2.0")
    assert (read.id, read.time) == (SequentialIds().new(), profile.scored_at)
    assert wire.profile_from(read.message.profile) == profile


def test_validation_becomes_evidence_by_name(given):
    read = wire.evidence_from(
        given.validation(
            checks=[
                given.check("adversarial_robustness", 0.1),
                given.check("data_privacy", outcome=evidence_pb2.CHECK_OUTCOME_INCONCLUSIVE, value=None, interval=None),
            ],
            datasets=3,
            datasets_with_digest=1,
            vendor="Acme",
        )
    )
    assert (read.reference, read.submission_id, read.tier) == (REFERENCE, "s-1", "high")
    assert dict(read.items) == {
        "scan": Sign.GOOD,
        "checks.adversarial_robustness": Measurement(0.1, 0.1 - 0.05, 0.1 + 0.05, 0.95),
        "validation.inconclusive": Count(1, 2),
        "lineage.without_digest": Count(2, 3),
        "vendor.unsigned": Sign.BAD,
    }


@pytest.mark.parametrize(
    ("verdict", "sign"),
    [("CLEAN", Sign.GOOD), ("MALICIOUS", Sign.BAD), ("UNKNOWN", Sign.UNKNOWN), ("UNSPECIFIED", Sign.UNKNOWN)],
)
def test_only_a_clean_scan_is_good(given, verdict, sign):
    scan = evidence_pb2.ScanReport(verdict=f"SCAN_VERDICT_{verdict}")
    assert wire.evidence_from(given.validation(scan=scan)).items["scan"] is sign


def test_absent_scan_is_unknown(given):
    message = given.validation()
    message.ClearField("scan")
    assert wire.evidence_from(message).items["scan"] is Sign.UNKNOWN


def test_outcome_that_was_not_told_counts_as_not_told(given):
    checks = [given.check("a", outcome=0), given.check("b", outcome=2), given.check("c", outcome=1)]
    assert wire.evidence_from(given.validation(checks=checks)).items["validation.inconclusive"] == Count(1, 3)


def test_measurement_that_straddles_its_limit_is_evidence_and_one_withdrawn_is_not(given):
    inconclusive = {"outcome": evidence_pb2.CHECK_OUTCOME_INCONCLUSIVE}
    withdrawn = given.check("data_privacy", **inconclusive, value=None, interval=None)
    withdrawn.details.update({"withdrawn": {"value": 0.01, "interval": [0.0, 0.02]}})
    checks = [given.check("adversarial_robustness", 0.4, **inconclusive), withdrawn]
    items = wire.evidence_from(given.validation(checks=checks)).items
    assert items["checks.adversarial_robustness"] == Measurement(0.4, 0.4 - 0.05, 0.4 + 0.05, 0.95)
    assert "checks.data_privacy" not in items
    assert items["validation.inconclusive"] == Count(2, 2)


@pytest.mark.parametrize("missing", [{"value": None}, {"interval": None}])
def test_value_without_interval_is_no_measurement(given, missing):
    read = wire.evidence_from(given.validation(checks=[given.check("data_privacy", **missing)]))
    assert "checks.data_privacy" not in read.items


def test_signature_of_a_vendor_is_good_and_own_models_need_none(given):
    for outcome in evidence_pb2.SignatureOutcome.keys():  # noqa: SIM118 (an enum of protobuf)
        signature = evidence_pb2.SignatureReport(outcome=outcome)
        told = given.validation(vendor="Acme", has_signature=True, signature=signature)
        is_good = outcome == "SIGNATURE_OUTCOME_VERIFIED"
        assert wire.evidence_from(told).items["vendor.unsigned"] is (Sign.GOOD if is_good else Sign.BAD)
    assert "vendor.unsigned" not in wire.evidence_from(given.validation()).items


def interval(low: float, high: float) -> evidence_pb2.Interval:
    return evidence_pb2.Interval(low=low, high=high)


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": math.nan},
        {"value": math.inf},
        {"interval": interval(math.nan, 1)},
        {"interval": interval(0, math.inf)},
        {"interval": interval(0.2, 0.1)},
        {"confidence": 0.0},
        {"confidence": 1.0},
        {"confidence": math.nan},
    ],
)
def test_number_that_is_none_is_refused_with_the_check(given, wrong):
    with pytest.raises(Invalid, match="check 'data_privacy' has the value, interval and confidence"):
        wire.evidence_from(given.validation(checks=[given.check("data_privacy", **wrong)]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"submission_id": ""}, "submission_id"),
        ({"model": model_pb2.ModelReference(model="m", version="1")}, "digest"),
        ({"model": model_pb2.ModelReference()}, "model, version and digest"),
        ({"datasets": 1, "datasets_with_digest": 2}, "2 of 1 data sets"),
        ({"datasets": -1}, "0 of -1 data sets"),
        ({"datasets": 1, "datasets_with_digest": -1}, "-1 of 1 data sets"),
    ],
)
def test_incomplete_validation_is_refused_with_the_field(given, changes, said):
    with pytest.raises(Invalid, match=said):
        wire.evidence_from(given.validation(**changes))


def test_empty_event_is_refused():
    with pytest.raises(Invalid):
        wire.evidence_from(events_pb2.ValidationCompleted())


def test_alert_counts_only_once_it_is_confirmed(given):
    assert wire.alert_from(given.alert()) == REFERENCE
    assert wire.alert_from(given.alert(confirmed=False)) is None
    with pytest.raises(Invalid):
        wire.alert_from(given.alert(model=model_pb2.ModelReference()))
