"""What the registry tells the others, once it is recorded."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from vallum_registry.domain.corrections import Correction, CorrectionOutcome
from vallum_registry.domain.deployments import Deployment
from vallum_registry.domain.models import Cause, ModelReference, Submission


@dataclass(frozen=True, slots=True)
class ModelSubmitted:
    """All bytes of a submission have arrived and match their digests.

    Args:
        submission: as recorded.
        manifest: as the submitter wrote it.
    """

    submission: Submission
    manifest: bytes


@dataclass(frozen=True, slots=True)
class DeploymentChanged:
    """A version began or ceased to serve.

    Args:
        deployment: as it stands now.
        other: the version that served before or serves instead; `None` where there is none.
        cause: who and why.
    """

    deployment: Deployment
    other: ModelReference | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class CorrectionApplied:
    """A correction was obeyed, or could not be.

    Args:
        correction: what was asked.
        outcome: what came of it.
        reason: in words.
        at: when, UTC.
    """

    correction: Correction
    outcome: CorrectionOutcome
    reason: str
    at: dt.datetime


Fact = ModelSubmitted | DeploymentChanged | CorrectionApplied
