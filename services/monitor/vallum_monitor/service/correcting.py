"""Correction: hears alerts and nothing else, and asks for a version to be taken out where policy says so."""

from __future__ import annotations

from typing import Protocol

import structlog

from vallum_common.clock import Clock
from vallum_monitor.domain.alerts import Alert, Correction, CorrectionAction
from vallum_monitor.service.ports import Unit

log = structlog.get_logger(__name__)


class CorrectionRule(Protocol):
    """What to do about an alert."""

    @property
    def action(self) -> CorrectionAction:
        """What is done."""
        ...

    @property
    def reason(self) -> str:
        """Why, in one line."""
        ...


class CorrectionRules(Protocol):
    """The correction policy in force."""

    def choose(self, alert: Alert) -> CorrectionRule | None:
        """The rule for an alert; `None` where a person decides."""
        ...


class Correcting:
    """Applies the policy.

    Args:
        policy: which alerts take a version out.
        policy_digest: hex SHA-256 of its file, told with every correction.
        clock: when a correction is requested.
    """

    def __init__(self, policy: CorrectionRules, *, policy_digest: str, clock: Clock) -> None:
        self._policy = policy
        self._policy_digest = policy_digest
        self._clock = clock

    async def alert_raised(self, unit: Unit, alert: Alert) -> None:
        """Ask for a correction where the policy has a rule for the alert; once for each alert."""
        rule = self._policy.choose(alert)
        if rule is None:
            log.info("left_to_people", alert_id=alert.alert_id)
            return
        correction = Correction(
            alert_id=alert.alert_id,
            reference=alert.reference,
            environment=alert.environment,
            action=rule.action,
            reason=f"{rule.reason}; {alert.message}",
            policy_digest=self._policy_digest,
            requested_at=self._clock.now(),
        )
        if await unit.add_correction(correction):
            unit.publish(correction)
            log.info("correction_requested", alert_id=alert.alert_id, action=str(rule.action))
