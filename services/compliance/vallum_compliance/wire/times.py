"""Times as protobuf has them."""

from __future__ import annotations

import datetime as dt

from google.protobuf import timestamp_pb2


def timestamp(moment: dt.datetime) -> timestamp_pb2.Timestamp:
    """A moment, UTC."""
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message
