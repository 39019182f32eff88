"""The closed list of what can go wrong, and the only exceptions our code raises on purpose.

Each kind decides what happens on every edge: the gRPC status a caller sees, and whether a consumer retries,
dead-letters or stops. Services only raise; `vallum_common.rpc` and `vallum_common.bus` translate. What is lost at the
boundary: the Python type of anything that is not on this list, and its message, which may hold a secret. A verdict is
never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Kind(StrEnum):
    """The name under which an error crosses gRPC (as `google.rpc.ErrorInfo.reason`) and is kept in a dead letter."""

    INVALID = "INVALID"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    DENIED = "DENIED"
    UNAVAILABLE = "UNAVAILABLE"
    EXHAUSTED = "EXHAUSTED"
    INTERNAL = "INTERNAL"


class VallumError(Exception):
    """Base of the closed list; never raised itself.

    Args:
        message: what was wrong, with what value, and what would be right. Never a secret, never a payload.
        details: machine-readable facts for the caller, e.g. `{"field": "model.tier"}`.
    """

    kind: Kind = Kind.INTERNAL

    def __init__(self, message: str, **details: str) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, str] = dict(details)


class Invalid(VallumError):
    """The input can never be right, however often it is tried."""

    kind = Kind.INVALID


class NotFound(VallumError):
    """The subject is unknown here; on a stream it may still arrive, so it is retried within a bound."""

    kind = Kind.NOT_FOUND


class Conflict(VallumError):
    """The request contradicts what is recorded."""

    kind = Kind.CONFLICT


class Denied(VallumError):
    """The caller may not do this, or is nobody."""

    kind = Kind.DENIED


class Unavailable(VallumError):
    """A dependency is away; the same call may work later."""

    kind = Kind.UNAVAILABLE


class Exhausted(VallumError):
    """A limit was reached: size, rate, quota."""

    kind = Kind.EXHAUSTED


BY_KIND: Mapping[Kind, type[VallumError]] = {
    error.kind: error for error in (Invalid, NotFound, Conflict, Denied, Unavailable, Exhausted)
}
"""Every kind a peer may send us; INTERNAL stays a bare `VallumError`, whose detail the peer withheld."""
