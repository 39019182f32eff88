"""The contract of queue and reports, held by the fake and by PostgreSQL alike."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from vallum.validator.v1.events_pb2 import ValidationCompleted
from vallum_common.database import Database, migrate
from vallum_common.database.tables import outbox
from vallum_common.testing import START, SequentialIds
from vallum_validator import main, store, wire
from vallum_validator.domain.evidence import Isolation, Report, ReportState, Submission, SubmittedFile, Validated
from vallum_validator.domain.findings import Finding, Severity
from vallum_validator.service import Store
from vallum_validator.store import Codec, SqlStore

from .fakes import ASSESSMENT, DIGEST, SUBMISSION, MemoryStore


class Undo(Exception):
    """Leaves a transaction without a commit."""


def submission(number: int) -> Submission:
    return replace(SUBMISSION, submission_id=f"s-{number}")


def validated(what: Submission) -> Validated:
    return Validated(what, None, ASSESSMENT, START, START)


@dataclass(frozen=True)
class StoreUnderTest:
    """A store and a way to see what it published."""

    store: Store
    published: Callable[[], Awaitable[list[str]]]

    async def enqueue(self, *submissions: Submission) -> None:
        """Each in a transaction of its own."""
        for one in submissions:
            async with self.store.begin() as unit:
                await unit.enqueue(one)

    async def report(self, submission_id: str) -> Report | None:
        """As others see it."""
        async with self.store.begin() as unit:
            return await unit.report_of(submission_id)


@pytest.fixture(params=["fake", pytest.param("postgresql", marks=pytest.mark.platform)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Of a fresh database; `None` where the fake is meant."""
    return request.getfixturevalue("database")() if request.param == "postgresql" else None


@pytest.fixture
async def kept(database_url: str | None) -> AsyncIterator[StoreUnderTest]:
    """Fake and real, one after the other."""
    if database_url is None:
        fake = MemoryStore()

        async def noted() -> list[str]:
            return [fact.submission.submission_id for fact in fake.published]

        yield StoreUnderTest(fake, noted)
        return
    database = Database(database_url)
    await migrate(database.engine, "vallum_validator")

    async def published() -> list[str]:
        async with database.transaction() as transaction:
            query = (
                sa.select(outbox.c.value).where(outbox.c.topic == "validation-completed").order_by(outbox.c.position)
            )
            values = (await transaction.connection.execute(query)).scalars()
            return [ValidationCompleted.FromString(value).submission_id for value in values]

    codec = Codec(main._encode, main._decode, wire.EventWriter(SequentialIds()).event)
    yield StoreUnderTest(SqlStore(database, codec), published)
    await database.close()


class TestQueue:
    async def test_empty_queue_gives_nothing(self, kept):
        async with kept.store.claim() as claimed:
            assert claimed is None
        assert await kept.report("s-1") is None

    async def test_submission_comes_back_as_it_was(self, kept):
        odd = Submission("s-é", "m", "1", DIGEST, bytes(range(256)), (SubmittedFile("a/é", DIGEST),), "00-trace")
        await kept.enqueue(odd)
        assert await kept.report("s-é") == Report(odd)

    async def test_oldest_is_claimed_first(self, kept):
        await kept.enqueue(submission(2), submission(1))
        async with kept.store.claim() as (_, report):
            assert report.submission.submission_id == "s-2"

    async def test_known_submission_is_queued_once(self, kept):
        await kept.enqueue(submission(1), submission(1))
        async with kept.store.claim() as claimed, kept.store.claim() as second:
            assert claimed is not None
            assert second is None

    async def test_claim_skips_what_another_holds(self, kept):
        await kept.enqueue(submission(1), submission(2))
        async with kept.store.claim() as (_, first), kept.store.claim() as (_, second):
            held = [first.submission.submission_id, second.submission.submission_id]
            async with kept.store.claim() as third:
                assert third is None
        assert held == ["s-1", "s-2"]

    async def test_claim_that_ends_gives_back_in_the_old_place(self, kept):
        await kept.enqueue(submission(1), submission(2))
        for _ in range(2):
            with contextlib.suppress(Undo):
                async with kept.store.claim() as (unit, report):
                    assert report.submission.submission_id == "s-1"
                    await unit.complete(validated(report.submission))
                    raise Undo
        assert await kept.published() == []

    async def test_progress_is_seen_and_kept_while_claimed(self, kept):
        """It must outlive the claim: by the attempts a submission is recognised that kills whoever measures it."""
        await kept.enqueue(submission(1))
        with contextlib.suppress(Undo):
            async with kept.store.claim() as (_, report):
                running = replace(report, state=ReportState.RUNNING, stage="scan", attempts=1, started_at=START)
                async with kept.store.begin() as unit:
                    await unit.save_report(running)
                assert await kept.report("s-1") == running
                raise Undo
        async with kept.store.claim() as (_, report):
            assert report == running

    async def test_done_is_told_once_and_never_claimed_again(self, kept):
        await kept.enqueue(submission(1))
        async with kept.store.claim() as (unit, report):
            await unit.complete(validated(report.submission))
            await unit.save_report(replace(report, state=ReportState.COMPLETED))
        await kept.enqueue(submission(1))
        async with kept.store.claim() as claimed:
            assert claimed is None
        assert await kept.published() == ["s-1"]
        assert (await kept.report("s-1")).state is ReportState.COMPLETED

    async def test_workers_at_the_same_time_share_the_work_and_double_none(self, kept):
        await kept.enqueue(*map(submission, range(12)))

        async def work() -> None:
            while True:
                async with kept.store.claim() as claimed:
                    if claimed is None:
                        return
                    unit, report = claimed
                    await asyncio.sleep(0)
                    await unit.complete(validated(report.submission))

        await asyncio.gather(*(work() for _ in range(4)))
        assert sorted(await kept.published()) == sorted(f"s-{number}" for number in range(12))


class TestReports:
    async def test_evidence_comes_back_whole(self, kept):
        await kept.enqueue(submission(1))
        finding = Finding("pickle.global-denied", Severity.CRITICAL, "a!/b", 0, "os.system")
        scan = replace(ASSESSMENT.scan, files=(replace(ASSESSMENT.scan.files[0], findings=(finding,)),))
        report = Report(
            submission(1),
            state=ReportState.COMPLETED,
            stage="completed",
            attempts=2,
            scan=scan,
            checks=ASSESSMENT.checks,
            isolation=Isolation("sandlock", 6, True, ("no user namespace",)),
            started_at=START,
            completed_at=START + dt.timedelta(microseconds=1),
        )
        async with kept.store.begin() as unit:
            await unit.save_report(report)
        assert await kept.report("s-1") == report

    async def test_what_is_rolled_back_was_never_there(self, kept):
        with contextlib.suppress(Undo):
            async with kept.store.begin() as unit:
                await unit.enqueue(submission(1))
                raise Undo
        assert await kept.report("s-1") is None


@pytest.mark.platform
async def test_migrations_make_the_tables_the_store_writes(database):
    opened = Database(database())
    await migrate(opened.engine, "vallum_validator")

    def differences(connection):
        ours = set(store.metadata.tables)
        options = {"compare_type": True, "include_name": lambda name, kind, _: kind != "table" or name in ours}
        return compare_metadata(MigrationContext.configure(connection, opts=options), store.metadata)

    async with opened.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await opened.close()
