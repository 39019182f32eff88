"""What others say, kept: the facts that detection, reporting and the metrics rest on."""

from __future__ import annotations

from vallum_common.errors import NotFound
from vallum_monitor.domain.alerts import CorrectionResult
from vallum_monitor.domain.metrics import (
    Metric,
    compliance_rate,
    incident_response_time_hours,
    risk_exposure,
    security_posture_score,
)
from vallum_monitor.domain.models import Decision, Deployment, RiskScore, Validation
from vallum_monitor.service.ports import Store, Unit


class Knowledge:
    """Hears facts, each in a transaction of the bus; one that comes again, late or out of order does no harm."""

    async def deployment_changed(self, unit: Unit, heard: Deployment) -> None:
        """A version began or ceased to serve."""
        known = await unit.deployment(heard.deployment_id)
        await unit.save_deployment(known.after_hearing(heard) if known else heard)

    async def validation_completed(self, unit: Unit, validation: Validation) -> None:
        """A submission was measured."""
        await unit.save_validation(validation)

    async def risk_scored(self, unit: Unit, risk: RiskScore) -> None:
        """A submission was scored, for the first time or again."""
        await unit.save_risk(risk)

    async def compliance_decided(self, unit: Unit, decision: Decision) -> None:
        """Policy decided on a submission."""
        await unit.save_decision(decision)

    async def correction_applied(self, unit: Unit, result: CorrectionResult) -> None:
        """The registry obeyed a correction, or could not.

        Raises:
            NotFound: no such correction was asked for.
        """
        if not await unit.save_result(result):
            raise NotFound(f"correction {result.correction_id!r} was never requested here")


class Metrics:
    """Computes the four metrics.

    Args:
        store: holds the facts.
        high_probability: from this probability on, overall risk counts as probably high.
    """

    def __init__(self, store: Store, *, high_probability: float) -> None:
        self._store = store
        self._high_probability = high_probability

    async def compute(self) -> dict[str, Metric]:
        """Each metric by its name, all from one moment."""
        async with self._store.begin() as unit:
            systems = await unit.systems()
            responses = await unit.responses()
        return {
            "security_posture_score": security_posture_score(systems),
            "risk_exposure": risk_exposure(systems, high_probability=self._high_probability),
            "compliance_rate": compliance_rate(systems),
            "incident_response_time_hours": incident_response_time_hours(responses),
        }
