"""The four checks: what a model does, measured through its answers alone.

Pure of transport, and of judgement beyond the policy's limits: a check ends as PASS, FAIL or INCONCLUSIVE with its
figures, and whether the model may be released is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from vallum_common.errors import Invalid, VallumError
from vallum_validator.checks import fairness, privacy, robustness, transparency
from vallum_validator.checks.thresholds import Thresholds, load_thresholds
from vallum_validator.domain.evidence import CheckResult, Outcome
from vallum_validator.table import Subject

__all__ = ["CHECKS", "Thresholds", "load_thresholds", "run_check"]

CHECKS: Final[Mapping[str, Callable[[Subject], CheckResult]]] = {
    check.NAME: check.check for check in (robustness, privacy, fairness, transparency)
}
"""Every check by its name, in the order they run."""


def run_check(name: str, subject: Subject) -> CheckResult:
    """Run one check; whatever keeps it from measuring makes it INCONCLUSIVE with the reason, never PASS.

    Args:
        name: one of `CHECKS`.
        subject: the model and its data.

    Raises:
        Invalid: there is no such check.
    """
    if name not in CHECKS:
        raise Invalid(f"no check {name!r}; there are {', '.join(CHECKS)}")
    try:
        # One thread: sums in another order differ in their last bits, and evidence must repeat byte for byte.
        with threadpool_limits(limits=1):
            return CHECKS[name](subject)
    except VallumError as error:
        return CheckResult(name=name, outcome=Outcome.INCONCLUSIVE, seed=subject.seed, reason=error.message)
