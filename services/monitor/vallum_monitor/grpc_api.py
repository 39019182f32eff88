"""RPC in: parse, call, answer. Decides nothing; the interceptor turns errors into statuses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from vallum.monitor.v1 import monitor_service_pb2 as messages
from vallum.monitor.v1 import monitor_service_pb2_grpc as services
from vallum_common.clock import Clock
from vallum_monitor import wire
from vallum_monitor.service.knowledge import Metrics
from vallum_monitor.service.reporting import Reporting
from vallum_monitor.service.watching import AlertFeed


class MonitorApi(services.MonitorServiceServicer):
    """What serves, watched.

    Args:
        reporting: takes traffic.
        feed: tells alerts.
        metrics: computes the four metrics.
        clock: when they were computed.
    """

    def __init__(self, reporting: Reporting, feed: AlertFeed, metrics: Metrics, *, clock: Clock) -> None:
        self._reporting = reporting
        self._feed = feed
        self._metrics = metrics
        self._clock = clock

    async def ReportInference(
        self, requests: AsyncIterator[messages.ReportInferenceRequest], context: grpc.aio.ServicerContext
    ) -> messages.ReportInferenceResponse:
        """Takes batches one by one; where one is refused, those before it stay taken and may be sent again."""
        taken = messages.ReportInferenceResponse()
        async for request in requests:
            report = wire.report_from(request)
            if await self._reporting.take(report):
                taken.accepted_batches += 1
                taken.accepted_rows += report.batch.rows
            else:
                taken.repeated_batches += 1
        return taken

    async def WatchAlerts(
        self, request: messages.WatchAlertsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[messages.WatchAlertsResponse]:
        """Alerts of the past that are asked for, then new ones until the caller's deadline."""
        async for alert in self._feed.watch(wire.selection_from(request), past_only=request.past_only):
            yield wire.watch_response(alert)

    async def GetSecurityMetrics(
        self, request: messages.GetSecurityMetricsRequest, context: grpc.aio.ServicerContext
    ) -> messages.GetSecurityMetricsResponse:
        """The four metrics."""
        return wire.metrics_response(await self._metrics.compute(), self._clock.now())
