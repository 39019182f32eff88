"""Versions of models as submitted: who they are, what they consist of, where they come from, what happened to them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

from vallum_common.bundle import BundleFile
from vallum_common.errors import Invalid
from vallum_registry.domain.states import Standing, State, Verdict

MAX_REASON: Final = 1000
"""Characters of a reason: it is read by people."""


@dataclass(frozen=True, slots=True)
class ModelReference:
    """One version of one model.

    Args:
        model: the model id.
        version: as its manifest says.
        digest: hex SHA-256 of the artefact; empty where only the version is meant.
    """

    model: str
    version: str
    digest: str = ""

    @property
    def name(self) -> str:
        """As people write it: `adult-income@1.2.0`."""
        return f"{self.model}@{self.version}"

    def is_version_of(self, other: ModelReference) -> bool:
        """Whether both name the same version, whatever they know of its bytes."""
        return (self.model, self.version) == (other.model, other.version)


@dataclass(frozen=True, slots=True)
class Cause:
    """Who wants something, and why; written into the history.

    Args:
        actor: the caller's subject, or the part of Vallum that acts.
        reason: at most 1000 characters.

    Raises:
        Invalid: the reason is too long.
    """

    actor: str
    reason: str = ""

    def __post_init__(self) -> None:
        if len(self.reason) > MAX_REASON:
            raise Invalid(f"the reason has {len(self.reason)} characters; at most {MAX_REASON} are kept")

    def required(self) -> Cause:
        """The same, once it is certain that there is a reason.

        Raises:
            Invalid: the reason is empty.
        """
        if not self.reason.strip():
            raise Invalid("a reason is required: who reads the history must see why", field="reason")
        return self


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set a model was made from.

    Args:
        name: as the submitter calls it.
        sha256: hex digest of its bytes; empty where unknown.
    """

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version says it comes from.

    Args:
        code: e.g. `git:<sha>`; empty where unknown.
        parent: the version it was made from; `None` where there is none.
        datasets: what it was trained on.
        vendor: the third party it was bought from; empty for own models.
    """

    code: str = ""
    parent: ModelReference | None = None
    datasets: tuple[Dataset, ...] = ()
    vendor: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """What a version says about itself.

    Args:
        tier: minimal, limited or high.
        task: classification or regression.
        owner: the team that answers for it.
        intended_use: what it is for.
    """

    tier: str
    task: str
    owner: str
    intended_use: str


@dataclass(frozen=True, slots=True)
class Submission:
    """A version as the registry holds it. Its bytes never change; its standing does.

    Args:
        submission_id: made when the last byte had arrived.
        upload_id: chosen by the client; the idempotency key.
        reference: the version and the artefact's digest.
        manifest_sha256: hex digest of the manifest as written.
        files: in the order of upload.
        description: from the manifest.
        origin: from the manifest.
        submitted_by: who sent the last byte.
        submitted_at: when it arrived, UTC.
        standing: where it stands.
        changed_at: since when, UTC.
        verdict: what compliance decided; `None` until then.
        attestation: the signed verdict, a DSSE envelope; empty until then.
    """

    submission_id: str
    upload_id: str
    reference: ModelReference
    manifest_sha256: str
    files: tuple[BundleFile, ...]
    description: Description
    origin: Origin
    submitted_by: str
    submitted_at: dt.datetime
    standing: Standing
    changed_at: dt.datetime
    verdict: Verdict | None = None
    attestation: bytes = b""

    @property
    def state(self) -> State:
        """What everybody sees."""
        return self.standing.state

    def is_identical_to(self, manifest_sha256: str, files: tuple[BundleFile, ...]) -> bool:
        """Whether another upload would bring exactly what is here, byte for byte."""
        return self.manifest_sha256 == manifest_sha256 and set(self.files) == set(files)


@dataclass(frozen=True, slots=True)
class Decision:
    """What compliance says about a submission.

    Args:
        submission_id: which.
        digest: hex SHA-256 of the artefact that was judged.
        verdict: the outcome.
        summary: the policy and the rules that fired, for the history.
        attestation: DSSE envelope.
    """

    submission_id: str
    digest: str
    verdict: Verdict
    summary: str
    attestation: bytes


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """Something that happened to a version.

    Args:
        reference: the version.
        at: when, UTC.
        cause: who and why.
        action: what, in one or a few words.
        before: the state before; `None` for the first entry.
        after: the state after.
        environment: where it served; empty where that does not matter.
    """

    reference: ModelReference
    at: dt.datetime
    cause: Cause
    action: str
    before: State | None
    after: State
    environment: str = ""
