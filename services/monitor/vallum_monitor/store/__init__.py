"""PostgreSQL: records and the facts about them, kept together."""

from vallum_monitor.store.unit import SqlStore, SqlUnit

__all__ = ["SqlStore", "SqlUnit"]
