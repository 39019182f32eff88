"""Reading: versions, lists, histories, lineage, the progress of a submission, and the files themselves."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

import structlog

from vallum_common.errors import Conflict, NotFound, Unavailable
from vallum_registry.domain.deployments import Deployment
from vallum_registry.domain.models import HistoryEntry, ModelReference, Submission
from vallum_registry.domain.states import State
from vallum_registry.domain.views import Details, Family, Page
from vallum_registry.service.ports import Artifacts, Store, Unit

MAX_ANCESTORS: Final = 1000
_POLL_S: Final = 0.5
"""How long a change made by another process may wait to be seen; changes made by this one wake at once."""

log = structlog.get_logger(__name__)


class Changes:
    """Wakes those who wait for a submission to change."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self.closed = False
        """Whether no change will be announced any more."""

    def close(self) -> None:
        """Have those who wait be told to come back: the registry stops."""
        self.closed = True
        self.announce()

    def announce(self) -> None:
        """Wake everybody who waits now."""
        self._next.set()
        self._next = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Set at the next change; take it before looking, so that none is missed in between."""
        return self._next


class Catalogue:
    """Answers questions; changes nothing.

    Args:
        store: what is recorded.
        artifacts: the files.
        changes: announces that a submission has changed.
    """

    def __init__(self, store: Store, artifacts: Artifacts, changes: Changes) -> None:
        self._store = store
        self._artifacts = artifacts
        self._changes = changes

    async def get(self, reference: ModelReference) -> Details:
        """A version with all its deployments.

        Raises:
            NotFound: there is no such version.
        """
        async with self._store.begin() as unit:
            submission = await known_version(unit, reference)
            deployments = await unit.deployments([reference.model])
            return _details(submission, deployments)

    async def page(self, *, model: str, before: int | None, size: int) -> Page:
        """Versions, newest first.

        Args:
            model: only its versions; empty for all.
            before: `next_before` of the page before; `None` for the first.
            size: at most so many.
        """
        async with self._store.begin() as unit:
            rows = await unit.page(model=model, before=before, size=size + 1)
            models = sorted({submission.reference.model for _, submission in rows})
            active = await unit.deployments(models, active=True) if models else ()
        versions = tuple(_details(submission, active) for _, submission in rows[:size])
        return Page(versions, rows[size - 1][0] if len(rows) > size else None)

    async def history(self, reference: ModelReference) -> tuple[HistoryEntry, ...]:
        """What happened to a version, or with an empty version to all of a model, oldest first.

        Raises:
            NotFound: there is no such version or model.
        """
        async with self._store.begin() as unit:
            entries = await unit.history(reference)
        if not entries:
            raise NotFound(f"nothing is recorded about {reference.name if reference.version else reference.model!r}")
        return entries

    async def family(self, reference: ModelReference) -> Family:
        """Where a version comes from and what was made from it, as the manifests say.

        Raises:
            NotFound: there is no such version.
        """
        async with self._store.begin() as unit:
            submission = await known_version(unit, reference)
            return Family(submission, await _ancestors(unit, submission), await unit.children(submission.reference))

    async def watch(self, submission_id: str) -> AsyncIterator[Submission]:
        """A submission now and whenever its standing changes, until it is no longer SUBMITTED.

        Raises:
            NotFound: there is no such submission.
            Unavailable: the registry stops.
        """
        told = None
        while True:
            change = self._changes.next()
            async with self._store.begin() as unit:
                submission = await unit.submission(submission_id)
            if submission is None:
                raise NotFound(f"there is no submission {submission_id!r}")
            if submission.standing != told:
                told = submission.standing
                yield submission
            if submission.state is not State.SUBMITTED:
                return
            if self._changes.closed:
                raise Unavailable(f"the registry stops; watch submission {submission_id!r} again")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(change.wait(), _POLL_S)

    async def download(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes of a file, compared with their digest while they pass; ends well only if they were exactly those.

        Raises:
            NotFound: no submission has a file with this digest, or it is missing from the artefact store.
            Conflict: the bytes in the artefact store are not those of the digest. What came before is worthless.
            Unavailable: the artefact store does not answer.
        """
        async with self._store.begin() as unit:
            size = await unit.artifact_size(sha256)
        if size is None:
            raise NotFound(f"no submission has a file with sha256 {sha256!r}")
        # Before the first byte leaves: who breaks off has read, too. The caller is bound to the log at the edge.
        log.info("artifact_read", sha256=sha256, size_bytes=size)
        digest = hashlib.sha256()
        async for piece in self._artifacts.read(sha256):
            digest.update(piece)
            yield piece
        if digest.hexdigest() != sha256:
            log.error("artifact_damaged", sha256=sha256, found=digest.hexdigest())
            raise Conflict(f"the stored bytes of {sha256} have sha256 {digest.hexdigest()}: the artefact is damaged")


async def known_version(unit: Unit, reference: ModelReference) -> Submission:
    """A version that must exist.

    Raises:
        NotFound: it does not.
    """
    submission = await unit.version(reference)
    if submission is None:
        raise NotFound(f"there is no version {reference.name}")
    return submission


def _details(submission: Submission, deployments: Sequence[Deployment]) -> Details:
    own = tuple(d for d in deployments if d.reference.is_version_of(submission.reference))
    return Details(submission, own)


async def _ancestors(unit: Unit, submission: Submission) -> tuple[ModelReference, ...]:
    ancestors: list[ModelReference] = []
    seen = {submission.reference.name}
    parent = submission.origin.parent
    # Manifests may name each other in a circle: anybody can write one.
    while parent is not None and parent.name not in seen and len(ancestors) < MAX_ANCESTORS:
        seen.add(parent.name)
        known = await unit.version(parent)
        ancestors.append(known.reference if known else parent)
        parent = known.origin.parent if known else None
    return tuple(ancestors)
