"""What the monitor may ask for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vallum_registry.domain.models import ModelReference


class CorrectionAction(StrEnum):
    """What a correction shall do."""

    QUARANTINE = "QUARANTINE"
    ROLLBACK = "ROLLBACK"


class CorrectionOutcome(StrEnum):
    """What a correction did. UNNECESSARY: nothing was left to do. FAILED: a person must act."""

    APPLIED = "APPLIED"
    UNNECESSARY = "UNNECESSARY"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Correction:
    """A request to take a version out of service.

    Args:
        correction_id: by it a repeated request is recognised.
        alert_id: the alert behind it; empty where there is none.
        reference: the version; its digest may be empty.
        environment: where the trouble was seen; empty means everywhere.
        action: what to do.
        reason: why.
    """

    correction_id: str
    alert_id: str
    reference: ModelReference
    environment: str
    action: CorrectionAction
    reason: str
