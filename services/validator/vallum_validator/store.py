"""The queue and the reports in PostgreSQL."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert

from vallum_common.bus.event import Event
from vallum_common.database import Database, Transaction
from vallum_validator.domain.evidence import Evidence, Report, ReportState, Submission, SubmittedFile, Validated

metadata: Final = sa.MetaData()

submission_table: Final = sa.Table(
    "submission",
    metadata,
    sa.Column("submission_id", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, sa.Identity(always=True)),
    sa.Column("content", postgresql.JSONB, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Index("submission_waiting", "position", postgresql_where=sa.text("NOT done")),
)
"""The queue. A claimed submission is a locked row; progress is kept apart, so that it can be written meanwhile."""

report_table: Final = sa.Table(
    "report",
    metadata,
    sa.Column("submission_id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("started_at", sa.DateTime(timezone=True)),
    sa.Column("completed_at", sa.DateTime(timezone=True)),
    sa.Column("evidence", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Codec:
    """What the store needs from `wire`, which it may not import.

    Args:
        encode: a report's evidence to bytes.
        decode: and back.
        to_event: the fact of a validation to its event.
    """

    encode: Callable[[Report], bytes]
    decode: Callable[[bytes], Evidence]
    to_event: Callable[[Validated], Event]


class SqlUnit:
    """One transaction on the validator's database.

    Args:
        transaction: which.
        codec: evidence to bytes, facts to events.
    """

    def __init__(self, transaction: Transaction, codec: Codec) -> None:
        self._transaction = transaction
        self._codec = codec

    async def enqueue(self, submission: Submission) -> None:
        """Put a submission at the end of the queue; one that is known changes nothing."""
        values = {"submission_id": submission.submission_id, "content": _to_json(submission), "done": False}
        statement = insert(submission_table).values(values).on_conflict_do_nothing()
        await self._transaction.connection.execute(statement)
        if await self.report_of(submission.submission_id) is None:
            await self.save_report(Report(submission))

    async def save_report(self, report: Report) -> None:
        """Keep the report as it stands now."""
        values = {
            "submission_id": report.submission.submission_id,
            "state": report.state.value,
            "stage": report.stage,
            "attempts": report.attempts,
            "started_at": report.started_at,
            "completed_at": report.completed_at,
            "evidence": self._codec.encode(report),
        }
        statement = insert(report_table).values(values)
        await self._transaction.connection.execute(
            statement.on_conflict_do_update(index_elements=["submission_id"], set_=values)
        )

    async def report_of(self, submission_id: str) -> Report | None:
        """The report of a submission."""
        query = (
            sa.select(report_table, submission_table.c.content)
            .join(submission_table, submission_table.c.submission_id == report_table.c.submission_id)
            .where(report_table.c.submission_id == submission_id)
        )
        row = (await self._transaction.connection.execute(query)).one_or_none()
        return None if row is None else self._report(row)

    async def complete(self, validated: Validated) -> None:
        """Take the submission off the queue and publish `ValidationCompleted`."""
        await self._transaction.connection.execute(
            sa.update(submission_table)
            .where(submission_table.c.submission_id == validated.submission.submission_id)
            .values(done=True)
        )
        self._transaction.publish(self._codec.to_event(validated))

    async def oldest_unclaimed(self) -> Report | None:
        """The oldest submission that is not done and that no other transaction holds; held from now on."""
        query = (
            sa.select(submission_table.c.submission_id)
            .where(submission_table.c.done.is_(False))
            .order_by(submission_table.c.position)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        submission_id = (await self._transaction.connection.execute(query)).scalar_one_or_none()
        return None if submission_id is None else await self.report_of(submission_id)

    def _report(self, row: Any) -> Report:
        evidence = self._codec.decode(row.evidence)
        return Report(
            submission=_from_json(row.content),
            state=ReportState(row.state),
            stage=row.stage,
            attempts=row.attempts,
            scan=evidence.scan,
            checks=evidence.checks,
            isolation=evidence.isolation,
            started_at=_utc(row.started_at),
            completed_at=_utc(row.completed_at),
            signature=evidence.signature,
            thresholds_digest=evidence.thresholds_digest,
        )


class SqlStore:
    """The validator's database.

    Args:
        database: the service's own.
        codec: evidence to bytes, facts to events.
    """

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[SqlUnit]:
        """Open a transaction."""
        async with self._database.transaction() as transaction:
            yield self.within(transaction)

    @contextlib.asynccontextmanager
    async def claim(self) -> AsyncIterator[tuple[SqlUnit, Report] | None]:
        """Open a transaction that holds the oldest submission nobody else holds."""
        async with self.begin() as unit:
            report = await unit.oldest_unclaimed()
            yield None if report is None else (unit, report)

    def within(self, transaction: Transaction) -> SqlUnit:
        """A unit inside a consumer's transaction."""
        return SqlUnit(transaction, self._codec)


def _to_json(submission: Submission) -> dict[str, Any]:
    return {
        "submission_id": submission.submission_id,
        "model": submission.model,
        "version": submission.version,
        "digest": submission.digest,
        "manifest": base64.b64encode(submission.manifest).decode(),
        "files": [[file.path, file.sha256] for file in submission.files],
        "traceparent": submission.traceparent,
    }


def _from_json(document: dict[str, Any]) -> Submission:
    files = tuple(SubmittedFile(path, sha256) for path, sha256 in document["files"])
    return Submission(**{**document, "manifest": base64.b64decode(document["manifest"]), "files": files})


def _utc(moment: dt.datetime | None) -> dt.datetime | None:
    return None if moment is None else moment.astimezone(dt.UTC)
