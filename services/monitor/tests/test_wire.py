"""Protobuf to domain and back; what is incomplete is refused, naming the field."""

from __future__ import annotations

import uuid

import pytest

from vallum.compliance.v1.decision_pb2 import ComplianceDecided
from vallum.monitor.v1 import events_pb2 as monitor_pb2
from vallum.monitor.v1 import monitor_service_pb2 as requests
from vallum.registry.v1 import events_pb2 as registry_pb2
from vallum.validator.v1 import evidence_pb2
from vallum_common.errors import Exhausted, Invalid
from vallum_common.testing import SequentialIds
from vallum_monitor import wire
from vallum_monitor.domain.alerts import Correction, CorrectionAction
from vallum_monitor.domain.metrics import Metric
from vallum_monitor.domain.traffic import Observation


class TestFactsIn:
    def test_validation_keeps_baseline_and_share_of_conclusive_checks(self, given):
        validation = wire.validation_from(given.validated(outcomes=(1, 2, 3, 1)))
        assert (validation.checks, validation.conclusive) == (4, 3)
        assert [feature.name for feature in validation.baseline] == ["age", "sex", "prediction"]

    @pytest.mark.parametrize(("verdict", "allows"), [(1, True), (2, True), (3, False), (4, False)])
    def test_only_two_verdicts_allow_deployment(self, given, verdict, allows):
        assert wire.decision_from(given.decided(verdict=verdict)).allows_deployment is allows

    def test_risk_is_its_upper_bound(self, given):
        risk = wire.risk_from(given.scored(high=0.4, probability_high=0.2, after_s=3))
        assert (risk.upper_bound, risk.probability_high, risk.scored_at) == (0.4, 0.2, given.at(3))

    @pytest.mark.parametrize(
        ("parse", "make", "field"),
        [
            ("deployment_from", lambda g: g.deployed(deployment_id=""), "deployment_id"),
            ("deployment_from", lambda g: g.deployed(state=0), "state"),
            ("deployment_from", lambda g: g.deployed(state=99), "state"),
            ("deployment_from", lambda g: g.deployed(environment="a\x00b"), "environment"),
            ("deployment_from", lambda g: g.deployed(changed_at=None), "changed_at"),
            ("deployment_from", lambda g: g.deployed(model=g.reference(digest="")), "model.digest"),
            ("validation_from", lambda g: g.validated(submission_id=""), "submission_id"),
            (
                "validation_from",
                lambda g: g.validated(baseline=[evidence_pb2.FeatureBaseline(name="a\x00", counts=[1])]),
                "baseline.name",
            ),
            ("risk_from", lambda g: g.scored(high=1.5), "profile.overall.interval.high"),
            ("risk_from", lambda g: g.scored(probability_high=float("nan")), "profile.overall.probability_high"),
            ("decision_from", lambda g: g.decided(verdict=0), "verdict"),
            ("decision_from", lambda _: ComplianceDecided(), "verdict"),
            ("correction_result_from", lambda g: g.applied(""), "correction_id"),
            ("correction_result_from", lambda g: g.applied("c", outcome=0), "outcome"),
            ("correction_result_from", lambda _: registry_pb2.CorrectionApplied(outcome=1), "correction_id"),
            ("alert_from", lambda g: g.alert(severity=0), "severity"),
            ("alert_from", lambda g: g.alert(detector=""), "detector"),
            ("observation_from", lambda _: monitor_pb2.InferenceObserved(), "batch_id"),
        ],
    )
    def test_incomplete_fact_is_refused_naming_the_field(self, given, parse, make, field):
        with pytest.raises(Invalid) as refused:
            getattr(wire, parse)(make(given))
        assert refused.value.details["field"] == field

    def test_baseline_that_does_not_fit_itself_is_refused(self, given):
        broken = evidence_pb2.FeatureBaseline(name="age", edges=[2, 1], counts=[1, 1, 1])
        with pytest.raises(Invalid, match="ascend"):
            wire.validation_from(given.validated(baseline=[broken]))

    def test_time_out_of_range_is_refused(self, given):
        message = given.deployed()
        message.changed_at.seconds = 10**12
        with pytest.raises(Invalid, match="not a time"):
            wire.deployment_from(message)


class TestFactsOut:
    def test_observation_survives_the_round_trip(self, given, rng):
        batch = given.batch(str(uuid.uuid4()), rng, 20)
        fact = Observation(batch, wire.deployment_from(given.deployed()).reference, "production", given.at())
        event = wire.EventWriter(SequentialIds()).event(fact)
        assert (event.key, event.subject, event.source) == ("adult-income", "adult-income@1.2.0", "vallum/monitor")
        assert event.id != batch.batch_id
        read = wire.observation_from(monitor_pb2.InferenceObserved.FromString(event.message.SerializeToString()))
        assert (read.reference, read.environment, read.observed_at) == (fact.reference, "production", given.at())
        assert [list(column.numbers) for column in read.batch.columns] == [list(c.numbers) for c in batch.columns]
        assert list(read.batch.predictions) == batch.predictions

    def test_rows_that_do_not_fit_the_columns_are_refused(self, given, rng):
        fact = Observation(
            given.batch("b", rng, 20), wire.deployment_from(given.deployed()).reference, "production", given.at()
        )
        message = wire.EventWriter(SequentialIds()).event(fact).message
        message.rows = 19
        with pytest.raises(Invalid, match="19 rows"):
            wire.observation_from(message)

    def test_alert_survives_the_round_trip(self, alert):
        fact = alert(evidence={"columns": [{"name": "age", "psi": 0.5}], "false_alarm_rate": 0.001})
        event = wire.EventWriter(SequentialIds()).event(fact)
        assert event.time == fact.raised_at
        assert wire.alert_from(event.message) == fact

    def test_correction_names_alert_action_and_policy(self, alert):
        fact = Correction(
            "alert-1", alert().reference, "production", CorrectionAction.ROLLBACK, "why", "ab" * 32, alert().raised_at
        )
        message = wire.EventWriter(SequentialIds()).event(fact).message
        assert message.action == monitor_pb2.CORRECTION_ACTION_ROLLBACK
        assert (message.alert_id, message.policy_digest, message.reason) == ("alert-1", "ab" * 32, "why")
        assert message.correction_id == fact.correction_id


class TestRequests:
    @pytest.mark.parametrize("field", ["model", "version", "environment"])
    def test_report_without_a_name_is_refused(self, given, rng, field):
        with pytest.raises(Invalid) as refused:
            wire.report_from(given.request(given.batch(str(uuid.uuid4()), rng, 2), **{field: ""}))
        assert refused.value.details["field"] == field

    @pytest.mark.parametrize("batch_id", ["", "1", "not-a-uuid"])
    def test_batch_id_must_be_a_uuid(self, given, rng, batch_id):
        with pytest.raises(Invalid, match="UUID"):
            wire.report_from(given.request(given.batch(batch_id, rng, 2)))

    def test_one_uuid_has_one_spelling(self, given, rng):
        value = uuid.uuid4()
        batch = given.batch(str(value).upper(), rng, 2)
        assert wire.report_from(given.request(batch)).batch.batch_id == str(value)

    def test_too_large_a_batch_is_refused_naming_the_limit(self, given, rng):
        batch = given.batch(str(uuid.uuid4()), rng, 90_000)
        with pytest.raises(Exhausted, match="1048576"):
            wire.report_from(given.request(batch))

    def test_digest_tells_two_contents_apart(self, given, rng):
        batch = given.batch(str(uuid.uuid4()), rng, 2)
        one, same = (wire.report_from(given.request(batch)).digest for _ in range(2))
        assert one == same
        assert one != wire.report_from(given.request(batch, version="2.0.0")).digest

    def test_time_is_the_senders_where_given(self, given, rng):
        batch = given.batch(str(uuid.uuid4()), rng, 2)
        assert wire.report_from(given.request(batch)).observed_at is None
        assert wire.report_from(given.request(batch, observed_at=given.at(7))).observed_at == given.at(7)

    def test_selection_of_alerts(self, given):
        selection = wire.selection_from(requests.WatchAlertsRequest(model="m", since=given.at(1)))
        assert (selection.model, selection.since) == ("m", given.at(1))
        assert wire.selection_from(requests.WatchAlertsRequest()).since is None


def test_metric_without_a_value_has_none_on_the_wire(given):
    names = ("security_posture_score", "risk_exposure", "compliance_rate", "incident_response_time_hours")
    answer = wire.metrics_response({name: Metric(None, "formula", {"inputs": 1}) for name in names}, given.at())
    assert not answer.risk_exposure.HasField("value")
    assert dict(answer.risk_exposure.inputs) == {"inputs": 1}
    told = wire.metrics_response({name: Metric(0.0, "formula", {}) for name in names}, given.at())
    assert told.risk_exposure.HasField("value")
