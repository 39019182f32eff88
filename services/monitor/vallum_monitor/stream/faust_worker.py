"""The Faust worker that brings traffic to the detectors.

Built around what Faust 0.15.3 does with a message that is not finished. It commits past one when its agent raises, when
it runs more than one at a time, and when the worker is stopped in the middle of one (seen: offset 40 in work, 41
committed). So the agent runs one at a time, lets nothing out, and holds a reference of its own to the message for as
long as it works on it: without that reference's release Faust commits nothing at or behind it.

Nothing is kept in a Faust table: what the detectors remember lies in the database, changed in the transaction that also
notes the event as heard. A batch that comes again changes nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import faust
import structlog
from aiokafka.errors import KafkaError
from mode.supervisors import CrashingSupervisor

from vallum.monitor.v1.events_pb2 import InferenceObserved
from vallum_common.bus.consumer import BatchHandler, Limits
from vallum_common.bus.event import decode_event
from vallum_common.bus.record import ReceivedRecord
from vallum_common.bus.topics import topic_of
from vallum_common.clock import Clock
from vallum_common.database import Database
from vallum_common.errors import Exhausted, NotFound, Unavailable, VallumError

log = structlog.get_logger(__name__)

_STOP_S: Final = 2.0
_RECONNECT_ATTEMPT: Final = 4
_BUFFERED_MESSAGES: Final = 256
"""Messages, of at most 1 MB each, that wait in memory for the agent. A full buffer makes Faust pause up to a second,
so that its size bounds the messages per second (seen with an agent that does nothing: 32 gave 31/s, 512 gave 401/s)."""


class TooMuchPoison(Exception):
    """So many records in a row cannot be handled that the fault is more likely ours; the last one is kept."""


@dataclass(frozen=True, slots=True)
class Bus:
    """Where records come from, and where what they cause is kept.

    Args:
        bootstrap: Kafka's addresses, separated by commas.
        database: inbox, effects and dead letters.
        clock: for the time in dead letters.
        randomness: for jitter.
        limits: how patient the worker is.
    """

    bootstrap: str
    database: Database
    clock: Clock
    randomness: random.Random
    limits: Limits


class FaustWorker:
    """Reads `inference-observed` as one consumer group.

    Args:
        name: the consumer group, and the consumer's name in the inbox.
        handle: takes effect of events, inside the transaction that notes them as heard.
        bus: where records come from.
        folder: where Faust may keep files.
    """

    def __init__(self, name: str, handle: BatchHandler, *, bus: Bus, folder: Path) -> None:
        self.name = name
        self._handle = handle
        self._bus = bus
        self._folder = folder
        self._topic = topic_of(InferenceObserved)
        self._dead_in_a_row: dict[int, int] = {}
        self.stopped: dict[str, str] = {}
        """The topic once it is no longer read, with the reason; a health check reports it."""

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Consume until cancelled; where Kafka is away, try again.

        Where too many records in a row cannot be handled, reading ends and `stopped` says so. The last of them is not
        committed: it comes again at the next start.

        Args:
            on_ready: called each time that Faust has started.

        Raises:
            Unavailable: Faust ended by itself.
        """
        while not self.stopped:
            try:
                await self._run_app(on_ready)
            except TooMuchPoison as error:
                self.stopped[self._topic.name] = str(error)
                log.error("consumer_stopped", consumer=self.name, topic=self._topic.name, reason=str(error))
            except (KafkaError, OSError) as error:
                log.warning("consumer_interrupted", consumer=self.name, error=type(error).__name__)
                await self._back_off(_RECONNECT_ATTEMPT)
        # To return would end the process, and with it all that does not need this traffic.
        await asyncio.Event().wait()

    async def _run_app(self, on_ready: Callable[[], None]) -> None:
        gave_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        app = self._build(gave_up)
        starting = asyncio.ensure_future(app.start())
        ended = asyncio.ensure_future(app.wait_until_stopped())
        try:
            await asyncio.wait({starting, ended}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                on_ready()
            await asyncio.wait({gave_up, ended}, return_when=asyncio.FIRST_COMPLETED)
            if gave_up.done():
                gave_up.result()
            raise app.crash_reason or Unavailable("the Faust worker ended by itself")
        finally:
            # Stopped while it starts, it would hold its place in the group until its session expires.
            await asyncio.wait({starting}, timeout=_STOP_S)
            # A crashed app cancels whoever stops it, and may never end: stop it in a task of its own, within a bound.
            await asyncio.wait({asyncio.ensure_future(app.stop())}, timeout=_STOP_S)
            starting.cancel()
            ended.cancel()

    def _build(self, gave_up: asyncio.Future[None]) -> Any:
        app = faust.App(
            self.name,
            broker=[f"kafka://{address}" for address in self._bus.bootstrap.split(",")],
            datadir=str(self._folder),
            store="memory://",
            autodiscover=False,
            web_enabled=False,
            agent_supervisor=CrashingSupervisor,
            broker_commit_interval=1.0,
            # Faust's own default lets a killed worker hold its partitions for a minute.
            broker_session_timeout=15,
            broker_heartbeat_interval=3,
            consumer_auto_offset_reset="earliest",
            # Topics are made by the platform before the services start.
            topic_allow_declare=False,
            topic_disable_leader=True,
            reply_create_topic=False,
            stream_buffer_maxsize=_BUFFERED_MESSAGES,
            # A message in work is not waited for: it is not committed either, and comes again.
            stream_wait_empty=False,
        )
        topic = app.topic(
            self._topic.name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )

        async def detect(stream: Any) -> None:
            await self._consume(stream.events(), gave_up)

        app.agent(topic, name=self.name, concurrency=1)(detect)
        return app

    async def _consume(self, events: AsyncIterator[Any], gave_up: asyncio.Future[None]) -> None:
        async for event in events:
            message = event.message
            message.incref()
            try:
                await self.settle(
                    ReceivedRecord(
                        topic=message.topic,
                        partition=message.partition,
                        offset=message.offset,
                        key=message.key,
                        value=message.value,
                        headers=tuple(message.headers),
                    )
                )
            except TooMuchPoison as error:
                gave_up.set_exception(error)
                await asyncio.Event().wait()  # until `run` has stopped the app; the message stays
            message.decref()

    async def settle(self, record: ReceivedRecord) -> None:
        """Take effect of a record or put it aside, however long the database is away.

        Raises:
            TooMuchPoison: it should go aside, but too many before it did.
        """
        problem: VallumError | None = None
        attempt = 0
        while True:
            try:
                if problem is None:
                    await self._take_effect(record)
                else:
                    await self._put_aside(record, problem)
                return
            except (Unavailable, Exhausted) as error:
                log.warning("consumer_waits", consumer=self.name, kind=error.kind, reason=error.message)
            except NotFound as error:
                if attempt >= self._bus.limits.not_found_retries:
                    problem = error
            except VallumError as error:
                problem = error
            except TooMuchPoison:
                raise
            except Exception as error:  # our bug, of any type: let out of the agent, the message would be lost
                log.exception("consumer_failed", consumer=self.name, offset=record.offset)
                # Only the type: what an unknown error says may hold a secret.
                problem = VallumError(type(error).__name__)
            await self._back_off(attempt)
            attempt += 1

    async def _take_effect(self, record: ReceivedRecord) -> None:
        event = decode_event(self._topic, key=record.key, value=record.value, headers=record.headers)
        async with self._bus.database.transaction() as transaction:
            if await transaction.unseen(self.name, [event.id]):
                await self._handle(transaction, [event])
        self._dead_in_a_row[record.partition] = 0

    async def _put_aside(self, record: ReceivedRecord, problem: VallumError) -> None:
        in_a_row = self._dead_in_a_row.get(record.partition, 0) + 1
        if in_a_row > self._bus.limits.dead_letters_in_a_row:
            raise TooMuchPoison(f"{in_a_row} records in a row cannot be handled; the last: {problem.message}")
        reason = {"error": str(problem.kind), "reason": problem.message, "at": self._bus.clock.now().isoformat()}
        async with self._bus.database.transaction() as transaction:
            transaction.publish_record(record.dead_letter(self._topic.dead, consumer=self.name, reason=reason))
        self._dead_in_a_row[record.partition] = in_a_row
        log.error("dead_letter", consumer=self.name, topic=record.topic, offset=record.offset, **reason)

    async def _back_off(self, attempt: int) -> None:
        limits = self._bus.limits
        limit = min(limits.backoff_max_s, limits.backoff_s * 2 ** min(attempt, 16))
        await asyncio.sleep(limit * (0.5 + self._bus.randomness.random() / 2))
