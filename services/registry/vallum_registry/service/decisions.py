"""What other services decided and the registry obeys: compliance's verdicts, the monitor's corrections.

Both arrive as events: repeated, late or in any order, each takes effect once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import structlog

from vallum_common.clock import Clock
from vallum_common.errors import Conflict, Invalid, NotFound
from vallum_registry.domain.corrections import Correction, CorrectionAction, CorrectionOutcome
from vallum_registry.domain.deployments import DeploymentState, Replacement, active_in, environment_name
from vallum_registry.domain.facts import CorrectionApplied
from vallum_registry.domain.models import Cause, Decision, Submission
from vallum_registry.domain.states import State
from vallum_registry.service.catalogue import known_version
from vallum_registry.service.moves import Moves
from vallum_registry.service.ports import Unit

_COMPLIANCE: Final = "compliance"
_PLAYBOOK: Final = "playbook"

log = structlog.get_logger(__name__)


class Decisions:
    """Obeys what others decided, inside a transaction of the caller.

    Args:
        moves: what can be done.
        clock: for the time of a correction.
    """

    def __init__(self, moves: Moves, *, clock: Clock) -> None:
        self._moves = moves
        self._clock = clock

    async def decide(self, unit: Unit, decision: Decision) -> None:
        """Take note of a verdict. The first one counts; a repeated or later one changes nothing.

        Raises:
            NotFound: there is no such submission (yet).
            Conflict: other bytes were judged than were submitted.
        """
        named = await unit.submission(decision.submission_id)
        if named is None:
            raise NotFound(f"there is no submission {decision.submission_id!r}")
        if named.reference.digest != decision.digest:
            raise Conflict(
                f"the verdict on {named.reference.name} is about sha256 {decision.digest!r}; submitted was "
                f"{named.reference.digest}"
            )
        await unit.lock_model(named.reference.model)
        submission = await known_version(unit, named.reference)
        if submission.verdict is not None:
            return
        decided = replace(submission, verdict=decision.verdict, attestation=decision.attestation)
        await self._moves.move(unit, decided, decision.verdict.trigger, cause=Cause(_COMPLIANCE, decision.summary))

    async def correct(self, unit: Unit, correction: Correction) -> None:
        """Obey a correction, once, and say what came of it; that it cannot be done is an answer too."""
        await unit.lock_model(correction.reference.model)
        if await unit.is_corrected(correction.correction_id):
            return
        try:
            outcome, reason = await self._apply(unit, correction)
        except (NotFound, Conflict, Invalid) as error:
            outcome, reason = CorrectionOutcome.FAILED, error.message
        now = self._clock.now()
        await unit.add_correction(correction, outcome, now)
        unit.publish(CorrectionApplied(correction, outcome, reason, now))
        log.info("correction_dealt_with", correction_id=correction.correction_id, outcome=outcome, reason=reason)

    async def _apply(self, unit: Unit, correction: Correction) -> tuple[CorrectionOutcome, str]:
        # Everything that can be refused is refused before the first change: a failed correction changes nothing.
        submission = await known_version(unit, correction.reference)
        if correction.reference.digest not in ("", submission.reference.digest):
            raise Conflict(f"{submission.reference.name} has sha256 {submission.reference.digest}, not the one named")
        if correction.environment or correction.action is CorrectionAction.ROLLBACK:
            environment_name(correction.environment)
        cause = Cause(_PLAYBOOK, correction.reason)
        if correction.action is CorrectionAction.QUARANTINE:
            return await self._quarantine(unit, submission, correction.environment, cause)
        return await self._roll_back(unit, submission, correction.environment, cause)

    async def _quarantine(
        self, unit: Unit, submission: Submission, environment: str, cause: Cause
    ) -> tuple[CorrectionOutcome, str]:
        if submission.state is State.QUARANTINED:
            return CorrectionOutcome.UNNECESSARY, f"{submission.reference.name} is in quarantine already"
        replacements = await self._moves.quarantine(unit, submission, cause=cause, restore_in=environment)
        told = [_told(replacement) for replacement in replacements] or ["it served nowhere"]
        return CorrectionOutcome.APPLIED, f"{submission.reference.name} quarantined: {', '.join(told)}"

    async def _roll_back(
        self, unit: Unit, submission: Submission, environment: str, cause: Cause
    ) -> tuple[CorrectionOutcome, str]:
        active = await unit.deployments([submission.reference.model], environment=environment, active=True)
        for deployment in active_in(active, submission.reference):
            replacement = await self._moves.give_way(
                unit, deployment, DeploymentState.ROLLED_BACK, cause=cause, restore=True
            )
            return CorrectionOutcome.APPLIED, f"{submission.reference.name} rolled back: {_told(replacement)}"
        return CorrectionOutcome.UNNECESSARY, f"{submission.reference.name} does not serve in {environment!r}"


def _told(replacement: Replacement) -> str:
    instead = replacement.restored.reference.name if replacement.restored else "nothing"
    return f"{instead} serves in {replacement.ended.environment!r} now"
