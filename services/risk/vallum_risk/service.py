"""What risk does: score a version when it was validated, and again when production says something new about it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from vallum_common.clock import Clock
from vallum_common.errors import Conflict, NotFound
from vallum_risk.domain import Count, Evidence, EvidenceValue, ModelReference, RiskProfile
from vallum_risk.model import RiskModel, score_evidence

ALERTS: Final = "alerts.confirmed"


class Unit(Protocol):
    """One transaction."""

    async def save_evidence(self, evidence: Evidence) -> None:
        """Keep the evidence of a submission, in place of what was kept for it."""
        ...

    async def evidence_of(self, model: str, version: str) -> Evidence | None:
        """The evidence of a version, locked until the transaction ends; `None` where nothing was validated."""
        ...

    async def save_profile(self, profile: RiskProfile) -> None:
        """Keep a profile as the newest of its version and publish `RiskScored`."""
        ...

    async def profile_of(self, model: str, version: str) -> RiskProfile | None:
        """The newest profile of a version."""
        ...

    async def register(self, *, limit: int, offset: int) -> tuple[RiskProfile, ...]:
        """The newest profiles of all versions, worst overall score first."""
        ...


class Store(Protocol):
    """Where evidence and profiles are kept."""

    def begin(self) -> AbstractAsyncContextManager[Unit]:
        """Open a transaction."""
        ...


class RiskRegister:
    """The use cases.

    Args:
        store: where evidence and profiles are kept.
        model: the risk model in force.
        clock: for the time of a scoring.
    """

    def __init__(self, store: Store, model: RiskModel, *, clock: Clock) -> None:
        self._store = store
        self._model = model
        self._clock = clock

    async def record_validation(self, unit: Unit, evidence: Evidence, *, cause: str) -> None:
        """Score a version from its validation.

        Args:
            unit: the transaction of the consumer.
            evidence: what was measured.
            cause: id of the event.
        """
        await unit.save_evidence(evidence)
        await unit.save_profile(self._score(evidence, cause))

    async def record_alert(self, unit: Unit, reference: ModelReference, *, cause: str) -> None:
        """Count a confirmed alert against a version and score it again.

        Raises:
            NotFound: the version has not been validated yet; its validation may still be on the way.
            Conflict: what was validated under its name were other bytes.
        """
        known = await unit.evidence_of(reference.model, reference.version)
        if known is None:
            raise NotFound(f"an alert about {reference.model}@{reference.version}, which has not been validated")
        if known.reference != reference:
            raise Conflict(
                f"an alert about {reference.model}@{reference.version} with sha256 {reference.digest}; "
                f"validated was sha256 {known.reference.digest}"
            )
        items: Mapping[str, EvidenceValue] = {**known.items, ALERTS: _one_more(known.items.get(ALERTS))}
        evidence = Evidence(known.reference, known.submission_id, known.tier, items)
        await unit.save_evidence(evidence)
        await unit.save_profile(self._score(evidence, cause))

    async def profile(self, model: str, version: str) -> RiskProfile:
        """The newest profile of a version.

        Raises:
            NotFound: it has not been scored.
        """
        async with self._store.begin() as unit:
            found = await unit.profile_of(model, version)
        if found is None:
            raise NotFound(f"{model}@{version} has no risk profile; a version is scored once it has been validated")
        return found

    async def register(self, *, limit: int, offset: int) -> tuple[RiskProfile, ...]:
        """The newest profiles of all versions, worst overall score first."""
        async with self._store.begin() as unit:
            return await unit.register(limit=limit, offset=offset)

    def _score(self, evidence: Evidence, cause: str) -> RiskProfile:
        return score_evidence(evidence, self._model, at=self._clock.now(), cause=cause)


def _one_more(alerts: EvidenceValue | None) -> Count:
    # An alert is one bad outcome in one trial; what speaks for the version is in its other evidence.
    seen = alerts.bad if isinstance(alerts, Count) else 0
    return Count(bad=seen + 1, trials=seen + 1)
