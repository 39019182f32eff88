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
    with pytest.raises(sa.exc.DBAPIError):
        async with store.transaction():
            raise failure(state)


@pytest.mark.platform
async def test_a_server_that_says_so_itself_is_unavailable(store: Database) -> None:
    for state in ABSENT:
        raising = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"
        with pytest.raises(Unavailable):
            async with store.transaction() as transaction:
                await transaction.connection.execute(sa.text(raising))


@pytest.mark.platform
async def test_a_connection_that_is_killed_is_unavailable(store: Database) -> None:
    with pytest.raises(Unavailable):
        async with store.transaction() as transaction:
            await transaction.connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
    async with store.transaction() as transaction:
        assert (await transaction.connection.execute(sa.text("SELECT 1"))).scalar() == 1


@pytest.mark.platform
async def test_a_pool_that_has_no_connection_left_is_unavailable(store: Database) -> None:
    single = Database(store.engine.url.render_as_string(hide_password=False), pool_size=1)
    single.engine.pool._timeout = 0.01
    single.engine.pool._max_overflow = 0
    async with single.transaction():
        with pytest.raises(Unavailable):
            async with single.transaction():
                pass
    await single.close()


async def test_a_server_that_does_not_answer_is_unavailable() -> None:
    database = Database("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        async with database.transaction():
            pass


@pytest.mark.parametrize("state", ["57P03", "53300"])
async def test_a_server_that_is_starting_cannot_be_migrated_yet(state: str) -> None:
    class Starting:
        url = sa.engine.make_url("postgresql+asyncpg://h:1/d")

        def begin(self) -> None:
            raise failure(state)

    with pytest.raises(Unavailable, match="h:1"):
        await migrate(Starting(), "vallum_common")


@pytest.mark.platform
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), TimeoutError(), FileNotFoundError()]
)
async def test_what_the_block_does_besides_is_not_the_database_s_fault(store: Database, error: OSError) -> None:
    with pytest.raises(type(error)) as caught:
        async with store.transaction():
            raise error
    assert caught.value is error


@pytest.mark.platform
async def test_an_event_larger_than_kafka_takes_is_invalid_and_not_kept(store: Database) -> None:
    """As `Exhausted` a consumer would try it for ever."""
    message = events_pb2.ModelSubmitted(manifest=b"x" * 1_100_000)
    with pytest.raises(Invalid, match="1100"):
        async with store.transaction() as transaction:
            transaction.publish(Event("e", "test", "m@1", "m", START, message))


@pytest.mark.platform
async def test_a_stranger_s_headers_can_be_kept(store: Database) -> None:
    """A dead letter has those of its original: without a value, or with a name PostgreSQL does not take."""
    async with store.transaction() as transaction:
        transaction.publish_record(OutgoingRecord("r", "t.dead", None, None, [("a\x00b", b"\x00"), ("c", None)]))
    async with store.transaction() as transaction:
        headers = (await transaction.connection.execute(sa.select(outbox.c.headers))).scalar()
    assert headers == [["a\ufffdb", "AA=="], ["c", None]]


@pytest.mark.platform
async def test_a_value_that_cannot_be_sent_is_our_bug(store: Database) -> None:
    """Taken for absence, it would be tried again for ever."""
    statement = sa.text("SELECT :number").bindparams(sa.bindparam("number", type_=sa.Integer))
    with pytest.raises(sa.exc.DBAPIError):
        async with store.transaction() as transaction:
            await transaction.connection.execute(statement, {"number": 2**40})
