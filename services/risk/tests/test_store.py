"""The contract of the store, held by the fake and by PostgreSQL alike."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from vallum_common.testing import START
from vallum_risk import store as sql
from vallum_risk.domain import Count, Measurement, ModelReference, Score, Sign
from vallum_risk.service import ALERTS, RiskRegister

from .evidently import REFERENCE


class Undo(Exception):
    """Leaves a transaction without a commit."""


@pytest.fixture
def profile(given, shipped):
    return given.profile(shipped, given.evidence(scan=Sign.GOOD))


def about(profile, model, version, overall):
    """The profile of another version with another overall score."""
    return replace(profile, reference=ModelReference(model, version, "d"), overall=Score(overall, 0.0, 1.0, 0.5))


class TestStore:
    async def test_unknown_version_has_nothing(self, risk_store):
        async with risk_store.store.begin() as unit:
            assert await unit.evidence_of("m", "1") is None
            assert await unit.profile_of("m", "1") is None
            assert await unit.register(limit=10, offset=0) == ()

    async def test_evidence_comes_back_to_the_last_bit(self, risk_store, given):
        items = {
            "scan": Sign.BAD,
            "checks.data_privacy": Measurement(0.1 + 0.2, 1e-300, 1.0, 0.95),
            "validation.inconclusive": Count(1, 4),
        }
        evidence = replace(given.evidence(), items=items)
        async with risk_store.store.begin() as unit:
            await unit.save_evidence(evidence)
        async with risk_store.store.begin() as unit:
            assert await unit.evidence_of("adult-income", "1.2.0") == evidence

    async def test_newest_evidence_and_profile_take_the_place_of_the_old(self, risk_store, given, profile):
        later = replace(profile, scored_at=START.replace(year=2027))
        async with risk_store.store.begin() as unit:
            await unit.save_evidence(given.evidence(scan=Sign.GOOD))
            await unit.save_profile(profile)
        async with risk_store.store.begin() as unit:
            await unit.save_evidence(given.evidence(scan=Sign.BAD))
            await unit.save_profile(later)
        async with risk_store.store.begin() as unit:
            assert (await unit.evidence_of("adult-income", "1.2.0")).items == {"scan": Sign.BAD}
            assert await unit.profile_of("adult-income", "1.2.0") == later
        assert await risk_store.published() == [profile, later]

    async def test_what_is_rolled_back_was_never_there(self, risk_store, given, profile):
        with contextlib.suppress(Undo):
            async with risk_store.store.begin() as unit:
                await unit.save_evidence(given.evidence())
                await unit.save_profile(profile)
                raise Undo
        async with risk_store.store.begin() as unit:
            assert await unit.evidence_of("adult-income", "1.2.0") is None
            assert await unit.profile_of("adult-income", "1.2.0") is None
        assert await risk_store.published() == []

    async def test_register_is_worst_first_and_by_pages(self, risk_store, profile):
        versions = [("b", "1", 0.2), ("a", "2", 0.9), ("a", "1", 0.2), ("c", "1", 0.5)]
        async with risk_store.store.begin() as unit:
            for version in versions:
                await unit.save_profile(about(profile, *version))
        async with risk_store.store.begin() as unit:
            pages = [await unit.register(limit=3, offset=offset) for offset in (0, 3, 6)]
        names = [[f"{found.reference.model}@{found.reference.version}" for found in page] for page in pages]
        assert names == [["a@2", "c@1", "a@1"], ["b@1"], []]

    async def test_alerts_heard_at_the_same_time_all_count(self, risk_store, given, shipped, clock):
        register = RiskRegister(risk_store.store, shipped.model_copy(update={"draws": 1_000}), clock=clock)
        async with risk_store.store.begin() as unit:
            await register.record_validation(unit, given.evidence(), cause="e")

        async def alert(number):
            async with risk_store.store.begin() as unit:
                await register.record_alert(unit, REFERENCE, cause=f"e-{number}")

        await asyncio.gather(*map(alert, range(8)))
        async with risk_store.store.begin() as unit:
            assert (await unit.evidence_of("adult-income", "1.2.0")).items[ALERTS] == Count(8, 8)


@pytest.mark.platform
async def test_migrations_make_the_tables_the_store_writes(real_database):
    def differences(connection):
        ours = set(sql.metadata.tables)
        options = {"compare_type": True, "include_name": lambda name, kind, _: kind != "table" or name in ours}
        return compare_metadata(MigrationContext.configure(connection, opts=options), sql.metadata)

    async with real_database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
