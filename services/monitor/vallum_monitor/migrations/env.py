"""Run by Alembic."""

from vallum_common.database.migrations import run_environment

run_environment()
