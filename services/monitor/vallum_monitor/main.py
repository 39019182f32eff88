"""The only room that constructs things."""

from __future__ import annotations

import random
from collections.abc import Mapping

from google.protobuf.message import Message

from vallum.monitor.v1 import monitor_service_pb2_grpc as services
from vallum_common.bus.consumer import Consumer, Handler, Limits, each
from vallum_common.bus.relay import Relay
from vallum_common.clock import Clock, Ids, SystemClock, Uuid7Ids
from vallum_common.database import Database
from vallum_common.lifecycle import Service, build_server, start, system_randomness
from vallum_monitor.config import Config, read_policy
from vallum_monitor.detectors.drift import PopulationDrift
from vallum_monitor.detectors.policy import DetectionPolicy
from vallum_monitor.grpc_api import MonitorApi
from vallum_monitor.playbooks.correction import CorrectionPolicy
from vallum_monitor.service.correcting import Correcting
from vallum_monitor.service.detection import Detection
from vallum_monitor.service.knowledge import Knowledge, Metrics
from vallum_monitor.service.reporting import Reporting
from vallum_monitor.service.watching import AlertFeed
from vallum_monitor.store import SqlStore
from vallum_monitor.stream.consumers import correction_handlers, detection_handlers, knowledge_handlers
from vallum_monitor.stream.faust_worker import Bus, FaustWorker
from vallum_monitor.wire import EventWriter


def build(
    config: Config, *, clock: Clock | None = None, ids: Ids | None = None, randomness: random.Random | None = None
) -> Service:
    """The monitor, ready to run.

    Args:
        config: its settings.
        clock: the machine's, unless a test brings another.
        ids: for events; UUIDs of version 7 by default.
        randomness: for ids and jitter; the system's by default.

    Raises:
        Invalid: a policy or the JWKS is not right; the line says how.
    """
    clock, randomness = clock or SystemClock(), randomness or system_randomness()
    detection_policy, detection_digest = read_policy(config.detection_policy_file, DetectionPolicy)
    correction_policy, correction_digest = read_policy(config.correction_policy, CorrectionPolicy)
    database = Database(config.database_url)
    store = SqlStore(database, EventWriter(ids or Uuid7Ids(clock, randomness)).event)
    feed = AlertFeed(store)
    drift = PopulationDrift(detection_policy.population_drift, policy_digest=detection_digest)
    detection = Detection([drift], clock=clock, on_alert=feed.wake)
    correcting = Correcting(correction_policy, policy_digest=correction_digest, clock=clock)
    metrics = Metrics(store, high_probability=detection_policy.risk_exposure.high_probability.value)
    api = MonitorApi(Reporting(store, clock=clock), feed, metrics, clock=clock)
    bus = Bus(config.kafka, database, clock, randomness, Limits())
    worker = FaustWorker(
        "monitor-detection",
        each(detection_handlers(detection, store.within)),
        bus=bus,
        folder=config.data_dir / "faust",
    )
    return Service(
        package="vallum_monitor",
        database=database,
        server=build_server(
            config,
            {"vallum.monitor.v1.MonitorService": lambda to: services.add_MonitorServiceServicer_to_server(api, to)},
            clock=clock,
        ),
        relay=Relay(database, bootstrap=config.kafka, clock=clock),
        consumers=(
            _consumer("monitor", knowledge_handlers(Knowledge(), store.within), bus),
            _consumer("monitor-correction", correction_handlers(correcting, store.within), bus),
            worker,
        ),
        on_stop=(feed.close,),
    )


def _consumer(name: str, handlers: Mapping[type[Message], Handler], bus: Bus) -> Consumer:
    return Consumer(
        name,
        list(handlers),
        each(handlers),
        database=bus.database,
        bootstrap=bus.bootstrap,
        clock=bus.clock,
        randomness=bus.randomness,
    )


def main() -> int:
    """Run the service; returns its exit code."""
    return start("monitor", Config, build)
