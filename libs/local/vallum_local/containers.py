"""Kafka and PostgreSQL in containers, for tests on machines where a Docker engine answers."""

from __future__ import annotations

from collections.abc import Callable

import docker  # type: ignore[import-untyped]  # it ships no types
from testcontainers.community.kafka import KafkaContainer
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer

from vallum_common.errors import Unavailable

POSTGRES_IMAGE = "postgres:18"
ENGINE_TIMEOUT_S = 3


class Containers:
    """Containers started so far; each is removed by `stop`, or by Testcontainers' own reaper when we are killed.

    Raises:
        Unavailable: no Docker engine answers.
    """

    def __init__(self) -> None:
        try:
            docker.from_env(timeout=ENGINE_TIMEOUT_S).ping()
        except (docker.errors.DockerException, OSError) as error:
            raise Unavailable("no Docker engine answers") from error
        self._started: list[DockerContainer] = []

    def kafka(self) -> str:
        """Start a Kafka node; returns its bootstrap address.

        Raises:
            Unavailable: the engine cannot run it.
        """
        container = KafkaContainer().with_kraft().with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
        return self._start(container, container.get_bootstrap_server)

    def postgres(self) -> str:
        """Start a PostgreSQL server; returns the URL of a login that may create roles and databases.

        Raises:
            Unavailable: the engine cannot run it.
        """
        container = PostgresContainer(POSTGRES_IMAGE, driver="asyncpg")
        return self._start(container, container.get_connection_url)

    def _start(self, container: DockerContainer, where: Callable[[], str]) -> str:
        self._started.append(container)
        try:
            container.start()
            return where()
        except (docker.errors.DockerException, OSError, RuntimeError) as error:
            raise Unavailable(f"Docker cannot run {container.image!r}: {error}") from error

    def stop(self) -> None:
        """Remove all of them."""
        for container in self._started:
            container.stop()
        self._started.clear()
