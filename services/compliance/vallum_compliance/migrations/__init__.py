"""Alembic revisions of the database of compliance; applied when the service starts."""
