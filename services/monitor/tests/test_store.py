"""The store's contract, held by the fake and by PostgreSQL."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest

from vallum_monitor import wire
from vallum_monitor.domain.alerts import AlertSelection, Correction, CorrectionAction, Episode, Watch, Window
from vallum_monitor.domain.metrics import Response, System
from vallum_monitor.domain.models import DeploymentState, FeatureBaseline, Severity


class TestFacts:
    async def test_deployment_is_kept_as_it_was_last_saved(self, store, given):
        deployment = wire.deployment_from(given.deployed())
        ended = replace(deployment, state=DeploymentState.SUPERSEDED, changed_at=given.at(5))
        async with store.store.begin() as unit:
            assert await unit.deployment(deployment.deployment_id) is None
            await unit.save_deployment(deployment)
            assert await unit.active_deployment("adult-income", "production") == deployment
            await unit.save_deployment(ended)
        async with store.store.begin() as unit:
            assert await unit.deployment(deployment.deployment_id) == ended
            assert await unit.active_deployment("adult-income", "production") is None
            assert await unit.newest_deployment("adult-income", "1.2.0", "production") == ended
            assert await unit.newest_deployment("adult-income", "1.3.0", "production") is None

    async def test_of_two_that_look_active_the_newer_serves(self, store, given):
        older = wire.deployment_from(given.deployed())
        newer = replace(
            older,
            deployment_id="deployment-0",
            reference=replace(older.reference, version="2.0.0"),
            changed_at=given.at(1),
        )
        async with store.store.begin() as unit:
            await unit.save_deployment(newer)
            await unit.save_deployment(older)
            assert await unit.active_deployment("adult-income", "production") == newer
            assert len(await unit.systems()) == 1

    async def test_baseline_comes_back_whole_and_the_first_stays(self, store, given):
        validation = wire.validation_from(given.validated())
        validation = replace(
            validation,
            baseline=(*validation.baseline, FeatureBaseline("odd", (), (-math.inf, 0.1, math.inf), (1,) * 4)),
        )
        async with store.store.begin() as unit:
            assert await unit.baseline("submission-1") is None
            await unit.save_validation(validation)
            await unit.save_validation(replace(validation, baseline=()))
        async with store.store.begin() as unit:
            assert await unit.baseline("submission-1") == validation.baseline

    async def test_earlier_score_does_not_replace_a_later_one(self, store, given):
        async with store.store.begin() as unit:
            await unit.save_deployment(wire.deployment_from(given.deployed()))
            for high, after_s in ((0.5, 10), (0.3, 5), (0.6, 10), (0.7, 20)):
                await unit.save_risk(wire.risk_from(given.scored(high=high, after_s=after_s)))
                (system,) = await unit.systems()
                assert system.risk_upper_bound == (0.5 if after_s < 20 else 0.7)

    async def test_batch_is_noted_once_with_its_first_content(self, store, given):
        async with store.store.begin() as unit:
            assert await unit.note_batch("b", "one", given.at()) is None
            assert await unit.note_batch("b", "two", given.at()) == "one"

    async def test_nothing_stays_of_a_transaction_that_fails(self, store, given, alert):
        async def fail() -> None:
            async with store.store.begin() as unit:
                await unit.note_batch("b", "one", given.at())
                await unit.add_alert(alert(), episode_id="alert-1")
                unit.publish(alert())
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await fail()
        async with store.store.begin() as unit:
            assert await unit.note_batch("b", "two", given.at()) is None
            assert await unit.last_position() == 0
        assert await store.topics() == []


class TestWatch:
    async def test_begins_empty_and_comes_back_as_saved(self, store):
        watch = Watch(
            "d",
            "drift",
            Window(7, "first", "last", {"age": (3, 4), "sex": (7,)}),
            Episode("e", Severity.HIGH, confirmed=True, subjects=("age", "sex")),
        )
        async with store.store.begin() as unit:
            assert await unit.watch("d", "drift") == Watch("d", "drift")
            await unit.save_watch(watch)
        async with store.store.begin() as unit:
            assert await unit.watch("d", "drift") == watch
            assert await unit.watch("d", "other") == Watch("d", "other")
            await unit.save_watch(replace(watch, episode=None))
            assert (await unit.watch("d", "drift")).episode is None


class TestAlerts:
    async def test_alert_is_kept_once_and_comes_back_whole(self, store, alert, given):
        first = alert(evidence={"window": {"rows": 500}, "columns": [{"name": "age", "psi": 0.5}]})
        async with store.store.begin() as unit:
            assert await unit.add_alert(first, episode_id="alert-1")
            assert not await unit.add_alert(first, episode_id="alert-1")
            unit.publish(first)
        async with store.store.begin() as unit:
            (kept,) = await unit.alerts(AlertSelection(), after=0, limit=10)
            assert kept.alert == first
            assert await unit.last_position() == kept.position
            assert await unit.alerts(AlertSelection(), after=kept.position, limit=10) == []
        assert await store.topics() == ["alert-raised"]

    async def test_selection_and_limit(self, store, alert, given):
        other = replace(alert().reference, model="other")
        async with store.store.begin() as unit:
            await unit.add_alert(alert("a"), episode_id="a")
            await unit.add_alert(alert("b", reference=other, raised_at=given.at(9)), episode_id="b")
            await unit.add_alert(alert("c", raised_at=given.at(9)), episode_id="c")

            async def ids(limit: int = 10, **fields) -> list[str]:
                found = await unit.alerts(AlertSelection(**fields), after=0, limit=limit)
                return [kept.alert.alert_id for kept in found]

            assert await ids() == ["a", "b", "c"]
            assert await ids(limit=2) == ["a", "b"]
            assert await ids(model="adult-income") == ["a", "c"]
            assert await ids(since=given.at(9)) == ["b", "c"]

    async def test_after_commit_is_called_only_after_a_commit(self, store):
        called: list[str] = []

        async def fail() -> None:
            async with store.store.begin() as unit:
                unit.after_commit(lambda: called.append("failed"))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await fail()
        async with store.store.begin() as unit:
            unit.after_commit(lambda: called.append("committed"))
            assert called == []
        assert called == ["committed"]


def correction(alert, alert_id: str = "alert-1") -> Correction:
    """Asked for by an alert."""
    one = alert(alert_id)
    return Correction(alert_id, one.reference, "production", CorrectionAction.ROLLBACK, "why", "ab" * 32, one.raised_at)


class TestCorrections:
    async def test_alert_asks_once_and_the_first_answer_stays(self, store, alert, given):
        asked = correction(alert)
        applied = given.applied(asked.correction_id, after_s=60)
        failed = given.applied(asked.correction_id, after_s=90, outcome=3)
        async with store.store.begin() as unit:
            assert await unit.add_correction(asked)
            assert not await unit.add_correction(asked)
            unit.publish(asked)
            await unit.add_alert(alert(), episode_id="alert-1")
            assert await unit.save_result(wire.correction_result_from(applied))
            assert await unit.save_result(wire.correction_result_from(failed))
            assert not await unit.save_result(wire.correction_result_from(given.applied("unknown")))
        async with store.store.begin() as unit:
            assert await unit.responses() == [Response(given.at(), given.at(60), is_open=False)]
        assert await store.topics() == ["correction-requested"]


class TestSummary:
    async def test_system_that_nobody_knows_anything_of(self, store, given):
        async with store.store.begin() as unit:
            await unit.save_deployment(wire.deployment_from(given.deployed()))
            assert await unit.systems() == [System(None, None, 0, 0, is_approved=False, worst_alert=None)]

    async def test_system_with_all_that_is_known(self, store, given, alert):
        async with store.store.begin() as unit:
            await unit.save_deployment(wire.deployment_from(given.deployed()))
            await unit.save_validation(wire.validation_from(given.validated(outcomes=(1, 2, 3, 1))))
            await unit.save_risk(wire.risk_from(given.scored(high=0.4, probability_high=0.2)))
            await unit.save_decision(wire.decision_from(given.decided()))
            await unit.add_alert(alert("a", severity=Severity.MEDIUM), episode_id="a")
            await unit.add_alert(alert("b", severity=Severity.HIGH), episode_id="a")
            await unit.add_alert(alert("c", severity=Severity.CRITICAL, deployment_id="former"), episode_id="c")
            assert await unit.systems() == [System(0.4, 0.2, 4, 3, is_approved=True, worst_alert=Severity.HIGH)]

    async def test_approval_of_other_bytes_is_none(self, store, given):
        async with store.store.begin() as unit:
            await unit.save_deployment(wire.deployment_from(given.deployed()))
            await unit.save_decision(wire.decision_from(given.decided(model=given.reference(digest="cd" * 32))))
            (system,) = await unit.systems()
            assert not system.is_approved

    async def test_what_no_longer_serves_is_no_system(self, store, given):
        deployment = wire.deployment_from(given.deployed())
        async with store.store.begin() as unit:
            await unit.save_deployment(replace(deployment, state=DeploymentState.ROLLED_BACK))
            assert await unit.systems() == []

    async def test_episode_counts_from_its_first_alert_once_it_is_confirmed(self, store, given, alert):
        async with store.store.begin() as unit:
            await unit.save_deployment(wire.deployment_from(given.deployed()))
            await unit.add_alert(alert("a", confirmed=False), episode_id="a")
            assert await unit.responses() == []
            await unit.add_alert(alert("b", raised_at=given.at(60)), episode_id="a")
            assert await unit.responses() == [Response(given.at(), None, is_open=True)]
            asked = correction(alert, "b")
            await unit.add_correction(asked)
            await unit.save_result(wire.correction_result_from(given.applied(asked.correction_id, outcome=2)))
            assert await unit.responses() == [Response(given.at(), None, is_open=True)]


class TestTogether:
    async def test_two_at_once_raise_one_alert_and_take_one_batch(self, store, given, alert):
        async def take() -> bool:
            async with store.store.begin() as unit:
                fresh = await unit.note_batch("b", "one", given.at()) is None
                return fresh and await unit.add_alert(alert(), episode_id="alert-1")

        assert sorted(await asyncio.gather(take(), take())) == [False, True]
