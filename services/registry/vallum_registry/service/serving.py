"""What people and platforms command: deploy, roll back, quarantine, release.

Each command takes the model's lock first, so that two commands about one model follow each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from vallum_common.errors import Conflict
from vallum_registry.domain.deployments import Deployment, DeploymentState, Replacement, active_in, environment_name
from vallum_registry.domain.models import Cause, ModelReference, Submission
from vallum_registry.domain.states import State, Trigger
from vallum_registry.service.catalogue import known_version
from vallum_registry.service.moves import Moves
from vallum_registry.service.ports import Store, Unit


class Serving:
    """Obeys commands.

    Args:
        store: what is recorded.
        moves: what can be done.
    """

    def __init__(self, store: Store, moves: Moves) -> None:
        self._store = store
        self._moves = moves

    async def deploy(self, reference: ModelReference, environment: str, *, cause: Cause) -> Deployment:
        """Put a version into an environment; one that serves there already stays as it is.

        Raises:
            NotFound: there is no such version.
            Conflict: it is not APPROVED, or no valid approval for exactly its bytes is at hand.
            Invalid: the environment is not a name.
        """
        environment_name(environment)
        async with self._locked(reference) as (unit, submission):
            if refusal := self._moves.refusal(submission):
                raise Conflict(f"{reference.name} cannot be deployed: {refusal}")
            active = await unit.deployments([reference.model], environment=environment, active=True)
            if already := active_in(active, reference):
                return already[0]
            for former in active:
                await self._moves.end(unit, former, DeploymentState.SUPERSEDED, cause=cause, other=submission.reference)
            other = active[0].reference if active else None
            return await self._moves.begin(unit, submission, environment, cause=cause, other=other)

    async def rollback(self, reference: ModelReference, environment: str, *, cause: Cause) -> Replacement:
        """Take a version out of an environment and put the last good one back in, where there is one.

        Raises:
            NotFound: there is no such version.
            Conflict: it does not serve there.
            Invalid: the environment is not a name.
        """
        environment_name(environment)
        async with self._locked(reference) as (unit, _):
            active = await unit.deployments([reference.model], environment=environment, active=True)
            for deployment in active_in(active, reference):
                return await self._moves.give_way(
                    unit, deployment, DeploymentState.ROLLED_BACK, cause=cause, restore=True
                )
            serving = active[0].reference.name if active else "nothing"
            raise Conflict(f"{reference.name} does not serve in {environment!r}; {serving} does")

    async def quarantine(self, reference: ModelReference, *, cause: Cause) -> tuple[Submission, tuple[Deployment, ...]]:
        """Take a version out everywhere and bar it. Nothing is put in its place.

        Returns:
            The version and the deployments that ended; none where it was in quarantine before.

        Raises:
            NotFound: there is no such version.
            Invalid: the reason is empty.
        """
        async with self._locked(reference) as (unit, submission):
            replacements = await self._moves.quarantine(unit, submission, cause=cause.required())
            return submission, tuple(replacement.ended for replacement in replacements)

    async def release(self, reference: ModelReference, *, cause: Cause) -> Submission:
        """End a quarantine; the version stands where it stood, and serves nowhere until it is deployed.

        Raises:
            NotFound: there is no such version.
            Conflict: it is not in quarantine.
            Invalid: the reason is empty.
        """
        async with self._locked(reference) as (unit, submission):
            if submission.state is not State.QUARANTINED:
                raise Conflict(f"{reference.name} is {submission.state}, not in quarantine")
            return await self._moves.move(unit, submission, Trigger.RELEASE, cause=cause.required())

    @contextlib.asynccontextmanager
    async def _locked(self, reference: ModelReference) -> AsyncIterator[tuple[Unit, Submission]]:
        async with self._store.begin() as unit:
            await unit.lock_model(reference.model)
            yield unit, await known_version(unit, reference)
