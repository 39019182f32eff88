"""W3C trace context: the one line that ties a request to everything it caused, across gRPC, outbox and Kafka.

Source: W3C Trace Context, level 1, section 3.2; ids of zeros are invalid.
"""

from __future__ import annotations

import contextvars
import random
import re
from typing import Final

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_current: contextvars.ContextVar[str] = contextvars.ContextVar("traceparent", default="")


def current_traceparent() -> str:
    """The trace this task works for; empty outside any."""
    return _current.get()


def enter_trace(received: str, randomness: random.Random) -> str:
    """Continue the trace that came with a request or event, or begin one where there is none or it is malformed.

    Returns:
        The trace id, 32 hex digits; it is also bound to the present task.
    """
    match = _TRACEPARENT.fullmatch(received)
    trace_id = match.group(1) if match else f"{randomness.getrandbits(128) | 1:032x}"
    _current.set(f"00-{trace_id}-{randomness.getrandbits(64) | 1:016x}-01")
    return trace_id
