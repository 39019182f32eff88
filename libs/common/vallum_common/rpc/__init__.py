"""gRPC edges: who may call, errors that cross the wire, servers and channels."""

from typing import Final

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""The largest message either side takes; uploads and downloads go in smaller pieces."""
