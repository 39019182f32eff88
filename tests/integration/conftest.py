"""One platform per session: `vallum up` as a user starts it, on a Kafka and a PostgreSQL of its own.

Its own, because the services read every topic from the beginning, and the tests of the bus leave poison there.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from vallum_common.errors import VallumError
from vallum_local.foundations import Foundations
from vallum_local.identity import issue_for_command
from vallum_local.ports import Ports, is_free

VALLUM = Path(sys.executable).with_name("vallum")
READY_S = 120
WAIT_S = 120


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it ended."""

    code: int
    out: str
    error: str

    @property
    def document(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """One JSON document per line of stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


class RunningPlatform:
    """A platform and the commands against it."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], ports: Ports, kafka: str) -> None:
        self.folder = folder
        self.process = process
        self.ports = ports
        self.kafka = kafka

    @property
    def profile(self) -> Path:
        return self.folder / "client.toml"

    def vallum(self, *arguments: str | Path, **environment: str) -> Answer:
        """Run a command with `--json`."""
        done = subprocess.run(
            [VALLUM, *map(str, arguments), "--json"],
            env={**os.environ, "VALLUM_PROFILE": str(self.profile), **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a command with `--json` and do not wait for it."""
        environment = {**os.environ, "VALLUM_PROFILE": str(self.profile)}
        command = [VALLUM, *map(str, arguments), "--json"]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def token(self, role: str, ttl: dt.timedelta = dt.timedelta(hours=1), now: dt.datetime | None = None) -> str:
        """A token of this platform's issuer."""
        moment = now or dt.datetime.now(dt.UTC)
        return issue_for_command(self.folder, subject="tester", role=role, ttl=ttl, now=moment)

    def kill(self, service: str) -> None:
        """kill -9; the supervisor starts it again."""
        killed = 0
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.cmdline()[-1] == f"vallum_{service}":
                    child.send_signal(signal.SIGKILL)
                    killed += 1
        assert killed, f"no process of {service} was found"

    def events(self, model: str) -> list[Any]:
        """The audit log of a model."""
        return self.vallum("audit", "replay", "--model", model).documents


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """The platform, ready; stopped after the session."""
    foundations = Foundations(os.environ)
    try:
        kafka, database = foundations.kafka(), foundations.postgres()
    except VallumError as error:
        foundations.stop()
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no platform: {error.message}", pytrace=False)
    folder = tmp_path_factory.mktemp("vallum") / "platform"
    ports = free_ports()
    command = [
        VALLUM,
        "up",
        "--data",
        folder,
        "--port-base",
        str(ports.base),
        "--broker",
        kafka,
        "--database",
        database,
    ]
    output = folder.with_suffix(".log")
    with output.open("wb") as log:
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=subprocess.STDOUT)
    wait_until(lambda: "Vallum is ready" in output.read_text() or process.poll() is not None, READY_S)
    assert process.poll() is None, output.read_text()
    yield RunningPlatform(folder, process, ports, kafka)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    foundations.stop()


def free_ports() -> Ports:
    """Ports nobody listens on at this moment, below those of outgoing connections."""
    while True:
        candidate = Ports(random.randrange(10000, 32000, 100))
        if all(is_free(candidate.base + offset) for offset in range(100)):
            return candidate


def wait_until(condition: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Wait for something other processes bring about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@pytest.fixture
def model_id(request: pytest.FixtureRequest) -> str:
    """A model id of this test alone."""
    short = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    return f"{short}-{random.randrange(10**8)}"
