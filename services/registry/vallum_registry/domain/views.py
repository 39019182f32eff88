"""What a question about versions is answered with."""

from __future__ import annotations

from dataclasses import dataclass

from vallum_registry.domain.deployments import Deployment
from vallum_registry.domain.models import ModelReference, Submission


@dataclass(frozen=True, slots=True)
class Details:
    """A version with its deployments, oldest first: all of them, or in a list those that serve now."""

    submission: Submission
    deployments: tuple[Deployment, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some versions.

    Args:
        versions: newest first.
        next_before: where the next page begins; `None` after the last.
    """

    versions: tuple[Details, ...]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class Family:
    """Where a version comes from and what was made from it.

    Args:
        submission: the version.
        ancestors: from the direct parent to the oldest known; one that was never submitted has no digest.
        children: versions that name it as their parent, oldest first.
    """

    submission: Submission
    ancestors: tuple[ModelReference, ...]
    children: tuple[ModelReference, ...]
