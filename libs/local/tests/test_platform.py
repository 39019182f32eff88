"""A whole platform, with stand-ins for the five services: it starts, is found again, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import jwt
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from vallum_common.errors import Conflict, Invalid, Unavailable
from vallum_local.kafka import Topic
from vallum_local.platform import Platform, PlatformOptions, is_serving, profile_text
from vallum_local.ports import SERVICES, Ports, is_free
from vallum_local.postgres import connect
from vallum_local.services import ServiceCommand

pytestmark = pytest.mark.platform
Eventually = Callable[..., None]

TOPICS = (Topic("model-submitted", 2), Topic("model-submitted.dead"))
RUN_UP = """
import sys
from pathlib import Path
from vallum_local.kafka import Topic
from vallum_local.platform import PlatformOptions
from vallum_local.ports import Ports
from vallum_local.up import run_up

folder, policies, base, broker, stand_in = sys.argv[1:]
options = PlatformOptions(folder=Path(folder), policies=Path(policies), ports=Ports(int(base)), broker=broker)
sys.exit(run_up(options, [Topic("model-submitted")], service_command=lambda name: (sys.executable, stand_in, name)))
"""


@pytest.fixture
def options(tmp_path: Path, ports: Ports) -> PlatformOptions:
    policies = tmp_path / "policies"
    policies.mkdir()
    return PlatformOptions(folder=tmp_path / "data", policies=policies, ports=ports)


def facts(options: PlatformOptions, name: str) -> Mapping[str, object]:
    """What a stand-in wrote down about itself."""
    return json.loads((options.folder / name / "facts.json").read_text())


def running_from(folder: Path) -> list[str]:
    """Command lines of all processes that name the folder, were told about it, or work in it."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
                told += bytes((process / "cwd").readlink())  # PostgreSQL's own children work in its data folder
            except OSError:
                continue
            if str(folder).encode() in told:
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def all_free(ports: Ports) -> bool:
    return all(is_free(ports.base + offset) for offset in range(100))


async def test_restart_on_other_ports_finds_everything_again_and_nobody_else_can_read_it(
    options: PlatformOptions, stand_in: ServiceCommand
) -> None:
    lines: list[str] = []
    async with Platform(options, TOPICS, service_command=stand_in, report=lines.append) as platform:
        assert {line.split()[0] for line in lines if "ready" in line} == {"Kafka", "PostgreSQL", *SERVICES}
        profile = tomllib.loads(platform.profile.read_text())
        for name in SERVICES:
            assert await is_serving(profile["services"][name])
        before = {name: facts(options, name)["environment"] for name in SERVICES}
        producer = AIOKafkaProducer(bootstrap_servers=profile["services"]["kafka"], acks="all")
        await producer.start()
        await producer.send_and_wait("model-submitted", b"fact", partition=1)
        await producer.stop()
        registry = await connect(before["registry"]["VALLUM_DATABASE_URL"])
        await registry.execute("CREATE TABLE models (name text); INSERT INTO models VALUES ('adult-income')")
        await registry.close()
        token = (options.folder / "client.token").read_text()
    assert all_free(options.ports)
    assert running_from(options.folder) == []
    written = [options.folder, *options.folder.iterdir()]
    assert [path for path in written if path.stat().st_mode & 0o077] == []

    moved = replace(options, ports=Ports(options.ports.base + 7))
    async with Platform(moved, TOPICS, service_command=stand_in) as platform:
        profile = tomllib.loads(platform.profile.read_text())
        after = {name: facts(options, name)["environment"] for name in SERVICES}
        assert profile["services"]["registry"] == f"127.0.0.1:{options.ports.base + 8}"
        assert after["registry"]["VALLUM_GRPC_ADDRESS"] == profile["services"]["registry"]
        consumer = AIOKafkaConsumer(
            "model-submitted", bootstrap_servers=profile["services"]["kafka"], auto_offset_reset="earliest"
        )
        await consumer.start()
        assert (await asyncio.wait_for(consumer.getone(), 10)).value == b"fact"
        await consumer.stop()
        registry = await connect(after["registry"]["VALLUM_DATABASE_URL"])
        assert await registry.fetchval("SELECT name FROM models") == "adult-income"
        await registry.close()
        issuer = json.loads((options.folder / "keys" / "issuer.jwks.json").read_text())
        key = jwt.PyJWKSet.from_dict(issuer)[jwt.get_unverified_header(token)["kid"]]
        assert jwt.decode(token, key, algorithms=["EdDSA"], audience="vallum")["sub"] == "developer"
    assert running_from(options.folder) == []


async def test_addresses_elsewhere_are_used_instead_of_starting_anything(
    options: PlatformOptions, stand_in: ServiceCommand, kafka: str, postgres: str
) -> None:
    elsewhere = replace(options, broker=kafka, database=postgres, artifacts="s3://bucket/models")

    try:
        async with Platform(elsewhere, TOPICS, service_command=stand_in) as platform:
            environment = facts(options, "registry")["environment"]
            assert environment["VALLUM_KAFKA"] == kafka
            assert environment["VALLUM_ARTIFACTS_URL"] == "s3://bucket/models"
            assert tomllib.loads(platform.profile.read_text())["services"]["kafka"] == kafka
            assert not (options.folder / "kafka").exists()
            assert not (options.folder / "postgres").exists()
            database = await connect(environment["VALLUM_DATABASE_URL"])
            assert await database.fetchval("SELECT current_user || ' in ' || current_database()") == (
                "registry in registry"
            )
            await database.close()
    finally:
        administrator = await connect(postgres)
        for name in SERVICES:
            await administrator.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await administrator.execute(f"DROP ROLE IF EXISTS {name}")
        await administrator.close()


async def test_service_that_does_not_start_stops_everything_and_is_named(
    options: PlatformOptions, stand_in: ServiceCommand, kafka: str
) -> None:
    def risk_is_broken(name: str) -> tuple[str, ...]:
        return (sys.executable, "-c", "raise SystemExit('no risk model')") if name == "risk" else stand_in(name)

    platform = Platform(replace(options, broker=kafka), TOPICS, service_command=risk_is_broken)

    with pytest.raises(Unavailable, match=r"risk ended with exit code 1 .*risk\.log ends with: no risk model"):
        await platform.start()

    assert running_from(options.folder) == []
    assert all_free(options.ports)
    assert not platform.profile.exists()


async def test_taken_port_is_named_before_anything_starts(options: PlatformOptions, stand_in: ServiceCommand) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", options.ports.kafka)
    async with server:
        with pytest.raises(Conflict, match=rf"port {options.ports.kafka} for Kafka .*--port-base"):
            await Platform(options, TOPICS, service_command=stand_in).start()

    assert not (options.folder / "kafka").exists()
    assert not (options.folder / "postgres").exists()


async def test_missing_policies_are_named_before_anything_is_written(options: PlatformOptions) -> None:
    lost = replace(options, policies=options.folder / "nowhere")

    with pytest.raises(Invalid, match="nowhere"):
        await Platform(lost, TOPICS).start()

    assert not options.folder.exists()


def test_profile_is_the_promised_one() -> None:
    profile = tomllib.loads(profile_text(Ports(), "127.0.0.1:7492"))

    assert profile == {
        "services": {
            "registry": "127.0.0.1:7401",
            "validator": "127.0.0.1:7402",
            "risk": "127.0.0.1:7403",
            "compliance": "127.0.0.1:7404",
            "monitor": "127.0.0.1:7405",
            "console": "http://127.0.0.1:7480",
            "kafka": "127.0.0.1:7492",
        },
        "identity": {"token_file": "client.token"},
    }


class Up:
    """`vallum up` as a process of its own."""

    def __init__(self, options: PlatformOptions, script: Path) -> None:
        self.options = options
        arguments = [options.folder, options.policies, options.ports.base, options.broker, script]
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN_UP, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lines_until(self, wanted: str) -> list[str]:
        """What it prints, up to and with the line that holds the text."""
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if wanted in line:
                return lines
        pytest.fail(f"it ended without saying {wanted!r}: {lines} {self.process.stderr.read()}")

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send it a signal; exit code and what it said on stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def up(options: PlatformOptions) -> Iterator[Callable[[PlatformOptions], Up]]:
    started: list[Up] = []

    def start(of: PlatformOptions) -> Up:
        started.append(Up(of, Path(__file__).with_name("stand_in_service.py")))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def test_up_restarts_a_service_refuses_a_second_one_and_leaves_nothing_when_killed(
    options: PlatformOptions, up: Callable[[PlatformOptions], Up], eventually: Eventually
) -> None:
    first = up(options)
    shown = first.lines_until("Ctrl-C")
    assert f"export VALLUM_PROFILE={options.folder}/client.toml" in "".join(shown)

    second = up(replace(options, ports=Ports(options.ports.base + 100)))
    _, refusal = second.process.communicate(timeout=60)
    assert second.process.returncode == 4
    assert f"in use by process {first.process.pid}" in refusal
    assert refusal.count("\n") == 1

    crashed = facts(options, "risk")["pid"]
    os.kill(crashed, signal.SIGKILL)
    told = first.lines_until("risk started again")
    assert "risk ended with exit code -9" in told[0]
    eventually(lambda: facts(options, "risk")["pid"] != crashed)

    first.end(signal.SIGKILL)

    eventually(lambda: running_from(options.folder) == [])
    eventually(lambda: all_free(options.ports))


def test_up_says_in_one_line_what_is_missing(options: PlatformOptions, up: Callable[[PlatformOptions], Up]) -> None:
    nobody_there = f"127.0.0.1:{options.ports.kafka}"
    lost = up(replace(options, broker=nobody_there))
    _, errors = lost.process.communicate(timeout=60)

    assert lost.process.returncode == 4
    assert errors.startswith(f"vallum up: no Kafka answers at '{nobody_there}'")
    assert errors.count("\n") == 1
    assert running_from(options.folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_up_stops_cleanly_when_asked(
    options: PlatformOptions, up: Callable[[PlatformOptions], Up], number: signal.Signals, kafka: str
) -> None:
    running = up(replace(options, broker=kafka))
    running.lines_until("PostgreSQL" if number is signal.SIGHUP else "Ctrl-C")  # once while it is still starting

    assert running.end(number) == (0, "")
    assert running_from(options.folder) == []
