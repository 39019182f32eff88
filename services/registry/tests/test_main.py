"""The service as `main.build` makes it, on real Kafka and PostgreSQL, called over gRPC with real tokens."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import os
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vallum.compliance.v1 import decision_pb2
from vallum.monitor.v1 import events_pb2 as monitor_pb2
from vallum.registry.v1 import model_pb2, registry_service_pb2_grpc
from vallum.registry.v1 import registry_service_pb2 as pb2
from vallum_common import attestation
from vallum_common.attestation import Resource, Statement
from vallum_common.bus.event import Event
from vallum_common.bus.record import OutgoingRecord
from vallum_common.bus.topics import topic_of
from vallum_common.database import Database
from vallum_common.database.tables import outbox
from vallum_common.errors import Unavailable
from vallum_common.lifecycle import run_service
from vallum_common.rpc.client import connect
from vallum_common.rpc.status import peer_errors
from vallum_local.foundations import free_port
from vallum_local.identity import issue_token, load_or_create_key
from vallum_registry.config import Config
from vallum_registry.main import build

pytestmark = pytest.mark.platform
PATIENCE_S = 60.0
CHUNK_BYTES = 256 * 1024
HEARD = (decision_pb2.ComplianceDecided, monitor_pb2.CorrectionRequested)


@dataclass(frozen=True)
class Platform:
    """What surrounds the service in a test."""

    config: Config
    folder: Path
    producer: AIOKafkaProducer

    @contextlib.asynccontextmanager
    async def caller(self, role: str) -> AsyncIterator[registry_service_pb2_grpc.RegistryServiceStub]:
        """The service as somebody with this role calls it."""
        now = dt.datetime.now(dt.UTC)
        key = load_or_create_key(self.folder / "issuer.pem")
        token = issue_token(key, subject=f"test-{role}", roles=[role], ttl=dt.timedelta(hours=1), now=now)
        async with connect(self.config.grpc_address, lambda: token) as channel:
            yield registry_service_pb2_grpc.RegistryServiceStub(channel)

    async def publish(self, message: monitor_pb2.CorrectionRequested | decision_pb2.ComplianceDecided) -> None:
        """Put an event on Kafka as the other services do."""
        event = Event(str(uuid.uuid4()), "vallum/test", "m", message.model.model, dt.datetime.now(dt.UTC), message)
        record = OutgoingRecord.of_event(event, traceparent="")
        await self.producer.send_and_wait(
            record.topic, key=record.key, value=record.value, headers=list(record.headers)
        )

    async def decide(self, submission: pb2.SubmitModelResponse) -> None:
        """Compliance approves."""
        reference = submission.model
        statement = Statement(
            subject=Resource("model.onnx", reference.digest),
            resource_uri=attestation.resource_uri(reference.model, reference.version),
            verifier="https://vallum.dev/compliance",
            verified_at=dt.datetime.now(dt.UTC),
            policy=Resource("vallum:policy/release", "ef" * 32),
            passed=True,
            verdict="APPROVED",
        )
        key = attestation.load_signing_key(self.folder / "attestation.pem")
        await self.publish(
            decision_pb2.ComplianceDecided(
                submission_id=submission.submission_id,
                model=reference,
                verdict=decision_pb2.VERDICT_APPROVED,
                attestation=attestation.sign(statement, key),
            )
        )

    async def outgoing(self, topic: str) -> int:
        """How many events of a topic the registry has noted for Kafka."""
        database = Database(self.config.database_url)
        async with database.transaction() as transaction:
            query = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.topic == topic)
            count: int = (await transaction.connection.execute(query)).scalar_one()
        await database.close()
        return count


async def pass_over(kafka: str) -> None:
    """Let the consumer group begin after what other tests have left on its topics, once their members are gone."""
    names = [topic_of(message).name for message in HEARD]
    consumer = AIOKafkaConsumer(*names, bootstrap_servers=kafka, group_id="registry", enable_auto_commit=False)
    await consumer.start()
    while not consumer.assignment():
        await consumer.getmany(timeout_ms=100)
    await consumer.commit(await consumer.end_offsets(consumer.assignment()))
    await consumer.stop()


@pytest.fixture
async def platform(platform_kafka: str, database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Platform]:
    """Topics, keys and settings."""
    await pass_over(platform_kafka)
    load_or_create_key(tmp_path / "issuer.pem")
    load_or_create_key(tmp_path / "attestation.pem")
    config = Config(
        grpc_address=f"127.0.0.1:{free_port()}",
        kafka=platform_kafka,
        database_url=database(),
        jwks=str(tmp_path / "issuer.jwks.json"),
        data_dir=tmp_path / "data",
        artifacts_url=(tmp_path / "artifacts").as_uri(),
        attestation_keys=tmp_path / "attestation.jwks.json",
    )
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


@dataclass(frozen=True)
class Upload:
    """A bundle with nothing but an artefact, as a client sends it."""

    version: str
    content: bytes

    @property
    def digest(self) -> str:
        """Of the artefact."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def header(self) -> pb2.UploadHeader:
        """The upload id follows from the version, so that a repetition is one."""
        return pb2.UploadHeader(
            upload_id=str(uuid.uuid5(uuid.NAMESPACE_OID, self.version)),
            manifest=f"model: {{id: digits, version: '{self.version}', artifact: model.onnx, owner: team}}\n".encode(),
            files=[
                model_pb2.BundleFile(
                    role=model_pb2.FILE_ROLE_ARTIFACT,
                    path="model.onnx",
                    size_bytes=len(self.content),
                    sha256=self.digest,
                )
            ],
        )

    async def messages(self, offset: int = 0) -> AsyncIterator[pb2.SubmitModelRequest]:
        """The header and the rest of the bytes."""
        yield pb2.SubmitModelRequest(header=self.header)
        for start in range(offset, len(self.content), CHUNK_BYTES):
            data = self.content[start : start + CHUNK_BYTES]
            yield pb2.SubmitModelRequest(chunk=pb2.UploadChunk(offset=start, data=data))

    async def submit(self, stub: registry_service_pb2_grpc.RegistryServiceStub) -> pb2.SubmitModelResponse:
        """Go on until it is recorded, as the client does."""
        while True:
            try:
                with peer_errors("registry"):
                    request = pb2.ResumeUploadRequest(upload_id=self.header.upload_id)
                    progress = await stub.ResumeUpload(request, wait_for_ready=True)
                    return await stub.SubmitModel(self.messages(progress.received_bytes), wait_for_ready=True)
            except Unavailable:
                await asyncio.sleep(0.05)


def upload(version: str, size: int = 700_000) -> Upload:
    """An artefact of random bytes, the same each time."""
    return Upload(version, random.Random(version).randbytes(size))


async def verdict(stub: registry_service_pb2_grpc.RegistryServiceStub, submission_id: str) -> str:
    """The verdict, once it is there."""
    request = pb2.WatchSubmissionRequest(submission_id=submission_id)
    states = [answer async for answer in stub.WatchSubmission(request, timeout=PATIENCE_S)]
    return states[-1].verdict


async def test_who_watches_a_submission_does_not_hold_up_the_stop(platform):
    service = asyncio.create_task(run_service(build(platform.config)))
    await until_serving(platform.config.grpc_address)
    async with platform.caller("operator") as stub:
        submission = await upload("1.0.0").submit(stub)
        request = pb2.WatchSubmissionRequest(submission_id=submission.submission_id)
        stream = stub.WatchSubmission(request, timeout=PATIENCE_S)
        await anext(aiter(stream))
        service.cancel()
        # By the grace period of the server it would be cut off, without a word.
        with pytest.raises(grpc.aio.AioRpcError, match="the registry stops; watch submission"):
            [answer async for answer in stream]
    await asyncio.gather(service, return_exceptions=True)


class TestService:
    async def test_whole_life_of_a_model(self, running):
        """Submitted, approved, deployed, superseded, corrected: with poison on the topics in between."""
        async with running.caller("operator") as stub:
            submissions = [await upload(version).submit(stub) for version in ("1.0.0", "2.0.0")]
            for submission in submissions:
                version = {"model": "digits", "version": submission.model.version}
                with pytest.raises(grpc.aio.AioRpcError, match="it is SUBMITTED, not APPROVED"):
                    await stub.Deploy(pb2.DeployRequest(**version, environment="production"))
                waiting = asyncio.create_task(verdict(stub, submission.submission_id))
                await running.producer.send_and_wait("compliance-decided", b"no event", key=b"digits")
                await running.decide(submission)
                assert await waiting == "APPROVED"
                await stub.Deploy(pb2.DeployRequest(**version, environment="production", reason="release"))
            await running.publish(
                monitor_pb2.CorrectionRequested(
                    correction_id=str(uuid.uuid4()),
                    model=submissions[1].model,
                    environment="production",
                    action=monitor_pb2.CORRECTION_ACTION_QUARANTINE,
                    reason="population drift",
                )
            )
            async with asyncio.timeout(PATIENCE_S):
                while await running.outgoing("correction-applied") == 0:
                    await asyncio.sleep(0.05)
            first, second = [
                await stub.GetModel(pb2.GetModelRequest(model="digits", version=version))
                for version in ("1.0.0", "2.0.0")
            ]
            history = await stub.GetHistory(pb2.GetHistoryRequest(model="digits"))
        assert second.state == model_pb2.MODEL_STATE_QUARANTINED
        assert [d.state for d in first.deployments] == [
            model_pb2.DEPLOYMENT_STATE_SUPERSEDED,
            model_pb2.DEPLOYMENT_STATE_ACTIVE,
        ]
        assert [f"{entry.model.version} {entry.entry.action}" for entry in history.entries] == [
            "1.0.0 submitted",
            "2.0.0 submitted",
            "1.0.0 approved",
            "1.0.0 deployed",
            "2.0.0 approved",
            "1.0.0 superseded",
            "2.0.0 deployed",
            "2.0.0 quarantined",
            "2.0.0 taken out",
            "1.0.0 deployed",
        ]
        assert await running.outgoing("deployment-changed") == 5

    async def test_bytes_come_back_as_they_were_sent(self, running):
        sent = upload("1.0.0")
        async with running.caller("platform") as stub:
            await sent.submit(stub)
        async with running.caller("service-validator") as stub:
            request = pb2.DownloadArtifactRequest(sha256=sent.digest)
            pieces = [answer.data async for answer in stub.DownloadArtifact(request)]
        assert b"".join(pieces) == sent.content
        assert max(map(len, pieces)) <= 256 * 1024

    async def test_damaged_bytes_do_not_end_with_ok(self, running):
        sent = upload("1.0.0")
        async with running.caller("operator") as stub:
            await sent.submit(stub)
            kept = running.folder / "artifacts" / "sha256" / sent.digest[:2] / sent.digest
            kept.write_bytes(bytes([sent.content[0] ^ 1]) + sent.content[1:])
            with pytest.raises(grpc.aio.AioRpcError, match="the artefact is damaged") as told:
                [answer async for answer in stub.DownloadArtifact(pb2.DownloadArtifactRequest(sha256=sent.digest))]
        assert told.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    async def test_uploads_at_the_same_time_are_one_submission(self, running):
        sent = upload("1.0.0", 3_000_000)
        async with running.caller("platform") as stub:
            answers = await asyncio.gather(*(stub.SubmitModel(sent.messages()) for _ in range(4)))
        assert len({answer.submission_id for answer in answers}) == 1
        assert await running.outgoing("model-submitted") == 1

    async def test_client_that_still_sends_learns_why_it_is_refused(self, running):
        """grpc/grpc#36066: an answer in the middle of a request stream often arrives as INTERNAL."""
        async with running.caller("platform") as stub:
            await upload("1.0.0").submit(stub)
            other = Upload("1.0.0", bytes(8_000_000))
            for _ in range(10):
                with pytest.raises(
                    grpc.aio.AioRpcError, match=r"was used for digits@1\.0\.0 with other content"
                ) as told:
                    await stub.SubmitModel(other.messages())
                assert told.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    async def test_client_is_told_that_chunks_are_awaited(self, running):
        async with running.caller("platform") as stub:
            for sent, awaited in ((upload("1.0.0"), True), (upload("1.0.0"), False)):
                call = stub.SubmitModel()
                await call.write(pb2.SubmitModelRequest(header=sent.header))
                accepted = asyncio.create_task(call.initial_metadata())
                if awaited:
                    await asyncio.wait_for(accepted, PATIENCE_S)
                    assert not call.done()
                    async for message in sent.messages():
                        if message.WhichOneof("part") == "chunk":
                            await call.write(message)
                await call.done_writing()
                assert (await call).model.digest == sent.digest

    @pytest.mark.parametrize(
        ("messages", "code", "reason"),
        [
            ([], grpc.StatusCode.INVALID_ARGUMENT, "begins with a header"),
            ([pb2.SubmitModelRequest(header=pb2.UploadHeader())], grpc.StatusCode.INVALID_ARGUMENT, "is not a UUID"),
            (
                [pb2.SubmitModelRequest(header=upload("1").header)],
                grpc.StatusCode.INVALID_ARGUMENT,
                "ended after 0 of 700000 bytes",
            ),
            (
                [
                    pb2.SubmitModelRequest(header=upload("1").header),
                    pb2.SubmitModelRequest(chunk=pb2.UploadChunk(offset=5, data=b"x")),
                ],
                grpc.StatusCode.FAILED_PRECONDITION,
                "begins at offset 5, but 0 bytes have arrived",
            ),
            (
                [
                    pb2.SubmitModelRequest(header=upload("1").header),
                    pb2.SubmitModelRequest(chunk=pb2.UploadChunk(data=bytes(1024 * 1024 + 1))),
                ],
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "the limit is chunk_bytes = 1048576",
            ),
            (
                [
                    pb2.SubmitModelRequest(header=upload("1").header),
                    pb2.SubmitModelRequest(chunk=pb2.UploadChunk(data=bytes(700_000))),
                ],
                grpc.StatusCode.INVALID_ARGUMENT,
                "arrived with sha256",
            ),
        ],
    )
    async def test_bad_upload_gets_one_line_and_the_service_goes_on(self, running, messages, code, reason):
        async def stream():
            for message in messages:
                yield message

        async with running.caller("platform") as stub:
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await stub.SubmitModel(stream())
            assert told.value.code() is code
            assert reason in told.value.details()
            assert "\n" not in told.value.details()
            assert await upload("1.0.0").submit(stub)

    @pytest.mark.parametrize(
        ("role", "allowed"),
        [("platform", {"Deploy"}), ("soc", {"Quarantine"}), ("auditor", set()), ("service-validator", set())],
    )
    async def test_commands_are_for_those_named_in_the_contract(self, running, role, allowed):
        async with running.caller(role) as stub:
            for name, request in (
                ("Deploy", pb2.DeployRequest(model="m", version="1", environment="production")),
                ("Quarantine", pb2.QuarantineRequest(model="m", version="1", reason="drift")),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as told:
                    await getattr(stub, name)(request)
                expected = grpc.StatusCode.NOT_FOUND if name in allowed else grpc.StatusCode.PERMISSION_DENIED
                assert told.value.code() is expected

    async def test_nobody_is_answered(self, running):
        async with grpc.aio.insecure_channel(running.config.grpc_address) as channel:
            stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await stub.SubmitModel(upload("1.0.0").messages())
            assert told.value.code() is grpc.StatusCode.UNAUTHENTICATED


def environment(config: Config) -> dict[str, str]:
    """The settings as a process is told them."""
    told = {f"VALLUM_{name.upper()}": str(value) for name, value in config if value not in (None, "")}
    return {**{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}, **told}


async def spawn(config: Config) -> asyncio.subprocess.Process:
    """The service as a process."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vallum_registry", env=environment(config), stderr=asyncio.subprocess.DEVNULL
    )


async def under_way(uploads: Path) -> None:
    """Wait until more bytes of some upload have arrived than a moment ago."""

    def arrived() -> int:
        size = 0
        for part in uploads.glob("*.part"):
            with contextlib.suppress(FileNotFoundError):
                size += part.stat().st_size
        return size

    before = arrived()
    async with asyncio.timeout(PATIENCE_S):
        while arrived() == before:
            await asyncio.sleep(0.002)


class TestProcess:
    async def test_settings_that_are_wrong_stop_it_at_the_start(self, platform):
        config = platform.config.model_copy(update={"attestation_keys": platform.folder / "missing.json"})
        process = await spawn(config)
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 3

    async def test_killed_again_and_again_it_loses_and_doubles_no_submission(self, platform):
        randomness = random.Random(20261123)
        uploads = [upload(f"{number}.0.0", 4_000_000) for number in range(24)]
        process = await spawn(platform.config)
        async with platform.caller("platform") as stub:
            waiting = [asyncio.create_task(one.submit(stub)) for one in uploads]
            for _ in range(3):
                await under_way(platform.config.data_dir / "uploads")
                await asyncio.sleep(randomness.uniform(0, 0.1))
                process.send_signal(signal.SIGKILL)
                await process.wait()
                assert not all(task.done() for task in waiting), "killed too late to tell anything"
                process = await spawn(platform.config)
            async with asyncio.timeout(PATIENCE_S):
                answers = await asyncio.gather(*waiting)
            again = [await one.submit(stub) for one in uploads]
        assert [a.submission_id for a in again] == [a.submission_id for a in answers]
        assert [a.model.digest for a in answers] == [one.digest for one in uploads]
        assert await platform.outgoing("model-submitted") == len(uploads)
        async with platform.caller("operator") as stub:
            for one in uploads:
                request = pb2.DownloadArtifactRequest(sha256=one.digest)
                assert b"".join([answer.data async for answer in stub.DownloadArtifact(request)]) == one.content
        process.terminate()
        await process.wait()
        assert process.returncode == 0
        assert list((platform.config.data_dir / "uploads").iterdir()) == []
