"""Events in: parse, call."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from google.protobuf.message import Message

from vallum.registry.v1 import events_pb2
from vallum_common.bus.consumer import Handler
from vallum_common.bus.event import Event
from vallum_common.database import Transaction
from vallum_validator import wire
from vallum_validator.service import Unit, Validation


def handlers(
    validation: Validation, within: Callable[[Transaction], Unit], wake: Callable[[], None]
) -> Mapping[type[Message], Handler]:
    """What the validator hears, and what it does then.

    Args:
        validation: the use cases.
        within: makes a unit of a consumer's transaction.
        wake: tells the workers that there is something in the queue.
    """

    async def model_submitted(transaction: Transaction, event: Event) -> None:
        assert isinstance(event.message, events_pb2.ModelSubmitted)
        submission = wire.submission_from(event.message, traceparent=event.traceparent)
        await validation.submit(within(transaction), submission)
        transaction.after_commit.append(wake)

    return {events_pb2.ModelSubmitted: model_submitted}
