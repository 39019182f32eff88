"""`policies/risk.yaml`: which evidence bears on which risk, and how much. A number without a source is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vallum_common.errors import Invalid
from vallum_risk.domain import RISK_NAMES

Probability = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Bearing(_Part):
    """How one piece of evidence bears on a risk.

    Args:
        evidence: its name, e.g. `checks.data_privacy`.
        scale: points (quantity, likelihood) with ascending quantities; in between it is linear, outside it is flat.
        source: why these points.
    """

    evidence: str
    scale: tuple[tuple[float, Probability], ...] = Field(min_length=2)
    source: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _ascending(self) -> Bearing:
        quantities = [quantity for quantity, _ in self.scale]
        if quantities != sorted(set(quantities)):
            raise ValueError(f"the quantities of {self.evidence!r} must ascend, got {quantities}")
        return self


class RiskDefinition(_Part):
    """One of the twelve risks.

    Args:
        evidence: what bears on it; the worst of it counts.
        action: the recommendation when the risk is probably high.
    """

    evidence: tuple[Bearing, ...] = ()
    action: Annotated[str, Field(min_length=1)]


class RiskModel(_Part):
    """The whole file.

    Args:
        version: of the file.
        draws: of the Monte Carlo.
        severity: factor per tier: how bad it is when the risk comes true.
        category_weights: ordered weights for the overall score, for the worst category first.
        recommendation_level: a risk above it needs an action.
        recommendation_probability: the posterior probability of that at which the action is recommended.
        signs: likelihood as Beta(a, b) of evidence that is only good or bad.
        risks: the twelve.
        digest: hex SHA-256 of the file's bytes.
    """

    version: str
    source: str
    draws: Annotated[int, Field(ge=1_000, le=1_000_000)]
    severity: dict[str, Probability]
    category_weights: tuple[Probability, Probability, Probability, Probability]
    recommendation_level: Probability
    recommendation_probability: Probability
    signs: dict[str, tuple[float, float]]
    risks: dict[str, RiskDefinition]
    digest: str = ""

    @model_validator(mode="after")
    def _complete(self) -> RiskModel:
        if set(self.risks) != set(RISK_NAMES):
            raise ValueError(
                f"the risks must be the twelve of the register; differing: {set(self.risks) ^ set(RISK_NAMES)}"
            )
        if set(self.severity) != {"minimal", "limited", "high"}:
            raise ValueError(f"severity needs the tiers minimal, limited and high, got {sorted(self.severity)}")
        if set(self.signs) != {"good", "bad"} or any(a <= 0 or b <= 0 for a, b in self.signs.values()):
            raise ValueError(f"signs needs `good` and `bad` as Beta(a, b) with a, b > 0, got {self.signs}")
        if abs(sum(self.category_weights) - 1) > 1e-9:
            raise ValueError(f"category_weights must sum to 1, got {self.category_weights}")
        return self


def load_risk_model(path: Path) -> RiskModel:
    """Read and check the file.

    Raises:
        Invalid: it cannot be read or is not right; the line names the place.
    """
    try:
        content = path.read_bytes()
        model = RiskModel.model_validate(yaml.safe_load(content))
    except OSError as error:
        raise Invalid(f"the risk model {str(path)!r} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = [".".join(map(str, first["loc"]))] if first["loc"] else []
        told = ": ".join([f"the risk model {str(path)!r}", *place, first["msg"].removeprefix("Value error, ")])
        raise Invalid(told) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise Invalid(f"the risk model {str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    return model.model_copy(update={"digest": hashlib.sha256(content).hexdigest()})
