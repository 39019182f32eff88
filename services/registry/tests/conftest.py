"""What the tests of the registry share: bundles as clients send them, and stores, fake and real."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vallum_common import attestation
from vallum_common.attestation import Resource, SigningKey, Statement
from vallum_common.bundle import BundleFile, Role
from vallum_common.bus.topics import topics_by_name
from vallum_common.database import Database, migrate
from vallum_common.database.tables import outbox
from vallum_common.testing import START, FakeClock, SequentialIds
from vallum_registry import wire
from vallum_registry.domain.corrections import Correction, CorrectionAction, CorrectionOutcome
from vallum_registry.domain.deployments import Deployment, DeploymentState
from vallum_registry.domain.facts import CorrectionApplied, DeploymentChanged, Fact
from vallum_registry.domain.models import Cause, Decision, HistoryEntry, ModelReference, Submission
from vallum_registry.domain.states import Verdict
from vallum_registry.domain.uploads import Chunk, UploadHeader, UploadLimits
from vallum_registry.service.catalogue import Catalogue, Changes
from vallum_registry.service.decisions import Decisions
from vallum_registry.service.moves import Moves
from vallum_registry.service.ports import Artifacts, Store
from vallum_registry.service.serving import Serving
from vallum_registry.service.uploads import Uploads
from vallum_registry.store.artifacts import ObjectArtifacts
from vallum_registry.store.spool import FileSpool
from vallum_registry.store.sql import SqlStore

UPLOAD_ID = "018f0000-0000-4000-8000-000000000001"
MODEL = "adult-income"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
PLATFORM = Cause("platform-team", "release of the week")

Contents = dict[tuple[Role, str], bytes]
"""The bytes of each file, by role and path."""


class Given:
    """Makes what clients and other services send."""

    upload_id = UPLOAD_ID
    model = MODEL
    key = KEY
    cause = PLATFORM

    @staticmethod
    def manifest(
        version: str = "1.0.0", *, model: str = MODEL, parent: str = "", owner: str = "team", **model_fields: str
    ) -> bytes:
        """A manifest of a model with an artefact, an evaluation set and members."""
        lines = [
            f"model: {{id: {model}, version: {version}, artifact: model.onnx, owner: {owner}, tier: limited",
            *(f", {name}: {value}" for name, value in model_fields.items()),
            "}\n",
            "data: {evaluation: {file: evaluation.csv, label: y}, members: {file: members.csv}}\n",
            f"lineage: {{code: 'git:abc', parent: '{parent}', datasets: [{{name: adult, sha256: {'a' * 64}}}]}}\n",
            "vendor: {name: Acme}\n",
        ]
        return "".join(lines).encode()

    @staticmethod
    def contents(
        model: bytes = b"onnx" * 50, evaluation: bytes = b"x,y\n1,0\n", members: bytes = b"x,y\n2,1\n"
    ) -> dict:
        """The bytes of each file."""
        return {
            (Role.ARTIFACT, "model.onnx"): model,
            (Role.EVALUATION, "evaluation.csv"): evaluation,
            (Role.MEMBERS, "members.csv"): members,
        }

    @staticmethod
    def files(contents: Contents) -> tuple[BundleFile, ...]:
        """What a header says about files."""
        return tuple(
            BundleFile(role, path, len(content), hashlib.sha256(content).hexdigest())
            for (role, path), content in contents.items()
        )

    @classmethod
    def header(
        cls, version: str = "1.0.0", *, upload_id: str = UPLOAD_ID, contents: Contents | None = None, **changes: Any
    ) -> UploadHeader:
        """The header of an upload."""
        return UploadHeader(
            upload_id, cls.manifest(version, **changes), cls.files(cls.contents() if contents is None else contents)
        )

    @staticmethod
    def sequence(contents: Contents) -> bytes:
        """The bytes that follow the header: each distinct content once."""
        return b"".join(dict.fromkeys(contents.values()))

    @classmethod
    async def chunks(cls, sequence: bytes, *, size: int = 64, offset: int = 0) -> AsyncIterator[Chunk]:
        """The sequence in chunks, from an offset on."""
        for start in range(offset, len(sequence), size):
            yield Chunk(start, sequence[start : start + size])

    @staticmethod
    def reference(version: str = "1.0.0", model: str = MODEL) -> ModelReference:
        """A version."""
        return ModelReference(model, version)

    @staticmethod
    def envelope(submission: Submission, *, key: SigningKey = KEY, passed: bool = True, **changes: Any) -> bytes:
        """A signed verdict on a submission."""
        reference = submission.reference
        statement = Statement(
            subject=Resource("model.onnx", changes.get("sha256", reference.digest)),
            resource_uri=attestation.resource_uri(reference.model, changes.get("version", reference.version)),
            verifier="https://vallum.dev/compliance",
            verified_at=START,
            policy=Resource("vallum:policy/release", "ef" * 32),
            passed=passed,
            verdict="APPROVED" if passed else "REJECTED",
        )
        return attestation.sign(statement, key)

    @classmethod
    def decision(cls, submission: Submission, verdict: Verdict = Verdict.APPROVED, **changes: Any) -> Decision:
        """What compliance says about a submission."""
        passed = verdict in (Verdict.APPROVED, Verdict.APPROVED_WITH_CONDITIONS)
        fields: dict[str, Any] = {
            "submission_id": submission.submission_id,
            "digest": submission.reference.digest,
            "verdict": verdict,
            "summary": "policy 1: no rule fired",
            "attestation": cls.envelope(submission, passed=passed),
            **changes,
        }
        return Decision(**fields)

    @staticmethod
    def correction(version: str = "1.0.0", number: int = 1, **changes: Any) -> Correction:
        """What the monitor asks for."""
        fields: dict[str, Any] = {
            "correction_id": f"correction-{number}",
            "alert_id": f"alert-{number}",
            "reference": ModelReference(MODEL, version),
            "environment": "production",
            "action": CorrectionAction.QUARANTINE,
            "reason": "population drift",
            **changes,
        }
        return Correction(**fields)


@dataclass
class _Recorded:
    submissions: dict[str, Submission] = field(default_factory=dict)
    artifacts: dict[str, int] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    history: list[HistoryEntry] = field(default_factory=list)
    corrections: dict[str, CorrectionOutcome] = field(default_factory=dict)
    published: list[Fact] = field(default_factory=list)
    announcements: int = 0


class FakeUnit:
    """One transaction of the fake."""

    def __init__(self, state: _Recorded) -> None:
        self.state = state

    async def lock_model(self, model: str) -> None:
        """The whole store is locked already."""

    async def add_submission(self, submission: Submission, manifest: bytes) -> bool:
        """Keep it, once."""
        taken = await self.version(submission.reference) or await self.submission_of_upload(submission.upload_id)
        if taken is not None:
            return False
        self.state.submissions[submission.submission_id] = submission
        self.state.artifacts.update({file.sha256: file.size_bytes for file in submission.files})
        return True

    async def update_submission(self, submission: Submission) -> None:
        """Keep what changed."""
        self.state.submissions[submission.submission_id] = submission

    async def submission(self, submission_id: str) -> Submission | None:
        """Find it."""
        return self.state.submissions.get(submission_id)

    async def submission_of_upload(self, upload_id: str) -> Submission | None:
        """Find it."""
        return next((s for s in self.state.submissions.values() if s.upload_id == upload_id), None)

    async def version(self, reference: ModelReference) -> Submission | None:
        """Find it."""
        return next((s for s in self.state.submissions.values() if s.reference.is_version_of(reference)), None)

    async def children(self, parent: ModelReference) -> tuple[ModelReference, ...]:
        """Find them."""
        found = [
            s for s in self.state.submissions.values() if s.origin.parent and s.origin.parent.is_version_of(parent)
        ]
        return tuple(submission.reference for submission in found)

    async def page(self, *, model: str, before: int | None, size: int) -> tuple[tuple[int, Submission], ...]:
        """Count from 1 in the order of arrival."""
        places = [
            (place, submission)
            for place, submission in enumerate(self.state.submissions.values(), start=1)
            if model in ("", submission.reference.model) and (before is None or place < before)
        ]
        return tuple(places[::-1][:size])

    async def artifact_size(self, sha256: str) -> int | None:
        """Find it."""
        return self.state.artifacts.get(sha256)

    async def add_deployment(self, deployment: Deployment) -> None:
        """Keep it; like the database, let one serve."""
        active = await self.deployments([deployment.reference.model], environment=deployment.environment, active=True)
        assert not active, "a second ACTIVE deployment"
        self.state.deployments[deployment.deployment_id] = deployment

    async def update_deployment(self, deployment: Deployment) -> None:
        """Keep what changed."""
        self.state.deployments[deployment.deployment_id] = deployment

    async def deployments(
        self, models: Sequence[str], *, environment: str = "", active: bool = False
    ) -> tuple[Deployment, ...]:
        """Find them."""
        return tuple(
            deployment
            for deployment in self.state.deployments.values()
            if deployment.reference.model in models
            and environment in ("", deployment.environment)
            and (not active or deployment.state is DeploymentState.ACTIVE)
        )

    async def add_history(self, entry: HistoryEntry) -> None:
        """Keep it."""
        self.state.history.append(entry)

    async def history(self, reference: ModelReference) -> tuple[HistoryEntry, ...]:
        """Find it."""
        return tuple(
            entry
            for entry in self.state.history
            if entry.reference.model == reference.model and reference.version in ("", entry.reference.version)
        )

    async def is_corrected(self, correction_id: str) -> bool:
        """Find it."""
        return correction_id in self.state.corrections

    async def add_correction(self, correction: Correction, outcome: CorrectionOutcome, at: dt.datetime) -> None:
        """Keep it."""
        self.state.corrections[correction.correction_id] = outcome

    def publish(self, fact: Fact) -> None:
        """Note it."""
        self.state.published.append(fact)

    def announce(self) -> None:
        """Note it."""
        self.state.announcements += 1


class FakeStore:
    """The registry's database in memory, one transaction at a time."""

    def __init__(self, announce: Callable[[], None]) -> None:
        self.state = _Recorded()
        self._announce = announce
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[FakeUnit]:
        """A transaction."""
        async with self._lock:
            unit = FakeUnit(copy.deepcopy(self.state))
            yield unit
            announced = unit.state.announcements > self.state.announcements
            self.state = unit.state
        if announced:
            self._announce()

    async def published(self) -> list[str]:
        """The topics of what was published, in order."""
        return [_told(fact) for fact in self.state.published]


def _told(fact: Fact) -> str:
    match fact:
        case DeploymentChanged():
            return f"{fact.deployment.reference.version} {fact.deployment.state} in {fact.deployment.environment}"
        case CorrectionApplied():
            return f"{fact.correction.correction_id} {fact.outcome}"
        case _:
            return f"{fact.submission.reference.version} submitted"


class RealStore(SqlStore):
    """The registry's database, with a look into its outbox."""

    def __init__(self, database: Database, announce: Callable[[], None]) -> None:
        super().__init__(database, wire.EventWriter(SequentialIds(1000)).event, announce)
        self.database = database

    async def published(self) -> list[str]:
        """The same words as of the fake, read back from the events."""
        async with self.database.transaction() as transaction:
            rows = (await transaction.connection.execute(sa.select(outbox).order_by(outbox.c.position))).all()
        messages = [topics_by_name()[row.topic].message_type.FromString(row.value) for row in rows]
        return [_told_message(message) for message in messages]


def _told_message(message: Any) -> str:
    match message.DESCRIPTOR.name:
        case "DeploymentChanged":
            state = type(message).DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[message.state].name
            return f"{message.model.version} {state.removeprefix('DEPLOYMENT_STATE_')} in {message.environment}"
        case "CorrectionApplied":
            kind = type(message).DESCRIPTOR.fields_by_name["outcome"].enum_type.values_by_number[message.outcome].name
            return f"{message.correction_id} {kind.removeprefix('CORRECTION_OUTCOME_')}"
        case _:
            return f"{message.model.version} submitted"


@dataclass
class Registry:
    """The use cases on one store."""

    store: Any
    spool: FileSpool
    artifacts: Artifacts
    uploads: Uploads
    catalogue: Catalogue
    serving: Serving
    decisions: Decisions
    clock: FakeClock
    given: type[Given] = Given

    async def submit(self, version: str = "1.0.0", **changes: Any) -> Submission:
        """A version whose bytes have all arrived; each has bytes of its own."""
        number = len((await self.catalogue.page(model="", before=None, size=100)).versions) + 10
        contents = Given.contents(model=f"{changes.get('model', MODEL)}-{version}".encode())
        header = Given.header(version, upload_id=f"018f0000-0000-4000-8000-{number:012}", contents=contents, **changes)
        return await self.uploads.submit(header, Given.chunks(Given.sequence(contents)), submitter="submitter")

    async def decide(self, decision: Decision) -> None:
        """A verdict arrives."""
        async with self.store.begin() as unit:
            await self.decisions.decide(unit, decision)

    async def correct(self, correction: Correction) -> None:
        """A correction arrives."""
        async with self.store.begin() as unit:
            await self.decisions.correct(unit, correction)

    async def approved(self, version: str = "1.0.0", **changes: Any) -> Submission:
        """A version that may be deployed."""
        submission = await self.submit(version, **changes)
        await self.decide(Given.decision(submission))
        return submission

    async def deploy(self, version: str, environment: str = "production") -> Deployment:
        """A version that serves, a minute later."""
        self.clock.advance(60)
        return await self.serving.deploy(ModelReference(MODEL, version), environment, cause=PLATFORM)

    async def state(self, version: str = "1.0.0") -> str:
        """Where a version stands."""
        return (await self.catalogue.get(ModelReference(MODEL, version))).submission.state

    async def serving_in(self, environment: str = "production") -> list[str]:
        """The versions that serve there."""
        async with self.store.begin() as unit:
            return [d.reference.version for d in await unit.deployments([MODEL], environment=environment, active=True)]

    async def actions(self, version: str = "1.0.0") -> list[str]:
        """What the history says was done."""
        return [entry.action for entry in await self.catalogue.history(ModelReference(MODEL, version))]


@pytest.fixture
def given() -> type[Given]:
    """What clients and other services send."""
    return Given


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def limits() -> UploadLimits:
    """Small ones, so that a test can reach them."""
    return UploadLimits(total_bytes=2000, files=4, manifest_bytes=2000, chunk_bytes=128, uploads=2, idle_s=5.0)


@pytest.fixture
def waiters() -> Changes:
    """Wakes who waits."""
    return Changes()


@pytest.fixture
def fake_store(waiters: Changes) -> FakeStore:
    """The database in memory."""
    return FakeStore(waiters.announce)


@pytest.fixture(params=["fake", pytest.param("postgresql", marks=pytest.mark.platform)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Of a fresh database; `None` where the fake is meant."""
    return request.getfixturevalue("database")() if request.param == "postgresql" else None


@pytest.fixture
async def store(
    database_url: str | None, waiters: Changes, fake_store: FakeStore
) -> AsyncIterator[FakeStore | RealStore]:
    """Fake and real, one after the other."""
    if database_url is None:
        yield fake_store
        return
    database = Database(database_url)
    await migrate(database.engine, "vallum_registry")
    yield RealStore(database, waiters.announce)
    await database.close()


def build_registry(
    store: Store,
    folder: Path,
    *,
    limits: UploadLimits,
    clock: FakeClock,
    waiters: Changes,
    artifacts: Artifacts | None = None,
) -> Registry:
    """The use cases, their files in a folder."""
    ids = SequentialIds()
    spool = FileSpool(folder / "uploads")
    artifacts = artifacts or ObjectArtifacts((folder / "artifacts").as_uri())
    moves = Moves(keys={KEY.key_id: KEY.private.public_key()}, clock=clock, ids=ids)
    return Registry(
        store=store,
        spool=spool,
        artifacts=artifacts,
        uploads=Uploads(store, spool, artifacts, limits=limits, clock=clock, ids=ids),
        catalogue=Catalogue(store, artifacts, waiters),
        serving=Serving(store, moves),
        decisions=Decisions(moves, clock=clock),
        clock=clock,
    )


@pytest.fixture
def registry_with(
    fake_store: FakeStore, tmp_path: Path, limits: UploadLimits, clock: FakeClock, waiters: Changes
) -> Callable[..., Registry]:
    """Call it for the use cases on the database in memory, with something changed."""

    def make(**changes: Any) -> Registry:
        return build_registry(fake_store, tmp_path, **{"limits": limits, "clock": clock, "waiters": waiters, **changes})

    return make


@pytest.fixture
def registry(registry_with: Callable[..., Registry]) -> Registry:
    """The use cases on the database in memory."""
    return registry_with()


@pytest.fixture
def any_registry(
    store: FakeStore | RealStore, tmp_path: Path, limits: UploadLimits, clock: FakeClock, waiters: Changes
) -> Registry:
    """The use cases on the database in memory, and again on PostgreSQL: the fake is held to what the real one does."""
    return build_registry(store, tmp_path, limits=limits, clock=clock, waiters=waiters)
