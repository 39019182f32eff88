"""One transaction of the monitor's database."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from vallum_common.bus.event import Event
from vallum_common.database import Database, Transaction
from vallum_monitor.domain.alerts import Alert, AlertSelection, Correction, CorrectionResult, Watch
from vallum_monitor.domain.facts import Fact
from vallum_monitor.domain.metrics import Response, System
from vallum_monitor.domain.models import Baseline, Decision, Deployment, DeploymentState, RiskScore, Validation
from vallum_monitor.service.ports import KeptAlert
from vallum_monitor.store import rows, summary, tables

_ALERT_ORDER: Final = sa.text("SELECT pg_advisory_xact_lock(7401, 3)")


class SqlUnit:
    """One transaction.

    Args:
        transaction: of the database or of the bus.
        to_event: makes the event that tells of a fact.
    """

    def __init__(self, transaction: Transaction, to_event: Callable[[Fact], Event]) -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._to_event = to_event

    async def deployment(self, deployment_id: str) -> Deployment | None:
        """A deployment, locked."""
        table = tables.deployment
        query = sa.select(table).where(table.c.deployment_id == deployment_id).with_for_update()
        return rows.deployment_from((await self._connection.execute(query)).one_or_none())

    async def save_deployment(self, deployment: Deployment) -> None:
        """Insert or replace."""
        row = rows.deployment_row(deployment)
        statement = insert(tables.deployment).values(row)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["deployment_id"], set_=row))

    async def active_deployment(self, model: str, environment: str) -> Deployment | None:
        """The newest that is active: for a moment the one it replaced may look active as well."""
        return await self._newest(model=model, environment=environment, state=str(DeploymentState.ACTIVE))

    async def newest_deployment(self, model: str, version: str, environment: str) -> Deployment | None:
        """The last time a version was deployed in an environment."""
        return await self._newest(model=model, version=version, environment=environment)

    async def _newest(self, **where: str) -> Deployment | None:
        table = tables.deployment
        query = sa.select(table).filter_by(**where).order_by(table.c.changed_at.desc(), table.c.deployment_id.desc())
        return rows.deployment_from((await self._connection.execute(query.limit(1))).one_or_none())

    async def save_validation(self, validation: Validation) -> None:
        """Insert; the first of a submission stays."""
        await self._first(
            tables.validation,
            **rows.reference_row(validation.reference),
            submission_id=validation.submission_id,
            checks=validation.checks,
            conclusive=validation.conclusive,
            baseline=rows.baseline_text(validation.baseline),
        )

    async def baseline(self, submission_id: str) -> Baseline | None:
        """What a submission's traffic is compared with."""
        table = tables.validation
        query = sa.select(table.c.baseline).where(table.c.submission_id == submission_id)
        text = (await self._connection.execute(query)).scalar_one_or_none()
        return None if text is None else rows.baseline_from(text)

    async def save_risk(self, risk: RiskScore) -> None:
        """Insert, or replace an earlier score."""
        table = tables.risk
        row = {
            "upper_bound": risk.upper_bound,
            "probability_high": risk.probability_high,
            "scored_at": risk.scored_at,
        }
        statement = insert(table).values({**row, "submission_id": risk.submission_id})
        await self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["submission_id"], set_=row, where=table.c.scored_at < risk.scored_at
            )
        )

    async def save_decision(self, decision: Decision) -> None:
        """Insert; the first of a submission stays."""
        await self._first(
            tables.decision,
            submission_id=decision.submission_id,
            digest=decision.reference.digest,
            allows_deployment=decision.allows_deployment,
            decided_at=decision.decided_at,
        )

    async def note_batch(self, batch_id: str, digest: str, received_at: dt.datetime) -> str | None:
        """Insert; where it is there already, its digest. Of two at once the second waits here for the first."""
        if await self._first(tables.reported_batch, batch_id=batch_id, digest=digest, received_at=received_at):
            return None
        query = sa.select(tables.reported_batch.c.digest).where(tables.reported_batch.c.batch_id == batch_id)
        return str((await self._connection.execute(query)).scalar_one())

    async def watch(self, deployment_id: str, detector: str) -> Watch:
        """What is remembered, locked; the row is made where it is missing."""
        table = tables.watch
        query = sa.select(table).filter_by(deployment_id=deployment_id, detector=detector).with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            fresh = Watch(deployment_id, detector)
            await self._first(table, deployment_id=deployment_id, detector=detector, **rows.watch_row(fresh))
            row = (await self._connection.execute(query)).one()
        return rows.watch_from(row)

    async def save_watch(self, watch: Watch) -> None:
        """Update."""
        statement = sa.update(tables.watch).filter_by(deployment_id=watch.deployment_id, detector=watch.detector)
        await self._connection.execute(statement.values(rows.watch_row(watch)))

    async def add_alert(self, alert: Alert, *, episode_id: str) -> bool:
        """Insert at the end. One transaction at a time: positions come from a sequence, and without the lock one with a
        smaller position could be committed after one with a larger position, and be missed by those who watch."""
        await self._connection.execute(_ALERT_ORDER)
        return await self._first(tables.alert, **rows.alert_row(alert), episode_id=episode_id)

    async def last_position(self) -> int:
        """Place of the newest alert."""
        query = sa.select(sa.func.coalesce(sa.func.max(tables.alert.c.position), 0))
        return int((await self._connection.execute(query)).scalar_one())

    async def alerts(self, selection: AlertSelection, *, after: int, limit: int) -> Sequence[KeptAlert]:
        """The next ones."""
        table = tables.alert
        query = sa.select(table).where(table.c.position > after)
        if selection.model:
            query = query.where(table.c.model == selection.model)
        if selection.since is not None:
            query = query.where(table.c.raised_at >= selection.since)
        found = await self._connection.execute(query.order_by(table.c.position).limit(limit))
        return [KeptAlert(row.position, rows.alert_from(row)) for row in found]

    async def add_correction(self, correction: Correction) -> bool:
        """Insert; one for each alert."""
        return await self._first(tables.correction, **rows.correction_row(correction))

    async def save_result(self, result: CorrectionResult) -> bool:
        """Note what became of a correction; the first answer stays."""
        table = tables.correction
        values = {
            "outcome": sa.func.coalesce(table.c.outcome, str(result.outcome)),
            "applied_at": sa.func.coalesce(table.c.applied_at, result.applied_at),
        }
        statement = sa.update(table).where(table.c.correction_id == result.correction_id).values(values)
        return (await self._connection.execute(statement)).rowcount > 0

    async def systems(self) -> Sequence[System]:
        """Everything that serves."""
        return [summary.system_from(row) for row in await self._connection.execute(summary.SYSTEMS)]

    async def responses(self) -> Sequence[Response]:
        """How every confirmed episode was answered."""
        return [summary.response_from(row) for row in await self._connection.execute(summary.RESPONSES)]

    def publish(self, fact: Fact) -> None:
        """Note the event of a fact for the outbox."""
        self._transaction.publish(self._to_event(fact))

    def after_commit(self, call: Callable[[], None]) -> None:
        """Have something called once the transaction is committed."""
        self._transaction.after_commit.append(call)

    async def _first(self, table: sa.Table, **values: Any) -> bool:
        """Insert, unless it is there already; returns whether it was inserted."""
        statement = insert(table).values(values).on_conflict_do_nothing()
        return (await self._connection.execute(statement)).rowcount > 0


class SqlStore:
    """The monitor's database.

    Args:
        database: its own.
        to_event: makes the event that tells of a fact.
    """

    def __init__(self, database: Database, to_event: Callable[[Fact], Event]) -> None:
        self._database = database
        self._to_event = to_event

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[SqlUnit]:
        """A transaction of its own."""
        async with self._database.transaction() as transaction:
            yield self.within(transaction)

    def within(self, transaction: Transaction) -> SqlUnit:
        """A unit in a transaction of the bus."""
        return SqlUnit(transaction, self._to_event)
