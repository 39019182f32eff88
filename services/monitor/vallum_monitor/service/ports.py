"""What the use cases need from outside."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from vallum_monitor.domain.alerts import (
    Alert,
    AlertSelection,
    Correction,
    CorrectionResult,
    Counts,
    Finding,
    Watch,
    Window,
)
from vallum_monitor.domain.facts import Fact
from vallum_monitor.domain.metrics import Response, System
from vallum_monitor.domain.models import Baseline, Decision, Deployment, RiskScore, Validation
from vallum_monitor.domain.traffic import Batch


@dataclass(frozen=True, slots=True)
class KeptAlert:
    """An alert and its place in the order in which alerts were raised."""

    position: int
    alert: Alert


class Unit(Protocol):
    """One transaction."""

    async def deployment(self, deployment_id: str) -> Deployment | None:
        """A deployment, locked until the end of the transaction."""
        ...

    async def save_deployment(self, deployment: Deployment) -> None:
        """Keep a deployment as it is now."""
        ...

    async def active_deployment(self, model: str, environment: str) -> Deployment | None:
        """What serves a model in an environment."""
        ...

    async def newest_deployment(self, model: str, version: str, environment: str) -> Deployment | None:
        """The last time a version was deployed in an environment, whether it still serves or not."""
        ...

    async def save_validation(self, validation: Validation) -> None:
        """Keep a validation; the first of a submission stays."""
        ...

    async def baseline(self, submission_id: str) -> Baseline | None:
        """What a submission's traffic is compared with; empty where there is none, `None` before its validation."""
        ...

    async def save_risk(self, risk: RiskScore) -> None:
        """Keep a score, unless a later one of the submission is kept already."""
        ...

    async def save_decision(self, decision: Decision) -> None:
        """Keep a decision; the first of a submission stays."""
        ...

    async def note_batch(self, batch_id: str, digest: str, received_at: dt.datetime) -> str | None:
        """Note a batch; where it was noted before, the digest of the content it had then."""
        ...

    async def watch(self, deployment_id: str, detector: str) -> Watch:
        """What a detector remembers about a deployment, locked until the end of the transaction."""
        ...

    async def save_watch(self, watch: Watch) -> None:
        """Keep what a detector remembers."""
        ...

    async def add_alert(self, alert: Alert, *, episode_id: str) -> bool:
        """Keep an alert of an episode at the end of the order; false where it is kept already."""
        ...

    async def last_position(self) -> int:
        """Place of the newest alert; 0 where there is none."""
        ...

    async def alerts(self, selection: AlertSelection, *, after: int, limit: int) -> Sequence[KeptAlert]:
        """The next alerts of a selection behind a place, in order."""
        ...

    async def add_correction(self, correction: Correction) -> bool:
        """Keep a correction; false where its alert has asked for one already."""
        ...

    async def save_result(self, result: CorrectionResult) -> bool:
        """Keep what became of a correction; false where no such correction is known."""
        ...

    async def systems(self) -> Sequence[System]:
        """Everything that serves."""
        ...

    async def responses(self) -> Sequence[Response]:
        """How every confirmed episode of alerts was answered."""
        ...

    def publish(self, fact: Fact) -> None:
        """Tell the others, if and only if the transaction commits."""
        ...

    def after_commit(self, call: Callable[[], None]) -> None:
        """Have something called once the transaction is committed."""
        ...


class Store(Protocol):
    """Where everything is kept."""

    def begin(self) -> AbstractAsyncContextManager[Unit]:
        """A transaction that commits at the end of the block and rolls back when it is left by an exception."""
        ...


class Detector(Protocol):
    """Watches one deployment, window by window."""

    @property
    def name(self) -> str:
        """Told in every alert."""
        ...

    def count(self, baseline: Baseline, batch: Batch) -> Counts:
        """What it needs to remember of a batch."""
        ...

    def is_full(self, window: Window) -> bool:
        """Whether a window can be judged."""
        ...

    def judge(self, baseline: Baseline, window: Window) -> Finding | None:
        """What a full window shows; `None` where there is nothing to tell."""
        ...
