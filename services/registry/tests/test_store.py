"""What PostgreSQL itself upholds, whatever the code above it does; and that the tables are what the migrations make."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import DBAPIError

from vallum_common.database import Database, migrate
from vallum_common.database.tables import metadata as event_metadata
from vallum_common.errors import Conflict
from vallum_registry.domain.states import Standing, State
from vallum_registry.store.tables import metadata

pytestmark = pytest.mark.platform
_COLUMNS = "submission_id, model, version, digest, environment, state, changed_at"


@pytest.fixture
def database_url(database):
    """Only the real store is of interest here."""
    return database()


async def change(registry, statement: str) -> None:
    """What a mistake in the code could do."""
    async with registry.store.begin() as unit:
        await unit._connection.execute(sa.text(statement))


class TestInvariants:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE history SET reason = 'nothing happened'",
            "DELETE FROM history",
            "UPDATE submission SET digest = repeat('0', 64)",
            "UPDATE submission SET manifest = 'x'",
            "DELETE FROM submission",
            "UPDATE submission SET state = 'REJECTED'",
            "UPDATE submission SET state = 'QUARANTINED', hidden_state = 'APPROVED'",
            "UPDATE submission SET state = 'SUBMITTED'",
            "UPDATE submission SET state = 'RETIRED'",
            "UPDATE submission SET hidden_state = 'APPROVED'",
            "UPDATE submission SET verdict = NULL",
            "UPDATE artifact SET sha256 = 'x'",
            "UPDATE deployment SET state = 'ENDED'",
            "UPDATE deployment SET environment = 'No Name'",
            f"INSERT INTO deployment ({_COLUMNS}, deployment_id) SELECT {_COLUMNS}, 'second' FROM deployment",
        ],
    )
    async def test_database_refuses(self, any_registry, statement):
        await any_registry.approved()
        await any_registry.deploy("1.0.0")
        with pytest.raises(DBAPIError, match=r"violates|not allowed|not APPROVED"):
            await change(any_registry, statement)
        assert await any_registry.state() == "APPROVED"

    async def test_deployment_that_ended_stays_as_it_is(self, any_registry, given):
        await any_registry.approved()
        await any_registry.deploy("1.0.0")
        await any_registry.serving.rollback(given.reference(), "production", cause=given.cause)
        with pytest.raises(DBAPIError, match="UPDATE of deployment is not allowed"):
            await change(any_registry, "UPDATE deployment SET state = 'ACTIVE'")

    async def test_version_that_is_not_approved_cannot_be_made_to_serve(self, any_registry, given):
        submission = await any_registry.submit()
        await any_registry.approved("2.0.0")
        deployment = await any_registry.deploy("2.0.0")
        unapproved = replace(
            deployment, deployment_id="x", submission_id=submission.submission_id, environment="staging"
        )
        with pytest.raises(DBAPIError, match="is not APPROVED"):
            async with any_registry.store.begin() as unit:
                await unit.add_deployment(unapproved)
        with pytest.raises(DBAPIError, match="submission_decided_by_verdict"):
            async with any_registry.store.begin() as unit:
                await unit.update_submission(replace(submission, standing=Standing(State.APPROVED)))


async def test_transaction_that_fails_leaves_neither_record_nor_fact(any_registry, given):
    submission = await any_registry.approved()
    told = await any_registry.store.published()

    async def fail_late():
        async with any_registry.store.begin() as unit:
            await any_registry.decisions.correct(unit, given.correction())
            raise Conflict("afterwards")

    with pytest.raises(Conflict, match="afterwards"):
        await fail_late()
    assert await any_registry.store.published() == told
    assert (await any_registry.catalogue.get(submission.reference)).submission.state == "APPROVED"


async def test_tables_are_what_the_migrations_make(database):
    database = Database(database())
    await migrate(database.engine, "vallum_registry")

    def differences(connection: sa.Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection), [metadata, event_metadata])

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()
