"""Traffic as the serving layer reports it: checked at the door, told to the others, each batch once."""

from __future__ import annotations

from vallum_common.clock import Clock
from vallum_common.errors import Conflict, NotFound
from vallum_monitor.domain.models import Deployment
from vallum_monitor.domain.traffic import Observation, Report
from vallum_monitor.service.ports import Store, Unit


class Reporting:
    """Takes reports.

    Args:
        store: where they are noted.
        clock: the time of arrival.
    """

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def take(self, report: Report) -> bool:
        """Take a report and tell the others of it.

        Returns:
            False where the same report was taken before.

        Raises:
            Invalid: a column is not one of the model's inputs.
            NotFound: the model does not serve there.
            Conflict: another version serves there, or the batch id stands for another content.
        """
        now = self._clock.now()
        async with self._store.begin() as unit:
            known = await unit.note_batch(report.batch.batch_id, report.digest, now)
            if known is not None and known != report.digest:
                raise Conflict(f"{report.batch} was reported before with another content; a new batch needs a new id")
            if known is not None:
                return False
            deployment = await _serving(unit, report)
            report.batch.check_against(await unit.baseline(deployment.submission_id) or ())
            observed_at = report.observed_at or now
            unit.publish(Observation(report.batch, deployment.reference, deployment.environment, observed_at))
        return True


async def _serving(unit: Unit, report: Report) -> Deployment:
    deployment = await unit.active_deployment(report.model, report.environment)
    if deployment is None:
        raise NotFound(f"no version of {report.model!r} serves in {report.environment!r}; deploy one first")
    if deployment.reference.version != report.version:
        raise Conflict(
            f"version {report.version!r} of {report.model!r} does not serve in {report.environment!r}; "
            f"{deployment.reference.version!r} does"
        )
    return deployment
