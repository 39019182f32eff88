"""PostgreSQL: transactions in which a record and the facts about it are kept together, and migrations."""

from vallum_common.database.migrations import migrate
from vallum_common.database.transactions import Database, Transaction

__all__ = ["Database", "Transaction", "migrate"]
