"""The two questions the metrics ask of the facts: what serves and what is known of it; how alerts were answered."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from vallum_monitor.domain.alerts import CorrectionOutcome
from vallum_monitor.domain.metrics import Response, System
from vallum_monitor.domain.models import DeploymentState, Severity
from vallum_monitor.store.tables import alert, correction, decision, deployment, risk, validation

_WORST_ALERT: Final = (
    sa.select(sa.func.max(alert.c.severity))
    .where(alert.c.deployment_id == deployment.c.deployment_id)
    .scalar_subquery()
)

SYSTEMS: Final = (
    # For a moment the version that was replaced may look active as well: of each model and environment, the newest.
    sa.select(
        deployment.c.deployment_id,
        risk.c.upper_bound,
        risk.c.probability_high,
        validation.c.checks,
        validation.c.conclusive,
        (decision.c.allows_deployment & (decision.c.digest == deployment.c.digest)).label("is_approved"),
        _WORST_ALERT.label("worst_alert"),
    )
    .select_from(
        deployment.outerjoin(risk, risk.c.submission_id == deployment.c.submission_id)
        .outerjoin(validation, validation.c.submission_id == deployment.c.submission_id)
        .outerjoin(decision, decision.c.submission_id == deployment.c.submission_id)
    )
    .where(deployment.c.state == str(DeploymentState.ACTIVE))
    .ext(distinct_on(deployment.c.model, deployment.c.environment))
    .order_by(deployment.c.model, deployment.c.environment, deployment.c.changed_at.desc())
)

_APPLIED: Final = sa.func.min(correction.c.applied_at).filter(correction.c.outcome == str(CorrectionOutcome.APPLIED))

RESPONSES: Final = (
    sa.select(
        alert.c.episode_id,
        sa.func.min(alert.c.raised_at).label("first_alert_at"),
        _APPLIED.label("corrected_at"),
        sa.func.bool_or(deployment.c.state == str(DeploymentState.ACTIVE)).label("is_open"),
    )
    .select_from(
        alert.outerjoin(correction, correction.c.alert_id == alert.c.alert_id).outerjoin(
            deployment, deployment.c.deployment_id == alert.c.deployment_id
        )
    )
    .group_by(alert.c.episode_id)
    .having(sa.func.bool_or(alert.c.confirmed))
)


def system_from(row: Any) -> System:
    """A deployed system."""
    return System(
        risk_upper_bound=row.upper_bound,
        probability_high=row.probability_high,
        checks=row.checks or 0,
        conclusive=row.conclusive or 0,
        is_approved=bool(row.is_approved),
        worst_alert=None if row.worst_alert is None else Severity(row.worst_alert),
    )


def response_from(row: Any) -> Response:
    """How an episode was answered."""
    return Response(row.first_alert_at, row.corrected_at, bool(row.is_open))
