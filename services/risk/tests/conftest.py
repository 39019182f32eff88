"""What the tests of risk share: evidence as the other services send it, the shipped risk model, and stores."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import sqlalchemy as sa

from vallum.risk.v1 import risk_pb2
from vallum_common.database import Database, migrate
from vallum_common.database.tables import outbox
from vallum_common.testing import FakeClock, SequentialIds
from vallum_risk import wire
from vallum_risk.domain import Evidence, RiskProfile
from vallum_risk.model import RiskModel, load_risk_model
from vallum_risk.service import Store
from vallum_risk.store import ProfileCodec, SqlStore

from .evidently import POLICY_FILE, Evidently


@dataclass
class _Kept:
    evidence: dict[tuple[str, str], Evidence] = field(default_factory=dict)
    profiles: dict[tuple[str, str], RiskProfile] = field(default_factory=dict)
    published: list[RiskProfile] = field(default_factory=list)


class FakeUnit:
    """One transaction of the fake."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.state = copy.deepcopy(store.state)
        self.holds_lock = False

    async def save_evidence(self, evidence: Evidence) -> None:
        """Keep it."""
        self.state.evidence[evidence.reference.model, evidence.reference.version] = evidence

    async def evidence_of(self, model: str, version: str) -> Evidence | None:
        """Locks the whole store, which is more than is promised."""
        if not self.holds_lock:
            await self._store.lock.acquire()
            self.holds_lock, self.state = True, copy.deepcopy(self._store.state)
        return self.state.evidence.get((model, version))

    async def save_profile(self, profile: RiskProfile) -> None:
        """Keep and note it."""
        self.state.profiles[profile.reference.model, profile.reference.version] = profile
        self.state.published.append(profile)

    async def profile_of(self, model: str, version: str) -> RiskProfile | None:
        """Find it."""
        return self.state.profiles.get((model, version))

    async def register(self, *, limit: int, offset: int) -> tuple[RiskProfile, ...]:
        """The worst first."""
        found = sorted(
            self.state.profiles.values(), key=lambda p: (-p.overall.score, p.reference.model, p.reference.version)
        )
        return tuple(found[offset : offset + limit])


class FakeStore:
    """Evidence and profiles in memory."""

    def __init__(self) -> None:
        self.state = _Kept()
        self.lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[FakeUnit]:
        """A transaction."""
        unit = FakeUnit(self)
        try:
            yield unit
            self.state = unit.state
        finally:
            if unit.holds_lock:
                self.lock.release()


@dataclass(frozen=True)
class StoreUnderTest:
    """A store and a way to see what it published."""

    store: Store
    published: Callable[[], Any]


CODEC = ProfileCodec(
    encode=lambda profile: wire.profile_message(profile).SerializeToString(),
    decode=lambda content: wire.profile_from(risk_pb2.RiskProfile.FromString(content)),
    to_event=lambda profile: wire.EventWriter(SequentialIds()).event(profile),
)


@pytest.fixture
def given() -> type[Evidently]:
    """Evidence as the other services send it."""
    return Evidently


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture(scope="session")
def shipped() -> RiskModel:
    """The risk model that is shipped."""
    return load_risk_model(POLICY_FILE)


@pytest.fixture
def fake_store() -> FakeStore:
    """Evidence and profiles in memory."""
    return FakeStore()


@pytest.fixture
async def real_database(database: Callable[[], str]) -> AsyncIterator[Database]:
    """A fresh database with the tables of risk."""
    opened = Database(database())
    await migrate(opened.engine, "vallum_risk")
    yield opened
    await opened.close()


@pytest.fixture(params=["fake", pytest.param("postgresql", marks=pytest.mark.platform)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Of a fresh database; `None` where the fake is meant."""
    return request.getfixturevalue("database")() if request.param == "postgresql" else None


@pytest.fixture
async def risk_store(database_url: str | None) -> AsyncIterator[StoreUnderTest]:
    """Fake and real, one after the other."""
    if database_url is None:
        fake = FakeStore()

        async def noted() -> list[RiskProfile]:
            return fake.state.published

        yield StoreUnderTest(fake, noted)
        return
    database = Database(database_url)
    await migrate(database.engine, "vallum_risk")
    ids = SequentialIds()
    codec = replace(CODEC, to_event=lambda profile: wire.EventWriter(ids).event(profile))

    async def published() -> list[RiskProfile]:
        async with database.transaction() as transaction:
            query = sa.select(outbox.c.value).where(outbox.c.topic == "risk-scored").order_by(outbox.c.position)
            values = (await transaction.connection.execute(query)).scalars().all()
        return [wire.profile_from(risk_pb2.RiskScored.FromString(value).profile) for value in values]

    yield StoreUnderTest(SqlStore(database, codec), published)
    await database.close()
