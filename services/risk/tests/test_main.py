"""The service as `main.build` makes it, on real Kafka and PostgreSQL, called over gRPC with real tokens."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vallum.risk.v1 import risk_pb2, risk_service_pb2, risk_service_pb2_grpc
from vallum_common.bus.event import Event
from vallum_common.bus.record import OutgoingRecord
from vallum_common.errors import Invalid
from vallum_common.lifecycle import run_service
from vallum_common.rpc.client import connect
from vallum_local.foundations import free_port
from vallum_local.identity import issue_token, load_or_create_key
from vallum_risk.config import Config
from vallum_risk.main import build

from .evidently import POLICY_FILE, Evidently

pytestmark = pytest.mark.platform
PATIENCE_S = 60.0
HEARD = ("validation-completed", "alert-raised")


@dataclass(frozen=True)
class Platform:
    """What surrounds the service in a test."""

    config: Config
    folder: Path
    producer: AIOKafkaProducer

    def stub(self, channel: grpc.aio.Channel) -> risk_service_pb2_grpc.RiskServiceStub:
        """The service, as callers see it."""
        return risk_service_pb2_grpc.RiskServiceStub(channel)

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

    async def read(
        self, topic: str, enough: Callable[[Sequence[ConsumerRecord]], bool], key: str
    ) -> list[ConsumerRecord]:
        """Read the records of a key from the beginning until what was seen is enough."""
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.config.kafka, auto_offset_reset="earliest")
        await consumer.start()
        seen: list[ConsumerRecord] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not enough(seen):
                    record = await consumer.getone()
                    seen += [record] if record.key == key.encode() else []
        finally:
            await consumer.stop()
        return seen


async def skip_the_past(bootstrap: str, group: str, topics: Sequence[str]) -> None:
    """Let a consumer group begin with what comes from now on: other tests leave poison on the topics they share."""
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    partitions = [TopicPartition(topic, n) for topic in topics for n in consumer.partitions_for_topic(topic) or ()]
    while not set(partitions) <= consumer.assignment():
        await consumer.getmany(timeout_ms=100)
    await consumer.commit(await consumer.end_offsets(partitions))
    await consumer.stop()


@pytest.fixture
async def platform(platform_kafka: str, database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Platform]:
    """Keys and settings."""
    load_or_create_key(tmp_path / "issuer.pem")
    config = Config(
        grpc_address=f"127.0.0.1:{free_port()}",
        kafka=platform_kafka,
        database_url=database(),
        jwks=str(tmp_path / "issuer.jwks.json"),
        data_dir=tmp_path,
        risk_model=POLICY_FILE,
    )
    await skip_the_past(platform_kafka, "risk", HEARD)
    producer = AIOKafkaProducer(bootstrap_servers=platform_kafka, enable_idempotence=True)
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


@pytest.fixture
def model() -> str:
    """A model id of this test alone: the topics are shared by the session."""
    return f"m-{uuid.uuid4().hex[:12]}"


def about(model: str, make: Callable[..., object], event_id: str, **changes: object) -> Event:
    """An event about this model."""
    message = make(model=Evidently.message(model=model), **changes)
    return Evidently.event(message, f"{model}-{event_id}", key=model)


def scored(records: Sequence[ConsumerRecord]) -> list[risk_pb2.RiskProfile]:
    return [risk_pb2.RiskScored.FromString(record.value).profile for record in records]


async def test_each_event_counts_once_and_poison_goes_aside(running: Platform, model: str) -> None:
    """Twice, an alert too early, no event at all, an incomplete one: two profiles, two kinds of dead letters."""
    early = about(model, Evidently.alert, "early")
    validated = about(model, Evidently.validation, "validated")
    incomplete = about(model, Evidently.validation, "incomplete", submission_id="")
    alert = about(model, Evidently.alert, "alert")
    await running.producer.send_and_wait("validation-completed", b"no event at all", key=model.encode())
    await running.publish(early)
    dead = await running.read("alert-raised.dead", lambda seen: len(seen) == 1, model)
    await running.publish(incomplete, validated, validated)
    async with running.channel("platform") as channel:
        request = risk_service_pb2.GetRiskProfileRequest(model=model, version="1.2.0")
        await eventually(lambda: running.stub(channel).GetRiskProfile(request))
    await running.publish(alert, validated, alert)
    profiles = scored(await running.read("risk-scored", lambda seen: len(seen) == 2, model))
    assert [profile.cause_event_id for profile in profiles] == [validated.id, alert.id]
    aside = await running.read("validation-completed.dead", lambda seen: len(seen) == 2, model)
    kinds = [dict(record.headers)["x-dead-error"] for record in (*dead, *aside)]
    assert kinds == [b"NOT_FOUND", b"INVALID", b"INVALID"]
    assert dead[0].value == early.message.SerializeToString()
    # What came twice has passed by now: it stands before this on its topic.
    await running.publish(about(model, Evidently.validation, "last", submission_id="s-2"))
    profiles = scored(await running.read("risk-scored", lambda seen: len(seen) >= 3, model))
    assert [profile.submission_id for profile in profiles] == ["s-1", "s-1", "s-2"]


async def test_register_is_read_by_pages_by_those_who_may(running: Platform, model: str) -> None:
    events = [
        about(f"{model}-{number}", Evidently.validation, "v", tier=tier)
        for number, tier in enumerate(("minimal", "high", "limited"))
    ]
    await running.publish(*events)
    async with running.channel("auditor") as channel:
        stub = running.stub(channel)
        for event in events:
            request = risk_service_pb2.GetRiskProfileRequest(model=event.key, version="1.2.0")
            await eventually(lambda request=request: stub.GetRiskProfile(request))
        names, token = [], ""
        for _ in range(2):
            request = risk_service_pb2.ListRiskRegisterRequest(page_size=2, page_token=token)
            page = await stub.ListRiskRegister(request)
            names.append([profile.model.model for profile in page.profiles])
            token = page.next_page_token
    assert names == [[f"{model}-1", f"{model}-2"], [f"{model}-0"]]
    assert token == ""


@pytest.mark.parametrize(
    ("role", "request_", "code"),
    [
        ("platform", risk_service_pb2.ListRiskRegisterRequest(), grpc.StatusCode.PERMISSION_DENIED),
        ("service-registry", risk_service_pb2.GetRiskProfileRequest(), grpc.StatusCode.PERMISSION_DENIED),
        ("auditor", risk_service_pb2.ListRiskRegisterRequest(page_size=501), grpc.StatusCode.INVALID_ARGUMENT),
        ("auditor", risk_service_pb2.ListRiskRegisterRequest(page_token="x"), grpc.StatusCode.INVALID_ARGUMENT),
        ("soc", risk_service_pb2.GetRiskProfileRequest(model="m", version="1"), grpc.StatusCode.NOT_FOUND),
        ("", risk_service_pb2.GetRiskProfileRequest(), grpc.StatusCode.UNAUTHENTICATED),
    ],
)
async def test_who_may_not_or_asks_wrongly_is_told_so(running: Platform, role, request_, code) -> None:
    method = type(request_).__name__.removesuffix("Request")
    channel = running.channel(role) if role else grpc.aio.insecure_channel(running.config.grpc_address)
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await getattr(running.stub(channel), method)(request_)
    assert refused.value.code() is code


async def test_risk_model_that_is_none_stops_it_at_the_start(platform: Platform) -> None:
    broken = platform.folder / "risk.yaml"
    broken.write_text("risks: [")
    with pytest.raises(Invalid, match=r"risk\.yaml.* is not YAML"):
        build(platform.config.model_copy(update={"risk_model": broken}))
