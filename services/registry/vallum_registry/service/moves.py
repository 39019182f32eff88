"""The moves a version can make, each recorded, in the history and told to the others in one transaction.

The caller holds the model's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

from vallum_common import attestation
from vallum_common.clock import Clock, Ids
from vallum_common.errors import Denied, Invalid
from vallum_registry.domain.deployments import Deployment, DeploymentState, Replacement, active_in, good_before
from vallum_registry.domain.facts import DeploymentChanged
from vallum_registry.domain.models import Cause, HistoryEntry, ModelReference, Submission
from vallum_registry.domain.states import State, Trigger
from vallum_registry.service.catalogue import known_version
from vallum_registry.service.ports import Unit

_ENDINGS: Final = {
    DeploymentState.SUPERSEDED: "superseded",
    DeploymentState.ROLLED_BACK: "rolled back",
    DeploymentState.QUARANTINED: "taken out",
}

log = structlog.get_logger(__name__)


class Moves:
    """Moves versions through their life and in and out of environments.

    Args:
        keys: public keys of those whose approvals count.
        clock: for the time of each move.
        ids: for deployments.
    """

    def __init__(self, *, keys: attestation.Keys, clock: Clock, ids: Ids) -> None:
        self._keys = keys
        self._clock = clock
        self._ids = ids

    def refusal(self, submission: Submission) -> str:
        """Why a version may not serve; empty where it may: APPROVED, and a trusted signature says so of these bytes."""
        if submission.state is not State.APPROVED:
            return f"it is {submission.state}, not {State.APPROVED}"
        reference = submission.reference
        resource = attestation.resource_uri(reference.model, reference.version)
        try:
            attestation.admit(submission.attestation, self._keys, sha256=reference.digest, resource=resource)
        except (Denied, Invalid) as error:
            return error.message
        return ""

    async def move(self, unit: Unit, submission: Submission, trigger: Trigger, *, cause: Cause) -> Submission:
        """Move a version along the table of states."""
        moved = replace(submission, standing=submission.standing.after(trigger), changed_at=self._clock.now())
        await unit.update_submission(moved)
        await self._note(unit, moved, trigger.value, cause=cause, before=submission.state)
        unit.announce()
        log.info("model_moved", model=moved.reference.name, action=trigger.value, state=moved.state)
        return moved

    async def begin(
        self, unit: Unit, submission: Submission, environment: str, *, cause: Cause, other: ModelReference | None = None
    ) -> Deployment:
        """Have a version serve in an environment where, by now, nothing does.

        Args:
            unit: the transaction.
            submission: the version.
            environment: where.
            cause: who and why.
            other: the version that made room.
        """
        deployment = Deployment(
            deployment_id=self._ids.new(),
            submission_id=submission.submission_id,
            reference=submission.reference,
            environment=environment,
            state=DeploymentState.ACTIVE,
            changed_at=self._clock.now(),
        )
        await unit.add_deployment(deployment)
        await self._note(unit, submission, "deployed", cause=cause, environment=environment)
        unit.publish(DeploymentChanged(deployment, other, cause))
        return deployment

    async def end(
        self,
        unit: Unit,
        active: Deployment,
        state: DeploymentState,
        *,
        cause: Cause,
        other: ModelReference | None = None,
    ) -> Deployment:
        """Take a version out of an environment.

        Args:
            unit: the transaction.
            active: the deployment.
            state: how it ends.
            cause: who and why.
            other: the version it makes room for.
        """
        ended = active.ended(state, self._clock.now())
        await unit.update_deployment(ended)
        submission = await known_version(unit, active.reference)
        await self._note(unit, submission, _ENDINGS[state], cause=cause, environment=active.environment)
        unit.publish(DeploymentChanged(ended, other, cause))
        return ended

    async def give_way(
        self, unit: Unit, active: Deployment, state: DeploymentState, *, cause: Cause, restore: bool
    ) -> Replacement:
        """Take a version out of an environment and, if asked, put the last good one back in, where there is one."""
        successor = await self._last_good(unit, active) if restore else None
        if successor is None:
            return Replacement(await self.end(unit, active, state, cause=cause), None)
        ended = await self.end(unit, active, state, cause=cause, other=successor.reference)
        restored = await self.begin(unit, successor, active.environment, cause=cause, other=active.reference)
        return Replacement(ended, restored)

    async def quarantine(
        self, unit: Unit, submission: Submission, *, cause: Cause, restore_in: str = ""
    ) -> tuple[Replacement, ...]:
        """Bar a version and end its deployments; nothing happens where it is barred already.

        Args:
            unit: the transaction.
            submission: the version.
            cause: who and why.
            restore_in: the one environment where the last good version is put back in.
        """
        if submission.state is State.QUARANTINED:
            return ()
        await self.move(unit, submission, Trigger.QUARANTINE, cause=cause)
        active = active_in(await unit.deployments([submission.reference.model], active=True), submission.reference)
        return tuple(
            [
                await self.give_way(
                    unit, one, DeploymentState.QUARANTINED, cause=cause, restore=one.environment == restore_in
                )
                for one in active
            ]
        )

    async def _last_good(self, unit: Unit, leaving: Deployment) -> Submission | None:
        there: Sequence[Deployment] = await unit.deployments([leaving.reference.model], environment=leaving.environment)
        for deployment in good_before(there, leaving.reference):
            candidate = await known_version(unit, deployment.reference)
            if not self.refusal(candidate):
                return candidate
        return None

    async def _note(
        self,
        unit: Unit,
        submission: Submission,
        action: str,
        *,
        cause: Cause,
        before: State | None = None,
        environment: str = "",
    ) -> None:
        state = submission.state
        entry = HistoryEntry(
            submission.reference, self._clock.now(), cause, action, before or state, state, environment
        )
        await unit.add_history(entry)
