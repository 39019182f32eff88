"""One whole platform on this machine: a locked folder, Kafka, PostgreSQL, the five services, and the way to them.

Its parts are the ones production has, started as children. Whatever has an address elsewhere – a Kafka cluster, a
PostgreSQL server, an object store – is used there and not started here.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vallum_common.errors import Invalid
from vallum_local.children import Child, is_listening, stop_children, until_ready
from vallum_local.folder import LockedFolder, passwords, write_private
from vallum_local.identity import prepare_identity
from vallum_local.kafka import Kafka, Topic, create_topics
from vallum_local.ports import SERVICES, Ports, address, require_free
from vallum_local.postgres import SUPERUSER, Postgres, create_service_databases, parse_url
from vallum_local.services import ServiceCommand, Surroundings, default_policies, python_module
from vallum_local.supervision import Supervised, supervise

DEFAULT_FOLDER = Path(".vallum")
SERVICE_TIMEOUT_S = 120.0
HEALTH_TIMEOUT_S = 2.0
LOCAL = "local"

First = TypeVar("First")
Second = TypeVar("Second")


@dataclass(frozen=True)
class PlatformOptions:
    """What people may choose about a platform; the defaults start everything here.

    Args:
        folder: where it keeps everything.
        ports: where everything listens.
        broker: `local`, or `host:port` of a Kafka to use.
        database: `local`, or the URL of a PostgreSQL login that may create roles and databases.
        artifacts: URL of the artefact store; None keeps artefacts in the folder.
        policies: folder of the policy files; None takes those of the checkout.
    """

    folder: Path = DEFAULT_FOLDER
    ports: Ports = field(default_factory=Ports)
    broker: str = LOCAL
    database: str = LOCAL
    artifacts: str | None = None
    policies: Path | None = None


class Platform:
    """A platform that can be started and stopped; the constructor starts nothing.

    Args:
        options: see there.
        topics: what exists on Kafka before any service starts.
        environment: usually `os.environ`; little of it reaches the children.
        service_command: how a service is started.
        report: is told, in one line each, what happens.
        now: the time, aware.
    """

    def __init__(
        self,
        options: PlatformOptions,
        topics: Sequence[Topic],
        *,
        environment: Mapping[str, str] = os.environ,
        service_command: ServiceCommand = python_module,
        report: Callable[[str], None] = lambda _: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._options = options
        self._topics = topics
        self._environment = environment
        self._service_command = service_command
        self._report = report
        self._now = now
        self._began_s = 0.0
        self._folder: LockedFolder | None = None
        self._kafka: Kafka | None = None
        self._postgres: Postgres | None = None
        self._services: list[Supervised] = []

    @property
    def profile(self) -> Path:
        """The profile file clients read; exists once the platform is ready."""
        return self._options.folder.resolve() / "client.toml"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    async def start(self) -> None:
        """Start everything and return when each service answers that it serves; on failure nothing is left running.

        Must be called in the main thread, since the children end with the thread that started them.

        Raises:
            Conflict: folder or port is in use by somebody else, or the folder contradicts what runs there.
            Denied: a secret is readable by others, a login is refused, or PostgreSQL would have to run as root.
            Invalid: an option can never work.
            Unavailable: something did not start; the message says what and shows its last words.
        """
        self._began_s = time.monotonic()
        try:
            await self._start()
        except ExceptionGroup as failures:  # of what was started at the same time, the first to fail is the cause
            self.stop()
            raise failures.exceptions[0] from None
        except BaseException:  # being cancelled is no reason to leave children behind either
            self.stop()
            raise

    async def _start(self) -> None:
        options = self._options
        policies = options.policies or default_policies()
        if not policies.is_dir():
            raise Invalid(f"policies {str(policies)!r} is not a folder; it should hold the policy files")
        folder = self._folder = LockedFolder(options.folder)
        prepare_identity(folder.root, self._now())
        await require_free(self._wanted_ports())
        kafka, databases = await _both(self._start_kafka(folder), self._start_postgres(folder))
        surroundings = Surroundings(
            folder=folder.root,
            ports=options.ports,
            kafka=kafka,
            databases=databases,
            artifacts=options.artifacts or folder.folder("artifacts").as_uri(),
            policies=policies.resolve(),
            inherited=self._environment,
            command=self._service_command,
        )
        await self._start_services(folder, surroundings)
        write_private(self.profile, profile_text(options.ports, kafka))

    def _wanted_ports(self) -> list[tuple[str, int]]:
        ports = self._options.ports
        wanted = [(f"the {name}", ports.service(name)) for name in SERVICES] + [("the console", ports.console)]
        if self._options.broker == LOCAL:
            wanted += [("Kafka", ports.kafka), ("Kafka's controller", ports.kafka_controller)]
        if self._options.database == LOCAL:
            wanted.append(("PostgreSQL", ports.postgres))
        return wanted

    async def _start_kafka(self, folder: LockedFolder) -> str:
        """Bootstrap address of a Kafka that has all topics."""
        broker = self._options.broker
        if broker == LOCAL:
            self._kafka = Kafka(
                folder.folder("kafka"),
                port=self._options.ports.kafka,
                controller_port=self._options.ports.kafka_controller,
                log=folder.folder("logs") / "kafka.log",
                environment=self._environment,
                report=self._report,
            )
            await self._kafka.start()
            broker = self._kafka.address
        await create_topics(broker, self._topics)
        self._report_ready("Kafka", broker)
        return broker

    async def _start_postgres(self, folder: LockedFolder) -> dict[str, str]:
        """Service name → URL of its own database, with its own password."""
        secrets = passwords(folder.folder("secrets") / "postgres.json", [SUPERUSER, *SERVICES])
        url = self._options.database
        if url == LOCAL:
            self._postgres = Postgres(
                folder.folder("postgres"),
                port=self._options.ports.postgres,
                password=secrets[SUPERUSER],
                log=folder.folder("logs") / "postgres.log",
                environment=self._environment,
            )
            await self._postgres.start()
            url = self._postgres.url
        databases = await create_service_databases(url, {name: secrets[name] for name in SERVICES})
        parsed = parse_url(url)
        self._report_ready("PostgreSQL", f"{parsed.host}:{parsed.port}")
        return databases

    async def _start_services(self, folder: LockedFolder, surroundings: Surroundings) -> None:
        for name in SERVICES:
            folder.folder(name)
            self._services.append(Supervised(surroundings.service(name), self._report))
        for service in self._services:
            service.step(time.monotonic())
        async with asyncio.TaskGroup() as waiting:
            for name, child in zip(SERVICES, self._running_services(), strict=True):
                waiting.create_task(self._service_ready(name, child))

    async def _service_ready(self, name: str, child: Child) -> None:
        port = self._options.ports.service(name)

        async def answers() -> bool:
            return await is_listening(port) and await is_serving(address(port))

        await until_ready(child, answers, SERVICE_TIMEOUT_S)
        self._report_ready(name, address(port))

    def _report_ready(self, name: str, where: str) -> None:
        self._report(f"{name:<10}  {where:<21}  ready after {time.monotonic() - self._began_s:.1f} s")

    def _running_services(self) -> list[Child]:
        return [service.child for service in self._services if service.child]

    def _foundations(self) -> list[Child]:
        return [part.child for part in (self._kafka, self._postgres) if part and part.child]

    async def watch(self) -> None:
        """Keep the services running until cancelled.

        Raises:
            Unavailable: Kafka or PostgreSQL ended; the platform cannot go on and should be stopped.
        """
        await supervise(self._services, self._foundations())

    def stop(self) -> None:
        """Stop what runs, services first; when this returns no child is left, and the folder is free.

        It may be called at any time and again, and blocks: stopping must not be cancelled half-way.
        """
        stop_children(self._running_services())
        stop_children(self._foundations())
        self._services, self._kafka, self._postgres = [], None, None
        if self._folder:
            self._folder.close()
            self._folder = None


async def is_serving(where: str) -> bool:
    """Whether the service at `host:port` says it serves (`grpc.health.v1`, the service as a whole)."""
    async with grpc.aio.insecure_channel(where) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=""), timeout=HEALTH_TIMEOUT_S
            )
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def profile_text(ports: Ports, kafka: str) -> str:
    """The profile (TOML) by which clients find the platform; the token's path is relative to it."""
    services = {name: address(ports.service(name)) for name in SERVICES}
    services |= {"console": f"http://{address(ports.console)}", "kafka": kafka}
    lines = [f'{name:<10} = "{where}"' for name, where in services.items()]
    return "\n".join(["[services]", *lines, "", "[identity]", 'token_file = "client.token"', ""])


async def _both(first: Coroutine[None, None, First], second: Coroutine[None, None, Second]) -> tuple[First, Second]:
    """Run two at once; when one fails, the other is cancelled before the error is raised."""
    async with asyncio.TaskGroup() as group:
        tasks = group.create_task(first), group.create_task(second)
    return tasks[0].result(), tasks[1].result()
