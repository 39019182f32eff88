"""The service as `main.build` makes it, on real Kafka and PostgreSQL, called over gRPC with real tokens."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from aiokafka import AIOKafkaProducer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vallum.compliance.v1 import compliance_service_pb2 as messages
from vallum.compliance.v1 import compliance_service_pb2_grpc as services
from vallum.compliance.v1 import decision_pb2
from vallum_common.attestation import admit, load_keys
from vallum_common.bus.event import Event
from vallum_common.bus.record import OutgoingRecord
from vallum_common.bus.topics import all_topics
from vallum_common.lifecycle import run_service
from vallum_common.rpc.client import connect
from vallum_compliance.config import Config
from vallum_compliance.main import build
from vallum_local.foundations import free_port
from vallum_local.identity import issue_token, load_or_create_key
from vallum_local.kafka import Topic, create_topics

pytestmark = pytest.mark.platform
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Platform:
    """What surrounds the service in a test."""

    config: Config
    folder: Path
    producer: AIOKafkaProducer

    def channel(self, role: str) -> grpc.aio.Channel:
        """A channel of somebody with this role."""
        key = load_or_create_key(self.folder / "issuer.pem")
        now = dt.datetime.now(dt.UTC)
        token = issue_token(key, subject=f"test-{role}", roles=[role], ttl=dt.timedelta(hours=1), now=now)
        return connect(self.config.grpc_address, lambda: token)

    async def publish(self, *events: Event) -> None:
        """Put events on Kafka as the other services do."""
        for event in events:
            record = OutgoingRecord.of_event(event, traceparent="")
            await self.producer.send_and_wait(
                record.topic, key=record.key, value=record.value, headers=list(record.headers)
            )

    async def replay_until(
        self, enough: Callable[[list[messages.ReplayResponse]], bool]
    ) -> list[messages.ReplayResponse]:
        """Follow the audit log from its beginning until what was seen is enough."""
        seen: list[messages.ReplayResponse] = []
        async with self.channel("auditor") as channel:
            stream = services.AuditServiceStub(channel).Replay(messages.ReplayRequest(follow=True), timeout=PATIENCE_S)
            async for entry in stream:
                seen.append(entry)
                if enough(seen):
                    stream.cancel()
                    break
        return seen


@pytest.fixture
async def platform(kafka: str, database: Callable[[], str], tmp_path: Path, given) -> AsyncIterator[Platform]:
    """Topics, keys and settings."""
    names = [name for topic in all_topics() for name in (topic.name, topic.dead)]
    await create_topics(kafka, [Topic(name, 2, None) for name in names])
    load_or_create_key(tmp_path / "issuer.pem")
    load_or_create_key(tmp_path / "attestation.pem")
    config = Config(
        grpc_address=f"127.0.0.1:{free_port()}",
        kafka=kafka,
        database_url=database(),
        jwks=str(tmp_path / "issuer.jwks.json"),
        data_dir=tmp_path,
        signing_key=tmp_path / "attestation.pem",
        policy=given.policy_file,
    )
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True)
    await producer.start()
    yield Platform(config, tmp_path, producer)
    await producer.stop()


async def until_serving(address: str) -> None:
    """Wait until the service says that it serves."""
    async with asyncio.timeout(PATIENCE_S), grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=5)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            await asyncio.sleep(0.05)


async def eventually(call: Callable[[], Awaitable[object]]) -> object:
    """The answer of an RPC, once it no longer says NOT_FOUND."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                await asyncio.sleep(0.05)


@pytest.fixture
async def running(platform: Platform) -> AsyncIterator[Platform]:
    """The service, serving."""
    task = asyncio.create_task(run_service(build(platform.config)))
    serving = asyncio.create_task(until_serving(platform.config.grpc_address))
    await asyncio.wait({task, serving}, return_when=asyncio.FIRST_COMPLETED)
    assert serving.done()
    yield platform
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def fresh(given, number: int = 0) -> tuple[str, Event, Event]:
    """A submission nobody has heard of, and the events of its two halves."""
    submission = str(uuid.uuid4())
    halves = given.validation(submission_id=submission), given.risk(submission_id=submission)
    validated, scored = (given.event(half, f"{submission}-{number}-{half.DESCRIPTOR.name}") for half in halves)
    return submission, validated, scored


def decided(entries: list[messages.ReplayResponse]) -> list[str]:
    """The submissions decided on, in the order of the log."""
    name = decision_pb2.ComplianceDecided.DESCRIPTOR.full_name
    told = [decision_pb2.ComplianceDecided.FromString(entry.data) for entry in entries if entry.type == name]
    return [fact.submission_id for fact in told]


async def test_who_follows_the_log_does_not_hold_up_the_stop(platform, given):
    service = asyncio.create_task(run_service(build(platform.config)))
    await until_serving(platform.config.grpc_address)
    await platform.publish(*fresh(given)[1:])
    async with platform.channel("auditor") as channel:
        stream = services.AuditServiceStub(channel).Replay(messages.ReplayRequest(follow=True), timeout=PATIENCE_S)
        assert (await anext(aiter(stream))).index == 0
        service.cancel()
        # By the grace period of the server it would be cut off, without a word.
        with pytest.raises(grpc.aio.AioRpcError, match="compliance stops; replay again from index"):
            [entry async for entry in stream]
    await asyncio.gather(service, return_exceptions=True)


class TestService:
    async def test_decides_signs_tells_and_records_whatever_the_order(self, running, given):
        """Out of order, twice, and with poison before it: one decision, each event once in the audit log."""
        submission, validated, scored = fresh(given)
        _, incomplete, _ = fresh(given)
        incomplete.message.submission_id = ""
        await running.producer.send_and_wait("validation-completed", b"no event at all", key=b"adult-income")
        await running.publish(scored, scored, incomplete, validated, validated, scored)
        async with running.channel("platform") as channel:
            stub = services.ComplianceServiceStub(channel)
            request = messages.GetDecisionRequest(submission_id=submission)
            decision = (await eventually(lambda: stub.GetDecision(request))).decision
        assert decision.verdict == decision_pb2.VERDICT_APPROVED
        keys = load_keys(running.folder / "attestation.jwks.json")
        assert admit(decision.attestation, keys, sha256=given.digest).verdict == "APPROVED"
        after, *halves = fresh(given)
        await running.publish(*halves)
        wanted = {validated.id, scored.id, incomplete.id}
        # The log reads topics side by side; only within one do these halves stand behind all that went before them.
        last = {half.id for half in halves}
        entries = await running.replay_until(
            lambda seen: after in decided(seen) and last <= {entry.id for entry in seen}
        )
        assert [entry.index for entry in entries] == list(range(len(entries)))
        assert sorted(entry.id for entry in entries if entry.id in wanted) == sorted(wanted)
        (heard,) = [entry for entry in entries if entry.id == validated.id]
        assert heard.data == validated.message.SerializeToString()
        # Of one model, events keep their order: whatever else was decided on the first would stand before the second.
        assert decided(entries).count(submission) == 1

    async def test_decision_can_be_evaluated_again(self, running, given):
        submission, validated, scored = fresh(given)
        await running.publish(validated, scored)
        async with running.channel("risk-officer") as channel:
            stub = services.ComplianceServiceStub(channel)
            request = messages.EvaluatePolicyRequest(submission_id=submission)
            answer = await eventually(lambda: stub.EvaluatePolicy(request))
        assert answer.agrees
        assert answer.input["model"]["id"] == "adult-income"

    @pytest.mark.parametrize(
        ("role", "code"),
        [("platform", grpc.StatusCode.PERMISSION_DENIED), ("soc", grpc.StatusCode.PERMISSION_DENIED)],
    )
    async def test_audit_log_is_not_for_everybody(self, running, role, code):
        async with running.channel(role) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await anext(aiter(services.AuditServiceStub(channel).Replay(messages.ReplayRequest())))
        assert refused.value.code() is code

    async def test_requests_without_a_name_are_refused(self, running):
        async with running.channel("operator") as channel:
            compliance, audit = services.ComplianceServiceStub(channel), services.AuditServiceStub(channel)
            for call in (
                compliance.GetDecision(messages.GetDecisionRequest(model="m")),
                compliance.EvaluatePolicy(messages.EvaluatePolicyRequest()),
                anext(aiter(audit.Replay(messages.ReplayRequest(from_index=-1)))),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def environment(config: Config) -> dict[str, str]:
    """The settings as a process is told them."""
    told = {f"VALLUM_{name.upper()}": str(value) for name, value in config if value not in (None, "")}
    return {**{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}, **told}


async def spawn(config: Config) -> asyncio.subprocess.Process:
    """The service as a process."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vallum_compliance", env=environment(config), stderr=asyncio.subprocess.PIPE
    )


class TestProcess:
    async def test_killed_in_the_middle_it_loses_and_doubles_nothing(self, platform, given):
        randomness = random.Random(20261123)
        submissions = [fresh(given, number) for number in range(150)]
        wanted = {event.id for _, *events in submissions for event in events}
        await platform.publish(*(scored for _, _, scored in submissions[:75]))
        process = await spawn(platform.config)
        await until_serving(platform.config.grpc_address)
        await platform.publish(*(validated for _, validated, _ in submissions[:75]))
        await asyncio.sleep(randomness.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        await platform.publish(*(validated for _, validated, _ in submissions[:75]))  # the sender repeats itself
        await platform.publish(*(event for _, *events in submissions[75:] for event in events))
        process = await spawn(platform.config)
        await until_serving(platform.config.grpc_address)
        entries = await platform.replay_until(lambda seen: wanted <= {entry.id for entry in seen})
        assert [entry.index for entry in entries] == list(range(len(entries)))
        ours = [entry.id for entry in entries if entry.id in wanted]
        assert sorted(ours) == sorted(wanted)
        async with platform.channel("auditor") as channel:
            stub = services.ComplianceServiceStub(channel)
            for submission, *_ in submissions:
                request = messages.GetDecisionRequest(submission_id=submission)
                await eventually(lambda request=request: stub.GetDecision(request))
        process.terminate()
        await process.communicate()
        assert process.returncode == 0

    async def test_policy_that_is_none_stops_it_at_the_start_with_one_line(self, platform):
        broken = platform.folder / "release.yaml"
        broken.write_text("rules: [")
        process = await spawn(platform.config.model_copy(update={"policy": broken}))
        _, told = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode == 3
        (line,) = told.decode().splitlines()
        assert "release.yaml" in line
        assert "not YAML" in line
