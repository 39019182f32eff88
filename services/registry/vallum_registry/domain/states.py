"""The life of a version as a table: which state follows which, and by what.

A quarantine lies over the state it found and hides it. A verdict that arrives meanwhile moves the hidden state, and a
release uncovers it, so that neither a late verdict nor a quarantine is ever lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a version stands."""

    SUBMITTED = "SUBMITTED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    NEEDS_REVIEW = "NEEDS_REVIEW"
    QUARANTINED = "QUARANTINED"


class Trigger(StrEnum):
    """What moves a version; the values are the words of the history."""

    APPROVAL = "approved"
    REFUSAL = "rejected"
    REFERRAL = "referred for review"
    QUARANTINE = "quarantined"
    RELEASE = "released"


class Verdict(StrEnum):
    """What compliance decided."""

    APPROVED = "APPROVED"
    APPROVED_WITH_CONDITIONS = "APPROVED_WITH_CONDITIONS"
    REJECTED = "REJECTED"
    NEEDS_REVIEW = "NEEDS_REVIEW"

    @property
    def trigger(self) -> Trigger:
        """The move this verdict asks for."""
        return _TRIGGERS[self]


_TRIGGERS: Final[Mapping[Verdict, Trigger]] = {
    Verdict.APPROVED: Trigger.APPROVAL,
    Verdict.APPROVED_WITH_CONDITIONS: Trigger.APPROVAL,
    Verdict.REJECTED: Trigger.REFUSAL,
    Verdict.NEEDS_REVIEW: Trigger.REFERRAL,
}

MOVES: Final[Mapping[tuple[State, Trigger], State]] = {
    (State.SUBMITTED, Trigger.APPROVAL): State.APPROVED,
    (State.SUBMITTED, Trigger.REFUSAL): State.REJECTED,
    (State.SUBMITTED, Trigger.REFERRAL): State.NEEDS_REVIEW,
    (State.SUBMITTED, Trigger.QUARANTINE): State.QUARANTINED,
    (State.APPROVED, Trigger.QUARANTINE): State.QUARANTINED,
    (State.REJECTED, Trigger.QUARANTINE): State.QUARANTINED,
    (State.NEEDS_REVIEW, Trigger.QUARANTINE): State.QUARANTINED,
}
"""Every move there is, but for release. What is not here changes nothing: a verdict is given once."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a version stands, and what a quarantine hides.

    Args:
        state: what everybody sees.
        hidden: the state a release returns to; set if and only if `state` is QUARANTINED.
    """

    state: State = State.SUBMITTED
    hidden: State | None = None

    def after(self, trigger: Trigger) -> Standing:
        """Where the version stands next; the same value where the trigger changes nothing."""
        if self.hidden is not None:
            if trigger is Trigger.RELEASE:
                return Standing(self.hidden)
            if trigger is Trigger.QUARANTINE:
                return self
            return replace(self, hidden=MOVES.get((self.hidden, trigger), self.hidden))
        following = MOVES.get((self.state, trigger), self.state)
        return Standing(following, hidden=self.state if following is State.QUARANTINED else None)
