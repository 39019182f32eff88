"""RPCs in, and the one RPC out: bytes from the registry that are exactly those asked for, or none."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import grpc
import pytest

from vallum.registry.v1 import registry_service_pb2, registry_service_pb2_grpc
from vallum.validator.v1 import validator_service_pb2
from vallum_common.errors import Exhausted, Invalid, NotFound, Unavailable
from vallum_common.testing import FakeClock
from vallum_validator.checks import CHECKS
from vallum_validator.domain.evidence import CHECK_NAMES
from vallum_validator.grpc_api import servicer
from vallum_validator.grpc_api.registry import RegistryArtifacts
from vallum_validator.grpc_api.servicer import ValidatorServicer
from vallum_validator.service import Validation

from .fakes import CONTENT, DIGEST, SUBMISSION, MemoryArtifacts, MemoryMeasurer, MemoryStore


class FakeRegistry(registry_service_pb2_grpc.RegistryServiceServicer):
    """Serves pieces of what it is told under a digest."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[bytes]] = {}
        self.breaks = False

    async def DownloadArtifact(self, request, context):  # noqa: N802
        if request.sha256 not in self.pieces:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no submission has a file with sha256 {request.sha256}")
        for piece in self.pieces[request.sha256]:
            yield registry_service_pb2.DownloadArtifactResponse(data=piece)
        if self.breaks:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the artefact is damaged")


@pytest.fixture
async def registry() -> AsyncIterator[tuple[FakeRegistry, RegistryArtifacts]]:
    """A registry that answers, and the validator's way to it."""
    fake, server = FakeRegistry(), grpc.aio.server()
    registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield fake, RegistryArtifacts(channel)
    await server.stop(0)


class TestFetch:
    async def test_bytes_of_the_digest_are_written(self, registry, tmp_path):
        fake, artifacts = registry
        fake.pieces[DIGEST] = [CONTENT[:3], b"", CONTENT[3:]]
        await artifacts.fetch(DIGEST, tmp_path / "m")
        assert (tmp_path / "m").read_bytes() == CONTENT

    @pytest.mark.parametrize("pieces", [[], [CONTENT[:-1]], [CONTENT, b"more"], [b"other bytes"]])
    async def test_other_bytes_are_refused(self, registry, tmp_path, pieces):
        fake, artifacts = registry
        fake.pieces[DIGEST] = pieces
        got = hashlib.sha256(b"".join(pieces)).hexdigest()
        with pytest.raises(Unavailable, match=f"asked the registry for {DIGEST} and got bytes of {got}"):
            await artifacts.fetch(DIGEST, tmp_path / "m")

    async def test_what_the_registry_does_not_have_is_not_found(self, registry, tmp_path):
        with pytest.raises(NotFound, match=DIGEST):
            await registry[1].fetch(DIGEST, tmp_path / "m")

    async def test_registry_that_is_away_is_named(self, tmp_path):
        async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
            with pytest.raises(Unavailable, match="the registry does not answer"):
                await RegistryArtifacts(channel).fetch(DIGEST, tmp_path / "m")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def called(store) -> ValidatorServicer:
    """The servicer on everything in memory."""
    measurer = MemoryMeasurer()
    return ValidatorServicer(Validation(store, MemoryArtifacts(), measurer, FakeClock(), "thresholds", "rules"))


async def parts(*parts: str | bytes) -> AsyncIterator[validator_service_pb2.ScanRequest]:
    """A scan upload: text names the file, bytes are its content."""
    for part in parts:
        yield validator_service_pb2.ScanRequest(**{"name" if isinstance(part, str) else "data": part})


class TestScan:
    async def test_all_of_the_file_is_scanned(self, called):
        answer = await called.Scan(parts("m.onnx", b"abc", b"", b"defg"), None)
        assert (answer.file.path, answer.file.size_bytes, answer.rules_digest) == ("m.onnx", 7, "rules")

    @pytest.mark.parametrize("sent", [(), (b"abc",), ("", b"abc")])
    async def test_file_without_a_name_is_invalid(self, called, sent):
        with pytest.raises(Invalid, match="must carry the file's name"):
            await called.Scan(parts(*sent), None)

    async def test_file_that_is_too_large_is_given_up_at_once(self, called, monkeypatch):
        monkeypatch.setattr(servicer, "MAX_SCAN_BYTES", 5)
        requests = parts("m", b"abc", b"def", b"never read")
        with pytest.raises(Exhausted, match="more than 5 bytes"):
            await called.Scan(requests, None)
        assert (await anext(requests)).data == b"never read"

    async def test_nothing_of_the_upload_stays(self, called, monkeypatch, tmp_path):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        await called.Scan(parts("m", b"abc"), None)
        assert list(tmp_path.iterdir()) == []


class TestReports:
    async def test_report_is_told_as_far_as_it_has_come(self, called, store):
        async with store.begin() as unit:
            await unit.enqueue(SUBMISSION)
        answer = await called.GetReport(validator_service_pb2.GetReportRequest(submission_id="s-1"), None)
        assert answer.state == validator_service_pb2.REPORT_STATE_QUEUED
        assert len(answer.checks) == 0

    async def test_unknown_submission_is_not_found(self, called):
        with pytest.raises(NotFound, match="'s-9'"):
            await called.GetReport(validator_service_pb2.GetReportRequest(submission_id="s-9"), None)

    async def test_checks_are_listed_in_the_order_they_run(self, called):
        answer = await called.ListChecks(validator_service_pb2.ListChecksRequest(), None)
        assert tuple(check.name for check in answer.checks) == CHECK_NAMES == tuple(CHECKS)
        assert all(check.measures for check in answer.checks)
        assert (answer.thresholds_digest, answer.rules_digest) == ("thresholds", "rules")
