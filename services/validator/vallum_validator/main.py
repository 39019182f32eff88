"""Builds the validator; the only room that constructs things."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import structlog

from vallum.validator.v1 import validator_service_pb2, validator_service_pb2_grpc
from vallum_common.bus.consumer import Consumer, each
from vallum_common.bus.relay import Relay
from vallum_common.clock import Clock, Ids, SystemClock, Uuid7Ids
from vallum_common.database import Database
from vallum_common.errors import Invalid, NotFound, Unavailable, VallumError
from vallum_common.lifecycle import Service, build_server, start, system_randomness
from vallum_common.rpc.client import connect, token_file
from vallum_validator import stream, wire
from vallum_validator.checks.thresholds import load_thresholds
from vallum_validator.config import Config
from vallum_validator.domain.evidence import Evidence, Report
from vallum_validator.grpc_api.registry import RegistryArtifacts
from vallum_validator.grpc_api.servicer import ValidatorServicer
from vallum_validator.measure.process import ProcessMeasurer
from vallum_validator.provenance import load_publishers
from vallum_validator.sandbox.presidio import check_installed
from vallum_validator.scan import rules_digest
from vallum_validator.service import Validation
from vallum_validator.store import Codec, SqlStore

_IDLE_S: Final = 1.0
"""How long a submission queued by another process may wait; this one's own wake the workers."""
_RETRY_S: Final = 2.0
_OTHER_CONNECTIONS: Final = 10
"""Beside one for each worker, which holds it for a whole measurement."""

log = structlog.get_logger(__name__)


def build(
    config: Config, *, clock: Clock | None = None, ids: Ids | None = None, randomness: random.Random | None = None
) -> Service:
    """Make the parts of the service.

    Args:
        config: read from the environment.
        clock: the machine's, unless given.
        ids: UUIDv7, unless given.
        randomness: the system's, unless given.

    Raises:
        Invalid: the thresholds, the publishers, the JWKS or the token file is not right, or what the thresholds ask
            for is not installed.
    """
    if config.token_file is None:
        raise Invalid("environment variable VALLUM_TOKEN_FILE: the validator needs a token to call the registry")
    clock = clock or SystemClock()
    randomness = randomness or system_randomness()
    thresholds = load_thresholds(config.thresholds)
    check_installed(thresholds)
    load_publishers(config.publishers)  # read again by each measurement; here so that a mistake stops the start
    database = Database(config.database_url, pool_size=config.workers + _OTHER_CONNECTIONS)
    store = SqlStore(database, Codec(_encode, _decode, wire.EventWriter(ids or Uuid7Ids(clock, randomness)).event))
    channel = connect(config.registry_address, _own_token(config.token_file))
    measurer = ProcessMeasurer(
        config.thresholds, config.publishers, thresholds.digest, rules_digest(), config.time_limit_s
    )
    validation = Validation(
        store, RegistryArtifacts(channel), measurer, clock, thresholds.digest, measurer.rules_digest
    )
    wake = asyncio.Event()
    heard = stream.handlers(validation, store.within, wake.set)
    consumer = Consumer(
        "validator",
        heard.keys(),
        each(heard),
        database=database,
        bootstrap=config.kafka,
        clock=clock,
        randomness=randomness,
    )

    async def close_channel() -> None:
        await channel.close()

    return Service(
        package="vallum_validator",
        database=database,
        server=build_server(
            config,
            {
                "vallum.validator.v1.ValidatorService": (
                    lambda server: validator_service_pb2_grpc.add_ValidatorServiceServicer_to_server(
                        ValidatorServicer(validation), server
                    )
                )
            },
            clock=clock,
        ),
        relay=Relay(database, bootstrap=config.kafka, clock=clock),
        consumers=[consumer],
        workers={f"worker-{number}": _worker(validation, wake) for number in range(config.workers)},
        close=[close_channel],
    )


def _own_token(path: Path) -> Callable[[], str]:
    """The service's own token: where it cannot be read, that is no fault of the submission."""
    read = token_file(path)

    def token() -> str:
        try:
            return read()
        except Invalid as error:
            raise Unavailable(error.message) from error

    return token


def _worker(validation: Validation, wake: asyncio.Event) -> Callable[[], Coroutine[Any, Any, None]]:
    async def work() -> None:
        while True:
            wake.clear()
            try:
                if await validation.work():
                    continue
            except VallumError as error:
                # What needs a person, e.g. an expired token, is no reason to end the service either.
                tell = log.warning if isinstance(error, Unavailable | NotFound) else log.error
                tell("worker_waits", kind=error.kind, reason=error.message)
                await asyncio.sleep(_RETRY_S)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), _IDLE_S)

    return work


def _encode(report: Report) -> bytes:
    return wire.report_message(report).SerializeToString()


def _decode(content: bytes) -> Evidence:
    return wire.evidence_from(validator_service_pb2.GetReportResponse.FromString(content))


def main() -> int:
    """Run the service; the exit code."""
    return start("validator", Config, build)
