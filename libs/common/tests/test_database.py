"""Transactions: what is the database's fault comes out as `Unavailable`, and nothing else does."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from vallum.registry.v1 import events_pb2
from vallum_common.bus.event import Event
from vallum_common.bus.record import OutgoingRecord
from vallum_common.database import Database, migrate
from vallum_common.database.tables import metadata, outbox
from vallum_common.errors import Invalid, Unavailable
from vallum_common.testing import START

ABSENT = ["08000", "08003", "08006", "57P01", "57P02", "57P03", "53300", "40001", "40P01"]
BUGS = ["42P01", "23505", "22P02", "57014", "0A000"]


def failure(state: str) -> sa.exc.DBAPIError:
    """The plain wrapper that SQLAlchemy makes of an error of asyncpg it has no class for."""
    original = dialect.import_dbapi().Error("told by PostgreSQL")
    original.sqlstate = state
    return sa.exc.DBAPIError("SELECT 1", None, original)


@pytest.fixture
async def store(database: Callable[[], str]) -> AsyncIterator[Database]:
    found = Database(database().replace("postgresql://", "postgresql+asyncpg://"), pool_size=1)
    async with found.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield found
    await found.close()


@pytest.mark.platform
@pytest.mark.parametrize("state", ABSENT)
async def test_a_server_that_restarts_or_gives_up_a_transaction_is_unavailable(store: Database, state: str) -> None:
    with pytest.raises(Unavailable, match="database"):
        async with store.transaction():
            raise failure(state)


@pytest.mark.platform
@pytest.mark.parametrize("state", BUGS)
async def test_a_bug_of_ours_stays_one(store: Database, state: str) -> None:
    statement = sa.text("SELECT :number").bindparams(sa.bindparam("number", type_=sa.Integer))
    with pytest.raises(sa.exc.DBAPIError):
        async with store.transaction() as transaction:
            await transaction.connection.execute(statement, {"number": 2**40})
