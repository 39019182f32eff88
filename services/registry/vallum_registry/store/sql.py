"""Records in PostgreSQL, saved together with the facts about them."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from vallum_common.bus.event import Event
from vallum_common.database import Database, Transaction
from vallum_registry.domain.corrections import Correction, CorrectionOutcome
from vallum_registry.domain.deployments import Deployment, DeploymentState
from vallum_registry.domain.facts import Fact
from vallum_registry.domain.models import HistoryEntry, ModelReference, Submission
from vallum_registry.store import rows
from vallum_registry.store.tables import artifact, correction, deployment, history, model, submission

_SUBMISSION = [column for column in submission.c if column is not submission.c.manifest]
"""All but the manifest, which may have 256 KiB and is only asked for by name."""


class SqlUnit:
    """One transaction on the registry's database.

    Args:
        transaction: which.
        to_event: makes the event of a fact.
        announce: wakes those who wait for a submission to change.
    """

    def __init__(
        self, transaction: Transaction, to_event: Callable[[Fact], Event], announce: Callable[[], None]
    ) -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._to_event = to_event
        self._announce = announce

    async def lock_model(self, model_id: str) -> None:
        """Lock the model's row until the transaction ends."""
        await self._connection.execute(sa.select(model.c.id).where(model.c.id == model_id).with_for_update())

    async def add_submission(self, new: Submission, manifest: bytes) -> bool:
        """Record a new version and its files; `False`, and nothing recorded, where the version or upload id exists."""
        await self._connection.execute(insert(model).values(id=new.reference.model).on_conflict_do_nothing())
        statement = insert(submission).values(**rows.submission_values(new), manifest=manifest)
        added = await self._connection.execute(statement.on_conflict_do_nothing().returning(submission.c.submission_id))
        if added.one_or_none() is None:
            return False
        files = {file.sha256: file.size_bytes for file in new.files}
        values = [{"sha256": sha256, "size_bytes": size} for sha256, size in sorted(files.items())]
        await self._connection.execute(insert(artifact).values(values).on_conflict_do_nothing())
        return True

    async def update_submission(self, changed: Submission) -> None:
        """Record the standing, verdict and attestation."""
        await self._connection.execute(
            sa.update(submission)
            .where(submission.c.submission_id == changed.submission_id)
            .values(rows.standing_values(changed))
        )

    async def submission(self, submission_id: str) -> Submission | None:
        """By its id."""
        return await self._one_submission(submission.c.submission_id == submission_id)

    async def submission_of_upload(self, upload_id: str) -> Submission | None:
        """By the upload it came with."""
        return await self._one_submission(submission.c.upload_id == upload_id)

    async def version(self, reference: ModelReference) -> Submission | None:
        """By model and version."""
        return await self._one_submission(
            submission.c.model == reference.model, submission.c.version == reference.version
        )

    async def children(self, parent: ModelReference) -> tuple[ModelReference, ...]:
        """Versions that name another as their parent, oldest first."""
        query = (
            sa.select(submission.c.model, submission.c.version, submission.c.digest)
            .where(submission.c.parent_model == parent.model, submission.c.parent_version == parent.version)
            .order_by(submission.c.position)
        )
        return tuple(map(rows.reference_of, await self._connection.execute(query)))

    async def page(self, *, model: str, before: int | None, size: int) -> tuple[tuple[int, Submission], ...]:
        """Versions with their places in the order of arrival, newest first."""
        query = sa.select(*_SUBMISSION).order_by(submission.c.position.desc()).limit(size)
        if model:
            query = query.where(submission.c.model == model)
        if before is not None:
            query = query.where(submission.c.position < before)
        found = await self._connection.execute(query)
        return tuple((row.position, rows.submission_of(row)) for row in found)

    async def artifact_size(self, sha256: str) -> int | None:
        """How long a file of any submission is; `None` where none has this digest."""
        query = sa.select(artifact.c.size_bytes).where(artifact.c.sha256 == sha256)
        size: int | None = (await self._connection.execute(query)).scalar_one_or_none()
        return size

    async def add_deployment(self, new: Deployment) -> None:
        """Record a deployment that begins."""
        await self._connection.execute(insert(deployment).values(rows.deployment_values(new)))

    async def update_deployment(self, ended: Deployment) -> None:
        """Record how a deployment ended."""
        await self._connection.execute(
            sa.update(deployment)
            .where(deployment.c.deployment_id == ended.deployment_id)
            .values(state=ended.state, changed_at=ended.changed_at)
        )

    async def deployments(
        self, models: Sequence[str], *, environment: str = "", active: bool = False
    ) -> tuple[Deployment, ...]:
        """Deployments of models, oldest first."""
        query = sa.select(deployment).where(deployment.c.model.in_(models)).order_by(deployment.c.position)
        if environment:
            query = query.where(deployment.c.environment == environment)
        if active:
            query = query.where(deployment.c.state == DeploymentState.ACTIVE)
        return tuple(map(rows.deployment_of, await self._connection.execute(query)))

    async def add_history(self, entry: HistoryEntry) -> None:
        """Record what happened."""
        await self._connection.execute(insert(history).values(rows.history_values(entry)))

    async def history(self, reference: ModelReference) -> tuple[HistoryEntry, ...]:
        """What happened to a version, or with an empty version to all of a model, oldest first."""
        query = sa.select(history).where(history.c.model == reference.model).order_by(history.c.position)
        if reference.version:
            query = query.where(history.c.version == reference.version)
        return tuple(map(rows.history_of, await self._connection.execute(query)))

    async def is_corrected(self, correction_id: str) -> bool:
        """Whether a correction was dealt with before."""
        query = sa.select(sa.exists().where(correction.c.correction_id == correction_id))
        return bool((await self._connection.execute(query)).scalar_one())

    async def add_correction(self, done: Correction, outcome: CorrectionOutcome, at: dt.datetime) -> None:
        """Record that a correction was dealt with."""
        values = {"correction_id": done.correction_id, "outcome": outcome, "at": at}
        await self._connection.execute(insert(correction).values(values))

    def publish(self, fact: Fact) -> None:
        """Tell the others, if and only if the transaction is kept."""
        self._transaction.publish(self._to_event(fact))

    def announce(self) -> None:
        """Wake who waits for a submission to change, if and only if the transaction is kept."""
        self._transaction.after_commit.append(self._announce)

    async def _one_submission(self, *conditions: sa.ColumnElement[bool]) -> Submission | None:
        row = (await self._connection.execute(sa.select(*_SUBMISSION).where(*conditions))).one_or_none()
        return None if row is None else rows.submission_of(row)


class SqlStore:
    """The registry's database.

    Args:
        database: its own.
        to_event: makes the event of a fact.
        announce: wakes those who wait for a submission to change.
    """

    def __init__(self, database: Database, to_event: Callable[[Fact], Event], announce: Callable[[], None]) -> None:
        self._database = database
        self._to_event = to_event
        self._announce = announce

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[SqlUnit]:
        """A transaction of its own."""
        async with self._database.transaction() as transaction:
            yield self.within(transaction)

    def within(self, transaction: Transaction) -> SqlUnit:
        """A unit inside a consumer's transaction."""
        return SqlUnit(transaction, self._to_event, self._announce)
