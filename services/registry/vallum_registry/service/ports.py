"""What the use cases need from outside: transactions, artefacts, a place for half an upload."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from vallum_registry.domain.corrections import Correction, CorrectionOutcome
from vallum_registry.domain.deployments import Deployment
from vallum_registry.domain.facts import Fact
from vallum_registry.domain.models import HistoryEntry, ModelReference, Submission


class Unit(Protocol):
    """One transaction: all of it is kept, facts included, or nothing."""

    async def lock_model(self, model: str) -> None:
        """Wait until no other transaction changes anything about this model, and keep others waiting."""
        ...

    async def add_submission(self, submission: Submission, manifest: bytes) -> bool:
        """Record a new version and its files; `False`, and nothing recorded, where the version or upload id exists."""
        ...

    async def update_submission(self, submission: Submission) -> None:
        """Record the standing, verdict and attestation; nothing else of a submission ever changes."""
        ...

    async def submission(self, submission_id: str) -> Submission | None:
        """By its id."""
        ...

    async def submission_of_upload(self, upload_id: str) -> Submission | None:
        """By the upload it came with."""
        ...

    async def version(self, reference: ModelReference) -> Submission | None:
        """By model and version."""
        ...

    async def children(self, parent: ModelReference) -> tuple[ModelReference, ...]:
        """Versions that name another as their parent, oldest first."""
        ...

    async def page(self, *, model: str, before: int | None, size: int) -> tuple[tuple[int, Submission], ...]:
        """Versions with their places in the order of arrival, newest first.

        Args:
            model: only its versions; empty for all.
            before: only places smaller than this.
            size: at most so many.
        """
        ...

    async def artifact_size(self, sha256: str) -> int | None:
        """How long a file of any submission is; `None` where none has this digest."""
        ...

    async def add_deployment(self, deployment: Deployment) -> None:
        """Record a deployment that begins."""
        ...

    async def update_deployment(self, deployment: Deployment) -> None:
        """Record how a deployment ended."""
        ...

    async def deployments(
        self, models: Sequence[str], *, environment: str = "", active: bool = False
    ) -> tuple[Deployment, ...]:
        """Deployments of models, oldest first.

        Args:
            models: their ids.
            environment: only those in it; empty for all.
            active: only those that serve now.
        """
        ...

    async def add_history(self, entry: HistoryEntry) -> None:
        """Record what happened; never changed afterwards."""
        ...

    async def history(self, reference: ModelReference) -> tuple[HistoryEntry, ...]:
        """What happened to a version, or with an empty version to all of a model, oldest first."""
        ...

    async def is_corrected(self, correction_id: str) -> bool:
        """Whether a correction was dealt with before."""
        ...

    async def add_correction(self, correction: Correction, outcome: CorrectionOutcome, at: dt.datetime) -> None:
        """Record that a correction was dealt with."""
        ...

    def publish(self, fact: Fact) -> None:
        """Tell the others, if and only if the transaction is kept."""
        ...

    def announce(self) -> None:
        """Wake who waits for a submission to change, if and only if the transaction is kept."""
        ...


class Store(Protocol):
    """Begins transactions."""

    def begin(self) -> AbstractAsyncContextManager[Unit]:
        """A transaction, kept at the end of the block and undone when it is left by an exception."""
        ...


class Artifacts(Protocol):
    """Files by their content."""

    async def put(self, sha256: str, size_bytes: int, pieces: AsyncIterator[bytes]) -> None:
        """Keep a file: whole or not at all; one that is here already is not written again.

        Raises:
            Unavailable: the store does not answer.
        """
        ...

    def read(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes of a file, in pieces of at most 256 KiB.

        Raises:
            NotFound: it is not here.
            Unavailable: the store does not answer.
        """
        ...


class SpooledUpload(Protocol):
    """Half an upload, on disk. Its methods block: they are called from worker threads."""

    def append(self, data: bytes) -> None:
        """Write the next bytes."""
        ...

    def read(self, offset: int = 0, size_bytes: int | None = None) -> Iterator[bytes]:
        """Bytes that were written, in pieces; all that follow the offset, or so many."""
        ...

    def close(self) -> None:
        """Leave it for later."""
        ...


class Spool(Protocol):
    """Keeps uploads while they are on their way, also when the process is killed. Its methods block."""

    def open(self, upload_id: str, fingerprint: bytes) -> SpooledUpload:
        """Begin an upload, or go on with it.

        Args:
            upload_id: a checked UUID.
            fingerprint: of its header.

        Raises:
            Conflict: it was begun with another header.
        """
        ...

    def received(self, upload_id: str) -> int:
        """How many bytes have arrived; 0 for an unknown upload."""
        ...

    def upload_ids(self) -> frozenset[str]:
        """Every upload that was begun and not discarded."""
        ...

    def discard(self, upload_id: str) -> None:
        """Forget an upload; nothing happens where there is none."""
        ...

    def discard_older(self, than: dt.datetime) -> frozenset[str]:
        """Forget every upload that was last written to before a moment.

        Returns:
            Their ids.
        """
        ...
