"""Rows and the values they hold."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from vallum_monitor.domain.alerts import Alert, Correction, Episode, Watch, Window
from vallum_monitor.domain.models import (
    Baseline,
    Deployment,
    DeploymentState,
    FeatureBaseline,
    ModelReference,
    Severity,
)


def reference_row(reference: ModelReference) -> dict[str, Any]:
    """Columns of a reference."""
    return {"model": reference.model, "version": reference.version, "digest": reference.digest}


def deployment_row(deployment: Deployment) -> dict[str, Any]:
    """Columns of a deployment."""
    return {
        **reference_row(deployment.reference),
        "deployment_id": deployment.deployment_id,
        "environment": deployment.environment,
        "state": str(deployment.state),
        "changed_at": deployment.changed_at,
        "submission_id": deployment.submission_id,
    }


def deployment_from(row: Any) -> Deployment | None:
    """A deployment; `None` where there is no row."""
    if row is None:
        return None
    return Deployment(
        deployment_id=row.deployment_id,
        reference=ModelReference(row.model, row.version, row.digest),
        environment=row.environment,
        state=DeploymentState(row.state),
        changed_at=row.changed_at,
        submission_id=row.submission_id,
    )


def baseline_text(baseline: Baseline) -> str:
    """A baseline as JSON."""
    return json.dumps([asdict(feature) for feature in baseline])


def baseline_from(text: str) -> Baseline:
    """A baseline from its JSON."""
    return tuple(
        FeatureBaseline(
            name=feature["name"],
            categories=tuple(feature["categories"]),
            edges=tuple(feature["edges"]),
            counts=tuple(feature["counts"]),
        )
        for feature in json.loads(text)
    )


def watch_row(watch: Watch) -> dict[str, Any]:
    """The changing columns of a watch."""
    episode = watch.episode
    return {
        "open_window": json.dumps(asdict(watch.window)),
        "episode": json.dumps(asdict(episode)) if episode else None,
    }


def watch_from(row: Any) -> Watch:
    """A watch."""
    window = json.loads(row.open_window)
    counts = {name: tuple(counted) for name, counted in window.pop("counts").items()}
    episode = json.loads(row.episode) if row.episode else None
    return Watch(
        deployment_id=row.deployment_id,
        detector=row.detector,
        window=Window(**window, counts=counts),
        episode=episode
        and Episode(
            episode_id=episode["episode_id"],
            severity=Severity(episode["severity"]),
            confirmed=episode["confirmed"],
            subjects=tuple(episode["subjects"]),
        ),
    )


def alert_row(alert: Alert) -> dict[str, Any]:
    """Columns of an alert."""
    return {
        **reference_row(alert.reference),
        "alert_id": alert.alert_id,
        "deployment_id": alert.deployment_id,
        "environment": alert.environment,
        "detector": alert.detector,
        "severity": int(alert.severity),
        "confirmed": alert.confirmed,
        "message": alert.message,
        "evidence": dict(alert.evidence),
        "raised_at": alert.raised_at,
    }


def alert_from(row: Any) -> Alert:
    """An alert."""
    return Alert(
        alert_id=row.alert_id,
        deployment_id=row.deployment_id,
        reference=ModelReference(row.model, row.version, row.digest),
        environment=row.environment,
        detector=row.detector,
        severity=Severity(row.severity),
        confirmed=row.confirmed,
        message=row.message,
        evidence=row.evidence,
        raised_at=row.raised_at,
    )


def correction_row(correction: Correction) -> dict[str, Any]:
    """Columns of a correction."""
    return {
        **reference_row(correction.reference),
        "correction_id": correction.correction_id,
        "alert_id": correction.alert_id,
        "environment": correction.environment,
        "action": str(correction.action),
        "reason": correction.reason,
        "policy_digest": correction.policy_digest,
        "requested_at": correction.requested_at,
    }
