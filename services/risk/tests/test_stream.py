"""What risk does with its events: once, twice, out of order, incomplete. The bus itself has its own tests."""

from __future__ import annotations

import pytest

from vallum.monitor.v1.events_pb2 import AlertRaised
from vallum.validator.v1.events_pb2 import ValidationCompleted
from vallum_common.errors import Conflict, Invalid, NotFound
from vallum_risk.domain import Count
from vallum_risk.service import ALERTS, RiskRegister
from vallum_risk.stream import handlers


@pytest.fixture
def register(fake_store, shipped, clock):
    return RiskRegister(fake_store, shipped, clock=clock)


@pytest.fixture
def hear(register, fake_store, given):
    """Hands events to their handlers, each in a transaction of its own."""
    heard = handlers(register, lambda unit: unit)

    async def handle(*messages):
        for number, message in enumerate(messages):
            async with fake_store.begin() as unit:
                await heard[type(message)](unit, given.event(message, f"event-{number}"))

    return handle


def score(profile, name):
    """Of one risk."""
    return next(risk for risk in profile.risks if risk.name == name).score.score


def test_it_hears_validations_and_alerts(register):
    assert set(handlers(register, lambda unit: unit)) == {ValidationCompleted, AlertRaised}


async def test_validation_is_scored_and_told(hear, register, fake_store, given, clock):
    await hear(given.validation())
    (told,) = fake_store.state.published
    assert (told.submission_id, told.cause_event_id, told.scored_at) == ("s-1", "event-0", clock.now())
    assert await register.profile("adult-income", "1.2.0") == told


async def test_repeated_validation_gives_the_same_numbers(hear, fake_store, given):
    await hear(given.validation(), given.validation())
    first, second = fake_store.state.published
    assert first.risks == second.risks


async def test_each_confirmed_alert_counts_and_raises_the_risk(hear, fake_store, given):
    await hear(given.validation(), given.alert(), given.alert(alert_id="a-2"))
    failures = [score(profile, "technical.system_failures") for profile in fake_store.state.published]
    assert failures == sorted(set(failures))
    assert fake_store.state.evidence["adult-income", "1.2.0"].items[ALERTS] == Count(2, 2)


async def test_unconfirmed_alert_changes_nothing(hear, fake_store, given):
    await hear(given.validation(), given.alert(confirmed=False))
    assert len(fake_store.state.published) == 1


async def test_alert_before_the_validation_is_not_found_and_counts_when_it_comes_again(hear, fake_store, given):
    with pytest.raises(NotFound, match=r"adult-income@1\.2\.0, which has not been validated"):
        await hear(given.alert())
    await hear(given.validation(), given.alert())
    assert len(fake_store.state.published) == 2


async def test_alert_about_other_bytes_is_a_conflict(hear, fake_store, given):
    await hear(given.validation())
    with pytest.raises(Conflict, match="validated was sha256"):
        await hear(given.alert(model=given.message(digest="cd" * 32)))
    assert len(fake_store.state.published) == 1


@pytest.mark.parametrize("message", [ValidationCompleted(), AlertRaised(confirmed=True)])
async def test_incomplete_event_is_invalid_and_changes_nothing(hear, fake_store, message):
    with pytest.raises(Invalid):
        await hear(message)
    assert fake_store.state.evidence == {}


async def test_unscored_version_is_not_found(register):
    with pytest.raises(NotFound, match="m@1 has no risk profile"):
        await register.profile("m", "1")
