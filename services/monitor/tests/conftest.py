"""What the tests of the monitor share: facts as the other services send them, and stores, fake and real."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError

from vallum.compliance.v1.decision_pb2 import VERDICT_APPROVED, ComplianceDecided
from vallum.monitor.v1 import events_pb2 as monitor_pb2
from vallum.monitor.v1 import monitor_service_pb2 as requests
from vallum.registry.v1 import events_pb2 as registry_pb2
from vallum.registry.v1 import model_pb2
from vallum.risk.v1 import risk_pb2
from vallum.validator.v1 import events_pb2 as validator_pb2
from vallum.validator.v1 import evidence_pb2
from vallum_common.bus.topics import topics_by_name
from vallum_common.database import Database, migrate
from vallum_common.database.tables import outbox
from vallum_common.testing import START, FakeClock, SequentialIds
from vallum_monitor import wire
from vallum_monitor.domain.alerts import Alert, AlertSelection, Correction, CorrectionOutcome, CorrectionResult, Watch
from vallum_monitor.domain.facts import Fact
from vallum_monitor.domain.metrics import Response, System
from vallum_monitor.domain.models import Baseline, Decision, Deployment, RiskScore, Severity, Validation
from vallum_monitor.domain.traffic import Batch, Column
from vallum_monitor.service.ports import KeptAlert, Store
from vallum_monitor.store import SqlStore

POLICIES = Path(__file__).parents[3] / "policies"
CHECKS = ("adversarial_robustness", "data_privacy", "bias_fairness", "transparency")
EDGES = tuple(float(edge) for edge in range(1, 10))
SEXES = ("Female", "Male")


class Given:
    """Makes facts of one good model that serves, but for what a test changes."""

    policies = POLICIES

    @staticmethod
    def at(seconds: float = 0) -> dt.datetime:
        """A moment after the start."""
        return START + dt.timedelta(seconds=seconds)

    @staticmethod
    def reference(**changes: str) -> model_pb2.ModelReference:
        """Which bytes."""
        return model_pb2.ModelReference(**{"model": "adult-income", "version": "1.2.0", "digest": "ab" * 32, **changes})

    @classmethod
    def deployed(cls, *, after_s: float = 0, **changes: Any) -> registry_pb2.DeploymentChanged:
        """The version serves."""
        fields = {
            "deployment_id": "deployment-1",
            "model": cls.reference(),
            "environment": "production",
            "state": model_pb2.DEPLOYMENT_STATE_ACTIVE,
            "changed_at": cls.at(after_s),
            "submission_id": "submission-1",
            **changes,
        }
        return registry_pb2.DeploymentChanged(**fields)

    @classmethod
    def validated(cls, outcomes: Sequence[int] = (1, 1, 2, 1), **changes: Any) -> validator_pb2.ValidationCompleted:
        """The version was measured: 1 is PASS, 2 FAIL, 3 INCONCLUSIVE. Age is uniform over its bins, sex 2 to 1."""
        fields = {
            "submission_id": "submission-1",
            "model": cls.reference(),
            "checks": [
                evidence_pb2.CheckResult(name=name, outcome=outcome)
                for name, outcome in zip(CHECKS, outcomes, strict=True)
            ],
            "baseline": [
                evidence_pb2.FeatureBaseline(name="age", edges=EDGES, counts=[500] * 10),
                evidence_pb2.FeatureBaseline(name="sex", categories=SEXES, counts=[1600, 3300, 100]),
                evidence_pb2.FeatureBaseline(name="prediction", categories=("0", "1"), counts=[4000, 1000, 0]),
            ],
            **changes,
        }
        return validator_pb2.ValidationCompleted(**fields)

    @classmethod
    def scored(
        cls, *, high: float = 0.4, probability_high: float = 0.1, after_s: float = 0, submission: str = "submission-1"
    ) -> risk_pb2.RiskScored:
        """The version was scored."""
        overall = risk_pb2.Score(
            score=high / 2, interval=evidence_pb2.Interval(low=0, high=high), probability_high=probability_high
        )
        profile = risk_pb2.RiskProfile(
            model=cls.reference(), submission_id=submission, overall=overall, scored_at=cls.at(after_s)
        )
        return risk_pb2.RiskScored(profile=profile)

    @classmethod
    def decided(cls, **changes: Any) -> ComplianceDecided:
        """The version was approved."""
        fields = {
            "submission_id": "submission-1",
            "model": cls.reference(),
            "verdict": VERDICT_APPROVED,
            "decided_at": cls.at(),
            **changes,
        }
        return ComplianceDecided(**fields)

    @classmethod
    def alert(cls, **changes: Any) -> monitor_pb2.AlertRaised:
        """A confirmed alert of high severity."""
        fields = {
            "alert_id": "alert-1",
            "model": cls.reference(),
            "environment": "production",
            "detector": "population-drift",
            "severity": evidence_pb2.SEVERITY_HIGH,
            "confirmed": True,
            "message": "1 of 3 columns drifted",
            "raised_at": cls.at(),
            "deployment_id": "deployment-1",
            **changes,
        }
        return monitor_pb2.AlertRaised(**fields)

    @classmethod
    def applied(cls, correction_id: str, *, after_s: float = 0, outcome: int = 1) -> registry_pb2.CorrectionApplied:
        """A correction was obeyed: 1 APPLIED, 2 UNNECESSARY, 3 FAILED."""
        return registry_pb2.CorrectionApplied(
            correction_id=correction_id, outcome=outcome, applied_at=cls.at(after_s), model=cls.reference()
        )

    @staticmethod
    def rows(
        rng: np.random.Generator, rows: int, *, age_shift: float = 0.0
    ) -> tuple[list[float], list[str], list[str]]:
        """Ages, sexes and answers distributed as the baseline, but for the shift of age."""
        ages = rng.uniform(0, 10, rows) + age_shift
        sexes = rng.choice(["Female", "Male", "other"], rows, p=[0.32, 0.66, 0.02])
        answers = rng.choice(["0", "1"], rows, p=[0.8, 0.2])
        return ages.tolist(), sexes.tolist(), answers.tolist()

    @classmethod
    def batch(cls, batch_id: str, rng: np.random.Generator, rows: int = 250, *, age_shift: float = 0.0) -> Batch:
        """A batch of traffic."""
        ages, sexes, answers = cls.rows(rng, rows, age_shift=age_shift)
        return Batch(batch_id, (Column("age", numbers=ages), Column("sex", texts=sexes)), predictions=answers)

    @classmethod
    def request(cls, batch: Batch, **changes: Any) -> requests.ReportInferenceRequest:
        """The report of a batch."""
        fields = {
            "batch_id": batch.batch_id,
            "model": "adult-income",
            "version": "1.2.0",
            "environment": "production",
            "columns": [monitor_pb2.Column(name=c.name, numbers=c.numbers, texts=c.texts) for c in batch.columns],
            "predictions": batch.predictions,
            **changes,
        }
        return requests.ReportInferenceRequest(**fields)


@dataclass
class _State:
    deployments: dict[str, Deployment] = field(default_factory=dict)
    validations: dict[str, Validation] = field(default_factory=dict)
    risks: dict[str, RiskScore] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    batches: dict[str, str] = field(default_factory=dict)
    watches: dict[tuple[str, str], Watch] = field(default_factory=dict)
    alerts: list[tuple[Alert, str]] = field(default_factory=list)
    corrections: dict[str, Correction] = field(default_factory=dict)
    results: dict[str, CorrectionResult] = field(default_factory=dict)
    published: list[Fact] = field(default_factory=list)


class FakeUnit:
    """One transaction of the fake."""

    def __init__(self, state: _State) -> None:
        self.state = state
        self.calls: list[Callable[[], None]] = []

    async def deployment(self, deployment_id: str) -> Deployment | None:
        """Find it."""
        return self.state.deployments.get(deployment_id)

    async def save_deployment(self, deployment: Deployment) -> None:
        """Keep it."""
        self.state.deployments[deployment.deployment_id] = deployment

    async def active_deployment(self, model: str, environment: str) -> Deployment | None:
        """Find it."""
        return self._newest(lambda d: d.is_active and (d.reference.model, d.environment) == (model, environment))

    async def newest_deployment(self, model: str, version: str, environment: str) -> Deployment | None:
        """Find it."""
        wanted = (model, version, environment)
        return self._newest(lambda d: (d.reference.model, d.reference.version, d.environment) == wanted)

    def _newest(self, fits: Callable[[Deployment], bool]) -> Deployment | None:
        found = [deployment for deployment in self.state.deployments.values() if fits(deployment)]
        return max(found, key=lambda d: (d.changed_at, d.deployment_id), default=None)

    async def save_validation(self, validation: Validation) -> None:
        """Keep the first."""
        self.state.validations.setdefault(validation.submission_id, validation)

    async def baseline(self, submission_id: str) -> Baseline | None:
        """Find it."""
        validation = self.state.validations.get(submission_id)
        return None if validation is None else validation.baseline

    async def save_risk(self, risk: RiskScore) -> None:
        """Keep the latest."""
        known = self.state.risks.get(risk.submission_id)
        if known is None or known.scored_at < risk.scored_at:
            self.state.risks[risk.submission_id] = risk

    async def save_decision(self, decision: Decision) -> None:
        """Keep the first."""
        self.state.decisions.setdefault(decision.submission_id, decision)

    async def note_batch(self, batch_id: str, digest: str, received_at: dt.datetime) -> str | None:
        """Note it."""
        known = self.state.batches.get(batch_id)
        self.state.batches.setdefault(batch_id, digest)
        return known

    async def watch(self, deployment_id: str, detector: str) -> Watch:
        """Find it or begin one."""
        return self.state.watches.get((deployment_id, detector), Watch(deployment_id, detector))

    async def save_watch(self, watch: Watch) -> None:
        """Keep it."""
        self.state.watches[watch.deployment_id, watch.detector] = watch

    async def add_alert(self, alert: Alert, *, episode_id: str) -> bool:
        """Keep it once."""
        if any(kept.alert_id == alert.alert_id for kept, _ in self.state.alerts):
            return False
        self.state.alerts.append((alert, episode_id))
        return True

    async def last_position(self) -> int:
        """Count them."""
        return len(self.state.alerts)

    async def alerts(self, selection: AlertSelection, *, after: int, limit: int) -> Sequence[KeptAlert]:
        """The next ones."""
        return [
            KeptAlert(position, alert)
            for position, (alert, _) in enumerate(self.state.alerts, start=1)
            if position > after
            and (not selection.model or alert.reference.model == selection.model)
            and (selection.since is None or alert.raised_at >= selection.since)
        ][:limit]

    async def add_correction(self, correction: Correction) -> bool:
        """Keep it once."""
        fresh = correction.correction_id not in self.state.corrections
        self.state.corrections.setdefault(correction.correction_id, correction)
        return fresh

    async def save_result(self, result: CorrectionResult) -> bool:
        """Keep the first."""
        if result.correction_id not in self.state.corrections:
            return False
        self.state.results.setdefault(result.correction_id, result)
        return True

    async def systems(self) -> Sequence[System]:
        """Everything that serves."""
        active = [d for d in self.state.deployments.values() if d.is_active]
        places = {(d.reference.model, d.environment) for d in active}
        newest = [await self.active_deployment(*place) for place in places]
        return [self._system(deployment) for deployment in newest if deployment]

    def _system(self, deployment: Deployment) -> System:
        risk = self.state.risks.get(deployment.submission_id)
        validation = self.state.validations.get(deployment.submission_id)
        decision = self.state.decisions.get(deployment.submission_id)
        approved = decision is not None and decision.allows_deployment
        alerts = [a.severity for a, _ in self.state.alerts if a.deployment_id == deployment.deployment_id]
        return System(
            risk_upper_bound=risk.upper_bound if risk else None,
            probability_high=risk.probability_high if risk else None,
            checks=validation.checks if validation else 0,
            conclusive=validation.conclusive if validation else 0,
            is_approved=approved and decision.reference.digest == deployment.reference.digest,
            worst_alert=max(alerts, default=None),
        )

    async def responses(self) -> Sequence[Response]:
        """One for each confirmed episode."""
        return [r for episode in {e for _, e in self.state.alerts} if (r := self._response(episode)) is not None]

    def _response(self, episode_id: str) -> Response | None:
        alerts = [alert for alert, episode in self.state.alerts if episode == episode_id]
        corrections = [c for c in self.state.corrections.values() if c.alert_id in {a.alert_id for a in alerts}]
        results = [self.state.results.get(c.correction_id) for c in corrections]
        applied = [r.applied_at for r in results if r and r.outcome is CorrectionOutcome.APPLIED]
        deployment = self.state.deployments.get(alerts[0].deployment_id)
        if not any(alert.confirmed for alert in alerts):
            return None
        first = min(alert.raised_at for alert in alerts)
        return Response(first, min(applied, default=None), is_open=bool(deployment and deployment.is_active))

    def publish(self, fact: Fact) -> None:
        """Note it."""
        self.state.published.append(fact)

    def after_commit(self, call: Callable[[], None]) -> None:
        """Note it."""
        self.calls.append(call)


class FakeStore:
    """Everything in memory; a transaction that fails leaves nothing."""

    def __init__(self) -> None:
        self.state = _State()

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[FakeUnit]:
        """A transaction."""
        unit = FakeUnit(copy.copy(self.state))
        for name, value in vars(self.state).items():
            setattr(unit.state, name, copy.copy(value))
        yield unit
        self.state = unit.state
        for call in unit.calls:
            call()


@dataclass
class StoreUnderTest:
    """A store and a way to see on which topics it told something."""

    store: Store
    topics: Callable[[], Any]


@pytest.fixture
def given() -> type[Given]:
    """Facts."""
    return Given


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def rng() -> np.random.Generator:
    """Randomness that repeats itself."""
    return np.random.default_rng(20261123)


@pytest.fixture
def fake() -> FakeStore:
    """A store in memory."""
    return FakeStore()


@pytest.fixture
async def serving(fake: FakeStore, given: type[Given]) -> FakeStore:
    """A store that knows one version that serves, with its baseline."""
    async with fake.begin() as unit:
        await unit.save_deployment(wire.deployment_from(given.deployed()))
        await unit.save_validation(wire.validation_from(given.validated()))
    return fake


@pytest.fixture(params=["fake", pytest.param("postgresql", marks=pytest.mark.platform)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Of a fresh database; `None` where the fake is meant."""
    return request.getfixturevalue("database")() if request.param == "postgresql" else None


@pytest.fixture
async def store(database_url: str | None) -> AsyncIterator[StoreUnderTest]:
    """Fake and real, one after the other."""
    if database_url is None:
        memory = FakeStore()
        names = {"Observation": "inference-observed", "Alert": "alert-raised", "Correction": "correction-requested"}

        async def told() -> list[str]:
            return [names[type(fact).__name__] for fact in memory.state.published]

        yield StoreUnderTest(memory, told)
        return
    database = Database(database_url)
    await migrate(database.engine, "vallum_monitor")

    async def published() -> list[str]:
        async with database.transaction() as transaction:
            query = sa.select(outbox.c.topic).order_by(outbox.c.position)
            return list((await transaction.connection.execute(query)).scalars())

    yield StoreUnderTest(SqlStore(database, wire.EventWriter(SequentialIds()).event), published)
    await database.close()


@pytest.fixture
def alert(given: type[Given]) -> Callable[..., Alert]:
    """Call it for an alert: `alert("alert-2", severity=Severity.LOW)`."""
    template = wire.alert_from(given.alert())

    def make(alert_id: str = "alert-1", **changes: Any) -> Alert:
        return replace(template, alert_id=alert_id, **{"severity": Severity.HIGH, **changes})

    return make


@pytest.fixture
def begin_behind(platform_kafka: str) -> Callable[..., Awaitable[None]]:
    """Call it to have consumer groups begin behind everything that other tests of the session put on Kafka."""

    async def skip(*groups: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=platform_kafka)
        await admin.start()
        told = await admin.describe_topics(list(topics_by_name()))
        await admin.close()
        partitions = [TopicPartition(topic["topic"], one["partition"]) for topic in told for one in topic["partitions"]]
        for group in groups:
            consumer = AIOKafkaConsumer(bootstrap_servers=platform_kafka, group_id=group, enable_auto_commit=False)
            await consumer.start()
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            # A member that was killed belongs to the group until its session expires, and nobody else may commit.
            while not await _committed(consumer, ends):
                await asyncio.sleep(0.2)
            await consumer.stop()

    return skip


async def _committed(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> bool:
    try:
        await consumer.commit(offsets)
    except CommitFailedError:
        return False
    return True
