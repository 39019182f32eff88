"""The life of a service process: start everything, say when it is ready, stop in order, end when a part ends."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import grpc
import structlog

from vallum_common.bus.relay import Relay, republish
from vallum_common.clock import Clock
from vallum_common.database import Database, migrate
from vallum_common.errors import Invalid, VallumError
from vallum_common.logs import configure_logging
from vallum_common.rpc.identity import AccessRules, TokenVerifier
from vallum_common.rpc.server import EdgeInterceptor, Server
from vallum_common.settings import ServiceSettings, read_settings

_HEALTH_S: Final = 1.0
REPUBLISH_FILE: Final = "republish"
"""`vallum outbox republish` puts it into a service's folder: the order outlives a service that cannot start."""

log = structlog.get_logger(__name__)

Settings = TypeVar("Settings", bound=ServiceSettings)


class Hearing(Protocol):
    """A part that hears events: a `bus.consumer.Consumer`, or one that gets at them in another way."""

    name: str

    @property
    def stopped(self) -> Mapping[Any, str]:
        """What it no longer hears, with the reason; empty while all is well."""
        ...

    async def run(self, *, on_ready: Callable[[], None]) -> None:
        """Hear events until cancelled; `on_ready` is called once it does."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """Everything a service is made of, built by its `main.build` and run by `run_service`.

    Args:
        package: e.g. `vallum_registry`, whose migrations are applied first.
        database: its own.
        server: its gRPC server.
        relay: publishes its outbox.
        consumers: what it hears.
        workers: further tasks that run until cancelled, by name.
        on_stop: called first when the service stops: ends answers that would go on for ever and hold up the stop.
        close: called last, in this order.
    """

    package: str
    database: Database
    server: Server
    relay: Relay
    consumers: Sequence[Hearing] = ()
    workers: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=dict)
    on_stop: Sequence[Callable[[], None]] = ()
    close: Sequence[Callable[[], Awaitable[None]]] = ()


def build_server(
    settings: ServiceSettings, services: dict[str, Callable[[grpc.aio.Server], None]], *, clock: Clock
) -> Server:
    """The gRPC server of a service, with the access rules of its contracts.

    Args:
        settings: where it listens, whose tokens it believes.
        services: full gRPC service name to a function that adds its servicer.
        clock: decides whether a token has expired.
    """
    verifier = TokenVerifier(settings.jwks, clock=clock, issuer=settings.issuer)
    return Server(
        settings.grpc_address, EdgeInterceptor(verifier, AccessRules()), services, reflect=settings.reflection
    )


def start(name: str, shape: type[Settings], build: Callable[[Settings], Service]) -> int:
    """What every service's `main` does: read the environment, set up logging, build, run.

    Args:
        name: of the service, e.g. `registry`.
        shape: its settings.
        build: makes its parts; the only place where anything is constructed.

    Returns:
        The exit code: 0 stopped as asked, 1 a part failed, 3 the environment is not right.
    """
    try:
        settings = read_settings(shape)
    except Invalid as error:
        sys.stderr.write(f"vallum {name}: {error.message}\n")
        return 3
    configure_logging(name, level=settings.log_level)

    async def run() -> int:
        return await run_service(build(settings), republish_when=settings.data_dir / REPUBLISH_FILE)

    try:
        return asyncio.run(run())
    except VallumError as error:
        log.error("service_did_not_start", kind=error.kind, reason=error.message)
        return 3 if isinstance(error, Invalid) else 1


async def run_service(service: Service, *, republish_when: Path | None = None) -> int:
    """Run a service until SIGTERM or SIGINT, or until one of its parts ends.

    Args:
        service: its parts.
        republish_when: a file; where it exists, the whole outbox is sent again and the file removed.

    Returns:
        The exit code: 0 stopped as asked; 1 a part failed, which is in the log.
    """
    await migrate(service.database.engine, service.package)
    if republish_when is not None and await asyncio.to_thread(republish_when.exists):
        log.info("outbox_republished", records=await republish(service.database))
        await asyncio.to_thread(republish_when.unlink)
    await service.server.start()
    parts: dict[str, Coroutine[Any, Any, None]] = {"relay": service.relay.run()}
    ready = []
    for consumer in service.consumers:
        joined = asyncio.Event()
        ready.append(joined)
        parts[consumer.name] = consumer.run(on_ready=joined.set)
    parts.update({name: worker() for name, worker in service.workers.items()})
    tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
    stop = asyncio.create_task(_asked_to_stop(), name="stop")
    announce = asyncio.create_task(_announce(service, ready), name="announce")
    try:
        done, _ = await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        announce.cancel()
        for farewell in service.on_stop:
            farewell()
        await service.server.stop()
        for task in (stop, *tasks):
            task.cancel()
        await asyncio.gather(stop, announce, *tasks, return_exceptions=True)
        for close in service.close:
            await close()
        await service.database.close()
    return max(_tell(task) for task in done)


async def _announce(service: Service, ready: Sequence[asyncio.Event]) -> None:
    for joined in ready:
        await joined.wait()
    log.info("service_ready", port=service.server.port)
    # A partition that stopped needs a person: whoever watches the health sees it, the other partitions go on.
    while True:
        await service.server.serving(healthy=not any(consumer.stopped for consumer in service.consumers))
        await asyncio.sleep(_HEALTH_S)


async def _asked_to_stop() -> None:
    asked = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        # Not available outside the main thread: there the caller cancels instead.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(name, asked.set)
    await asked.wait()


def _tell(task: asyncio.Task[None]) -> int:
    if task.get_name() == "stop":
        log.info("service_stopped")
        return 0
    # A part that cancelled itself has no exception to ask for, and is no less a failure.
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if isinstance(error, VallumError):
        log.error("part_failed", part=task.get_name(), kind=error.kind, reason=error.message)
    else:
        log.error("part_failed", part=task.get_name(), exc_info=error)
    return 1


def system_randomness() -> random.Random:
    """Randomness that cannot be foreseen, for identifiers and jitter; tests pass a seeded one instead."""
    return random.SystemRandom()
