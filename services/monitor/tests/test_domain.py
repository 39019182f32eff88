"""Values and pure rules."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace

import pytest

from vallum_common.errors import Invalid
from vallum_monitor.domain.alerts import Correction, CorrectionAction, Finding, Watch, Window
from vallum_monitor.domain.metrics import (
    Response,
    System,
    compliance_rate,
    incident_response_time_hours,
    risk_exposure,
    security_posture_score,
)
from vallum_monitor.domain.models import Deployment, DeploymentState, FeatureBaseline, ModelReference, Severity
from vallum_monitor.domain.traffic import Batch, Column

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
REFERENCE = ModelReference("m", "1", "ab")
GOOD = System(risk_upper_bound=0.4, probability_high=0.1, checks=4, conclusive=4, is_approved=True, worst_alert=None)


def hours(count: float) -> dt.datetime:
    """A moment so long after now."""
    return NOW + dt.timedelta(hours=count)


class TestDeployment:
    active = Deployment("d", REFERENCE, "production", DeploymentState.ACTIVE, NOW, "s")

    @pytest.mark.parametrize("state", [s for s in DeploymentState if s is not DeploymentState.ACTIVE])
    def test_ended_one_never_serves_again(self, state):
        ended = replace(self.active, state=state, changed_at=hours(1))
        assert self.active.after_hearing(ended) == ended
        assert ended.after_hearing(self.active) == ended
        assert ended.after_hearing(replace(self.active, changed_at=hours(2))) == ended


class TestFeatureBaseline:
    @pytest.mark.parametrize(
        ("categories", "edges", "counts"),
        [
            ((), (1.0, 2.0), (1, 2)),
            (("a",), (), (1,)),
            (("a",), (1.0,), (1, 1)),
            ((), (2.0, 1.0), (1, 1, 1)),
            ((), (1.0, 1.0), (1, 1, 1)),
            ((), (math.nan,), (1, 1)),
            ((), (1.0,), (1, -1)),
        ],
    )
    def test_parts_that_do_not_fit_are_refused(self, categories, edges, counts):
        with pytest.raises(Invalid):
            FeatureBaseline("x", categories, edges, counts)

    def test_infinity_may_bound_a_bin(self):
        assert FeatureBaseline("x", (), (0.0, math.inf), (1, 1, 0)).is_numeric


class TestBatch:
    baseline = (
        FeatureBaseline("age", (), (30.0,), (1, 1)),
        FeatureBaseline("sex", ("F", "M"), (), (1, 1, 0)),
        FeatureBaseline("prediction", ("0", "1"), (), (1, 1, 0)),
    )
    age = Column("age", numbers=(20.0, 40.0))
    sex = Column("sex", texts=("F", "M"))

    @pytest.mark.parametrize(
        "fields",
        [
            {"columns": ()},
            {"columns": (Column("age"),)},
            {"columns": (age, Column("sex", texts=("F",)))},
            {"columns": (age, age)},
            {"columns": (Column("", numbers=(1.0,)),)},
            {"columns": (Column("age", numbers=(1.0,), texts=("1",)),)},
            {"columns": (age,), "predictions": ("1",)},
            {"columns": (age,), "clients": ("a", "b", "c")},
        ],
    )
    def test_columns_that_do_not_fit_each_other_are_refused(self, fields):
        with pytest.raises(Invalid, match="batch 'b'"):
            Batch("b", **fields)

    def test_predictions_alone_are_a_batch(self):
        assert Batch("b", (), predictions=("1", "0", "1")).rows == 3

    def test_columns_of_the_model_pass_in_any_order(self):
        Batch("b", (self.sex, self.age)).check_against(self.baseline)

    @pytest.mark.parametrize(
        ("columns", "line"),
        [
            ((age, sex, Column("agee", numbers=(1.0, 2.0))), "'agee' that the model does not have; did you mean 'age'"),
            ((age,), r"lacks the columns \['sex'\]"),
            ((Column("age", texts=("20", "40")), sex), "'age' of batch 'b' holds texts"),
        ],
    )
    def test_columns_that_are_not_the_models_are_refused(self, columns, line):
        with pytest.raises(Invalid, match=line):
            Batch("b", columns).check_against(self.baseline)

    def test_any_column_passes_where_nothing_is_known(self):
        Batch("b", (Column("whatever", texts=("x",)),)).check_against(())

    def test_answers_belong_to_the_baseline_of_predictions(self):
        batch = Batch("b", (self.age, self.sex), predictions=("0", "1"))
        assert batch.column_of(self.baseline[2]).texts == ("0", "1")
        assert Batch("b", (self.age, self.sex)).column_of(self.baseline[2]) is None


def finding(severity: Severity = Severity.MEDIUM, *subjects: str) -> Finding:
    """What a window showed."""
    return Finding(severity, subjects or ("age",), "drift", {})


class TestWatch:
    def watch(self, number: int = 1) -> Watch:
        """One with a full window."""
        return Watch("d", "drift", Window(10, f"first-{number}", f"last-{number}", {"age": (5, 5)}))

    def full(self, watch: Watch, number: int) -> Watch:
        """The next full window."""
        return replace(watch, window=self.watch(number).window)

    def test_window_adds_whole_batches(self):
        window = Window().with_batch("a", 3, {"x": (1, 2)}).with_batch("b", 2, {"x": (2, 0), "y": (1, 1)})
        assert window == Window(5, "a", "b", {"x": (3, 2), "y": (1, 1)})

    def test_first_finding_is_told_unconfirmed(self):
        watch = self.watch()
        judged, news = watch.judged(finding())
        assert news is not None
        assert (news.confirmed, news.episode_id) == (False, watch.alert_id)
        assert judged.window == Window()

    def test_next_window_with_the_same_subject_confirms_and_then_says_no_more(self):
        judged, _ = self.watch().judged(finding())
        judged, news = self.full(judged, 2).judged(finding(Severity.MEDIUM, "age", "sex"))
        assert news is not None
        assert news.confirmed
        assert news.episode_id == self.watch().alert_id
        _, news = self.full(judged, 3).judged(finding())
        assert news is None

    def test_another_subject_does_not_confirm(self):
        judged, _ = self.watch().judged(finding(Severity.MEDIUM, "age"))
        judged, news = self.full(judged, 2).judged(finding(Severity.MEDIUM, "sex"))
        assert news is None
        assert judged.episode is not None
        assert not judged.episode.confirmed

    def test_higher_severity_is_told_within_an_episode_and_a_lower_one_is_not(self):
        judged, _ = self.watch().judged(finding())
        judged, _ = self.full(judged, 2).judged(finding())
        judged, news = self.full(judged, 3).judged(finding(Severity.HIGH))
        assert news is not None
        assert (news.severity, news.confirmed) == (Severity.HIGH, True)
        _, news = self.full(judged, 4).judged(finding(Severity.MEDIUM))
        assert news is None

    def test_confirmation_has_the_severity_of_the_window_that_confirms(self):
        judged, _ = self.watch().judged(finding(Severity.HIGH))
        judged, news = self.full(judged, 2).judged(finding(Severity.MEDIUM))
        assert news is not None
        assert (news.severity, news.confirmed) == (Severity.MEDIUM, True)
        judged, news = self.full(judged, 3).judged(finding(Severity.HIGH))
        assert news is not None
        assert (news.severity, news.confirmed) == (Severity.HIGH, True)
        _, news = self.full(judged, 4).judged(finding(Severity.HIGH))
        assert news is None

    def test_quiet_window_ends_the_episode(self):
        judged, _ = self.watch().judged(finding())
        judged, news = self.full(judged, 2).judged(None)
        assert (judged.episode, news) == (None, None)
        _, news = self.full(judged, 3).judged(finding())
        assert news is not None
        assert not news.confirmed

    def test_same_window_has_the_same_alert_id_and_another_has_not(self):
        assert self.watch().alert_id == self.watch().alert_id
        others = {self.watch().alert_id, self.watch(2).alert_id, replace(self.watch(), deployment_id="e").alert_id}
        assert len(others) == 3


def test_one_alert_asks_for_one_correction_id():
    first = Correction("a", REFERENCE, "production", CorrectionAction.QUARANTINE, "why", "digest", NOW)
    assert first.correction_id == replace(first, requested_at=hours(1)).correction_id
    assert first.correction_id != replace(first, alert_id="b").correction_id


class TestMetrics:
    def test_posture_by_hand(self):
        """Means: risk (0.4 + 0.6) ÷ 2 = 0.5, conclusive (1 + 0.5) ÷ 2 = 0.75; 10 × 0.5 × 0.75 = 3.75."""
        metric = security_posture_score([GOOD, replace(GOOD, risk_upper_bound=0.6, conclusive=2)])
        assert metric.value == pytest.approx(3.75)
        assert metric.inputs == pytest.approx(
            {"deployed_systems": 2, "mean_risk_upper_bound": 0.5, "mean_conclusive_share": 0.75}
        )

    @pytest.mark.parametrize("unknown", [replace(GOOD, risk_upper_bound=None), replace(GOOD, checks=0, conclusive=0)])
    def test_what_is_not_known_is_worth_nothing(self, unknown):
        assert security_posture_score([unknown]).value == 0

    def test_exposure_counts_each_system_once(self):
        systems = [
            GOOD,
            replace(GOOD, probability_high=None, worst_alert=Severity.CRITICAL),
            replace(GOOD, probability_high=0.5, worst_alert=Severity.HIGH),
            replace(GOOD, worst_alert=Severity.HIGH),
            replace(GOOD, worst_alert=Severity.MEDIUM),
        ]
        metric = risk_exposure(systems, high_probability=0.5)
        assert metric.value == 3
        assert metric.inputs == {
            "never_scored": 1,
            "probably_above_0_7": 1,
            "alert_of_high_severity": 1,
            "deployed_systems": 5,
            "high_probability": 0.5,
        }

    @pytest.mark.parametrize(("limit", "exposed"), [(0.2, 2), (0.3, 1), (0.31, 0)])
    def test_policy_says_from_which_probability_on_a_system_is_exposed(self, limit, exposed):
        systems = [replace(GOOD, probability_high=value) for value in (0.1, 0.2, 0.3)]
        assert risk_exposure(systems, high_probability=limit).value == exposed

    def test_compliance_by_hand(self):
        systems = [GOOD, GOOD, replace(GOOD, is_approved=False), replace(GOOD, conclusive=3)]
        metric = compliance_rate(systems)
        assert metric.value == 50
        assert metric.inputs == {
            "deployed_systems": 4,
            "compliant_systems": 2,
            "approved_systems": 3,
            "conclusive_systems": 3,
        }

    def test_response_time_by_hand(self):
        """Of 1, 2 and 10 hours the median is 2."""
        responses = [Response(NOW, hours(count), is_open=False) for count in (10, 1, 2)]
        responses += [Response(NOW, None, is_open=True), Response(NOW, None, is_open=False)]
        metric = incident_response_time_hours(responses)
        assert metric.value == 2
        assert metric.inputs == {"corrected_episodes": 3, "open_episodes": 1, "fastest_hours": 1, "slowest_hours": 10}

    def test_nothing_is_said_where_nothing_happened(self):
        assert security_posture_score([]).value is None
        assert compliance_rate([]).value is None
        assert incident_response_time_hours([Response(NOW, None, is_open=True)]).value is None
        assert risk_exposure([], high_probability=0.5).value == 0
