"""The one Kafka and the one PostgreSQL of a test session, started when first asked for.

From, in this order: an address in the environment; Testcontainers, where a Docker engine answers; our own children,
which need nothing. Whichever it is, it is the real thing.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vallum_common.errors import Unavailable
from vallum_local.children import Child, stop_children
from vallum_local.containers import Containers
from vallum_local.kafka import Kafka, Topic, create_topics
from vallum_local.ports import is_free
from vallum_local.postgres import Postgres, connect, create_service_databases

KAFKA_VARIABLE = "VALLUM_TEST_KAFKA"
DATABASE_VARIABLE = "VALLUM_TEST_DATABASE"
SERVER_PORTS = range(10000, 32000)

Result = TypeVar("Result")


class Engine(Protocol):
    """What runs containers."""

    def kafka(self) -> str:
        """Bootstrap address of a new Kafka node."""

    def postgres(self) -> str:
        """Administrator's URL of a new PostgreSQL server."""

    def stop(self) -> None:
        """Remove what was started."""


@dataclass(frozen=True)
class Found:
    """Where a foundation answers, and where it came from, for the summary."""

    where: str
    source: str


class Foundations:
    """Kafka and PostgreSQL of one test session.

    Use it in the main thread: the children end with the thread that started them.

    Args:
        environment: usually `os.environ`.
        engine: how a container engine is reached; raises `Unavailable` where none answers.
    """

    def __init__(self, environment: Mapping[str, str], engine: Callable[[], Engine] = Containers) -> None:
        self._environment = environment
        self._make_engine = engine
        self._engine: Engine | None = None
        self._folder: Path | None = None
        self._children: list[Child] = []
        self._kafka: Found | None = None
        self._postgres: Found | None = None

    def kafka(self) -> str:
        """Bootstrap address, `host:port`.

        Raises:
            VallumError: there is none, and none can be started; the message says why.
        """
        self._kafka = self._kafka or self._find(KAFKA_VARIABLE, lambda engine: engine.kafka(), self._local_kafka)
        return self._kafka.where

    def postgres(self) -> str:
        """URL of a login that may create roles and databases.

        Raises:
            VallumError: there is none, and none can be started; the message says why.
        """
        self._postgres = self._postgres or self._find(
            DATABASE_VARIABLE, lambda engine: engine.postgres(), self._local_postgres
        )
        return self._postgres.where

    def sources(self) -> dict[str, str]:
        """Where each one that was asked for came from."""
        found = {"Kafka": self._kafka, "PostgreSQL": self._postgres}
        return {name: part.source for name, part in found.items() if part}

    def stop(self) -> None:
        """End everything that was started here and remove its data."""
        stop_children(self._children)
        self._children.clear()
        if self._engine:
            self._engine.stop()
        if self._folder:
            shutil.rmtree(self._folder)
            self._folder = None

    def _find(self, variable: str, from_engine: Callable[[Engine], str], local: Callable[[], str]) -> Found:
        given = self._environment.get(variable)
        if given:
            return Found(given, variable)
        try:
            self._engine = self._engine or self._make_engine()
            return Found(from_engine(self._engine), "Testcontainers")
        except Unavailable as reason:
            return Found(local(), f"child processes of vallum_local ({reason.message.splitlines()[0]})")

    def _local_kafka(self) -> str:
        server = Kafka(
            self._scratch("kafka"),
            port=free_port(),
            controller_port=free_port(),
            log=self._scratch("logs") / "kafka.log",
            environment=self._environment,
        )
        self._start(server.start, lambda: server.child)
        return server.address

    def _local_postgres(self) -> str:
        server = Postgres(
            self._scratch("postgres"),
            port=free_port(),
            password=secrets.token_hex(16),
            log=self._scratch("logs") / "postgres.log",
            environment=self._environment,
        )
        self._start(server.start, lambda: server.child)
        return server.url

    def _start(self, start: Callable[[], Coroutine[Any, Any, Child]], child: Callable[[], Child | None]) -> None:
        # A loop of its own: `asyncio.run` would take away the one that the tests' plugin has set.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            try:
                runner.run(start())
            finally:
                started = child()
                if started:
                    self._children.append(started)

    def _scratch(self, name: str) -> Path:
        self._folder = self._folder or Path(tempfile.mkdtemp(prefix="vallum-tests-"))
        path = self._folder / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    # The kernel could name one too, but from the range it takes outgoing connections' ports from: it may be gone soon.
    while not is_free(port := secrets.choice(SERVER_PORTS)):
        continue
    return port


def wait_for(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end from ordinary code, even where a loop is running in this thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def fresh_database(postgres: str) -> str:
    """A new, empty database, owned by a login role that can reach no other; returns its URL.

    Args:
        postgres: URL of a login that may create roles and databases.
    """
    name = f"test_{secrets.token_hex(6)}"
    return wait_for(create_service_databases(postgres, {name: secrets.token_hex(16)}))[name]


def drop_database(postgres: str, url: str) -> None:
    """Remove a database made by `fresh_database`, and its role, whoever is still connected."""
    name = url.rpartition("/")[2]

    async def drop() -> None:
        administrator = await connect(postgres)
        await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await administrator.execute(f"DROP ROLE {name}")
        await administrator.close()

    wait_for(drop())


def fresh_topic(kafka: str, partitions: int = 1) -> str:
    """A new, empty topic; returns its name.

    Args:
        kafka: bootstrap address.
        partitions: how many it has.
    """
    name = f"test-{secrets.token_hex(6)}"
    wait_for(create_topics(kafka, [Topic(name, partitions)]))
    return name
