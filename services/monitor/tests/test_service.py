"""Use cases, on a store in memory."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import pytest

from vallum_common.errors import Conflict, Invalid, NotFound, Unavailable
from vallum_monitor import wire
from vallum_monitor.config import read_policy
from vallum_monitor.detectors.drift import PopulationDrift
from vallum_monitor.detectors.policy import DetectionPolicy
from vallum_monitor.domain.alerts import Alert, AlertSelection, Correction, CorrectionAction, CorrectionOutcome
from vallum_monitor.domain.models import DeploymentState, Severity
from vallum_monitor.domain.traffic import Batch, Column, Observation
from vallum_monitor.playbooks.correction import CorrectionPolicy
from vallum_monitor.service.correcting import Correcting
from vallum_monitor.service.detection import Detection
from vallum_monitor.service.knowledge import Knowledge, Metrics
from vallum_monitor.service.reporting import Reporting
from vallum_monitor.service.watching import PAGE_ALERTS, AlertFeed


class TestKnowledge:
    knowledge = Knowledge()

    async def test_late_report_does_not_bring_a_deployment_back(self, fake, given):
        active = wire.deployment_from(given.deployed())
        ended = replace(active, state=DeploymentState.QUARANTINED)
        async with fake.begin() as unit:
            for heard in (ended, active, ended):
                await self.knowledge.deployment_changed(unit, heard)
        assert fake.state.deployments == {active.deployment_id: ended}

    async def test_result_of_an_unknown_correction_may_still_come_to_make_sense(self, fake, given):
        with pytest.raises(NotFound):
            async with fake.begin() as unit:
                await self.knowledge.correction_applied(unit, wire.correction_result_from(given.applied("c")))


@pytest.fixture
def reporting(serving, clock) -> Reporting:
    """Takes traffic of the one version that serves."""
    return Reporting(serving, clock=clock)


class TestReporting:
    def report(self, given, rng, **changes):
        """A report with an id of its own."""
        return wire.report_from(given.request(given.batch(str(uuid.uuid4()), rng, 5), **changes))

    async def test_batch_is_told_with_the_bytes_that_answered(self, reporting, serving, given, rng, clock):
        assert await reporting.take(self.report(given, rng))
        (observation,) = serving.state.published
        assert observation.reference == wire.deployment_from(given.deployed()).reference
        assert observation.observed_at == clock.now()

    async def test_time_of_the_sender_is_kept(self, reporting, serving, given, rng):
        await reporting.take(self.report(given, rng, observed_at=given.at(-60)))
        assert serving.state.published[0].observed_at == given.at(-60)

    async def test_repeated_batch_is_told_once_even_after_the_version_is_out(self, reporting, serving, given, rng):
        report = self.report(given, rng)
        assert await reporting.take(report)
        serving.state.deployments.clear()
        assert not await reporting.take(report)
        assert len(serving.state.published) == 1

    async def test_same_id_with_another_content_is_a_conflict(self, reporting, given, rng):
        report = self.report(given, rng)
        await reporting.take(report)
        other = given.batch(report.batch.batch_id, rng, 5)
        with pytest.raises(Conflict, match="another content"):
            await reporting.take(wire.report_from(given.request(other)))

    async def test_other_version_is_a_conflict_and_other_environment_unknown(self, reporting, given, rng):
        with pytest.raises(Conflict, match=r"'1\.2\.0' does"):
            await reporting.take(self.report(given, rng, version="1.1.0"))
        with pytest.raises(NotFound, match="'staging'"):
            await reporting.take(self.report(given, rng, environment="staging"))

    async def test_refused_batch_may_come_again_better(self, reporting, serving, given, rng):
        report = self.report(given, rng)
        with pytest.raises(Invalid, match="lacks the columns"):
            await reporting.take(replace(report, batch=replace(report.batch, columns=report.batch.columns[:1])))
        assert await reporting.take(report)


@pytest.fixture
def woken() -> list[str]:
    """Grows each time those who watch are woken."""
    return []


@pytest.fixture
def detection(given, clock, woken) -> Detection:
    """Detection with the policy that is shipped."""
    policy, digest = read_policy(given.policies / "detection.yaml", DetectionPolicy)
    detector = PopulationDrift(policy.population_drift, policy_digest=digest)
    return Detection([detector], clock=clock, on_alert=lambda: woken.append("woken"))


def observed(given, batch: Batch, **changes) -> Observation:
    """A batch the version answered."""
    reference = wire.deployment_from(given.deployed()).reference
    return Observation(batch, replace(reference, **changes), "production", given.at())


class TestDetection:
    async def feed(self, detection, store, given, *batches: Batch) -> list[Alert]:
        """Observe batches, each in a transaction; returns all alerts so far."""
        for batch in batches:
            async with store.begin() as unit:
                await detection.observe(unit, observed(given, batch))
        return [fact for fact in store.state.published if isinstance(fact, Alert)]

    async def test_unchanged_traffic_raises_nothing(self, detection, serving, given, rng):
        assert await self.feed(detection, serving, given, *(given.batch(f"b{n}", rng) for n in range(20))) == []

    async def test_drift_is_told_and_confirmed_by_the_next_window_and_then_no_more(
        self, detection, serving, given, rng, woken
    ):
        shifted = [given.batch(f"b{n}", rng, age_shift=2.0) for n in range(8)]
        first, second = await self.feed(detection, serving, given, *shifted)
        assert (first.confirmed, second.confirmed) == (False, True)
        assert (first.severity, second.severity) == (Severity.HIGH, Severity.HIGH)
        assert first.evidence["window"] == {"rows": 500, "first_batch": "b0", "last_batch": "b1"}
        assert second.evidence["window"] == {"rows": 500, "first_batch": "b2", "last_batch": "b3"}
        assert {episode for _, episode in serving.state.alerts} == {first.alert_id}
        assert len(woken) == 2

    async def test_drifting_answers_alone_are_drift(self, detection, serving, given, rng):
        batches = [replace(given.batch(f"b{n}", rng), predictions=["1"] * 250) for n in range(2)]
        (alert,) = await self.feed(detection, serving, given, *batches)
        assert "prediction '" in alert.message

    async def test_window_that_is_judged_again_raises_nothing_new(self, detection, serving, given, rng):
        """As if the watch had been lost after the alert was kept."""
        batches = [given.batch(f"b{n}", rng, age_shift=2.0) for n in range(2)]
        await self.feed(detection, serving, given, *batches)
        serving.state.watches.clear()
        assert len(await self.feed(detection, serving, given, *batches)) == 1

    async def test_traffic_of_a_version_that_is_out_changes_nothing(self, detection, serving, given, rng):
        (deployment,) = serving.state.deployments.values()
        ended = replace(deployment, state=DeploymentState.ROLLED_BACK)
        serving.state.deployments[deployment.deployment_id] = ended
        assert await self.feed(detection, serving, given, given.batch("b", rng, 600, age_shift=5.0)) == []
        assert serving.state.watches == {}

    async def test_version_deployed_again_begins_with_an_empty_window(self, detection, serving, given, rng):
        await self.feed(detection, serving, given, given.batch("b0", rng))
        again = wire.deployment_from(given.deployed(deployment_id="deployment-2", after_s=60))
        serving.state.deployments["deployment-2"] = again
        await self.feed(detection, serving, given, given.batch("b1", rng))
        assert serving.state.watches["deployment-2", "population-drift"].window.rows == 250

    async def test_deployment_or_validation_that_is_not_known_yet_may_still_come(self, detection, fake, given, rng):
        batch = given.batch("b", rng)
        with pytest.raises(NotFound, match="deployment"):
            await self.feed(detection, fake, given, batch)
        async with fake.begin() as unit:
            await unit.save_deployment(wire.deployment_from(given.deployed()))
        with pytest.raises(NotFound, match="validation"):
            await self.feed(detection, fake, given, batch)
        async with fake.begin() as unit:
            await unit.save_validation(wire.validation_from(given.validated()))
        await self.feed(detection, fake, given, batch)
        assert fake.state.watches["deployment-1", "population-drift"].window.rows == 250

    async def test_version_without_a_baseline_is_left_alone(self, detection, fake, given, rng):
        async with fake.begin() as unit:
            await unit.save_deployment(wire.deployment_from(given.deployed()))
            await unit.save_validation(wire.validation_from(given.validated(baseline=[])))
        assert await self.feed(detection, fake, given, given.batch("b", rng, 600)) == []

    async def test_column_that_is_not_the_models_is_poison(self, detection, serving, given):
        with pytest.raises(Invalid, match="'height'"):
            await self.feed(detection, serving, given, Batch("b", (Column("height", numbers=(1.0,)),)))


@pytest.fixture
def correcting(given, clock) -> Correcting:
    """Correction by the policy that is shipped."""
    policy, digest = read_policy(given.policies / "correction.yaml", CorrectionPolicy)
    return Correcting(policy, policy_digest=digest, clock=clock)


class TestCorrecting:
    async def test_confirmed_alert_of_high_severity_asks_once_for_quarantine(self, correcting, fake, alert):
        for _ in range(2):
            async with fake.begin() as unit:
                await correcting.alert_raised(unit, alert())
        (correction,) = fake.state.published
        assert isinstance(correction, Correction)
        assert correction.action is CorrectionAction.QUARANTINE
        assert correction.alert_id == "alert-1"
        assert len(correction.policy_digest) == 64
        assert correction.reason.endswith("1 of 3 columns drifted")

    @pytest.mark.parametrize(
        "changes", [{"confirmed": False}, {"severity": Severity.MEDIUM}, {"detector": "something-else"}]
    )
    async def test_any_other_alert_is_left_to_people(self, correcting, fake, alert, changes):
        async with fake.begin() as unit:
            await correcting.alert_raised(unit, alert(**changes))
        assert fake.state.published == []


class TestAlertFeed:
    async def keep(self, store, *alerts: Alert) -> None:
        """Raise alerts."""
        async with store.begin() as unit:
            for one in alerts:
                await unit.add_alert(one, episode_id=one.alert_id)

    async def past(self, feed: AlertFeed, selection: AlertSelection) -> list[str]:
        """Ids of the past alerts of a selection."""
        return [found.alert_id async for found in feed.watch(selection, past_only=True)]

    async def test_past_alerts_are_those_of_the_selection_in_order(self, fake, alert, given):
        other = replace(alert().reference, model="other")
        await self.keep(fake, alert("a"), alert("b", raised_at=given.at(60)), alert("c", reference=other))
        feed = AlertFeed(fake)
        assert await self.past(feed, AlertSelection(since=given.at())) == ["a", "b", "c"]
        assert await self.past(feed, AlertSelection(since=given.at(1))) == ["b"]
        assert await self.past(feed, AlertSelection("other", given.at())) == ["c"]
        assert await self.past(feed, AlertSelection()) == []

    async def test_long_past_is_read_page_by_page(self, fake, alert, given):
        await self.keep(fake, *(alert(f"a{n}") for n in range(2 * PAGE_ALERTS + 1)))
        assert len(await self.past(AlertFeed(fake), AlertSelection(since=given.at()))) == 2 * PAGE_ALERTS + 1

    async def test_new_alerts_are_told_as_they_are_raised(self, fake, alert):
        await self.keep(fake, alert("old"))
        feed = AlertFeed(fake, poll_s=60)
        watching = feed.watch(AlertSelection(), past_only=False)
        told = asyncio.create_task(anext(watching))
        for _ in range(10):  # until it waits
            await asyncio.sleep(0)
        await self.keep(fake, alert("new"))
        feed.wake()
        assert (await told).alert_id == "new"
        await watching.aclose()

    async def test_those_who_watch_are_told_when_it_stops(self, fake, alert, given):
        await self.keep(fake, alert("old"))
        feed = AlertFeed(fake, poll_s=60)
        watching = feed.watch(AlertSelection(since=given.at()), past_only=False)
        assert (await anext(watching)).alert_id == "old"
        waiting = asyncio.create_task(anext(watching))
        for _ in range(10):  # until it waits
            await asyncio.sleep(0)
        feed.close()
        with pytest.raises(Unavailable, match="watch again"):
            await waiting


class TestMetrics:
    async def test_all_four_come_from_the_facts(self, serving, given, alert):
        async with serving.begin() as unit:
            await unit.save_risk(wire.risk_from(given.scored(high=0.4)))
            await unit.save_decision(wire.decision_from(given.decided()))
            await unit.add_alert(alert(), episode_id="alert-1")
            correction = Correction(
                "alert-1", alert().reference, "production", CorrectionAction.QUARANTINE, "why", "digest", given.at()
            )
            await unit.add_correction(correction)
            result = wire.correction_result_from(given.applied(correction.correction_id, after_s=1800))
            assert result.outcome is CorrectionOutcome.APPLIED
            await unit.save_result(result)
        metrics = await Metrics(serving, high_probability=0.5).compute()
        assert {name: metric.value for name, metric in metrics.items()} == pytest.approx(
            {
                "security_posture_score": 6.0,
                "risk_exposure": 1,
                "compliance_rate": 100,
                "incident_response_time_hours": 0.5,
            }
        )
