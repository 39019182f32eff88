"""Migrations: each service brings Alembic revisions in `<package>/migrations`, applied when it starts."""

from __future__ import annotations

from importlib.resources import files

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from vallum_common.database.absence import is_absence
from vallum_common.database.tables import inbox, metadata, outbox, outbox_cluster
from vallum_common.errors import Unavailable

_LOCK = sa.text("SELECT pg_advisory_xact_lock(7401, 1)")


async def migrate(engine: AsyncEngine, package: str) -> None:
    """Bring a database to the newest revision; processes that start together wait for each other.

    Args:
        engine: of the service's database.
        package: e.g. `vallum_registry`; its folder `migrations` holds `env.py` and `versions/`.

    Raises:
        Unavailable: PostgreSQL cannot be reached.
    """
    config = Config()
    config.set_main_option("script_location", str(files(package) / "migrations"))

    def upgrade(connection: Connection) -> None:
        connection.execute(_LOCK)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    except (SQLAlchemyError, OSError) as error:
        if not is_absence(error):
            raise
        raise Unavailable(f"the database at {engine.url.host}:{engine.url.port} does not answer") from error


def run_environment() -> None:
    """What every service's `migrations/env.py` does: run the revisions on the connection `migrate` opened."""
    context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


def create_event_tables(connection: Connection) -> None:
    """For the first revision of every service: create outbox, inbox and outbox_cluster."""
    metadata.create_all(connection, tables=[outbox, inbox, outbox_cluster], checkfirst=False)
