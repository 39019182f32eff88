"""Submission: bytes arrive, are checked against their digests, kept by content, and become a version.

Killed at any instruction, an upload is either resumable or complete: the bytes lie in the spool until the submission is
recorded, files are kept by content before that, and putting them a second time changes nothing.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final
from weakref import WeakValueDictionary

import structlog

from vallum_common.bundle import Manifest
from vallum_common.clock import Clock, Ids
from vallum_common.errors import Conflict, Exhausted, Invalid, Unavailable
from vallum_registry.domain.facts import ModelSubmitted
from vallum_registry.domain.models import Cause, Dataset, Description, HistoryEntry, ModelReference, Origin, Submission
from vallum_registry.domain.states import Standing
from vallum_registry.domain.uploads import (
    Chunk,
    Progress,
    UploadHeader,
    UploadLimits,
    UploadPlan,
    artifact_of,
    checked_upload_id,
    plan_upload,
)
from vallum_registry.service.content import ContentCheck
from vallum_registry.service.ports import Artifacts, Spool, SpooledUpload, Store, Unit

_SWEEP_S: Final = 3600.0

log = structlog.get_logger(__name__)


class Uploads:
    """Takes uploads.

    Args:
        store: where submissions are recorded.
        spool: where bytes lie meanwhile.
        artifacts: where they go.
        limits: how much is taken.
        clock: for the time of submission and the age of abandoned uploads.
        ids: for submissions.
    """

    def __init__(
        self, store: Store, spool: Spool, artifacts: Artifacts, *, limits: UploadLimits, clock: Clock, ids: Ids
    ) -> None:
        self._store = store
        self._spool = spool
        self._artifacts = artifacts
        self._limits = limits
        self._clock = clock
        self._ids = ids
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def submit(self, header: UploadHeader, chunks: AsyncIterator[Chunk], *, submitter: str) -> Submission:
        """Take an upload, or the rest of it, and record the version. The next chunk is read when the last is written.

        What is already recorded is answered at once, without reading a chunk: the same upload again, or a version that
        exists with exactly these bytes. A second stream of one upload waits for the first.

        Args:
            header: what will come.
            chunks: the bytes that have not arrived yet.
            submitter: who sends them.

        Raises:
            Invalid: header or content is not right; wrong content is thrown away, the rest of the upload too.
            Conflict: the upload id or the version stands for other content, or a chunk does not go on where the last
                ended.
            Exhausted: a limit, which is named.
            Unavailable: no chunk came for a while, or the artefact store is away; the upload can be resumed.
        """
        plan = await asyncio.to_thread(plan_upload, header, self._limits)
        lock = self._locks.setdefault(header.upload_id, asyncio.Lock())
        async with lock:
            async with self._store.begin() as unit:
                recorded = await _recorded(unit, plan)
            if recorded is None:
                recorded = await self._receive(plan, chunks, submitter)
            await asyncio.to_thread(self._spool.discard, header.upload_id)
            return recorded

    async def progress(self, upload_id: str) -> Progress:
        """How far an upload is; an unknown one is at 0.

        Raises:
            Invalid: the id is no UUID.
        """
        checked_upload_id(upload_id)
        async with self._store.begin() as unit:
            submission = await unit.submission_of_upload(upload_id)
        if submission is not None:
            sizes = {file.sha256: file.size_bytes for file in submission.files}
            return Progress(sum(sizes.values()), submission.submission_id)
        return Progress(await asyncio.to_thread(self._spool.received, upload_id))

    async def sweep(self) -> frozenset[str]:
        """Forget uploads nobody has gone on with for too long.

        Returns:
            Their ids.
        """
        oldest = self._clock.now() - dt.timedelta(seconds=self._limits.keep_s)
        forgotten = await asyncio.to_thread(self._spool.discard_older, oldest)
        if forgotten:
            log.info("abandoned_uploads_removed", uploads=sorted(forgotten))
        return forgotten

    async def keep_sweeping(self) -> None:
        """Sweep now and every hour, until cancelled."""
        while True:
            try:
                await self.sweep()
            except (Exhausted, Unavailable) as error:
                log.warning("sweep_failed", reason=error.message)
            await asyncio.sleep(_SWEEP_S)

    async def _receive(self, plan: UploadPlan, chunks: AsyncIterator[Chunk], submitter: str) -> Submission:
        upload_id = plan.header.upload_id
        others = await asyncio.to_thread(self._spool.upload_ids) - {upload_id}
        if len(others) >= self._limits.uploads:
            raise Exhausted(
                f"{len(others)} uploads are under way; the limit is uploads = {self._limits.uploads}; try again later",
                limit="uploads",
            )
        spooled = await asyncio.to_thread(self._spool.open, upload_id, plan.fingerprint)
        try:
            await self._fill(plan, spooled, chunks)
            await self._keep_files(plan, spooled)
        finally:
            spooled.close()
        return await self._record(plan, submitter)

    async def _fill(self, plan: UploadPlan, spooled: SpooledUpload, chunks: AsyncIterator[Chunk]) -> None:
        check = ContentCheck(plan.contents)
        upload_id = plan.header.upload_id
        await self._taken(upload_id, lambda: _check_all(check, spooled.read()))
        while (chunk := await self._next(chunks)) is not None:
            self._check_chunk(chunk, check.received)
            await self._taken(upload_id, functools.partial(_check_and_append, check, spooled, chunk.data))
        if check.received < plan.total_bytes:
            raise Invalid(
                f"the upload ended after {check.received} of {plan.total_bytes} bytes; resume it from there",
                received_bytes=str(check.received),
            )

    async def _taken(self, upload_id: str, take: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(take)
        except Invalid:
            # What has arrived cannot become right by going on: the client begins anew.
            await asyncio.to_thread(self._spool.discard, upload_id)
            raise

    async def _next(self, chunks: AsyncIterator[Chunk]) -> Chunk | None:
        try:
            async with asyncio.timeout(self._limits.idle_s):
                return await anext(chunks, None)
        except TimeoutError as error:
            raise Unavailable(f"no chunk came for {self._limits.idle_s:g} s; resume the upload") from error

    def _check_chunk(self, chunk: Chunk, received: int) -> None:
        if len(chunk.data) > self._limits.chunk_bytes:
            raise Exhausted(
                f"the chunk at {chunk.offset} has {len(chunk.data)} bytes; the limit is chunk_bytes = "
                f"{self._limits.chunk_bytes}",
                limit="chunk_bytes",
            )
        if chunk.offset != received:
            raise Conflict(
                f"the chunk begins at offset {chunk.offset}, but {received} bytes have arrived; go on from {received}",
                offset=str(chunk.offset),
                received_bytes=str(received),
            )

    async def _keep_files(self, plan: UploadPlan, spooled: SpooledUpload) -> None:
        for content in plan.contents:
            pieces = _in_threads(spooled.read(content.offset, content.size_bytes))
            await self._artifacts.put(content.sha256, content.size_bytes, pieces)

    async def _record(self, plan: UploadPlan, submitter: str) -> Submission:
        submission = _submission(plan, self._ids.new(), submitter, self._clock.now())
        async with self._store.begin() as unit:
            if not await unit.add_submission(submission, plan.header.manifest):
                # Another process was first, with this upload or another one of this version.
                if recorded := await _recorded(unit, plan):
                    return recorded
                raise Unavailable(f"{submission.reference.name} could not be recorded; try again")
            entry = HistoryEntry(
                submission.reference, submission.submitted_at, Cause(submitter), "submitted", None, submission.state
            )
            await unit.add_history(entry)
            unit.publish(ModelSubmitted(submission, plan.header.manifest))
        log.info("model_submitted", model=submission.reference.name, submission_id=submission.submission_id)
        return submission


async def _recorded(unit: Unit, plan: UploadPlan) -> Submission | None:
    """The submission this upload is, or would repeat."""
    header = plan.header
    if (mine := await unit.submission_of_upload(header.upload_id)) is not None:
        if mine.is_identical_to(plan.manifest_sha256, header.files):
            return mine
        raise Conflict(
            f"the upload id {header.upload_id!r} was used for {mine.reference.name} with other content; take a new one"
        )
    same = await unit.version(ModelReference(plan.manifest.model.id, plan.manifest.model.version))
    if same is None or same.is_identical_to(plan.manifest_sha256, header.files):
        return same
    raise Conflict(
        f"{same.reference.name} exists since {same.submitted_at.isoformat(timespec='seconds')} with other content "
        f"(sha256 {same.reference.digest}); a version never changes, submit a new one"
    )


def _submission(plan: UploadPlan, submission_id: str, submitter: str, now: dt.datetime) -> Submission:
    model = plan.manifest.model
    return Submission(
        submission_id=submission_id,
        upload_id=plan.header.upload_id,
        reference=ModelReference(model.id, model.version, artifact_of(plan.header.files).sha256),
        manifest_sha256=plan.manifest_sha256,
        files=plan.header.files,
        description=Description(model.tier.value, model.task.value, model.owner, model.intended_use),
        origin=_origin(plan.manifest),
        submitted_by=submitter,
        submitted_at=now,
        standing=Standing(),
        changed_at=now,
    )


def _origin(manifest: Manifest) -> Origin:
    lineage = manifest.lineage
    parent = ModelReference(*lineage.parent.split("@", 1)) if lineage.parent else None
    return Origin(
        code=lineage.code,
        parent=parent,
        datasets=tuple(Dataset(dataset.name, dataset.sha256 or "") for dataset in lineage.datasets),
        vendor=manifest.vendor.name if manifest.vendor else "",
    )


def _check_all(check: ContentCheck, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        check.take(piece)


def _check_and_append(check: ContentCheck, spooled: SpooledUpload, data: bytes) -> None:
    check.take(data)
    spooled.append(data)


async def _in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece
