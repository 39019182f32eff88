"""From findings to alerts: what a detector has seen, what it has said already, and when it must speak again."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeAlias

from vallum_monitor.domain.models import ModelReference, Severity

_ALERTS: Final = uuid.UUID("0b0e7f0e-5b43-5d0a-9a3e-6a0a7d1c2f11")
_CORRECTIONS: Final = uuid.UUID("4a7c2c58-93c1-5f6b-8e57-0d1f5b2e9c33")

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
Counts: TypeAlias = Mapping[str, tuple[int, ...]]
"""Rows per bin or category, by column, in the order of the baseline."""


@dataclass(frozen=True, slots=True)
class Window:
    """Traffic that has been counted and not yet judged: whole batches, next to each other.

    Args:
        rows: requests in it.
        first_batch: id of the batch that opened it.
        last_batch: id of the newest.
        counts: how the requests were distributed.
    """

    rows: int = 0
    first_batch: str = ""
    last_batch: str = ""
    counts: Counts = field(default_factory=dict)

    def with_batch(self, batch_id: str, rows: int, counts: Counts) -> Window:
        """The window with one more batch in it."""
        merged = dict(self.counts)
        for name, added in counts.items():
            former = merged.get(name, (0,) * len(added))
            merged[name] = tuple(a + b for a, b in zip(former, added, strict=True))
        return Window(self.rows + rows, self.first_batch or batch_id, batch_id, merged)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector sees in a window.

    Args:
        severity: how much it matters.
        subjects: what it is about, e.g. names of columns; the next window confirms it by seeing one of them again.
        message: one line for a person, with figures.
        evidence: what was measured, for people and tools.
    """

    severity: Severity
    subjects: tuple[str, ...]
    message: str
    evidence: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Episode:
    """A run of windows in which a detector saw something; the first quiet window ends it.

    Args:
        episode_id: id of its first alert.
        severity: of its newest alert.
        confirmed: whether a second, independent window said the same.
        subjects: of the newest window.
    """

    episode_id: str
    severity: Severity
    confirmed: bool
    subjects: tuple[str, ...]

    def after(self, finding: Finding) -> tuple[Episode, bool]:
        """The episode with one more window, and whether there is something to tell.

        That is its confirmation, or a higher severity than was told last. An alert has the severity of its own window,
        so that a confirmed one of high severity was high in the window that says so.
        """
        confirmed = self.confirmed or not set(self.subjects).isdisjoint(finding.subjects)
        speaks = confirmed > self.confirmed or finding.severity > self.severity
        severity = finding.severity if speaks else self.severity
        return Episode(self.episode_id, severity, confirmed, finding.subjects), speaks


@dataclass(frozen=True, slots=True)
class Watch:
    """What one detector remembers about one deployment.

    Args:
        deployment_id: what it watches.
        detector: its name.
        window: what it has counted and not yet judged.
        episode: what it has said; `None` while all is quiet.
    """

    deployment_id: str
    detector: str
    window: Window = field(default_factory=Window)
    episode: Episode | None = None

    @property
    def alert_id(self) -> str:
        """Id of the alert this window would raise: the same window has the same id, however often it is judged."""
        parts = (self.deployment_id, self.detector, self.window.first_batch, self.window.last_batch)
        return str(uuid.uuid5(_ALERTS, "|".join(parts)))

    def judged(self, finding: Finding | None) -> tuple[Watch, Episode | None]:
        """What follows from the judgement of a window.

        Args:
            finding: what the window showed; `None` where it was quiet.

        Returns:
            The watch with a new window, its episode begun, continued or ended; and the episode again where there is
            something to tell that was not told before, else `None`.
        """
        if finding is None:
            return replace(self, window=Window(), episode=None), None
        if self.episode is None:
            episode = Episode(self.alert_id, finding.severity, confirmed=False, subjects=finding.subjects)
            speaks = True
        else:
            episode, speaks = self.episode.after(finding)
        return replace(self, window=Window(), episode=episode), episode if speaks else None


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a detector is sure enough of, by its declared false-alarm rate.

    Args:
        alert_id: unique; the same window never raises two.
        deployment_id: what was watched.
        reference: which bytes.
        environment: where they served.
        detector: who saw it.
        severity: how much it matters.
        confirmed: whether a second, independent window said the same.
        message: one line for a person.
        evidence: what was measured.
        raised_at: UTC.
    """

    alert_id: str
    deployment_id: str
    reference: ModelReference
    environment: str
    detector: str
    severity: Severity
    confirmed: bool
    message: str
    evidence: Mapping[str, Json]
    raised_at: dt.datetime


class CorrectionAction(StrEnum):
    """What a correction shall do."""

    QUARANTINE = "quarantine"
    ROLLBACK = "rollback"


class CorrectionOutcome(StrEnum):
    """What a correction did."""

    APPLIED = "APPLIED"
    UNNECESSARY = "UNNECESSARY"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Correction:
    """The wish that a version be taken out.

    Args:
        alert_id: the alert that asks for it; one alert asks once.
        reference: what shall be taken out.
        environment: where.
        action: how.
        reason: one line for the version's history.
        policy_digest: hex SHA-256 of the correction policy in force.
        requested_at: UTC.
    """

    alert_id: str
    reference: ModelReference
    environment: str
    action: CorrectionAction
    reason: str
    policy_digest: str
    requested_at: dt.datetime

    @property
    def correction_id(self) -> str:
        """The same for the same alert, however often it is heard."""
        return str(uuid.uuid5(_CORRECTIONS, self.alert_id))


@dataclass(frozen=True, slots=True)
class CorrectionResult:
    """What the registry did.

    Args:
        correction_id: which correction.
        outcome: how it ended.
        applied_at: UTC.
    """

    correction_id: str
    outcome: CorrectionOutcome
    applied_at: dt.datetime


@dataclass(frozen=True, slots=True)
class AlertSelection:
    """Which alerts somebody wants.

    Args:
        model: only about this one; empty for all.
        since: only those raised from here on; `None` for no such bound.
    """

    model: str = ""
    since: dt.datetime | None = None
