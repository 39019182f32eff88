"""Which Kafka and which PostgreSQL tests get, in which order, and what is said about it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vallum_common.errors import Denied, Invalid, Unavailable
from vallum_local.foundations import Foundations, drop_database, fresh_database
from vallum_local.ports import is_free
from vallum_local.postgres import connect, parse_url

NO_KAFKA = {"KAFKA_HOME": "/nowhere"}


@dataclass
class FakeEngine:
    """A container engine without containers."""

    broken: bool = False
    stopped: list[str] = field(default_factory=list)

    def kafka(self) -> str:
        if self.broken:
            raise Unavailable("Docker cannot run 'kafka': no space left")
        return "container:9093"

    def postgres(self) -> str:
        return "postgresql+asyncpg://test:test@container/test"

    def stop(self) -> None:
        self.stopped.append("all")


def no_engine() -> FakeEngine:
    raise Unavailable("no Docker engine answers")


def test_address_in_the_environment_comes_first() -> None:
    given = {"VALLUM_TEST_KAFKA": "kafka:9092", "VALLUM_TEST_DATABASE": "postgresql://u:p@host/name"}
    foundations = Foundations(given, engine=FakeEngine)

    assert foundations.kafka() == "kafka:9092"
    assert foundations.postgres() == "postgresql://u:p@host/name"
    assert foundations.sources() == {"Kafka": "VALLUM_TEST_KAFKA", "PostgreSQL": "VALLUM_TEST_DATABASE"}


def test_container_engine_comes_second_and_is_stopped() -> None:
    engine = FakeEngine()
    foundations = Foundations({}, engine=lambda: engine)

    assert foundations.kafka() == "container:9093"
    assert foundations.postgres() == "postgresql+asyncpg://test:test@container/test"
    assert foundations.sources() == {"Kafka": "Testcontainers", "PostgreSQL": "Testcontainers"}
    foundations.stop()
    assert engine.stopped == ["all"]


@pytest.mark.parametrize("engine", [no_engine, lambda: FakeEngine(broken=True)])
def test_own_children_come_last(engine: Callable[[], FakeEngine]) -> None:
    foundations = Foundations(NO_KAFKA, engine=engine)

    with pytest.raises(Invalid, match="KAFKA_HOME='/nowhere'"):  # so it was our own Kafka that was tried
        foundations.kafka()

    foundations.stop()


@pytest.mark.platform
def test_own_children_say_why_they_are_used_and_leave_nothing() -> None:
    foundations = Foundations(os.environ | {"VALLUM_TEST_DATABASE": ""}, engine=no_engine)
    url = foundations.postgres()
    assert foundations.postgres() == url
    assert foundations.sources() == {"PostgreSQL": "child processes of vallum_local (no Docker engine answers)"}
    folder = foundations._folder

    foundations.stop()

    assert folder is not None
    assert not folder.exists()
    assert is_free(int(parse_url(url).port or 0))


@pytest.mark.platform
async def test_each_test_gets_an_empty_database_that_is_gone_afterwards(postgres: str) -> None:
    one, two = fresh_database(postgres), fresh_database(postgres)
    connection = await connect(one)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0

    drop_database(postgres, one)  # although somebody is connected
    drop_database(postgres, two)

    assert one != two
    with pytest.raises(Denied):
        await connect(one)


@pytest.mark.platform
async def test_topics_are_new_and_as_wide_as_asked_for(kafka_topic: Callable[..., str]) -> None:
    assert kafka_topic() != kafka_topic(partitions=3)


def session(folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a pytest session with one test that needs Kafka."""
    (folder / "test_it.py").write_text("def test_it(kafka):\n    assert kafka == 'kafka:9092'\n")
    pytest_options = ["-m", "pytest", "-q", "-p", "vallum_local.testing", "-p", "no:cacheprovider", str(folder)]
    variables = {name: value for name, value in os.environ.items() if name not in ("CI", "VALLUM_TEST_KAFKA")}
    return subprocess.run(
        [sys.executable, *pytest_options], env=variables | environment, capture_output=True, text=True, check=False
    )


def test_summary_names_the_source(tmp_path: Path) -> None:
    done = session(tmp_path, {"VALLUM_TEST_KAFKA": "kafka:9092"})

    assert done.returncode == 0
    assert "Kafka: VALLUM_TEST_KAFKA" in done.stdout


def test_what_cannot_run_is_skipped_and_named(tmp_path: Path) -> None:
    done = session(tmp_path, {**NO_KAFKA, "DOCKER_HOST": "tcp://127.0.0.1:1"})

    assert done.returncode == 0
    assert "1 skipped" in done.stdout
    assert "Kafka: NOT AVAILABLE, tests that need it did not run: KAFKA_HOME='/nowhere'" in done.stdout


def test_in_ci_what_cannot_run_is_a_failure(tmp_path: Path) -> None:
    done = session(tmp_path, {**NO_KAFKA, "DOCKER_HOST": "tcp://127.0.0.1:1", "CI": "true"})

    assert done.returncode == 1
    assert "Kafka is missing: KAFKA_HOME='/nowhere'" in done.stdout
