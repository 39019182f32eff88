"""Submitting a bundle: resumable, and the same bundle twice is the same submission."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import grpc

from vallum.registry.v1 import model_pb2, registry_service_pb2
from vallum_client.client import Client
from vallum_common.bundle import Bundle, BundleFile
from vallum_common.errors import Unavailable

CHUNK_BYTES: Final = 256 * 1024
"""The size at which one stream was measured fastest; the registry takes up to 1 MiB."""
_ATTEMPTS: Final = 6
_FIRST_WAIT_S: Final = 0.5
_UPLOADS: Final = uuid.UUID("0d9b8f0e-1f3c-5c8e-8f63-6d1f3f6b2a10")


async def submit(
    client: Client, bundle: Bundle, *, on_sent: Callable[[int, int], None] = lambda *_: None
) -> registry_service_pb2.SubmitModelResponse:
    """Upload a bundle, from where an earlier attempt broke off.

    Args:
        client: open.
        bundle: open; its files must not change meanwhile.
        on_sent: told the bytes sent and their total as they go.

    Raises:
        VallumError: what the registry refused, or `Unavailable` after several attempts.
    """
    header = registry_service_pb2.UploadHeader(
        manifest=bundle.manifest_bytes,
        files=[
            model_pb2.BundleFile(role=_role(file), path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
            for file in bundle.files
        ],
    )
    # By content: who repeats the command continues the upload, or is told of the submission that exists.
    header.upload_id = str(uuid.uuid5(_UPLOADS, header.SerializeToString(deterministic=True).hex()))
    wait = _FIRST_WAIT_S
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with client.errors("registry"):
                request = registry_service_pb2.ResumeUploadRequest(upload_id=header.upload_id)
                received = (await client.registry.ResumeUpload(request)).received_bytes
                return await _send(client, header, bundle, received, on_sent)
        except Unavailable:
            if attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(wait)
            wait *= 2
    raise AssertionError("the loop returns or raises")


async def _send(
    client: Client,
    header: registry_service_pb2.UploadHeader,
    bundle: Bundle,
    received: int,
    on_sent: Callable[[int, int], None],
) -> registry_service_pb2.SubmitModelResponse:
    total = sum(file.size_bytes for file in distinct(bundle.files))
    call = client.registry.SubmitModel()
    # An answer that comes while we are still sending is often lost (grpc issue 36066), so the registry lets us know
    # whether it awaits chunks; where it answers at once, none is sent.
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(registry_service_pb2.SubmitModelRequest(header=header))
        awaited = dict(await call.initial_metadata()).get("vallum-chunks") != "refused"
        for chunk in _chunks(bundle, received) if awaited else ():
            if call.done():
                break
            await call.write(registry_service_pb2.SubmitModelRequest(chunk=chunk))
            on_sent(chunk.offset + len(chunk.data), total)
        await call.done_writing()
    answer: registry_service_pb2.SubmitModelResponse = await call
    return answer


def _chunks(bundle: Bundle, received: int) -> Iterator[registry_service_pb2.UploadChunk]:
    files = distinct(bundle.files)
    begin = 0
    for file in files:
        with (bundle.root / file.path).open("rb") as content:
            content.seek(min(max(received - begin, 0), file.size_bytes))
            offset = begin + content.tell()
            while data := content.read(CHUNK_BYTES):
                yield registry_service_pb2.UploadChunk(offset=offset, data=data)
                offset += len(data)
        begin += file.size_bytes


def distinct(files: Sequence[BundleFile]) -> tuple[BundleFile, ...]:
    """The files whose bytes are sent: content that serves two roles travels once, at its first place."""
    return tuple(
        {file.sha256: file for file in reversed(files)}[digest] for digest in dict.fromkeys(f.sha256 for f in files)
    )


def _role(file: BundleFile) -> model_pb2.FileRole:
    role: Any = model_pb2.FileRole.Value(f"FILE_ROLE_{file.role.name}")
    return cast("model_pb2.FileRole", role)
