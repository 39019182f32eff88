"""The service as `main.build` makes it, on real Kafka and PostgreSQL, called over gRPC with real tokens."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vallum.monitor.v1 import events_pb2
from vallum.monitor.v1 import monitor_service_pb2 as messages
from vallum.monitor.v1 import monitor_service_pb2_grpc as services
from vallum.registry.v1 import model_pb2
from vallum.validator.v1 import evidence_pb2
from vallum_common.bus.consumer import Limits
from vallum_common.bus.event import Event
from vallum_common.bus.record import OutgoingRecord
from vallum_common.bus.topics import topic_of
from vallum_common.database import Database
from vallum_common.lifecycle import run_service
from vallum_common.rpc.client import connect
from vallum_local.foundations import free_port
from vallum_local.identity import issue_token, load_or_create_key
from vallum_monitor.config import Config
from vallum_monitor.main import build
from vallum_monitor.store import tables

pytestmark = pytest.mark.platform
PATIENCE_S = 60.0
GROUPS = ("monitor", "monitor-correction", "monitor-detection")
TRAFFIC = topic_of(events_pb2.InferenceObserved)


@dataclass(frozen=True)
class Platform:
    """What surrounds the service in a test. Each test has a model of its own, because Kafka is shared."""

    config: Config
    folder: Path
    producer: AIOKafkaProducer
    given: Any
    model: str

    @contextlib.asynccontextmanager
    async def client(self, role: str = "operator") -> AsyncIterator[services.MonitorServiceStub]:
        """The service as somebody with this role calls it."""
        key = load_or_create_key(self.folder / "issuer.pem")
        now = dt.datetime.now(dt.UTC)
        token = issue_token(key, subject=f"test-{role}", roles=[role], ttl=dt.timedelta(hours=1), now=now)
        async with connect(self.config.grpc_address, lambda: token) as channel:
            yield services.MonitorServiceStub(channel)

    async def tell(self, *facts: Message) -> None:
        """Put facts on Kafka as the other services do."""
        for fact in facts:
            now = dt.datetime.now(dt.UTC)
            event = Event(str(uuid.uuid4()), "vallum/test", self.model, self.model, now, fact)
            await self.send(OutgoingRecord.of_event(event, traceparent=""))

    async def send(self, record: OutgoingRecord) -> None:
        """Put a record on Kafka."""
        await self.producer.send_and_wait(
            record.topic, key=record.key, value=record.value, headers=list(record.headers)
        )

    async def deploy(self) -> None:
        """Tell that the version serves and of its evidence; returns when the monitor knows all of it."""
        submission = f"submission-{self.model}"
        common = {"model": self.given.reference(model=self.model), "submission_id": submission}
        deployment = self.given.deployed(**common, deployment_id=f"deployment-{self.model}")
        await self.tell(self.given.validated(**common), self.given.decided(**common), deployment)
        await self.tell(self.given.scored(submission=submission))
        await self.until_metrics(
            lambda told: told.compliance_rate.value == 100 and told.security_posture_score.value > 0
        )

    async def until_metrics(
        self, enough: Callable[[messages.GetSecurityMetricsResponse], bool]
    ) -> messages.GetSecurityMetricsResponse:
        """The metrics, once they are so."""
        async with self.client() as client:
            return await until(lambda: client.GetSecurityMetrics(messages.GetSecurityMetricsRequest()), enough)

    async def report(self, batches: Sequence[Any], **changes: Any) -> messages.ReportInferenceResponse:
        """Hand in batches, as the serving layer does."""
        async with self.client("platform") as client:
            return await client.ReportInference(
                iter([self.given.request(batch, model=self.model, **changes) for batch in batches])
            )

    async def alerts(self, count: int) -> list[events_pb2.AlertRaised]:
        """The first alerts about the model, as they are raised."""
        request = messages.WatchAlertsRequest(model=self.model)
        request.since.FromDatetime(self.given.at())
        found = []
        async with self.client("soc") as client:
            stream = client.WatchAlerts(request, timeout=PATIENCE_S)
            async for answer in stream:
                found.append(answer.alert)
                if len(found) == count:
                    stream.cancel()
                    break
        return found

    async def heard(self, topic: str, count: int) -> list[Any]:
        """The first records about the model on a topic."""
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.config.kafka, auto_offset_reset="earliest")
        await consumer.start()
        found: list[Any] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while len(found) < count:
                    record = await consumer.getone()
                    if record.key == self.model.encode():
                        found.append(record)
        finally:
            await consumer.stop()
        return found

    async def counted_rows(self) -> int:
        """Rows in the open window."""
        database = Database(self.config.database_url)
        async with database.transaction() as transaction:
            texts = (await transaction.connection.execute(sa.select(tables.watch.c.open_window))).scalars().all()
        await database.close()
        return sum(json.loads(text)["rows"] for text in texts)


async def until(ask: Callable[[], Awaitable[Any]], enough: Callable[[Any], bool]) -> Any:
    """The answer, once it is as wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while not enough(answer := await ask()):
            await asyncio.sleep(0.05)
    return answer


async def until_serving(address: str, wanted: int = health_pb2.HealthCheckResponse.SERVING) -> None:
    """Wait until the service says that it serves, or what else is wanted."""
    async with asyncio.timeout(PATIENCE_S), grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=5)
                if answer.status == wanted:
                    return
            await asyncio.sleep(0.05)


@pytest.fixture
async def platform(
    platform_kafka: str, begin_behind: Any, database: Callable[[], str], tmp_path: Path, given: Any
) -> AsyncIterator[Platform]:
    """Keys and settings; a model nobody has heard of."""
    await begin_behind(*GROUPS)
    load_or_create_key(tmp_path / "issuer.pem")
    config = Config(
        grpc_address=f"127.0.0.1:{free_port()}",
        kafka=platform_kafka,
        database_url=database(),
        jwks=str(tmp_path / "issuer.jwks.json"),
        data_dir=tmp_path,
        correction_policy=given.policies / "correction.yaml",
    )
    producer = AIOKafkaProducer(bootstrap_servers=platform_kafka, enable_idempotence=True)
    await producer.start()
    yield Platform(config, tmp_path, producer, given, f"model-{uuid.uuid4().hex[:12]}")
    await producer.stop()


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
def ids() -> Iterator[str]:
    """Batch ids."""
    return iter(lambda: str(uuid.uuid4()), "")


class TestService:
    async def test_drift_is_told_confirmed_and_answered_with_one_correction(self, running, given, rng, ids):
        await running.deploy()
        fair = [given.batch(next(ids), rng) for _ in range(4)]
        shifted = [given.batch(next(ids), rng, age_shift=2.0) for _ in range(6)]
        taken = await running.report(fair + shifted)
        assert (taken.accepted_batches, taken.accepted_rows, taken.repeated_batches) == (10, 2500, 0)
        first, second = await running.alerts(2)
        assert (first.confirmed, second.confirmed) == (False, True)
        assert second.severity == evidence_pb2.SEVERITY_HIGH
        assert "age" in second.message
        assert second.evidence["window"]["first_batch"] == shifted[2].batch_id
        (record,) = await running.heard("correction-requested", 1)
        correction = events_pb2.CorrectionRequested.FromString(record.value)
        assert correction.alert_id == second.alert_id
        assert correction.action == events_pb2.CORRECTION_ACTION_QUARANTINE
        applied = given.applied(correction.correction_id)
        applied.applied_at.FromDatetime(second.raised_at.ToDatetime(dt.UTC) + dt.timedelta(hours=2))
        await running.tell(applied)
        told = await running.until_metrics(lambda told: told.incident_response_time_hours.HasField("value"))
        assert told.incident_response_time_hours.value == pytest.approx(2, abs=0.01)
        assert told.risk_exposure.value == 1

    async def test_repeated_report_is_counted_as_repeated_and_raises_nothing_new(self, running, given, rng, ids):
        await running.deploy()
        batches = [given.batch(next(ids), rng, age_shift=3.0) for _ in range(4)]
        await running.report(batches)
        before = await running.alerts(2)
        again = await running.report(batches)
        assert (again.accepted_batches, again.repeated_batches) == (0, 4)
        # The same events once more, as after a crash between the database's commit and Kafka's.
        for record in await running.heard(TRAFFIC.name, 4):
            await running.send(OutgoingRecord("", record.topic, record.key, record.value, record.headers))
        await running.report([given.batch(next(ids), rng) for _ in range(2)])
        await running.report([given.batch(next(ids), rng, age_shift=3.0) for _ in range(2)])
        assert [alert.alert_id for alert in (await running.alerts(3))[:2]] == [alert.alert_id for alert in before]

    async def test_poison_goes_aside_and_the_line_goes_on(self, running, given, rng, ids):
        await running.deploy()
        poison = OutgoingRecord("", TRAFFIC.name, running.model.encode(), b"\xff no event", [("ce_id", b"x")])
        await running.send(poison)
        await running.report([given.batch(next(ids), rng, 500, age_shift=3.0)])
        assert len(await running.alerts(1)) == 1
        (record,) = await running.heard(TRAFFIC.dead, 1)
        headers = dict(record.headers)
        assert record.value == poison.value
        assert headers["x-dead-error"] == b"INVALID"
        assert headers["x-dead-consumer"] == b"monitor-detection"

    async def test_too_much_poison_ends_detection_only_and_health_tells_it(self, running):
        for _ in range(Limits().dead_letters_in_a_row + 1):
            await running.send(OutgoingRecord("", TRAFFIC.name, running.model.encode(), b"\xff no event", []))
        await until_serving(running.config.grpc_address, health_pb2.HealthCheckResponse.NOT_SERVING)
        # What others say is still heard, and questions are answered.
        await running.deploy()

    async def test_traffic_is_refused_where_the_version_does_not_serve(self, running, given, rng, ids):
        batch = given.batch(next(ids), rng)
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await running.report([batch])
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        await running.deploy()
        with pytest.raises(grpc.aio.AioRpcError) as other:
            await running.report([batch], version="1.1.0")
        assert other.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "'1.2.0' does" in other.value.details()
        ended = given.deployed(
            model=given.reference(model=running.model),
            deployment_id=f"deployment-{running.model}",
            state=model_pb2.DEPLOYMENT_STATE_ROLLED_BACK,
        )
        await running.tell(ended)
        await running.until_metrics(lambda told: told.compliance_rate.inputs["deployed_systems"] == 0)
        with pytest.raises(grpc.aio.AioRpcError) as out:
            await running.report([batch])
        assert out.value.code() is grpc.StatusCode.NOT_FOUND

    @pytest.mark.parametrize("role", ["soc", "auditor", "risk-officer"])
    async def test_traffic_is_not_taken_from_everybody(self, running, given, rng, ids, role):
        async with running.client(role) as client:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.ReportInference(iter([given.request(given.batch(next(ids), rng))]))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def environment(config: Config) -> dict[str, str]:
    """The settings as a process is told them."""
    told = {f"VALLUM_{name.upper()}": str(value) for name, value in config if value not in (None, "")}
    return {**{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}, **told}


async def spawn(config: Config) -> asyncio.subprocess.Process:
    """The service as a process."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vallum_monitor", env=environment(config), stderr=asyncio.subprocess.PIPE
    )


class TestProcess:
    async def test_killed_in_the_middle_it_counts_each_batch_once(self, platform, given, rng, ids):
        """The window is never full, so that it holds every row that was counted."""
        policy = platform.folder / "detection.yaml"
        text = (given.policies / "detection.yaml").read_text()
        policy.write_text(text.replace("window_rows:\n    value: 500", "window_rows:\n    value: 1000000"))
        config = platform.config.model_copy(update={"detection_policy": policy})
        process = await spawn(config)
        await until_serving(config.grpc_address)
        await platform.deploy()
        batches = [given.batch(next(ids), rng, 10) for _ in range(400)]
        await platform.report(batches[:200])
        await until(platform.counted_rows, lambda rows: rows > 0)
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        process = await spawn(config)
        await until_serving(config.grpc_address)
        await platform.report(batches)
        await until(platform.counted_rows, lambda rows: rows >= 4000)
        # Whatever comes after the last batch of the model would be counted after it, too.
        await platform.report([given.batch(next(ids), rng, 10)])
        assert await until(platform.counted_rows, lambda rows: rows > 4000) == 4010
        process.terminate()
        await process.communicate()
        assert process.returncode == 0

    async def test_policy_that_is_none_stops_it_at_the_start_with_one_line(self, platform):
        broken = platform.folder / "correction.yaml"
        broken.write_text("rules: [")
        settings = {"correction_policy": broken, "detection_policy": platform.given.policies / "detection.yaml"}
        process = await spawn(platform.config.model_copy(update=settings))
        _, told = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode == 3
        assert "is not YAML" in told.decode()
