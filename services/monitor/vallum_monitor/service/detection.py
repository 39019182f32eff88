"""Detection: what was observed goes into windows, full windows are judged, and what they show becomes an alert."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import structlog

from vallum_common.clock import Clock
from vallum_common.errors import NotFound
from vallum_monitor.domain.alerts import Alert, Episode, Finding, Watch
from vallum_monitor.domain.models import Baseline, Deployment
from vallum_monitor.domain.traffic import Observation
from vallum_monitor.service.ports import Detector, Unit

log = structlog.get_logger(__name__)

_KNOWN_BASELINES: Final = 256


class Detection:
    """Runs the detectors.

    Args:
        detectors: which ones.
        clock: when an alert is raised.
        on_alert: called once an alert is committed; wakes those who watch.
    """

    def __init__(self, detectors: Sequence[Detector], *, clock: Clock, on_alert: Callable[[], None]) -> None:
        self._detectors = detectors
        self._clock = clock
        self._on_alert = on_alert
        self._baselines: dict[str, Baseline] = {}

    async def observe(self, unit: Unit, observation: Observation) -> None:
        """Take a batch into account, in the transaction that also notes its event as heard.

        Traffic of a version that has been taken out meanwhile changes nothing.

        Raises:
            NotFound: the deployment or its validation is not known yet.
            Invalid: a column is not one of the model's inputs.
        """
        reference, environment = observation.reference, observation.environment
        deployment = await unit.newest_deployment(reference.model, reference.version, environment)
        if deployment is None:
            raise NotFound(f"no deployment of {reference.name!r} in {environment!r} is known")
        if not deployment.is_active:
            log.info("late_traffic", deployment_id=deployment.deployment_id, batch_id=observation.batch.batch_id)
            return
        baseline = await self._baseline(unit, deployment)
        if not baseline:
            log.warning("not_watched", deployment_id=deployment.deployment_id, reason="validation took no baseline")
            return
        observation.batch.check_against(baseline)
        for detector in self._detectors:
            await self._detect(unit, detector, deployment, baseline, observation)

    async def _baseline(self, unit: Unit, deployment: Deployment) -> Baseline:
        """From memory where it can: that of a submission never changes."""
        submission_id = deployment.submission_id
        if submission_id not in self._baselines:
            found = await unit.baseline(submission_id)
            if found is None:
                raise NotFound(f"no validation of submission {submission_id!r} is known")
            if len(self._baselines) >= _KNOWN_BASELINES:
                self._baselines.clear()
            self._baselines[submission_id] = found
        return self._baselines[submission_id]

    async def _detect(
        self, unit: Unit, detector: Detector, deployment: Deployment, baseline: Baseline, observation: Observation
    ) -> None:
        batch = observation.batch
        watch = await unit.watch(deployment.deployment_id, detector.name)
        window = watch.window.with_batch(batch.batch_id, batch.rows, detector.count(baseline, batch))
        watch = replace(watch, window=window)
        if detector.is_full(window):
            finding = detector.judge(baseline, window)
            judged, news = watch.judged(finding)
            if finding and news:
                alert = self._alert(watch, deployment, finding, news)
                await self._raise(unit, alert, news)
            watch = judged
        await unit.save_watch(watch)

    def _alert(self, watch: Watch, deployment: Deployment, finding: Finding, episode: Episode) -> Alert:
        return Alert(
            alert_id=watch.alert_id,
            deployment_id=deployment.deployment_id,
            reference=deployment.reference,
            environment=deployment.environment,
            detector=watch.detector,
            severity=episode.severity,
            confirmed=episode.confirmed,
            message=finding.message,
            evidence=finding.evidence,
            raised_at=self._clock.now(),
        )

    async def _raise(self, unit: Unit, alert: Alert, episode: Episode) -> None:
        if await unit.add_alert(alert, episode_id=episode.episode_id):
            unit.publish(alert)
            unit.after_commit(self._on_alert)
            log.info("alert_raised", alert_id=alert.alert_id, severity=alert.severity.name, confirmed=alert.confirmed)
