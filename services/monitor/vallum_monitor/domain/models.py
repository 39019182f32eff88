"""What others have said about the versions that serve: deployments, validations, risks, decisions."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from vallum_common.errors import Invalid

PREDICTION: Final = "prediction"
"""Name of the baseline of a model's own answers, as the validator calls it."""


class Severity(IntEnum):
    """How much a finding matters; the order is the meaning."""

    INFO = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5


class DeploymentState(StrEnum):
    """Whether a version serves."""

    ACTIVE = "ACTIVE"
    SUPERSEDED = "SUPERSEDED"
    ROLLED_BACK = "ROLLED_BACK"
    QUARANTINED = "QUARANTINED"


@dataclass(frozen=True, slots=True)
class ModelReference:
    """One version of one model, and the exact bytes meant.

    Args:
        model: model id.
        version: version.
        digest: hex SHA-256 of the artefact.
    """

    model: str
    version: str
    digest: str

    @property
    def name(self) -> str:
        """`model@version`, as people write it."""
        return f"{self.model}@{self.version}"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version in an environment.

    Args:
        deployment_id: of this stay; the same version deployed again has another.
        reference: what serves.
        environment: where.
        state: whether it still does.
        changed_at: since when, UTC.
        submission_id: whose evidence it was approved by.
    """

    deployment_id: str
    reference: ModelReference
    environment: str
    state: DeploymentState
    changed_at: dt.datetime
    submission_id: str

    @property
    def is_active(self) -> bool:
        """Whether it serves."""
        return self.state is DeploymentState.ACTIVE

    def after_hearing(self, heard: Deployment) -> Deployment:
        """What is known once another report of the same deployment arrived, early or late.

        An ended deployment never serves again, so a report that it is active must be an old one.
        """
        return heard if self.is_active else self


@dataclass(frozen=True, slots=True)
class FeatureBaseline:
    """How one column was distributed in the evaluation data.

    Args:
        name: the feature, or `prediction`.
        categories: values of a categorical column; empty for a numeric one.
        edges: inner bin edges of a numeric column, ascending; bin i is `edges[i-1] <= x < edges[i]`.
        counts: rows per bin, `len(edges) + 1` of them, or per category and at the end any other value.

    Raises:
        Invalid: the parts do not fit each other.
    """

    name: str
    categories: tuple[str, ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.categories and self.edges:
            raise Invalid(f"the baseline of {self.name!r} has categories and edges; a column has one of them")
        cells = 1 + (len(self.categories) or len(self.edges))
        if len(self.counts) != cells or min(self.counts) < 0:
            raise Invalid(
                f"the baseline of {self.name!r} has the counts {self.counts!r}; {cells} are due, none below 0"
            )
        pairs = zip(self.edges, self.edges[1:], strict=False)
        if any(map(math.isnan, self.edges)) or not all(low < high for low, high in pairs):
            raise Invalid(f"the baseline of {self.name!r} has the edges {self.edges!r}; they must ascend")

    @property
    def is_numeric(self) -> bool:
        """Whether the column holds numbers."""
        return not self.categories


Baseline = Sequence[FeatureBaseline]
"""All columns of one submission; empty where the validator could not take any."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What the monitor keeps of a validation.

    Args:
        submission_id: what was validated.
        reference: which bytes.
        checks: how many checks were made.
        conclusive: how many of them ended as PASS or FAIL.
        baseline: what traffic is compared with.
    """

    submission_id: str
    reference: ModelReference
    checks: int
    conclusive: int
    baseline: tuple[FeatureBaseline, ...]


@dataclass(frozen=True, slots=True)
class RiskScore:
    """The overall risk of a submission as of one moment.

    Args:
        submission_id: whose.
        upper_bound: of the 90 % interval of the overall risk, 0 to 1.
        probability_high: that the overall risk is above 0.7.
        scored_at: UTC; a later scoring replaces an earlier one.
    """

    submission_id: str
    upper_bound: float
    probability_high: float
    scored_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy said of a submission.

    Args:
        submission_id: whose.
        reference: which bytes were decided on.
        allows_deployment: whether the verdict is one of the two approvals.
        decided_at: UTC.
    """

    submission_id: str
    reference: ModelReference
    allows_deployment: bool
    decided_at: dt.datetime
