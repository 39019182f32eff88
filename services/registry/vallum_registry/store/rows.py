"""Rows to values and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vallum_common.bundle import BundleFile, Role
from vallum_registry.domain.deployments import Deployment, DeploymentState
from vallum_registry.domain.models import (
    Cause,
    Dataset,
    Description,
    HistoryEntry,
    ModelReference,
    Origin,
    Submission,
)
from vallum_registry.domain.states import Standing, State, Verdict


def submission_values(submission: Submission) -> dict[str, Any]:
    """The columns of a new row, but for the manifest."""
    parent = submission.origin.parent
    return {
        "submission_id": submission.submission_id,
        "upload_id": submission.upload_id,
        **reference_values(submission.reference),
        "manifest_sha256": submission.manifest_sha256,
        "files": [asdict(file) for file in submission.files],
        "description": asdict(submission.description),
        "code": submission.origin.code,
        "parent_model": parent.model if parent else None,
        "parent_version": parent.version if parent else None,
        "datasets": [asdict(dataset) for dataset in submission.origin.datasets],
        "vendor": submission.origin.vendor,
        "submitted_by": submission.submitted_by,
        "submitted_at": submission.submitted_at,
        **standing_values(submission),
    }


def standing_values(submission: Submission) -> dict[str, Any]:
    """The columns that change."""
    return {
        "state": submission.standing.state,
        "hidden_state": submission.standing.hidden,
        "changed_at": submission.changed_at,
        "verdict": submission.verdict,
        "attestation": submission.attestation,
    }


def reference_values(reference: ModelReference) -> dict[str, Any]:
    """The columns that name a version."""
    return {"model": reference.model, "version": reference.version, "digest": reference.digest}


def submission_of(row: Any) -> Submission:
    """The value of a row of `submission`."""
    parent = ModelReference(row.parent_model, row.parent_version) if row.parent_model else None
    datasets = tuple(Dataset(**dataset) for dataset in row.datasets)
    return Submission(
        submission_id=row.submission_id,
        upload_id=row.upload_id,
        reference=reference_of(row),
        manifest_sha256=row.manifest_sha256,
        files=tuple(BundleFile(**{**file, "role": Role(file["role"])}) for file in row.files),
        description=Description(**row.description),
        origin=Origin(row.code, parent, datasets, row.vendor),
        submitted_by=row.submitted_by,
        submitted_at=row.submitted_at,
        standing=Standing(State(row.state), State(row.hidden_state) if row.hidden_state else None),
        changed_at=row.changed_at,
        verdict=Verdict(row.verdict) if row.verdict else None,
        attestation=row.attestation,
    )


def reference_of(row: Any) -> ModelReference:
    """The version a row is about."""
    return ModelReference(row.model, row.version, row.digest)


def deployment_values(deployment: Deployment) -> dict[str, Any]:
    """The columns of a row of `deployment`."""
    return {
        "deployment_id": deployment.deployment_id,
        "submission_id": deployment.submission_id,
        **reference_values(deployment.reference),
        "environment": deployment.environment,
        "state": deployment.state,
        "changed_at": deployment.changed_at,
    }


def deployment_of(row: Any) -> Deployment:
    """The value of a row of `deployment`."""
    return Deployment(
        deployment_id=row.deployment_id,
        submission_id=row.submission_id,
        reference=reference_of(row),
        environment=row.environment,
        state=DeploymentState(row.state),
        changed_at=row.changed_at,
    )


def history_values(entry: HistoryEntry) -> dict[str, Any]:
    """The columns of a row of `history`."""
    return {
        **reference_values(entry.reference),
        "at": entry.at,
        "actor": entry.cause.actor,
        "reason": entry.cause.reason,
        "action": entry.action,
        "before": entry.before,
        "after": entry.after,
        "environment": entry.environment,
    }


def history_of(row: Any) -> HistoryEntry:
    """The value of a row of `history`."""
    return HistoryEntry(
        reference=reference_of(row),
        at=row.at,
        cause=Cause(row.actor, row.reason),
        action=row.action,
        before=State(row.before) if row.before else None,
        after=State(row.after),
        environment=row.environment,
    )
