"""The detection policy: how sure and how strong a finding must be before it is told, or counts as exposure."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Value = TypeVar("Value")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Limit(_Part, Generic[Value]):
    """A figure and where it comes from."""

    value: Value
    source: Annotated[str, Field(min_length=1)]


class DriftLimits(_Part):
    """What the detector `population-drift` goes by.

    Args:
        window_rows: a window is judged as soon as it has so many rows.
        false_alarm_rate: chance that a window of unchanged traffic raises an alert; over all columns together.
        medium_psi: smallest population stability index that matters.
        high_psi: from here on the severity is high.
    """

    window_rows: Limit[Annotated[int, Field(ge=50)]]
    false_alarm_rate: Limit[Annotated[float, Field(gt=0, lt=0.5)]]
    medium_psi: Limit[Annotated[float, Field(ge=0)]]
    high_psi: Limit[Annotated[float, Field(ge=0)]]

    @model_validator(mode="after")
    def _limits_ascend(self) -> DriftLimits:
        if self.medium_psi.value > self.high_psi.value:
            raise ValueError(f"medium_psi {self.medium_psi.value} must not be above high_psi {self.high_psi.value}")
        return self


class ExposureLimits(_Part):
    """What the metric `risk_exposure` goes by.

    Args:
        high_probability: a system counts as exposed where its overall risk is high with at least this probability.
    """

    high_probability: Limit[Annotated[float, Field(gt=0, le=1)]]


class DetectionPolicy(_Part):
    """The whole file.

    Args:
        version: for people; machines go by the digest of the file.
        population_drift: limits of that detector.
        risk_exposure: limits of that metric.
    """

    version: Annotated[str, Field(min_length=1)]
    population_drift: DriftLimits
    risk_exposure: ExposureLimits
