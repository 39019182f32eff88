"""Twelve risks in four categories and the evidence they are scored from; the arithmetic is in `model/`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RISKS: Final[Mapping[str, tuple[str, ...]]] = {
    "technical": ("model_vulnerabilities", "data_breaches", "system_failures"),
    "operational": ("human_error", "process_failures", "third_party_risks"),
    "business": ("reputation_damage", "regulatory_fines", "competitive_disadvantage"),
    "ethical": ("bias_discrimination", "privacy_violations", "unfair_outcomes"),
}
"""Category to its risks: the register of the founding document, by its names."""

RISK_NAMES: Final = tuple(f"{category}.{name}" for category, names in RISKS.items() for name in names)


class Sign(StrEnum):
    """What a piece of evidence without a number says."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured quantity.

    Args:
        value: in its own unit, e.g. the fraction of rows that were attacked.
        low: lower end of its interval, at `confidence`.
        high: upper end.
        confidence: coverage of the interval, in (0, 1).
    """

    value: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Count:
    """So many bad ones among so many trials.

    Args:
        bad: how many went wrong.
        trials: how many there were.
    """

    bad: int
    trials: int


@dataclass(frozen=True, slots=True)
class ModelReference:
    """One version of one model, by its exact bytes.

    Args:
        model: model id.
        version: version.
        digest: hex SHA-256 of the artefact.
    """

    model: str
    version: str
    digest: str


EvidenceValue = Measurement | Count | Sign


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known about one version when it is scored.

    Args:
        reference: which version.
        submission_id: whose validation this is.
        tier: minimal, limited or high.
        items: by name, e.g. `checks.data_privacy`; a name that is absent was not measured.
    """

    reference: ModelReference
    submission_id: str
    tier: str
    items: Mapping[str, EvidenceValue]


@dataclass(frozen=True, slots=True)
class Score:
    """A posterior on [0, 1].

    Args:
        score: its median.
        low: 5 % quantile.
        high: 95 % quantile.
        probability_high: posterior probability of more than the recommendation level.
    """

    score: float
    low: float
    high: float
    probability_high: float


@dataclass(frozen=True, slots=True)
class Driver:
    """How much one piece of evidence moves a risk.

    Args:
        evidence: its name.
        contribution: score with it minus score without it.
    """

    evidence: str
    contribution: float


@dataclass(frozen=True, slots=True)
class Risk:
    """One scored risk; `measured` is false where no evidence bears on it, and then the score is the prior."""

    name: str
    score: Score
    measured: bool
    drivers: tuple[Driver, ...]

    @property
    def category(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to do about a risk that is probably high."""

    risk: str
    action: str


@dataclass(frozen=True, slots=True)
class RiskProfile:
    """All risks of one version at one moment.

    Args:
        reference: which version.
        submission_id: whose validation it rests on.
        overall: ordered weighting of the categories.
        categories: each as bad as its worst risk.
        risks: the twelve, in the order of `RISK_NAMES`.
        recommendations: for risks that are probably high.
        risk_model_digest: hex SHA-256 of the risk model in force.
        scored_at: when, UTC.
        cause_event_id: the event that made it necessary.
    """

    reference: ModelReference
    submission_id: str
    overall: Score
    categories: Mapping[str, Score]
    risks: tuple[Risk, ...]
    recommendations: tuple[Recommendation, ...]
    risk_model_digest: str
    scored_at: dt.datetime
    cause_event_id: str
