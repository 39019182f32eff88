"""The life of a service: it says that it serves when all its parts do, and ends when one of them ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
import structlog
from aiokafka import TopicPartition
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vallum_common import lifecycle
from vallum_common.database import Database
from vallum_common.errors import Conflict
from vallum_common.lifecycle import Service, run_service
from vallum_common.rpc.identity import AccessRules, TokenVerifier
from vallum_common.rpc.server import EdgeInterceptor, Server
from vallum_common.testing import FakeClock

from .test_identity import OURS, jwk

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
WAIT_S = 30
REVISION = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "0001", None
def upgrade():
    op.create_table("thing", sa.Column("name", sa.Text, primary_key=True))
"""


class Endless:
    """Stands where a relay stands: it runs until it is cancelled."""

    async def run(self) -> None:
        await asyncio.Event().wait()


@dataclass
class Listener:
    """Stands where a consumer stands: it joins its group and stops a partition when told."""

    name: str = "listener"
    join: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: dict[TopicPartition, str] = field(default_factory=dict)

    async def run(self, *, on_ready: Callable[[], None]) -> None:
        await self.join.wait()
        on_ready()
        await asyncio.Event().wait()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with one migration, importable."""
    versions = tmp_path / "lifecycle_probe" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "0001_thing.py").write_text(REVISION)
    (versions.parent / "env.py").write_text(
        "from vallum_common.database.migrations import run_environment\nrun_environment()\n"
    )
    (versions.parent.parent / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "lifecycle_probe"
    sys.modules.pop("lifecycle_probe", None)


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    """A file with a public key."""
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk(OURS, "ours", "EdDSA")]}))
    return path


@pytest.fixture
def make_service(package: str, jwks: Path, database: Callable[[], str]) -> Callable[..., Service]:
    """Makes a service of real database and server, and of the parts a test gives."""

    def make(**parts: Any) -> Service:
        edge = EdgeInterceptor(TokenVerifier(str(jwks), clock=FakeClock()), AccessRules())
        server = Server("127.0.0.1:0", edge, {}, reflect=False)
        return Service(package=package, database=Database(database()), server=server, relay=Endless(), **parts)

    return make


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator[asyncio.Task[int]]:
    """The service, cancelled at the end, as `asyncio.run` does at Ctrl-C."""
    task = asyncio.create_task(run_service(service))
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def health(service: Service) -> int | None:
    """What the service says of itself; `None` where it does not answer."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}") as channel:
        with contextlib.suppress(grpc.aio.AioRpcError):
            return (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)).status
    return None


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await condition():
            await asyncio.sleep(0.02)


async def until_health(service: Service, status: int) -> None:
    async def reached() -> bool:
        return await health(service) == status

    await until(reached)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the life cycle logs."""
    # A logger of our own: the module's may have been bound by another test before the capture began.
    monkeypatch.setattr(lifecycle, "log", structlog.get_logger())
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.mark.platform
class TestService:
    async def test_serves_only_once_every_consumer_has_joined(self, make_service):
        early, late = Listener("early"), Listener("late")
        service = make_service(consumers=[early, late])
        async with running(service):
            early.join.set()
            await until_health(service, NOT_SERVING)
            late.join.set()
            await until_health(service, SERVING)

    async def test_migrations_are_applied_before_anything_answers(self, make_service):
        service = make_service()
        async with running(service):
            await until_health(service, SERVING)
            async with service.database.transaction() as transaction:
                await transaction.connection.execute(sa.text("INSERT INTO thing VALUES ('a')"))

    async def test_health_turns_when_a_partition_stops_and_the_service_goes_on(self, make_service):
        listener = Listener()
        listener.join.set()
        service = make_service(consumers=[listener])
        async with running(service) as task:
            await until_health(service, SERVING)
            listener.stopped[TopicPartition("model-submitted", 0)] = "ZeroDivisionError at offset 7"
            await until_health(service, NOT_SERVING)
            assert not task.done()
            listener.stopped.clear()
            await until_health(service, SERVING)

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (Conflict("another cluster"), {"kind": "CONFLICT", "reason": "another cluster"}),
            (ZeroDivisionError("a bug"), {}),
            (asyncio.CancelledError(), {}),
            (None, {}),
        ],
    )
    async def test_part_that_ends_ends_the_service_with_1_and_is_logged(self, make_service, logged, error, told):
        closed = []

        async def work() -> None:
            if error:
                raise error

        async def close() -> None:
            closed.append("channel")

        service = make_service(workers={"worker-0": work}, close=[close])
        assert await asyncio.wait_for(run_service(service), WAIT_S) == 1
        (entry,) = [entry for entry in logged if entry["event"] == "part_failed"]
        assert entry["log_level"] == "error"
        assert {"part": "worker-0", **told}.items() <= entry.items()
        assert closed == ["channel"]
        assert await health(service) is None


PROCESS = """
    import asyncio, os, sys
    from vallum_common import lifecycle
    from vallum_common.clock import SystemClock
    from vallum_common.database import Database
    from vallum_common.errors import Invalid
    from vallum_common.settings import ServiceSettings

    class Endless:
        async def run(self):
            await asyncio.Event().wait()

    async def close():
        print("closed", flush=True)

    def build(settings):
        if os.environ.get("FAIL"):
            raise Invalid("it is not right")
        server = lifecycle.build_server(settings, {}, clock=SystemClock())
        database = Database(settings.database_url)
        return lifecycle.Service("lifecycle_probe", database, server, Endless(), close=[close])

    sys.exit(lifecycle.start("probe", ServiceSettings, build))
"""


@pytest.fixture
def start(tmp_path: Path, package: str, jwks: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a service as a process of its own; killed at the end where it still runs."""
    script = tmp_path / "process.py"
    script.write_text(textwrap.dedent(PROCESS))
    environment = {
        "PATH": os.environ["PATH"],
        "VALLUM_GRPC_ADDRESS": "127.0.0.1:0",
        "VALLUM_KAFKA": "127.0.0.1:1",
        "VALLUM_DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:1/none",
        "VALLUM_JWKS": str(jwks),
        "VALLUM_DATA_DIR": str(tmp_path),
    }
    started: list[subprocess.Popen[str]] = []

    def run(**changes: str) -> subprocess.Popen[str]:
        told = {name: value for name, value in {**environment, **changes}.items() if value}
        process = subprocess.Popen(
            [sys.executable, script], env=told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


class TestProcess:
    @pytest.mark.platform
    def test_asked_to_stop_it_closes_what_it_opened_and_ends_with_0(self, start, database):
        process = start(VALLUM_DATABASE_URL=database())
        lines = iter(process.stderr.readline, "")
        assert any("service_ready" in line for line in lines)
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=WAIT_S)
        assert (process.returncode, out) == (0, "closed\n")
        assert json.loads(error.splitlines()[-1])["event"] == "service_stopped"

    def test_missing_variable_is_one_line_and_3(self, start):
        process = start(VALLUM_KAFKA="")
        _, error = process.communicate(timeout=WAIT_S)
        assert process.returncode == 3
        assert error.startswith("vallum probe: environment variable VALLUM_KAFKA (")
        assert error.count("\n") == 1

    @pytest.mark.parametrize(
        ("name", "value"), [("VALLUM_LOG_LEVEL", "loud"), ("VALLUM_DATABASE_URL", "hunter2"), ("VALLUM_JWKS", "gone")]
    )
    def test_variable_that_is_not_right_is_one_line_and_3(self, start, name, value):
        process = start(**{name: value})
        _, error = process.communicate(timeout=WAIT_S)
        assert process.returncode == 3
        assert error.count("\n") == 1
        assert "Traceback" not in error

    def test_port_that_is_taken_is_one_line_and_1(self, start):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            process = start(VALLUM_GRPC_ADDRESS=address)
            _, error = process.communicate(timeout=WAIT_S)
        assert process.returncode == 1
        told = [json.loads(line) for line in error.splitlines() if "service_did_not_start" in line]
        assert [line["kind"] for line in told] == ["CONFLICT"]
        assert f"'{address}' is in use" in told[0]["reason"]
        assert "Traceback" not in error

    def test_what_cannot_be_built_is_one_line_and_3(self, start):
        process = start(FAIL="1")
        _, error = process.communicate(timeout=WAIT_S)
        assert process.returncode == 3
        logged = json.loads(error)
        assert (logged["event"], logged["service"]) == ("service_did_not_start", "probe")
        assert logged["reason"] == "it is not right"

    def test_database_that_does_not_answer_is_one_line_and_1(self, start):
        process = start()
        _, error = process.communicate(timeout=WAIT_S)
        assert process.returncode == 1
        logged = json.loads(error)
        assert (logged["kind"], logged["reason"]) == ("UNAVAILABLE", "the database at 127.0.0.1:1 does not answer")
