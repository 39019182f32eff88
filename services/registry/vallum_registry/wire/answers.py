"""Answers out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from vallum.registry.v1 import model_pb2, registry_service_pb2
from vallum_common.bundle import BundleFile, Role
from vallum_registry.domain.deployments import Deployment, DeploymentState, Replacement
from vallum_registry.domain.models import HistoryEntry, ModelReference, Submission
from vallum_registry.domain.states import State
from vallum_registry.domain.views import Details, Family, Page
from vallum_registry.wire.requests import page_token

_ROLES: Final[Mapping[Role, model_pb2.FileRole]] = {role: getattr(model_pb2, f"FILE_ROLE_{role.name}") for role in Role}
_STATES: Final[Mapping[State, model_pb2.ModelState]] = {
    state: getattr(model_pb2, f"MODEL_STATE_{state.name}") for state in State
}
_DEPLOYMENT_STATES: Final[Mapping[DeploymentState, model_pb2.DeploymentState]] = {
    state: getattr(model_pb2, f"DEPLOYMENT_STATE_{state.name}") for state in DeploymentState
}


def timestamp(moment: dt.datetime) -> Timestamp:
    """A moment on the wire."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def reference_message(reference: ModelReference) -> model_pb2.ModelReference:
    """A version on the wire."""
    return model_pb2.ModelReference(model=reference.model, version=reference.version, digest=reference.digest)


def file_messages(files: Iterable[BundleFile]) -> list[model_pb2.BundleFile]:
    """Files on the wire."""
    return [
        model_pb2.BundleFile(
            role=_ROLES[file.role],
            path=file.path,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
        )
        for file in files
    ]


def deployment_state(state: DeploymentState) -> model_pb2.DeploymentState:
    """The state of a deployment on the wire."""
    return _DEPLOYMENT_STATES[state]


def deployment_message(deployment: Deployment) -> model_pb2.Deployment:
    """A deployment on the wire."""
    return model_pb2.Deployment(
        deployment_id=deployment.deployment_id,
        model=reference_message(deployment.reference),
        environment=deployment.environment,
        state=deployment_state(deployment.state),
        changed_at=timestamp(deployment.changed_at),
    )


def details_message(details: Details) -> registry_service_pb2.GetModelResponse:
    """A version with its deployments."""
    submission = details.submission
    description = submission.description
    return registry_service_pb2.GetModelResponse(
        model=reference_message(submission.reference),
        state=_state(submission.state),
        submission_id=submission.submission_id,
        verdict=_verdict(submission),
        tier=description.tier,
        task=description.task,
        owner=description.owner,
        intended_use=description.intended_use,
        submitted_by=submission.submitted_by,
        submitted_at=timestamp(submission.submitted_at),
        files=file_messages(submission.files),
        deployments=map(deployment_message, details.deployments),
        attestation=submission.attestation,
    )


def page_message(page: Page) -> registry_service_pb2.ListModelsResponse:
    """A page of versions."""
    return registry_service_pb2.ListModelsResponse(
        models=map(_summary, page.versions), next_page_token=page_token(page.next_before)
    )


def history_message(entries: Iterable[HistoryEntry]) -> registry_service_pb2.GetHistoryResponse:
    """A history."""
    return registry_service_pb2.GetHistoryResponse(entries=map(_entry, entries))


def family_message(family: Family) -> registry_service_pb2.GetLineageResponse:
    """Where a version comes from and what was made from it."""
    origin = family.submission.origin
    return registry_service_pb2.GetLineageResponse(
        model=reference_message(family.submission.reference),
        code=origin.code,
        ancestors=map(reference_message, family.ancestors),
        children=map(reference_message, family.children),
        datasets=[registry_service_pb2.Dataset(name=one.name, sha256=one.sha256) for one in origin.datasets],
        vendor=origin.vendor,
    )


def watch_message(submission: Submission) -> registry_service_pb2.WatchSubmissionResponse:
    """The state of a submission."""
    return registry_service_pb2.WatchSubmissionResponse(
        submission_id=submission.submission_id,
        model=reference_message(submission.reference),
        state=_state(submission.state),
        changed_at=timestamp(submission.changed_at),
        verdict=_verdict(submission),
    )


def rollback_message(replacement: Replacement) -> registry_service_pb2.RollbackResponse:
    """What was taken out, and what serves again."""
    restored = replacement.restored
    return registry_service_pb2.RollbackResponse(
        rolled_back=deployment_message(replacement.ended),
        restored=None if restored is None else deployment_message(restored),
    )


def quarantine_message(
    reference: ModelReference, ended: Sequence[Deployment]
) -> registry_service_pb2.QuarantineResponse:
    """The version that is barred, and the deployments that ended."""
    return registry_service_pb2.QuarantineResponse(
        model=reference_message(reference), ended=map(deployment_message, ended)
    )


def release_message(submission: Submission) -> registry_service_pb2.ReleaseResponse:
    """The state a version returned to."""
    return registry_service_pb2.ReleaseResponse(
        model=reference_message(submission.reference), state=_state(submission.state)
    )


def _state(state: State | None) -> model_pb2.ModelState:
    return _STATES[state] if state else model_pb2.MODEL_STATE_UNSPECIFIED


def _verdict(submission: Submission) -> str:
    return submission.verdict or ""


def _summary(details: Details) -> registry_service_pb2.ModelSummary:
    submission = details.submission
    return registry_service_pb2.ModelSummary(
        model=reference_message(submission.reference),
        state=_state(submission.state),
        verdict=_verdict(submission),
        tier=submission.description.tier,
        owner=submission.description.owner,
        submitted_at=timestamp(submission.submitted_at),
        active_environments=sorted(
            one.environment for one in details.deployments if one.state is DeploymentState.ACTIVE
        ),
    )


def _entry(entry: HistoryEntry) -> registry_service_pb2.VersionedHistoryEntry:
    return registry_service_pb2.VersionedHistoryEntry(
        model=reference_message(entry.reference),
        entry=model_pb2.HistoryEntry(
            at=timestamp(entry.at),
            actor=entry.cause.actor,
            action=entry.action,
            from_state=_state(entry.before),
            to_state=_state(entry.after),
            reason=entry.cause.reason,
            environment=entry.environment,
        ),
    )
