"""The pytest plugin that gives tests a real Kafka and a real PostgreSQL, and says in the end which ones they were.

One of each per session, started by the first test that asks. Where one cannot be had, the tests that need it are
skipped and named at the end; in CI (`CI=true`) they fail instead, for a check that did not run has not passed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn

import pytest

from vallum_common.errors import VallumError

if TYPE_CHECKING:
    from vallum_local.foundations import Foundations

Database = Callable[[], str]
KafkaTopic = Callable[..., str]

missing_key = pytest.StashKey[dict[str, str]]()
foundations_key = pytest.StashKey["Foundations"]()


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is started yet; only what could not be had will be noted here."""
    config.stash[missing_key] = {}


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what was started."""
    if foundations_key in config.stash:
        config.stash[foundations_key].stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the source of each part that was used, and the reason for each that could not be had."""
    config = terminalreporter.config
    sources = config.stash[foundations_key].sources() if foundations_key in config.stash else {}
    for name, source in sources.items():
        terminalreporter.write_line(f"{name}: {source}")
    for name, reason in config.stash[missing_key].items():
        terminalreporter.write_line(f"{name}: NOT AVAILABLE, tests that need it did not run: {reason}", red=True)


def _require(config: pytest.Config, name: str, find: Callable[[Foundations], str]) -> str:
    missing = config.stash[missing_key]
    if name not in missing:
        if foundations_key not in config.stash:
            # Imported here: sessions without such tests should not pay for the clients of Kafka, PostgreSQL and Docker.
            from vallum_local.foundations import Foundations

            config.stash[foundations_key] = Foundations(os.environ)
        try:
            return find(config.stash[foundations_key])
        except VallumError as error:
            missing[name] = error.message
    return lack(config, name, missing[name])


def lack(config: pytest.Config, name: str, reason: str) -> NoReturn:
    """End the test for want of a part: skipped and named in the end, or, in CI, failed.

    Args:
        config: of the session.
        name: of the part.
        reason: why it is not there, in one line.
    """
    config.stash[missing_key][name] = reason
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"{name} is missing: {reason}", pytrace=False)
    pytest.skip(f"{name} is missing: {reason}")


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> str:
    """Bootstrap address of a real Kafka, shared by the session. It makes no topic by itself: see `kafka_topic`."""
    return _require(pytestconfig, "Kafka", lambda foundations: foundations.kafka())


@pytest.fixture
def kafka_topic(kafka: str) -> KafkaTopic:
    """Call it for a new, empty topic: `name = kafka_topic(partitions=3)`."""
    from vallum_local.foundations import fresh_topic

    return lambda partitions=1: fresh_topic(kafka, partitions)


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> str:
    """URL of the administrator of a real PostgreSQL, shared by the session. Most tests want `database` instead."""
    return _require(pytestconfig, "PostgreSQL", lambda foundations: foundations.postgres())


@pytest.fixture
def database(postgres: str) -> Iterator[Database]:
    """Call it for the URL of a new, empty database with a login of its own; gone after the test."""
    from vallum_local.foundations import drop_database, fresh_database

    made: list[str] = []

    def make() -> str:
        made.append(fresh_database(postgres))
        return made[-1]

    yield make
    for url in made:
        drop_database(postgres, url)
