"""Alembic revisions of the validator's database."""
