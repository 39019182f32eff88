"""RPCs in: parse, call, answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from vallum.registry.v1 import registry_service_pb2 as pb2
from vallum.registry.v1 import registry_service_pb2_grpc
from vallum_common.errors import VallumError
from vallum_common.rpc.identity import current_caller
from vallum_registry import wire
from vallum_registry.domain.models import Cause
from vallum_registry.domain.uploads import Chunk
from vallum_registry.service.catalogue import Catalogue
from vallum_registry.service.serving import Serving
from vallum_registry.service.uploads import Uploads

CHUNKS_KEY: Final = "vallum-chunks"
HEAR_OUT_S: Final = 10.0
HEAR_OUT_BYTES: Final = 64 * 1024 * 1024
"""How long, and how many bytes, an upload that is decided is still listened to."""


class RegistryServicer(registry_service_pb2_grpc.RegistryServiceServicer):
    """`vallum.registry.v1.RegistryService`.

    Args:
        uploads: takes submissions.
        catalogue: answers questions.
        serving: obeys commands.
    """

    def __init__(self, uploads: Uploads, catalogue: Catalogue, serving: Serving) -> None:
        self._uploads = uploads
        self._catalogue = catalogue
        self._serving = serving

    async def SubmitModel(
        self, request_iterator: AsyncIterator[pb2.SubmitModelRequest], context: Any
    ) -> pb2.SubmitModelResponse:
        """Take an upload: a header, then the bytes of its files as one sequence, each distinct content once.

        The contents come in the order in which their SHA-256 first appears in `header.files`: a file under two roles
        is sent once. Initial metadata tells `vallum-chunks: awaited` once the header is accepted, or `vallum-chunks:
        refused` where the answer is known already: who waits for it before the first chunk sends nothing in vain to a
        registry that refuses, or has recorded the upload before.
        """
        requests = aiter(request_iterator)
        async with _hearing_out(requests, context):
            header = wire.header_from(await anext(requests, None))
            chunks = _awaited_chunks(requests, context)
            submission = await self._uploads.submit(header, chunks, submitter=current_caller().subject)
        return pb2.SubmitModelResponse(
            submission_id=submission.submission_id, model=wire.reference_message(submission.reference)
        )

    async def ResumeUpload(self, request: pb2.ResumeUploadRequest, context: Any) -> pb2.ResumeUploadResponse:
        """How far an upload is."""
        progress = await self._uploads.progress(request.upload_id)
        return pb2.ResumeUploadResponse(received_bytes=progress.received_bytes, submission_id=progress.submission_id)

    async def WatchSubmission(
        self, request: pb2.WatchSubmissionRequest, context: Any
    ) -> AsyncIterator[pb2.WatchSubmissionResponse]:
        """The state of a submission now and at each change, until it is decided."""
        submission_id = wire.checked_text("submission_id", request.submission_id)
        async for submission in self._catalogue.watch(submission_id):
            yield wire.watch_message(submission)

    async def GetModel(self, request: pb2.GetModelRequest, context: Any) -> pb2.GetModelResponse:
        """One version with its deployments."""
        return wire.details_message(await self._catalogue.get(wire.version_from(request)))

    async def ListModels(self, request: pb2.ListModelsRequest, context: Any) -> pb2.ListModelsResponse:
        """Versions, newest first, by pages."""
        asked = wire.list_request_from(request)
        page = await self._catalogue.page(model=asked.model, before=asked.before, size=asked.size)
        return wire.page_message(page)

    async def GetHistory(self, request: pb2.GetHistoryRequest, context: Any) -> pb2.GetHistoryResponse:
        """Who did what, when and why."""
        return wire.history_message(await self._catalogue.history(wire.model_or_version_from(request)))

    async def GetLineage(self, request: pb2.GetLineageRequest, context: Any) -> pb2.GetLineageResponse:
        """Where a version comes from and what was made from it."""
        return wire.family_message(await self._catalogue.family(wire.version_from(request)))

    async def DownloadArtifact(
        self, request: pb2.DownloadArtifactRequest, context: Any
    ) -> AsyncIterator[pb2.DownloadArtifactResponse]:
        """The bytes of a file; ends with OK only if they were exactly those of the digest."""
        async for piece in self._catalogue.download(wire.checked_sha256(request.sha256)):
            yield pb2.DownloadArtifactResponse(data=piece)

    async def Deploy(self, request: pb2.DeployRequest, context: Any) -> pb2.DeployResponse:
        """Put a version into an environment."""
        reference = wire.version_from(request)
        deployment = await self._serving.deploy(reference, request.environment, cause=_cause(request.reason))
        return pb2.DeployResponse(deployment=wire.deployment_message(deployment))

    async def Rollback(self, request: pb2.RollbackRequest, context: Any) -> pb2.RollbackResponse:
        """Take a version out of an environment and put the last good one back in."""
        reference = wire.version_from(request)
        replacement = await self._serving.rollback(reference, request.environment, cause=_cause(request.reason))
        return wire.rollback_message(replacement)

    async def Quarantine(self, request: pb2.QuarantineRequest, context: Any) -> pb2.QuarantineResponse:
        """Take a version out everywhere and bar it."""
        reference = wire.version_from(request)
        submission, ended = await self._serving.quarantine(reference, cause=_cause(request.reason))
        return wire.quarantine_message(submission.reference, ended)

    async def Release(self, request: pb2.ReleaseRequest, context: Any) -> pb2.ReleaseResponse:
        """End a quarantine."""
        submission = await self._serving.release(wire.version_from(request), cause=_cause(request.reason))
        return wire.release_message(submission)


def _cause(reason: str) -> Cause:
    return wire.cause_from(current_caller().subject, reason)


async def _awaited_chunks(requests: AsyncIterator[pb2.SubmitModelRequest], context: Any) -> AsyncIterator[Chunk]:
    await context.send_initial_metadata(((CHUNKS_KEY, "awaited"),))
    async for chunk in wire.chunks_from(requests):
        yield chunk


@contextlib.asynccontextmanager
async def _hearing_out(requests: AsyncIterator[pb2.SubmitModelRequest], context: Any) -> AsyncIterator[None]:
    """Let the caller end before it is answered, within bounds.

    A Python client that still sends when the answer comes may see "Internal error from Core" in its place
    (grpc/grpc#36066), and so never learn why it was refused.
    """
    try:
        yield
    except VallumError:
        await _hear_out(requests, context)
        raise
    await _hear_out(requests, context)


async def _hear_out(requests: AsyncIterator[pb2.SubmitModelRequest], context: Any) -> None:
    heard = 0
    # Refused by gRPC where chunks were awaited: then it has been sent. Who waits for it learns that nothing is wanted.
    with contextlib.suppress(ValueError, grpc.aio.UsageError, grpc.aio.InternalError):
        await context.send_initial_metadata(((CHUNKS_KEY, "refused"),))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HEAR_OUT_S):
            async for request in requests:
                heard += len(request.chunk.data)
                if heard > HEAR_OUT_BYTES:
                    return
