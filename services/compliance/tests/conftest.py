"""What the tests of compliance share: evidence as the other services send it, and stores, fake and real."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message

from vallum.registry.v1.model_pb2 import ModelReference
from vallum.risk.v1 import risk_pb2
from vallum.validator.v1 import events_pb2, evidence_pb2
from vallum_common.attestation import SigningKey
from vallum_common.bus.event import Event
from vallum_common.bus.record import ReceivedRecord
from vallum_common.database import Database, migrate
from vallum_common.database.tables import outbox
from vallum_common.testing import START, FakeClock, SequentialIds
from vallum_compliance import wire
from vallum_compliance.domain.audit import AuditEvent, Entry, NewEntry, Selection
from vallum_compliance.domain.decision import Decision
from vallum_compliance.domain.evidence import Evidence
from vallum_compliance.policy import ReleasePolicy, load_policy
from vallum_compliance.service import DecisionStore
from vallum_compliance.store import SqlAuditStore, SqlDecisionStore

SUBMISSION = "018f0000-0000-7000-8000-000000000001"
DIGEST = "ab" * 32
CHECKS = ("adversarial_robustness", "data_privacy", "bias_fairness", "transparency")
OUTCOMES = {"PASS": 1, "FAIL": 2, "INCONCLUSIVE": 3}
VERDICTS = {"CLEAN": 1, "MALICIOUS": 2, "UNKNOWN": 3}
POLICY_FILE = Path(__file__).parents[3] / "policies" / "release.yaml"


class Evidently:
    """Makes the events compliance hears: those of a good model at tier high, but for what a test changes."""

    submission = SUBMISSION
    digest = DIGEST
    policy_file = POLICY_FILE

    @staticmethod
    def reference(**changes: str) -> ModelReference:
        """Which bytes."""
        return ModelReference(**{"model": "adult-income", "version": "1.2.0", "digest": DIGEST, **changes})

    @staticmethod
    def check(name: str, outcome: str = "PASS", **changes: Any) -> evidence_pb2.CheckResult:
        """The result of a check."""
        measured: dict[str, Any] = (
            {}
            if outcome == "INCONCLUSIVE"
            else {"value": 0.1, "interval": evidence_pb2.Interval(low=0.05, high=0.15), "samples": 900}
        )
        reason = f"{name} ended as {outcome}"
        return evidence_pb2.CheckResult(name=name, outcome=OUTCOMES[outcome], reason=reason, **{**measured, **changes})

    @staticmethod
    def file(
        path: str = "model.onnx", format: str = "onnx", verdict: str = "CLEAN", rules: Sequence[str] = ()
    ) -> evidence_pb2.FileReport:
        """The scan of a file."""
        findings = [evidence_pb2.Finding(rule=rule, severity=evidence_pb2.SEVERITY_CRITICAL) for rule in rules]
        return evidence_pb2.FileReport(path=path, format=format, verdict=VERDICTS[verdict], findings=findings)

    @classmethod
    def scan(cls, verdict: str = "CLEAN", *files: evidence_pb2.FileReport) -> evidence_pb2.ScanReport:
        """The scan of a submission."""
        return evidence_pb2.ScanReport(verdict=VERDICTS[verdict], files=files or [cls.file(verdict=verdict)])

    @staticmethod
    def signature(outcome: str, **changes: Any) -> evidence_pb2.SignatureReport:
        """The check of a signature."""
        fields = {"publisher": "acme", "method": "key", "key_id": "ef" * 32, "digest": DIGEST, "reason": "because"}
        return evidence_pb2.SignatureReport(outcome=f"SIGNATURE_OUTCOME_{outcome}", **{**fields, **changes})

    @classmethod
    def validation(cls, *, outcomes: dict[str, str] | None = None, **changes: Any) -> events_pb2.ValidationCompleted:
        """A validation; `isolation=None` leaves that out."""
        fields = {
            "submission_id": SUBMISSION,
            "model": cls.reference(),
            "tier": "high",
            "task": "classification",
            "scan": cls.scan(),
            "checks": [cls.check(name, (outcomes or {}).get(name, "PASS")) for name in CHECKS],
            "isolation": evidence_pb2.Isolation(mechanism="sandlock", landlock_abi=6, seccomp=True),
            **changes,
        }
        return events_pb2.ValidationCompleted(**{name: value for name, value in fields.items() if value is not None})

    @staticmethod
    def score(value: float = 0.2, probability_high: float = 0.01) -> risk_pb2.Score:
        """A score."""
        interval = evidence_pb2.Interval(low=value / 2, high=(1 + value) / 2)
        return risk_pb2.Score(score=value, interval=interval, probability_high=probability_high)

    @classmethod
    def risk(cls, *, high: Sequence[str] = (), measured: bool = True, **changes: Any) -> risk_pb2.RiskScored:
        """A scoring in which the risks named `high` are probably above 0.7."""
        names = ("technical.model_vulnerabilities", "ethical.bias_discrimination", "business.regulatory_fines")
        risks = [
            risk_pb2.Risk(
                name=name,
                category=name.partition(".")[0],
                score=cls.score(0.8, 0.9) if name in high else cls.score(),
                measured=measured,
            )
            for name in names
        ]
        fields = {
            "submission_id": SUBMISSION,
            "model": cls.reference(),
            "overall": cls.score(),
            "categories": [risk_pb2.Category(name="technical", score=cls.score())],
            "risks": risks,
            **changes,
        }
        return risk_pb2.RiskScored(profile=risk_pb2.RiskProfile(**fields))

    @staticmethod
    def event(message: Message, event_id: str, *, key: str = "adult-income", offset: int = 0) -> Event:
        """An event as the bus hands it over after it came from Kafka."""
        event = Event(event_id, "vallum/test", f"{key}@1.2.0", key, START, message)
        record = ReceivedRecord(
            event.topic.name, 0, offset, key.encode(), message.SerializeToString(), tuple(event.headers())
        )
        return replace(event, record=record)

    @classmethod
    def audit_event(cls, number: int, *, key: str = "adult-income") -> AuditEvent:
        """What the audit log keeps of the event with this number."""
        message = cls.validation(submission_id=f"submission-{number}")
        return wire.parse_audit_event(cls.event(message, f"event-{number}", key=key, offset=number))


@dataclass
class _Decided:
    evidence: dict[str, Evidence] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    published: list[Decision] = field(default_factory=list)


class FakeDecisionUnit:
    """One transaction of the fake."""

    def __init__(self, store: FakeDecisionStore) -> None:
        self._store = store
        self.state = copy.deepcopy(store.state)
        self.holds_lock = False

    async def evidence(self, submission_id: str) -> Evidence:
        """Locks the whole store, which is more than is promised."""
        if not self.holds_lock:
            await self._store.lock.acquire()
            self.holds_lock, self.state = True, copy.deepcopy(self._store.state)
        return self.state.evidence.get(submission_id, Evidence(submission_id))

    async def save_evidence(self, evidence: Evidence) -> None:
        """Keep it."""
        self.state.evidence[evidence.submission_id] = evidence

    async def decision(self, submission_id: str) -> Decision | None:
        """Find it."""
        return self.state.decisions.get(submission_id)

    async def newest_decision(self, model: str, version: str) -> Decision | None:
        """Find it."""
        found = [d for d in self.state.decisions.values() if (d.model.id, d.model.version) == (model, version)]
        return max(found, key=lambda d: (d.decided_at, d.submission_id), default=None)

    async def save_decision(self, decision: Decision, policy: Any) -> None:
        """Keep it."""
        self.state.policies[policy.digest] = policy.text
        self.state.decisions[decision.submission_id] = decision

    def publish(self, decision: Decision) -> None:
        """Note it."""
        self.state.published.append(decision)


class FakeDecisionStore:
    """Decisions in memory."""

    def __init__(self) -> None:
        self.state = _Decided()
        self.lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[FakeDecisionUnit]:
        """A transaction."""
        unit = FakeDecisionUnit(self)
        try:
            yield unit
            self.state = unit.state
        finally:
            if unit.holds_lock:
                self.lock.release()


class FakeAuditStore:
    """The audit log in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.lock = asyncio.Lock()
        self.largest_page = 0

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[FakeAuditUnit]:
        """A transaction."""
        unit = FakeAuditUnit(self)
        try:
            yield unit
            self.entries.extend(unit.added)
        finally:
            if unit.holds_lock:
                self.lock.release()
        for call in unit.calls:
            call()


class FakeAuditUnit:
    """One transaction of the fake."""

    def __init__(self, store: FakeAuditStore) -> None:
        self._store = store
        self.added: list[Entry] = []
        self.calls: list[Callable[[], None]] = []
        self.holds_lock = False

    async def append(self, entries: Sequence[NewEntry]) -> None:
        """Give places."""
        if not self.holds_lock:
            await self._store.lock.acquire()
            self.holds_lock = True
        first = len(self._store.entries) + len(self.added)
        self.added += [Entry(entry.event, entry.recorded_at, first + n) for n, entry in enumerate(entries)]

    async def start(self, selection: Selection) -> int:
        """Where to begin."""
        entries, since = self._store.entries, selection.since
        first = next((e.index for e in entries if since is None or e.recorded_at >= since), len(entries))
        return max(first if since else 0, selection.from_index)

    async def page(self, selection: Selection, *, start: int, limit: int) -> Sequence[Entry]:
        """The next ones."""
        key = selection.model.encode()
        found = [e for e in self._store.entries if e.index >= start and (not key or e.event.key == key)][:limit]
        self._store.largest_page = max(self._store.largest_page, len(found))
        return found

    def after_commit(self, call: Callable[[], None]) -> None:
        """Note it."""
        self.calls.append(call)


@pytest.fixture
def given() -> type[Evidently]:
    """Evidence as the other services send it."""
    return Evidently


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture(scope="session")
def policy() -> ReleasePolicy:
    """The release policy that is shipped."""
    return load_policy(POLICY_FILE)


@pytest.fixture
def signing_key() -> SigningKey:
    """A key that signs verdicts."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture
def fake_decisions() -> FakeDecisionStore:
    """Decisions in memory."""
    return FakeDecisionStore()


@pytest.fixture
def fake_audit() -> FakeAuditStore:
    """The audit log in memory."""
    return FakeAuditStore()


@dataclass
class StoreUnderTest:
    """A decision store and a way to see what it published."""

    store: DecisionStore
    published: Callable[[], Any]


@pytest.fixture(params=["fake", pytest.param("postgresql", marks=pytest.mark.platform)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Of a fresh database; `None` where the fake is meant."""
    return request.getfixturevalue("database")() if request.param == "postgresql" else None


@pytest.fixture
async def real_database(database_url: str | None) -> AsyncIterator[Database | None]:
    """A fresh database with the tables of compliance; `None` where the fake is meant."""
    if database_url is None:
        yield None
        return
    database = Database(database_url)
    await migrate(database.engine, "vallum_compliance")
    yield database
    await database.close()


@pytest.fixture
def decision_store(real_database: Database | None, clock: FakeClock) -> StoreUnderTest:
    """Fake and real, one after the other."""
    if real_database is None:
        fake = FakeDecisionStore()

        async def fake_published() -> int:
            return len(fake.state.published)

        return StoreUnderTest(fake, fake_published)

    async def published() -> int:
        async with real_database.transaction() as transaction:
            query = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.topic == "compliance-decided")
            return (await transaction.connection.execute(query)).scalar_one()

    return StoreUnderTest(SqlDecisionStore(real_database, wire.EventWriter(SequentialIds()).event), published)


@pytest.fixture
def audit_store(real_database: Database | None) -> Any:
    """Fake and real, one after the other."""
    return FakeAuditStore() if real_database is None else SqlAuditStore(real_database)
