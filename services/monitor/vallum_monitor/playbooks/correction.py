"""The correction policy: which alerts take a version out of service. Decoupled from detection: it only hears alerts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vallum_monitor.domain.alerts import Alert, CorrectionAction
from vallum_monitor.domain.models import Severity


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Condition(_Part):
    """Which alerts a rule is about.

    Args:
        detector: name of the detector.
        severity: the least severity, e.g. HIGH.
        confirmed: whether only a confirmed alert counts.
    """

    detector: Annotated[str, Field(min_length=1)]
    severity: Severity
    confirmed: bool = True

    @field_validator("severity", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        if not isinstance(value, str) or value not in Severity.__members__:
            raise ValueError(f"{value!r} is not one of {list(Severity.__members__)}")
        return Severity[value]

    def holds_for(self, alert: Alert) -> bool:
        """Whether an alert is one of them."""
        sure = alert.confirmed or not self.confirmed
        return sure and alert.detector == self.detector and alert.severity >= self.severity


class Rule(_Part):
    """What to do about such alerts.

    Args:
        when: which alerts.
        action: what is done.
        reason: one line for the version's history.
    """

    when: Condition
    action: CorrectionAction
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class CorrectionPolicy(_Part):
    """The whole file.

    Args:
        version: for people; machines go by the digest of the file.
        source: what the policy rests on.
        rules: of these the first that holds decides.
    """

    version: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    rules: tuple[Rule, ...]

    def choose(self, alert: Alert) -> Rule | None:
        """The rule for an alert; `None` where nothing is done by itself and a person decides."""
        return next((rule for rule in self.rules if rule.when.holds_for(alert)), None)
