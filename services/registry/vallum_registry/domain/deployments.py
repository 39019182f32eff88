"""Which version serves where. A deployment is one unbroken time of service; a version that comes back begins a new one.

At most one deployment of a model is ACTIVE in an environment.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from vallum_common.errors import Conflict, Invalid
from vallum_registry.domain.models import ModelReference

_ENVIRONMENT: Final = re.compile(r"[a-z0-9-]{1,63}")


class DeploymentState(StrEnum):
    """Whether a deployment serves, or how it ended."""

    ACTIVE = "ACTIVE"
    SUPERSEDED = "SUPERSEDED"
    ROLLED_BACK = "ROLLED_BACK"
    QUARANTINED = "QUARANTINED"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version in an environment.

    Args:
        deployment_id: its identity.
        submission_id: the submission whose evidence approved the version.
        reference: the version and its digest.
        environment: e.g. `production`.
        state: whether it serves.
        changed_at: since when, UTC.
    """

    deployment_id: str
    submission_id: str
    reference: ModelReference
    environment: str
    state: DeploymentState
    changed_at: dt.datetime

    def ended(self, state: DeploymentState, at: dt.datetime) -> Deployment:
        """The same deployment, over.

        Raises:
            Conflict: it was over already, or `state` is no end.
        """
        if self.state is not DeploymentState.ACTIVE or state is DeploymentState.ACTIVE:
            raise Conflict(f"a deployment cannot go from {self.state} to {state}")
        return replace(self, state=state, changed_at=at)


@dataclass(frozen=True, slots=True)
class Replacement:
    """A deployment that made room.

    Args:
        ended: the deployment that was taken out.
        restored: the one that serves instead; `None` where nothing does.
    """

    ended: Deployment
    restored: Deployment | None


def environment_name(text: str) -> str:
    """An environment's name, checked.

    Raises:
        Invalid: it is not 1 to 63 of a-z, 0-9 and "-".
    """
    if not _ENVIRONMENT.fullmatch(text):
        raise Invalid(
            f"the environment {text[:80]!r} is not a name: use 1 to 63 of a-z, 0-9 and '-'", field="environment"
        )
    return text


def good_before(deployments: Sequence[Deployment], leaving: ModelReference) -> Iterator[Deployment]:
    """The versions that served well before another, the latest first.

    A version counts by its latest time of service: it served well if that ended only because another took its place.
    What was rolled back or quarantined there is never brought back by itself.

    Args:
        deployments: of one model in one environment, oldest first.
        leaving: the version that makes room.
    """
    seen = {leaving.version}
    for deployment in reversed(deployments):
        if deployment.reference.version in seen:
            continue
        seen.add(deployment.reference.version)
        if deployment.state is DeploymentState.SUPERSEDED:
            yield deployment


def active_in(deployments: Sequence[Deployment], reference: ModelReference) -> tuple[Deployment, ...]:
    """Those by which a version serves now."""
    return tuple(
        deployment
        for deployment in deployments
        if deployment.state is DeploymentState.ACTIVE and deployment.reference.is_version_of(reference)
    )
