"""The four security metrics, each from facts that came as events, with its formula and the figures that went into it.

What is not known counts as bad: a system nobody scored has the upper bound 1 and counts as exposed.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vallum_monitor.domain.models import Severity

_HOUR: Final = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class System:
    """A deployed version, and what is known of it.

    Args:
        risk_upper_bound: of the 90 % interval of its overall risk; `None` where it was never scored.
        probability_high: that its overall risk is above 0.7; `None` where it was never scored.
        checks: how many checks were made.
        conclusive: how many of them ended as PASS or FAIL.
        is_approved: whether policy allowed deployment of exactly these bytes.
        worst_alert: severity of the worst alert since it was deployed; `None` where there was none.
    """

    risk_upper_bound: float | None
    probability_high: float | None
    checks: int
    conclusive: int
    is_approved: bool
    worst_alert: Severity | None

    @property
    def conclusive_share(self) -> float:
        """Share of its checks that could tell, 0 to 1; 0 where none was made."""
        return self.conclusive / self.checks if self.checks else 0.0

    @property
    def is_compliant(self) -> bool:
        """Whether it was approved on evidence that could tell throughout."""
        return self.is_approved and self.conclusive_share == 1.0


@dataclass(frozen=True, slots=True)
class Response:
    """How an episode of alerts was answered.

    Args:
        first_alert_at: when it was first told.
        corrected_at: when a correction was applied; `None` where none was.
        is_open: whether the version still serves.
    """

    first_alert_at: dt.datetime
    corrected_at: dt.datetime | None
    is_open: bool


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that can be computed again.

    Args:
        value: `None` where nothing has happened yet to compute it from.
        formula: how it follows from the inputs, in their names.
        inputs: by name.
    """

    value: float | None
    formula: str
    inputs: Mapping[str, float]


def security_posture_score(systems: Sequence[System]) -> Metric:
    """How safe what serves is known to be, 0 to 10."""
    formula = "10 × (1 − mean_risk_upper_bound) × mean_conclusive_share, means over deployed systems"
    if not systems:
        return Metric(None, formula, {"deployed_systems": 0})
    risk = statistics.fmean(1.0 if s.risk_upper_bound is None else s.risk_upper_bound for s in systems)
    share = statistics.fmean(s.conclusive_share for s in systems)
    inputs = {"deployed_systems": len(systems), "mean_risk_upper_bound": risk, "mean_conclusive_share": share}
    return Metric(10 * (1 - risk) * share, formula, inputs)


def risk_exposure(systems: Sequence[System], *, high_probability: float) -> Metric:
    """How many deployed systems are exposed to a high risk.

    Each is counted under the first of three reasons: never scored; overall risk probably above 0.7; an alert of high
    severity since it was deployed.

    Args:
        systems: those that serve.
        high_probability: from this probability on, overall risk counts as probably above 0.7.
    """
    unscored = [s for s in systems if s.probability_high is None]
    risky = [s for s in systems if s.probability_high is not None and s.probability_high >= high_probability]
    rest = [s for s in systems if s.probability_high is not None and s.probability_high < high_probability]
    alerted = [s for s in rest if s.worst_alert is not None and s.worst_alert >= Severity.HIGH]
    reasons = {"never_scored": len(unscored), "probably_above_0_7": len(risky), "alert_of_high_severity": len(alerted)}
    formula = (
        "never_scored + probably_above_0_7 + alert_of_high_severity, each deployed system once; "
        "probably: with a probability of high_probability or more"
    )
    inputs = {**reasons, "deployed_systems": len(systems), "high_probability": high_probability}
    return Metric(sum(reasons.values()), formula, inputs)


def compliance_rate(systems: Sequence[System]) -> Metric:
    """Percent of deployed systems that policy approved, for exactly their bytes, with every check conclusive.

    Not the share of submissions that were approved: a gate that refuses bad models would lower that by doing its work.
    """
    inputs: dict[str, float] = {
        "deployed_systems": len(systems),
        "compliant_systems": sum(s.is_compliant for s in systems),
        "approved_systems": sum(s.is_approved for s in systems),
        "conclusive_systems": sum(s.conclusive_share == 1.0 for s in systems),
    }
    formula = "100 × compliant_systems ÷ deployed_systems; compliant: approved for these bytes, all checks conclusive"
    value = 100 * inputs["compliant_systems"] / len(systems) if systems else None
    return Metric(value, formula, inputs)


def incident_response_time_hours(responses: Sequence[Response]) -> Metric:
    """Median hours from the first alert of an episode to the correction that was applied."""
    hours = [(r.corrected_at - r.first_alert_at) / _HOUR for r in responses if r.corrected_at is not None]
    inputs: dict[str, float] = {
        "corrected_episodes": len(hours),
        "open_episodes": sum(r.corrected_at is None and r.is_open for r in responses),
    }
    formula = "median over corrected_episodes of hours from the first alert to the correction applied"
    if not hours:
        return Metric(None, formula, inputs)
    inputs |= {"fastest_hours": min(hours), "slowest_hours": max(hours)}
    return Metric(statistics.median(hours), formula, inputs)
