"""The service as `main.build` makes it: a submission on real Kafka, bytes from a registry over gRPC, evidence once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import pickle
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vallum.registry.v1 import model_pb2, registry_service_pb2, registry_service_pb2_grpc
from vallum.registry.v1.events_pb2 import ModelSubmitted
from vallum.validator.v1 import evidence_pb2, validator_service_pb2, validator_service_pb2_grpc
from vallum.validator.v1.events_pb2 import ValidationCompleted
from vallum_common.bus.event import Event
from vallum_common.bus.record import OutgoingRecord
from vallum_common.errors import Invalid
from vallum_common.lifecycle import run_service
from vallum_common.rpc.client import connect
from vallum_common.testing import START
from vallum_local.foundations import free_port
from vallum_local.identity import issue_token, load_or_create_key
from vallum_validator import main
from vallum_validator.config import Config
from vallum_validator.domain.evidence import CHECK_NAMES

pytestmark = pytest.mark.platform
PATIENCE_S = 60.0
THRESHOLDS = Path(__file__).parents[3] / "policies" / "thresholds.yaml"


class FakeRegistry(registry_service_pb2_grpc.RegistryServiceServicer):
    """Serves bytes by digest, and notes who asked."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.callers: list[str] = []
        self.asked = asyncio.Event()

    async def DownloadArtifact(self, request, context):  # noqa: N802
        self.callers += [value for name, value in context.invocation_metadata() if name == "authorization"]
        self.asked.set()
        yield registry_service_pb2.DownloadArtifactResponse(data=self.contents[request.sha256])


@dataclass(frozen=True)
class Platform:
    """What surrounds the service in a test."""

    config: Config
    folder: Path
    producer: AIOKafkaProducer
    registry: FakeRegistry

    def token(self, role: str) -> str:
        """Of somebody with this role."""
        key = load_or_create_key(self.folder / "issuer.pem")
        now = dt.datetime.now(dt.UTC)
        return issue_token(key, subject=f"test-{role}", roles=[role], ttl=dt.timedelta(hours=1), now=now)

    @contextlib.asynccontextmanager
    async def caller(self, role: str) -> AsyncIterator[validator_service_pb2_grpc.ValidatorServiceStub]:
        """The service as somebody with this role calls it."""
        token = self.token(role)
        async with connect(self.config.grpc_address, lambda: token) as channel:
            yield validator_service_pb2_grpc.ValidatorServiceStub(channel)

    async def publish(self, *events: Event) -> None:
        """Put events on Kafka as the registry does."""
        for event in events:
            record = OutgoingRecord.of_event(event, traceparent=event.traceparent)
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


async def pass_over(bootstrap: str) -> None:
    """Let the consumer group begin after what other tests have left on its topic, which is poison to it."""
    consumer = AIOKafkaConsumer(
        "model-submitted", bootstrap_servers=bootstrap, group_id="validator", enable_auto_commit=False
    )
    await consumer.start()
    partitions = {TopicPartition("model-submitted", n) for n in consumer.partitions_for_topic("model-submitted")}
    while not partitions <= consumer.assignment():
        await consumer.getmany(timeout_ms=100)
    await consumer.commit(await consumer.end_offsets(partitions))
    await consumer.stop()


@pytest.fixture
async def platform(
    platform_kafka: str, database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Platform]:
    """Keys, settings and a registry."""
    monkeypatch.setattr(main, "_RETRY_S", 0.1)
    load_or_create_key(tmp_path / "issuer.pem")
    (tmp_path / "validator.token").write_text("the validator's own token\n")
    registry, server = FakeRegistry(), grpc.aio.server()
    registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(registry, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    config = Config(
        grpc_address=f"127.0.0.1:{free_port()}",
        kafka=platform_kafka,
        database_url=database(),
        jwks=str(tmp_path / "issuer.jwks.json"),
        data_dir=tmp_path,
        token_file=tmp_path / "validator.token",
        registry_address=f"127.0.0.1:{port}",
        thresholds=THRESHOLDS,
        publishers=THRESHOLDS.with_name("publishers.yaml"),
    )
    await pass_over(platform_kafka)
    producer = AIOKafkaProducer(bootstrap_servers=platform_kafka, enable_idempotence=True)
    await producer.start()
    yield Platform(config, tmp_path, producer, registry)
    await producer.stop()
    await server.stop(0)


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


@pytest.fixture
async def running(platform: Platform) -> AsyncIterator[Platform]:
    """The service, serving."""
    task = asyncio.create_task(run_service(main.build(platform.config)))
    serving = asyncio.create_task(until_serving(platform.config.grpc_address))
    await asyncio.wait({task, serving}, return_when=asyncio.FIRST_COMPLETED)
    assert serving.done()
    yield platform
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def report(platform: Platform, submission_id: str, enough: Callable[[object], bool]) -> object:
    """The report of a submission, once it has come so far."""
    request = validator_service_pb2.GetReportRequest(submission_id=submission_id)
    async with asyncio.timeout(PATIENCE_S), platform.caller("platform") as stub:
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = await stub.GetReport(request)
                if enough(answer):
                    return answer
            await asyncio.sleep(0.05)


class Runs:
    """A pickle that would end the process that loads it."""

    def __reduce__(self) -> tuple[object, ...]:
        return exit, (1,)


ARTIFACT = pickle.dumps(Runs())
DIGEST = hashlib.sha256(ARTIFACT).hexdigest()
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def submitted() -> Event:
    """A submission of a model of this test alone, as the registry tells it."""
    model = f"m-{uuid.uuid4().hex[:12]}"
    message = ModelSubmitted(
        submission_id=f"{model}-1",
        model=model_pb2.ModelReference(model=model, version="1.0.0", digest=DIGEST),
        manifest=f"model: {{id: {model}, version: 1.0.0, artifact: model.pkl, owner: eve, tier: limited}}".encode(),
        files=[model_pb2.BundleFile(path="model.pkl", size_bytes=len(ARTIFACT), sha256=DIGEST)],
    )
    traceparent = f"00-{TRACE}-b7ad6b7169203331-01"
    return Event(f"{model}-e", "vallum/registry", f"{model}@1.0.0", model, START, message, traceparent=traceparent)


def another(submitted: Event, number: int, **changes: object) -> Event:
    """A further submission of the same model."""
    message = ModelSubmitted()
    message.CopyFrom(submitted.message)
    message.submission_id = f"{submitted.key}-{number}"
    for name, value in changes.items():
        setattr(message, name, value)
    return Event(f"{submitted.key}-e{number}", submitted.source, submitted.subject, submitted.key, START, message)


async def test_submission_becomes_evidence_once_whatever_surrounds_it(running: Platform, submitted: Event) -> None:
    """Poison before it, twice, and in one batch with an incomplete one: one validation of each that is whole."""
    running.registry.contents[DIGEST] = ARTIFACT
    incomplete, last = another(submitted, 2, manifest=b""), another(submitted, 3)
    await running.producer.send_and_wait("model-submitted", b"no event at all", key=submitted.key.encode())
    await running.publish(submitted, incomplete, submitted, last)
    records = await running.read("validation-completed", lambda seen: len(seen) == 2, submitted.key)
    first, second = (ValidationCompleted.FromString(record.value) for record in records)
    assert [first.submission_id, second.submission_id] == [f"{submitted.key}-1", f"{submitted.key}-3"]
    assert (first.model.digest, first.tier) == (DIGEST, "limited")
    assert first.scan.verdict == evidence_pb2.SCAN_VERDICT_MALICIOUS
    assert tuple(check.name for check in first.checks) == CHECK_NAMES
    assert {check.outcome for check in first.checks} == {evidence_pb2.CHECK_OUTCOME_INCONCLUSIVE}
    assert dict(records[0].headers)["traceparent"].decode().split("-")[1] == TRACE
    assert set(running.registry.callers) == {"Bearer the validator's own token"}
    dead = await running.read("model-submitted.dead", lambda seen: len(seen) == 2, submitted.key)
    assert {dict(record.headers)["x-dead-consumer"] for record in dead} == {b"validator"}
    shown = await report(
        running, first.submission_id, lambda r: r.state == validator_service_pb2.REPORT_STATE_COMPLETED
    )
    assert (shown.scan, list(shown.checks)) == (first.scan, list(first.checks))


async def test_wrong_bytes_from_the_registry_are_never_measured(running: Platform, submitted: Event) -> None:
    running.registry.contents[DIGEST] = b"other bytes"
    await running.publish(submitted)
    for _ in range(2):  # the second time the first download has been refused
        await asyncio.wait_for(running.registry.asked.wait(), PATIENCE_S)
        running.registry.asked.clear()
    waiting = await report(running, submitted.message.submission_id, lambda r: r.stage == "fetch")
    assert waiting.state == validator_service_pb2.REPORT_STATE_RUNNING
    running.registry.contents[DIGEST] = ARTIFACT
    (record,) = await running.read("validation-completed", lambda seen: len(seen) == 1, submitted.key)
    (file,) = ValidationCompleted.FromString(record.value).scan.files
    assert (file.path, file.sha256) == ("model.pkl", DIGEST)


async def test_file_is_scanned_for_those_who_may(running: Platform) -> None:
    async def upload() -> AsyncIterator[validator_service_pb2.ScanRequest]:
        yield validator_service_pb2.ScanRequest(name="model.pkl")
        yield validator_service_pb2.ScanRequest(data=ARTIFACT)

    async with running.caller("soc") as stub:
        answer = await stub.Scan(upload())
    assert (answer.file.verdict, answer.file.sha256) == (evidence_pb2.SCAN_VERDICT_MALICIOUS, DIGEST)
    refused = await code_of(lambda stub: stub.Scan(upload()), running, "auditor")
    assert refused is grpc.StatusCode.PERMISSION_DENIED


async def code_of(
    call: Callable[[validator_service_pb2_grpc.ValidatorServiceStub], Awaitable[object]], platform: Platform, role: str
) -> grpc.StatusCode:
    """The status with which a call is refused."""
    async with platform.caller(role) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(stub)
    return refused.value.code()


async def test_without_a_token_for_the_registry_it_does_not_start(platform: Platform) -> None:
    with pytest.raises(Invalid, match="VALLUM_TOKEN_FILE"):
        main.build(platform.config.model_copy(update={"token_file": None}))


async def test_what_policy_asks_for_and_is_not_installed_stops_the_start(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    document = yaml.safe_load(THRESHOLDS.read_text())
    document["data_privacy"]["presidio"] = {"entities": ["US_ITIN"], "score": 0.5, "source": "made up here"}
    (tmp_path / "thresholds.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(Invalid, match=r"vallum-validator\[presidio\]"):
        main.build(platform.config.model_copy(update={"thresholds": tmp_path / "thresholds.yaml"}))
