"""Which errors of the database say that it is away for a while, and which are our bugs."""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_STATES: Final = ("08", "57P01", "57P02", "57P03", "53300", "40001", "40P01")
"""Connection exceptions; shutdown, crash and start of the server; too many clients; serialization, deadlock.

Source: PostgreSQL 17, appendix A, "PostgreSQL Error Codes".
"""


def is_absence(error: Exception) -> bool:
    """Whether the same transaction may succeed later: no connection is to be had, it was lost, or PostgreSQL gave up.

    SQLAlchemy wraps several of these in a plain `DBAPIError`: only the SQLSTATE tells them from our bugs.
    """
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        # asyncpg raises a value it cannot send (a number out of range) as an interface error, and as a ValueError.
        unsendable = isinstance(getattr(error.orig, "__cause__", None), ValueError)
        lost = isinstance(error, (OperationalError, InterfaceError)) and not unsendable
        return lost or error.connection_invalidated or state.startswith(_STATES)
    return isinstance(error, (PoolTimeoutError, OSError))
