"""Uploading: resumed where it broke off, each content once, and the same bundle is always the same upload."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from vallum.registry.v1 import registry_service_pb2, registry_service_pb2_grpc
from vallum_client import upload
from vallum_client.client import Client
from vallum_client.profile import SERVICES, load_profile
from vallum_client.upload import CHUNK_BYTES, distinct, submit
from vallum_common.bundle import Bundle, BundleFile, Role, open_bundle
from vallum_common.errors import Conflict, Invalid, Unavailable
from vallum_common.rpc.status import to_status

from .conftest import write_profile

MANIFEST = """
model: {id: m, version: "1", artifact: model.bin, owner: me}
data: {evaluation: {file: rows.csv, label: y}, members: {file: rows.csv}, population: {file: copy.csv}}
"""
ROWS = b"x,y\n" + b"1,2\n" * 100_000
FILES = {"model.bin": bytes(range(256)) * 8_000, "rows.csv": ROWS, "copy.csv": ROWS}
SEQUENCE = FILES["model.bin"] + ROWS


class FakeRegistry(registry_service_pb2_grpc.RegistryServiceServicer):
    """Takes uploads; breaks a stream after so many chunks, as told."""

    def __init__(self) -> None:
        self.received: dict[str, bytearray] = {}
        self.breaks: list[int] = []
        self.refusal: Exception | None = None
        self.answers_at_once = False
        self.streams = 0
        self.largest = 0

    async def ResumeUpload(self, request, context):  # noqa: N802
        received = len(self.received.get(request.upload_id, b""))
        return registry_service_pb2.ResumeUploadResponse(received_bytes=received)

    async def SubmitModel(self, requests, context):  # noqa: N802
        self.streams += 1
        header = (await anext(requests)).header
        answer = registry_service_pb2.SubmitModelResponse(submission_id=header.upload_id)
        if self.answers_at_once or self.refusal:
            # As the registry does: it says that nothing is wanted, and hears the caller out before it answers.
            await context.send_initial_metadata((("vallum-chunks", "refused"),))
            assert [request async for request in requests] == []
        if self.answers_at_once:
            return answer
        if self.refusal:
            await context.abort_with_status(to_status(self.refusal))
        await context.send_initial_metadata((("vallum-chunks", "awaited"),))
        content = self.received.setdefault(header.upload_id, bytearray())
        left = self.breaks.pop(0) if self.breaks else None
        async for request in requests:
            assert request.chunk.offset == len(content)
            self.largest = max(self.largest, len(request.chunk.data))
            content += request.chunk.data
            if left is not None and (left := left - 1) <= 0:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection is lost")
        return answer


@pytest.fixture
def bundle_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "vallum.yaml").write_text(MANIFEST)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def bundle(bundle_folder: Path) -> Bundle:
    with open_bundle(bundle_folder) as opened:
        return opened


@pytest.fixture
async def registry(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[FakeRegistry, int]]:
    monkeypatch.setattr(upload, "_FIRST_WAIT_S", 0.0)
    fake, server = FakeRegistry(), grpc.aio.server()
    registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield fake, port
    await server.stop(0)


@pytest.fixture
async def client(registry: tuple[FakeRegistry, int], tmp_path: Path) -> AsyncIterator[Client]:
    addresses = dict.fromkeys(SERVICES, f"127.0.0.1:{registry[1]}")
    async with Client(load_profile(write_profile(tmp_path, addresses))) as opened:
        yield opened


async def test_each_content_travels_once_in_pieces(registry, client, bundle) -> None:
    fake, _ = registry
    told = []
    answer = await submit(client, bundle, on_sent=lambda sent, total: told.append((sent, total)))
    assert bytes(fake.received[answer.submission_id]) == SEQUENCE
    assert fake.largest == CHUNK_BYTES
    assert told == sorted(told)
    assert told[-1] == (len(SEQUENCE), len(SEQUENCE))


@pytest.mark.parametrize("breaks", [[1], [2, 1, 3], [5]])
async def test_broken_upload_goes_on_where_it_broke_off(registry, client, bundle, breaks) -> None:
    fake, _ = registry
    fake.breaks = list(breaks)
    answer = await submit(client, bundle)
    assert bytes(fake.received[answer.submission_id]) == SEQUENCE
    assert fake.streams == len(breaks) + 1


async def test_who_gave_up_goes_on_with_the_next_command(registry, client, bundle) -> None:
    fake, _ = registry
    fake.breaks = [1] * 6
    with pytest.raises(Unavailable):
        await submit(client, bundle)
    half = len(next(iter(fake.received.values())))
    assert 0 < half < len(SEQUENCE)
    answer = await submit(client, bundle)
    assert bytes(fake.received[answer.submission_id]) == SEQUENCE


async def test_same_bundle_is_the_same_upload_and_another_is_not(registry, client, bundle, bundle_folder) -> None:
    first, again = await submit(client, bundle), await submit(client, bundle)
    assert first == again
    (bundle_folder / "copy.csv").write_bytes(ROWS + b"\n")
    with open_bundle(bundle_folder) as changed:
        assert (await submit(client, changed)).submission_id != first.submission_id


async def test_what_is_recorded_already_is_not_sent(registry, client, bundle) -> None:
    fake, _ = registry
    fake.answers_at_once = True
    assert (await submit(client, bundle)).submission_id
    assert fake.received == {}


@pytest.mark.parametrize("error", [Invalid("the manifest is not right"), Conflict("exists with other content")])
async def test_refusal_is_told_and_not_tried_again(registry, client, bundle, error) -> None:
    fake, _ = registry
    fake.refusal = error
    with pytest.raises(type(error), match=error.message):
        await submit(client, bundle)
    assert fake.streams == 1


async def test_registry_that_is_away_is_named(bundle, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(upload, "_FIRST_WAIT_S", 0.0)
    profile = load_profile(write_profile(tmp_path, dict.fromkeys(SERVICES, "127.0.0.1:1")))
    async with Client(profile) as client:
        with pytest.raises(Unavailable, match=r"registry at 127\.0\.0\.1:1 does not answer"):
            await submit(client, bundle)


def test_distinct_keeps_the_first_place_of_each_content() -> None:
    contents = ["a", "b", "a", "c", "b"]
    files = [
        BundleFile(Role.CARD, f"file-{place}", 1, hashlib.sha256(content.encode()).hexdigest())
        for place, content in enumerate(contents)
    ]
    assert [file.path for file in distinct(files)] == ["file-0", "file-1", "file-3"]
    assert distinct([]) == ()
