"""Alembic revisions of the risk database."""
