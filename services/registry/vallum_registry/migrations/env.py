"""Alembic's entry: the same for every service."""

from vallum_common.database.migrations import run_environment

run_environment()
